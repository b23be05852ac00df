"""Personal fields on all pages, for each role."""

import json
import time
from dataclasses import replace

import pytest
from websockets.sync.client import connect

from broker.embedded import EmbeddedBroker
from detection.settings import WebUser
from tests.conftest import wait_until
from tests.reading import read_all
from tests.web.conftest import transfer
from web import sending

ROLES = ("viewer", "analyst", "admin")
USERS = tuple(WebUser(role, role, f"the-{role}-token-is-24-chars") for role in ROLES)
CAROL = "carol@example.com"
OTHER = "bob@elsewhere.com"


def bearer(role: str) -> dict[str, str]:
    return {"Authorization": f"Bearer the-{role}-token-is-24-chars"}


@pytest.fixture
def served(page, deployment):
    """A page with two frauds, a legit one and a dead letter, which name Carol, and one fraud that does not."""
    deployment.pack = replace(deployment.pack, pii=("source",))
    live = page(users=USERS, loopback=False, review=True)
    deployment.write([transfer(900, source=CAROL), transfer(1, source=CAROL), b'{"source": 5}'], key=CAROL)
    deployment.write([transfer(901, source=OTHER)], key=OTHER)
    wait_until(lambda: sum(state(live)["words"].values()) == 4)
    wait_until(lambda: len(get(live, "admin", "/api/review").json()["rows"]) == 2)
    return live


def get(live, role: str, path: str, **asked: str):
    return live.client.get(path, params=asked, headers=bearer(role))


def state(live, role: str = "admin"):
    return get(live, role, "/api/state").json()


def found(live, role: str, **asked: str) -> list[str]:
    return [row["word"] for row in get(live, role, "/api/verdicts", **asked).json()["rows"]]


@pytest.mark.parametrize(("role", "sees"), [("viewer", False), ("analyst", False), ("admin", True)])
@pytest.mark.parametrize("path", ["/api/state", "/api/verdicts", "/api/review"])
def test_lists_show_a_personal_value_to_admins_alone(served, path: str, role: str, *, sees: bool) -> None:
    text = get(served, role, path).text

    assert (CAROL in text) is sees
    assert ("***om" in text) is not sees


@pytest.mark.parametrize(("role", "sees"), [("viewer", False), ("analyst", False), ("admin", True)])
def test_the_feed_shows_a_personal_value_to_admins_alone(served, deployment, role: str, *, sees: bool) -> None:
    """As a WebSocket and as server-sent events."""
    address = served.url.replace("http", "ws") + "/ws"
    with (
        connect(address, additional_headers=bearer(role)) as socket,
        served.client.stream("GET", "/events", headers=bearer(role)) as events,
    ):
        lines = (line for line in events.iter_lines() if line.startswith("data: "))
        next(lines)
        socket.recv(timeout=10)
        deployment.write([transfer(950, source=CAROL)], key=CAROL)
        by_socket = next(text for text in (str(socket.recv(timeout=10)) for _ in range(50)) if "950 EUR" in text)
        by_events = next(line for line in lines if "950 EUR" in line)

    for text in (by_socket, by_events):
        assert (CAROL in text) is sees
        assert ("***om" in text) is not sees


@pytest.mark.parametrize(("role", "sees"), [("viewer", False), ("analyst", True), ("admin", True)])
def test_an_opened_verdict_shows_a_personal_value_to_analysts_and_admins(served, role: str, *, sees: bool) -> None:
    for row in get(served, "admin", "/api/verdicts", key=CAROL).json()["rows"]:
        assert (CAROL in get(served, role, f"/api/verdicts/{row['number']}").text) is sees
    for row in get(served, "admin", "/api/review").json()["rows"]:
        text = get(served, role, f"/api/review/{row['origin']}").text
        assert (CAROL in text or OTHER in text) is sees


@pytest.mark.parametrize("role", ["viewer", "analyst"])
def test_a_filter_tells_nothing_of_a_value_to_who_is_not_shown_it(served, role: str) -> None:
    for guess in (CAROL, OTHER, "nobody@example.com"):
        assert found(served, role, key=guess) == []
        for part in (guess, guess[:4], guess[4:9]):
            assert found(served, role, text=part) == []
    assert len(found(served, role, key="***om")) == 4  # what is shown can be looked for
    assert found(served, role, decision="legit") == ["LEGIT"]


def test_an_admin_finds_a_value(served) -> None:
    assert found(served, "admin", key=OTHER) == ["FRAUD"]
    assert len(found(served, "admin", text="CAROL@")) == 3


def test_the_history_of_one_entity_has_none_of_another_that_is_masked_alike(served) -> None:
    (row,) = get(served, "admin", "/api/verdicts", key=OTHER).json()["rows"]

    assert found(served, "viewer", entity_of=str(row["number"])) == ["FRAUD"]
    assert found(served, "viewer", entity_of="99999") == []
    assert found(served, "viewer", entity_of="x") == []


@pytest.mark.parametrize(
    ("role", "value", "other"),
    [("viewer", "b", "***om"), ("analyst", "b", "***om"), ("admin", "b", CAROL)],
)
def test_linked_entities_are_shown_as_in_lists(served, role: str, value: str, other: str) -> None:
    (row,) = get(served, "admin", "/api/verdicts", key=OTHER).json()["rows"]

    told = get(served, role, f"/api/verdicts/{row['number']}").json()

    by_field = {link["field"]: link for link in told["links"]}
    assert by_field["target"]["value"] == value
    assert [each["key"] for each in by_field["target"]["others"]] == [other]
    assert told["searched"] is None


def test_a_note_that_names_somebody_is_masked_for_a_viewer(served) -> None:
    (origin,) = [row["origin"] for row in get(served, "admin", "/api/review").json()["rows"] if row["key"] == CAROL]
    path = f"/api/review/{origin}"
    answer = served.client.post(
        path,
        content=json.dumps({"action": "confirm", "note": f"called {CAROL}"}),
        headers=bearer("analyst") | {"If-Match": '"0"', "Content-Type": "application/json"},
    )
    assert answer.status_code == 200, answer.text

    assert get(served, "viewer", path).json()["review"]["history"][0]["note"] == "called ***om"
    assert get(served, "analyst", path).json()["review"]["history"][0]["note"] == f"called {CAROL}"


def test_a_page_of_this_machine_alone_without_a_token_shows_all(page, deployment) -> None:
    deployment.pack = replace(deployment.pack, pii=("source",))
    live = page()
    deployment.write([transfer(900, source=CAROL)], key=CAROL)
    wait_until(lambda: live.words() == {"FRAUD": 1})

    assert CAROL in live.client.get("/api/verdicts").text


def openings(embedded, deployment) -> list[tuple[str, str, str]]:
    """Who opened what in which role, as the audit has it. One reading finds all that was answered."""
    found = [
        json.loads(each.value()) for each in read_all(embedded, [deployment.settings.audit_topic], 0, extra_seconds=1)
    ]
    assert all(0 < one["at"] <= time.time() * 1_000 for one in found)
    return [(one["who"], one["role"], one["origin"]) for one in found if one["action"] == "open"]


def test_who_is_shown_what_is_personal_in_an_opened_verdict_is_in_the_audit(served, deployment, embedded) -> None:
    (row,) = get(served, "admin", "/api/review").json()["rows"][1:]
    (listed,) = get(served, "admin", "/api/verdicts", key=CAROL, decision="fraud").json()["rows"]
    assert openings(embedded, deployment) == []

    for role in ROLES:
        assert (CAROL in get(served, role, f"/api/verdicts/{listed['number']}").text) is (role != "viewer")
        assert (CAROL in get(served, role, f"/api/review/{row['origin']}").text) is (role != "viewer")
    refused = {"If-Match": '"7"', "Content-Type": "application/json"}
    answer = served.client.post(
        f"/api/review/{row['origin']}", content=b'{"action": "confirm"}', headers=bearer("analyst") | refused
    )

    assert (answer.status_code, CAROL in answer.text) == (409, True)
    both = [(role, role, origin) for role in ("analyst", "admin") for origin in (listed["origin"], row["origin"])]
    assert openings(embedded, deployment) == [*both, ("analyst", "analyst", row["origin"])]


def test_a_verdict_with_nothing_personal_in_it_is_opened_without_a_note(page, deployment, embedded) -> None:
    deployment.pack = replace(deployment.pack, pii=())
    live = page(users=USERS, loopback=False, review=True)
    deployment.write([transfer(900, source=CAROL)], key=CAROL)
    wait_until(lambda: len(get(live, "admin", "/api/review").json()["rows"]) == 1)
    (row,) = get(live, "admin", "/api/review").json()["rows"]

    assert CAROL in get(live, "analyst", f"/api/review/{row['origin']}").text
    assert openings(embedded, deployment) == []


def test_what_the_audit_cannot_be_told_of_is_masked(page, deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sending, "DELIVERY_SECONDS", 0.5)
    with EmbeddedBroker() as broker:
        usual = deployment.settings
        topics = {*deployment.pack.topics_in, *deployment.pack.topics_out, usual.dead_letter_topic}
        for topic in (*topics, usual.audit_topic, usual.labels_topic):
            broker.create_topic(topic, 1)
        deployment.settings = usual.model_copy(update={"kafka_broker_url": broker.address})
        live = page(users=USERS, loopback=False, review=True, settings=deployment.settings)
        deployment.write([transfer(900, source=CAROL)], key=CAROL)
        wait_until(lambda: len(get(live, "admin", "/api/review").json()["rows"]) == 1)
        (row,) = get(live, "admin", "/api/review").json()["rows"]
        (listed,) = get(live, "admin", "/api/verdicts").json()["rows"]

    for path in (f"/api/review/{row['origin']}", f"/api/verdicts/{listed['number']}"):
        answer = get(live, "analyst", path)
        assert (answer.status_code, CAROL in answer.text, "***om" in answer.text) == (200, False, True)
