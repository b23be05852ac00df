"""People act on verdicts: over HTTP with a real server, into the topics of a broker."""

import asyncio
import json
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, ConfigResource
from starlette.datastructures import Headers

from broker.embedded import EmbeddedBroker
from broker.topics import TopicSpec, create_missing
from detection.loading import load
from detection.settings import WebUser
from tests.conftest import wait_until
from tests.reading import read_all
from tests.web.conftest import transfer
from web.access import Access
from web.review import desk as desks

USERS = (
    WebUser("vera", "viewer", "vera-has-a-token-of-her-own"),
    WebUser("ana", "analyst", "ana-has-a-token-of-her-own"),
    WebUser("ben", "analyst", "ben-has-a-token-of-his-own"),
    WebUser("root", "admin", "root-has-a-token-of-his-own"),
)
PACK = Path(__file__).parents[3] / "packs" / "transfers.toml"
TOKENS = {user.name: user.token for user in USERS}


def act(page, origin: str, action: str, *, who: str = "ana", version: int = 0, **others: Any) -> httpx.Response:
    headers = {"authorization": f"Bearer {TOKENS[who]}", "if-match": f'"{version}"'}
    return page.client.post(f"/api/review/{origin}", json={"action": action, **others}, headers=headers)


def get(page, path: str, who: str = "vera") -> Any:
    return page.client.get(path, headers={"authorization": f"Bearer {TOKENS[who]}"}).json()


def queue(page, **asked: str) -> list[str]:
    asked_for = "&".join(f"{name}={value}" for name, value in asked.items())
    return [row["origin"] for row in get(page, f"/api/review?{asked_for}")["rows"]]


@pytest.fixture
def review(page, deployment, embedded):
    """A page with users, and four frauds in its queue; gives the page and their origins, the newest first."""
    served = page(users=USERS, loopback=False, review=True)
    deployment.write([transfer(900 + number) for number in range(4)], key="user-7")
    wait_until(lambda: len(queue(served)) == 4)
    return served, queue(served)


def records(embedded, topic: str, number: int) -> list[tuple[str, dict[str, Any]]]:
    return [(each.key().decode(), json.loads(each.value())) for each in read_all(embedded, [topic], number)]


def audited(embedded, topic: str, number: int, actions: tuple[str, ...] = ("confirm", "dismiss", "snooze")) -> Any:
    """So many entries of these actions in the audit, with their keys."""

    def found(messages: Any) -> Any:
        entries = [(each.key().decode(), json.loads(each.value())) for each in messages]
        return [(key, entry) for key, entry in entries if entry["action"] in actions]

    return found(read_all(embedded, [topic], number, until=lambda messages: len(found(messages)) >= number))


def test_a_confirmed_fraud_and_a_false_alarm_are_labels_keyed_by_their_event_and_entries_of_the_audit(
    review, deployment, embedded
) -> None:
    page, (first, second, *_) = review

    answers = [act(page, first, "confirm", note="called"), act(page, second, "dismiss")]

    # What was answered with 200 is there, with no wait in between.
    labels = dict(records(embedded, deployment.settings.labels_topic, 2))
    assert [answer.status_code for answer in answers] == [200, 200]
    assert set(labels) == {first, second}
    assert (labels[first]["fraudulent"], labels[first]["source"], labels[first]["note"]) == (True, "review", "called")
    assert (labels[second]["fraudulent"], labels[second]["origin"]) == (False, second)
    assert labels[first]["target"] == "b"
    audit = dict(audited(embedded, deployment.settings.audit_topic, 2))
    noted = audit[first]
    assert (noted["who"], noted["role"], noted["action"], noted["version"]) == ("ana", "analyst", "confirm", 1)
    assert (noted["before"], noted["after"]) == ({}, {"state": "fraud"})
    assert noted["verdict"]["rules"] == ["large_transfer"]
    assert noted["verdict"]["decision"] == "FRAUD"
    assert [answer.json()["review"]["label"] for answer in answers] == [True, True]
    assert queue(page, state="done") == [first, second]
    assert first not in queue(page)


def test_a_change_of_mind_has_the_key_of_the_first_label_so_that_compaction_keeps_the_last(
    review, deployment, embedded
) -> None:
    page, (origin, *_) = review
    act(page, origin, "confirm")

    assert act(page, origin, "dismiss", version=1).status_code == 200

    labels = records(embedded, deployment.settings.labels_topic, 2)
    assert [(key, label["fraudulent"], label["version"]) for key, label in labels] == [
        (origin, True, 1),
        (origin, False, 2),
    ]
    (_, last) = audited(embedded, deployment.settings.audit_topic, 2)[1]
    assert (last["before"], last["after"]) == ({"state": "fraud"}, {"state": "legit"})


def test_what_is_snoozed_leaves_the_queue_and_gets_no_label(review, deployment, embedded) -> None:
    page, (origin, *others) = review

    answer = act(page, origin, "snooze", minutes=60)

    told = answer.json()["review"]
    assert (told["state"], told["version"]) == ("snoozed", 1)
    assert 0 < told["until"] - told["history"][0]["at"] == 3_600_000
    assert queue(page) == others
    assert queue(page, state="snoozed") == [origin]
    assert records(embedded, deployment.settings.labels_topic, 0) == []


def test_who_acts_on_what_another_has_changed_is_told_what_and_changes_nothing(review, deployment, embedded) -> None:
    page, (origin, *_) = review
    act(page, origin, "confirm", who="ana")

    answer = act(page, origin, "dismiss", who="root")

    assert answer.status_code == 409
    assert answer.json()["error"] == "not done: ana confirmed the fraud meanwhile"
    assert answer.json()["review"]["state"] == "fraud"
    assert answer.headers["etag"] == '"1"'
    assert len(records(embedded, deployment.settings.labels_topic, 1)) == 1


def test_of_many_at_the_same_moment_one_has_acted_and_there_is_one_label(review, deployment, embedded) -> None:
    page, (origin, *_) = review

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda number: act(page, origin, ("confirm", "dismiss")[number % 2]), range(8)))

    assert sorted(answer.status_code for answer in answers) == [200, *[409] * 7]
    assert len(records(embedded, deployment.settings.labels_topic, 1)) == 1
    assert {answer.json()["review"]["version"] for answer in answers} == {1}


def test_two_servers_agree_on_who_was_first(review, page, deployment, embedded) -> None:
    one, origins = review
    other = page(users=USERS, loopback=False, review=True)
    wait_until(lambda: len(queue(other)) == 4)

    asked = [(served, origin) for origin in origins for served in [one, other] * 4]

    with ThreadPoolExecutor(8) as pool:
        done = list(pool.map(lambda each: act(*each, "confirm").status_code, asked))

    assert [sorted(done[place : place + 8]) for place in range(0, 32, 8)] == [[200, *[409] * 7]] * 4
    assert len(records(embedded, deployment.settings.labels_topic, 4)) == 4
    for origin in origins:
        wait_until(lambda path=f"/api/review/{origin}": get(one, path)["review"] == get(other, path)["review"])


def test_a_page_that_is_started_again_has_forgotten_nothing(review, page) -> None:
    before, (first, second, third, fourth) = review
    act(before, first, "confirm", note="sure")
    act(before, second, "dismiss")
    act(before, third, "snooze", minutes=60)
    told = get(before, f"/api/review/{first}")["review"]
    before.stop.set()
    before.thread.join(5)

    after = page(users=USERS, loopback=False, review=True)

    assert queue(after) == [fourth]
    assert queue(after, state="done") == [first, second]
    assert queue(after, state="snoozed") == [third]
    assert get(after, f"/api/review/{first}")["review"] == told
    assert act(after, first, "dismiss", version=0).status_code == 409


def test_a_label_that_was_noted_before_a_crash_is_written_after_it(
    page, deployment, embedded, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = page(users=USERS, loopback=False, review=True)
    deployment.write([transfer(900)])
    wait_until(lambda: len(queue(first)) == 1)
    (origin,) = queue(first)
    monkeypatch.setattr(desks.Desk, "_write", lambda self, entry: _never())
    first.client.timeout = 1
    with pytest.raises(httpx.ReadTimeout):
        act(first, origin, "confirm")
    first.stop.set()
    first.thread.join(5)
    assert records(embedded, deployment.settings.labels_topic, 0) == []
    monkeypatch.undo()
    monkeypatch.setattr(desks, "_MEND_AFTER_MS", 0)

    second = page(users=USERS, loopback=False, review=True)

    ((key, label),) = records(embedded, deployment.settings.labels_topic, 1)
    assert (key, label["fraudulent"]) == (origin, True)
    wait_until(lambda: get(second, f"/api/review/{origin}")["review"]["label"])


@pytest.mark.parametrize("taken_back", [None, b'{"fraudulent": null}'])
def test_a_label_that_was_taken_back_is_not_written_again_when_compaction_has_removed_all_of_it(  # noqa: PLR0917
    taken_back: bytes | None, page, deployment, embedded, new_topic, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(desks, "_MEND_AFTER_MS", 0)
    monkeypatch.setattr(desks, "_MEND_SECONDS", 0.05)
    first = page(users=USERS, loopback=False, review=True)
    deployment.write([transfer(900), transfer(901)])
    wait_until(lambda: len(queue(first)) == 2)
    gone, missing = queue(first)
    act(first, gone, "confirm")
    audited(embedded, deployment.settings.audit_topic, 1, ("labelled",))
    producer = Producer({"bootstrap.servers": embedded.address})
    producer.produce(deployment.settings.labels_topic, taken_back, gone)
    assert producer.flush(30) == 0
    first.stop.set()
    first.thread.join(5)
    # All that compaction leaves of it. Of another decision the label was never written.
    emptied = deployment.settings.model_copy(update={"labels_topic": new_topic(embedded, 1, "emptied")})
    ((_, entry),) = audited(embedded, deployment.settings.audit_topic, 1)
    entry |= {"origin": missing, "id": "x", "at": 1, "label": entry["label"] | {"origin": missing}}
    producer.produce(deployment.settings.audit_topic, json.dumps(entry), missing)
    assert producer.flush(30) == 0

    second = page(users=USERS, loopback=False, review=True, settings=emptied)

    ((key, _),) = records(embedded, emptied.labels_topic, 1)
    assert key == missing
    wait_until(lambda: get(second, f"/api/review/{missing}")["review"]["label"])
    assert get(second, f"/api/review/{gone}")["review"]["label"] is None
    assert len(records(embedded, emptied.labels_topic, 1)) == 1


async def _never() -> None:
    await asyncio.sleep(3_600)


def test_without_its_broker_nothing_is_told_to_be_done(page, deployment) -> None:
    with EmbeddedBroker() as broker:
        for topic in [
            *deployment.pack.topics_in,
            *deployment.pack.topics_out,
            deployment.settings.dead_letter_topic,
            deployment.settings.audit_topic,
            deployment.settings.labels_topic,
        ]:
            broker.create_topic(topic, 1)
        deployment.settings = deployment.settings.model_copy(update={"kafka_broker_url": broker.address})
        served = page(users=USERS, loopback=False, review=True, settings=deployment.settings)
        deployment.write([transfer(900)])
        wait_until(lambda: len(queue(served)) == 1)
        (origin,) = queue(served)

    answer = act(served, origin, "confirm")

    assert answer.status_code == 503
    assert get(served, f"/api/review/{origin}")["review"]["state"] == "open"


@pytest.mark.parametrize("action", ["confirm", "dismiss", "snooze"])
def test_a_viewer_sees_all_and_may_do_nothing(action: str, review, deployment, embedded) -> None:
    page, (origin, *_) = review

    answer = act(page, origin, action, who="vera", minutes=5)

    assert answer.status_code == 403
    assert "vera may look only" in answer.json()["error"]
    assert get(page, f"/api/review/{origin}", "vera")["verdict"]["hits"]
    assert records(embedded, deployment.settings.audit_topic, 0) == []


def test_an_analyst_changes_an_own_decision_and_an_admin_anybodys(review) -> None:
    page, (origin, *_) = review
    act(page, origin, "confirm", who="ana")

    answers = [
        act(page, origin, "dismiss", who="ben", version=1),
        act(page, origin, "dismiss", who="ana", version=1),
        act(page, origin, "confirm", who="root", version=2),
    ]

    assert [answer.status_code for answer in answers] == [403, 200, 200]
    assert answers[0].json()["error"] == "ana confirmed the fraud: only they or an admin may change that"


def test_who_did_what_and_when_is_told_at_the_verdict(review) -> None:
    page, (origin, *_) = review
    act(page, origin, "snooze", who="ben", minutes=1, note="asks the bank")
    act(page, origin, "confirm", who="ana", version=1)

    history = get(page, f"/api/review/{origin}")["review"]["history"]

    assert [(did["who"], did["action"], did["note"], did["before"], did["after"]) for did in history] == [
        ("ben", "snooze", "asks the bank", "open", "snoozed"),
        ("ana", "confirm", "", "snoozed", "fraud"),
    ]
    assert history[0]["at"] <= history[1]["at"]


@pytest.mark.parametrize(
    ("asked", "headers", "status"),
    [
        ({"action": "confirm"}, {"if-match": ""}, 428),
        ({"action": "confirm"}, {"if-match": "*"}, 400),
        ({"action": "confirm"}, {"if-match": '"-1"'}, 400),
        ({"action": "confirm"}, {"if-match": '"9"'}, 409),
        ({"action": "block"}, {}, 400),
        ({"action": "confirm", "who": "root"}, {}, 400),
        ({"action": "confirm", "note": "x" * 2_001}, {}, 422),
        ({"action": "confirm", "note": "x" * 20_000}, {}, 413),
        ({"action": "snooze"}, {}, 422),
        ({"action": "snooze", "minutes": 43_201}, {}, 422),
        ({"action": "snooze", "minutes": -1}, {}, 422),
        ({"action": "confirm"}, {"content-type": "text/plain"}, 415),
    ],
)
def test_what_makes_no_sense_is_refused(asked, headers, status, review) -> None:
    page, (origin, *_) = review
    sent = {
        "authorization": f"Bearer {TOKENS['ana']}",
        "if-match": '"0"',
        "content-type": "application/json",
        **headers,
    }

    answer = page.client.post(f"/api/review/{origin}", content=json.dumps(asked), headers=sent)

    assert answer.status_code == status
    assert answer.json()["error"]
    assert get(page, f"/api/review/{origin}")["review"]["history"] == []


def test_what_is_not_in_the_queue_cannot_be_decided(review) -> None:
    page, _ = review

    assert act(page, "nosuch/0/1", "confirm").status_code == 404
    assert get(page, "/api/review/nosuch/0/1")["verdict"] is None


def test_a_chargeback_from_elsewhere_closes_its_event_and_says_whose_word_it_is(review, deployment) -> None:
    page, (first, second, *others) = review
    producer = Producer({"bootstrap.servers": deployment.settings.kafka_broker_url})
    topic = deployment.settings.labels_topic
    producer.produce(topic, json.dumps({"fraudulent": True, "source": "chargeback"}), first)
    producer.produce(topic, json.dumps({"fraudulent": False, "origin": second, "source": "bank"}), "any")
    for rubbish in (b"\xff", b"{}", b'{"fraudulent": 1}', None):  # two of them take back what nobody said
        producer.produce(topic, rubbish, "rubbish")
    producer.flush(30)

    wait_until(lambda: queue(page) == others)

    assert get(page, f"/api/review/{first}")["review"]["other"]["source"] == "chargeback"
    wait_until(lambda: get(page, "/api/review")["unreadable"] == 2)


# --- sessions, and pages of others ----------------------------------------------------------------------------


@contextmanager
def logged_in(page, who: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=page.url, timeout=10) as client:
        assert client.post("/login", data={"token": TOKENS[who]}).status_code == 303
        yield client


def csrf(client: httpx.Client) -> str:
    return re.search('<meta name="csrf" content="([0-9a-f]{64})">', client.get("/review").text)[1]


def test_a_browser_acts_with_its_session_and_the_token_of_its_page(review) -> None:
    page, (origin, *_) = review
    with logged_in(page, "ana") as client, logged_in(page, "ben") as other:
        tokens = [None, "", "x", csrf(other), csrf(client)]
        answers = [
            client.post(
                f"/api/review/{origin}",
                json={"action": "confirm"},
                headers={"if-match": '"0"', "origin": page.url, **({} if token is None else {"x-csrf-token": token})},
            )
            for token in tokens
        ]

    assert [answer.status_code for answer in answers] == [403, 403, 403, 403, 200]
    assert answers[-1].json()["review"]["history"][0]["who"] == "ana"


@pytest.mark.parametrize("headers", [{"origin": "http://evil.example"}, {"sec-fetch-site": "cross-site"}])
def test_a_page_of_somebody_else_cannot_act_even_with_session_and_token(headers, review, deployment, embedded) -> None:
    page, (origin, *_) = review
    with logged_in(page, "ana") as client:
        sent = {"if-match": '"0"', "x-csrf-token": csrf(client), **headers}

        answer = client.post(f"/api/review/{origin}", json={"action": "confirm"}, headers=sent)

    assert answer.status_code == 403
    assert records(embedded, deployment.settings.audit_topic, 0) == []


def test_without_a_login_a_page_of_another_site_cannot_act_either(page, deployment) -> None:
    served = page(review=True)
    deployment.write([transfer(900)])
    wait_until(lambda: served.client.get("/api/review").json()["rows"])
    (row,) = served.client.get("/api/review").json()["rows"]

    def status(**headers: str) -> int:
        sent = {"if-match": '"0"', **headers}
        address = f"/api/review/{row['origin']}"
        return served.client.post(address, json={"action": "confirm"}, headers=sent).status_code

    assert status() == 403
    token = csrf(served.client)
    assert status(**{"x-csrf-token": token, "origin": "http://evil.example"}) == 403
    assert status(**{"x-csrf-token": token}) == 200


def test_a_viewer_gets_a_page_without_the_means_to_act(review) -> None:
    page, _ = review
    with logged_in(page, "vera") as viewer, logged_in(page, "ana") as analyst:
        texts = [client.get("/review").text for client in (viewer, analyst)]

    assert ["data-action" in text for text in texts] == [False, True]
    assert "vera (viewer)" in texts[0]


def test_the_cookie_is_for_tls_alone_where_a_proxy_says_that_there_is_tls(review) -> None:
    page, _ = review
    cookies = [
        page.client.post("/login", data={"token": TOKENS["ana"]}, headers={"x-forwarded-proto": scheme})
        .headers["set-cookie"]
        .lower()
        for scheme in ("http", "https")
    ]

    assert ["secure" in cookie for cookie in cookies] == [False, True]
    for cookie in cookies:
        assert "httponly" in cookie
        assert "samesite=lax" in cookie


def test_the_session_of_a_user_who_is_no_more_is_none() -> None:
    access = Access(None, loopback=False, users=USERS)
    fewer = Access(None, loopback=False, users=USERS[1:], key=access.key)
    cookie = Headers({"cookie": f"fraud_session={access.session(0, 'vera')}"})

    assert access.identify(cookie, 1).name == "vera"
    assert fewer.identify(cookie, 1) is None


# --- pages ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/review", "/rules"])
def test_the_pages_run_no_script_but_their_own(path: str, page) -> None:
    answer = page(review=True, ready=False).client.get(path)

    assert answer.headers["content-security-policy"].startswith("default-src 'self';")
    assert not re.search(r"<script(?![^>]* src=\"/static/)|<style|\sstyle=|\son[a-z]+=|javascript:", answer.text)
    assert answer.text.count('aria-current="page"') == 1
    assert f'href="{path}" aria-current="page"' in answer.text


def test_the_queue_says_that_it_is_cut(page, deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    deployment.write([transfer(900 + number) for number in range(6)])
    monkeypatch.setattr(desks, "TAIL", 2)

    served = page(users=USERS, loopback=False, review=True)

    told = get(served, "/api/review")
    assert told["older"]
    assert 0 < len(told["rows"]) < 6


def test_rules_have_their_text_their_hits_and_what_became_of_them(review) -> None:
    page, (first, second, third, _) = review
    act(page, first, "confirm")
    act(page, second, "confirm")
    act(page, third, "dismiss")
    wait_until(lambda: page.feed.hits().get("large_transfer") == 4)

    rules = {rule["name"]: rule for rule in get(page, "/api/rules")["rules"]}

    large = rules["large_transfer"]
    assert (large["when"], large["reason"]) == ("amount >= 900", "Transfer of {amount} {currency}")
    assert (large["hits"], large["fraud"], large["legit"]) == (4, 2, 1)
    assert large["precision"] == pytest.approx(2 / 3)
    quiet = rules["many_equal_transfers"]
    assert (quiet["hits"], quiet["precision"]) == (0, None)


PLACES = """
[event.transfer]
topic = "${TRANSACTIONS_TOPIC}"
fields = { amount = "float", location = "str?" }
[rule.elsewhere]
on = "transfer"
when = "location != 'Rome'"
reason = "elsewhere"
score = 50
outcome = "review"
[rule.large_transfer]
on = "transfer"
when = "amount >= 900"
reason = "large"
score = 90
outcome = "block"
"""


@pytest.mark.parametrize(
    ("pack", "events", "rules", "problem"),
    [(PLACES, 2, {"elsewhere": 2, "large_transfer": 0}, ""), ("[rule", 0, {}, "own.toml:1")],
    ids=["read", "unreadable"],
)
def test_how_often_rules_were_unknown_is_found_in_the_newest_events(  # noqa: PLR0917  (fixtures)
    page, deployment, tmp_path, pack: str, events: int, rules: dict[str, int], problem: str
) -> None:
    (tmp_path / "own.toml").write_text(pack)
    settings = deployment.settings.model_copy(update={"fraud_packs": (tmp_path / "own.toml",)})
    served = page(users=USERS, loopback=False, review=True, settings=settings)
    deployment.write([transfer(900), transfer(1)])
    told: list[Any] = []

    def looked() -> bool:
        told.append(get(served, "/api/rules")["unknowns"])
        return told[-1] is not None

    wait_until(looked)

    assert told[0] is None
    assert (told[-1]["events"], told[-1]["rules"]) == (events, rules)
    assert problem in told[-1]["problem"]
    assert bool(problem) == bool(told[-1]["problem"])


@pytest.mark.kafka
def test_a_real_kafka_gets_the_topics_made_one_compacted_and_one_kept_for_ever(
    page, deployment, kafka, topic_name
) -> None:
    topics = {name: topic_name(name) for name in ("transactions", "fraud", "review", "legit", "dead_letter")}
    settings = deployment.settings.model_copy(
        update={"kafka_broker_url": kafka.address, **{f"{name}_topic": topic for name, topic in topics.items()}}
    )
    create_missing(settings, dict.fromkeys(topics.values(), TopicSpec(partitions=1, replication=1)))
    deployment.settings = settings
    deployment.pack = load([PACK], settings.topics)
    served = page(users=USERS, loopback=False, review=True, settings=settings)
    deployment.write([transfer(900)])
    wait_until(lambda: len(queue(served)) == 1)
    (origin,) = queue(served)

    answers = [act(served, origin, "confirm"), act(served, origin, "dismiss", version=1)]

    assert [answer.status_code for answer in answers] == [200, 200]
    labels = records(kafka, settings.labels_topic, 2)
    assert [(key, label["fraudulent"]) for key, label in labels] == [(origin, True), (origin, False)]
    resources = [
        ConfigResource(ConfigResource.Type.TOPIC, name) for name in (settings.labels_topic, settings.audit_topic)
    ]
    admin = AdminClient({"bootstrap.servers": kafka.address})
    described = admin.describe_configs(resources)
    of_labels, of_audit = (described[resource].result() for resource in resources)
    assert of_labels["cleanup.policy"].value == "compact"
    assert (of_audit["cleanup.policy"].value, of_audit["retention.ms"].value) == ("delete", "-1")
