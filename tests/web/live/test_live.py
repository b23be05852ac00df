"""The page with a real server, fed by a real client."""

import json
import re
from pathlib import Path

import pytest
from confluent_kafka import Producer
from websockets.sync.client import connect

from broker.embedded import EmbeddedBroker
from tests.conftest import wait_until
from tests.web.conftest import transfer
from web.live import sent

EVIL = "<script>alert(1)</script>\"'<img src=x onerror=alert(1)>\u202e\u0000"
WEB = Path(__file__).parents[3] / "web"


def frames_of(page, enough):
    """Frames by server-sent events, until one is enough."""
    with page.client.stream("GET", "/events") as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        for line in answer.iter_lines():
            if line.startswith("data: "):
                told = json.loads(line.removeprefix("data: "))
                yield told
                if enough(told):
                    return


def test_a_verdict_reaches_a_browser_with_its_decision_entity_and_reason(page, deployment) -> None:
    live = page()
    with connect(live.url.replace("http", "ws") + "/ws") as socket:
        deployment.write([transfer(900), transfer(1), b"{"], key="user-7")
        rows = []
        while len(rows) < 3:
            rows += json.loads(socket.recv(timeout=10))["rows"]

    shown = {row["word"]: row for row in rows}
    assert set(shown) == {"FRAUD", "LEGIT", "DEAD"}
    assert {row["key"] for row in rows} == {"user-7"}
    assert shown["FRAUD"]["text"] == "Transfer of 900 EUR"
    assert shown["FRAUD"]["rules"] == ["large_transfer"]
    assert shown["FRAUD"]["topic"] == deployment.settings.transactions_topic


def test_the_same_frames_come_as_server_sent_events(page, deployment) -> None:
    live = page()
    frames = frames_of(live, lambda told: told["words"].get("FRAUD") == 5)
    next(frames)
    deployment.write([transfer(900)] * 5)

    *_, last = frames

    assert last["problem"] == ""
    assert last["rules"]["large_transfer"] == 5
    assert sum(bucket["words"].get("FRAUD", 0) for bucket in last["series"]) == 5


def test_a_browser_gets_at_most_five_frames_a_second(page) -> None:
    frames = list(frames_of(page(ready=False), lambda told: told["frame"] >= 10))

    assert frames[-1]["at"] - frames[0]["at"] >= (len(frames) - 1) * 1_000 / 5 * 0.95


def test_latency_and_lag_are_told(page, deployment) -> None:
    live = page()
    deployment.write([transfer(1)] * 10)
    producer = Producer({"bootstrap.servers": deployment.settings.kafka_broker_url})
    for _ in range(3):
        producer.produce(deployment.settings.transactions_topic, transfer(1), partition=0)
    producer.flush(30)

    wait_until(lambda: live.client.get("/api/state").json()["lag"] == 3)

    wait_until(lambda: live.client.get("/api/state").json()["latency"]["p99"] is not None)
    latency = live.client.get("/api/state").json()["latency"]
    assert 0 <= latency["p50"] <= latency["p99"] < 30_000


def test_latency_is_told_of_what_a_slow_broker_did_not_tell_in_time(page, deployment, monkeypatch) -> None:
    patience = sent._WAIT_SECONDS
    monkeypatch.setattr(sent, "_WAIT_SECONDS", 0.0)  # as if it took longer than that
    live = page()
    deployment.write([transfer(1)] * 3)
    wait_until(lambda: live.words() == {"LEGIT": 3})
    wait_until(lambda: live.feed._unheard != {})
    assert live.client.get("/api/state").json()["latency"]["p99"] is None

    monkeypatch.setattr(sent, "_WAIT_SECONDS", patience)

    wait_until(lambda: live.client.get("/api/state").json()["latency"]["p99"] is not None)


def test_an_opened_verdict_tells_rules_with_their_values_evidence_and_pack(page, deployment) -> None:
    live = page()
    deployment.write([transfer(900)])
    wait_until(lambda: live.words() == {"FRAUD": 1})
    (row,) = live.client.get("/api/verdicts").json()["rows"]

    told = live.client.get(f"/api/verdicts/{row['number']}").json()

    (hit,) = told["hits"]
    assert (hit["id"], hit["detail"]) == ("large_transfer", "Transfer of 900 EUR")
    assert float(hit["values"]["amount"]) == 900
    assert re.fullmatch("[0-9a-f]{12}", told["pack"])
    assert told["origin"] == f"{deployment.settings.transactions_topic}/0/0"
    assert set(told) >= {"evidence", "score", "late", "value"}


def test_the_filter_finds_what_is_kept(page, deployment) -> None:
    live = page()
    deployment.write([transfer(900), transfer(1), b"{"], key="one")
    deployment.write([transfer(901)], key="two")
    wait_until(lambda: sum(live.words().values()) == 4)

    def found(**asked: object) -> list[str]:
        return sorted(row["key"] for row in live.client.get("/api/verdicts", params=asked).json()["rows"])

    assert found() == ["one", "one", "one", "two"]
    assert found(decision="fraud") == ["one", "two"]
    assert found(decision=["legit", "dead"]) == ["one", "one"]
    assert found(rule="large_transfer", key="two") == ["two"]
    assert found(text="of 901") == ["two"]


def test_hostile_text_comes_as_data_and_never_as_markup(page, deployment) -> None:
    live = page()
    deployment.write([transfer(900, currency=EVIL)], key=EVIL)
    producer = Producer({"bootstrap.servers": deployment.settings.kafka_broker_url})
    for value in (b"\xff\xfe", b"[" * 10_000, b"null", b'{"fraudulent": "\\ud800"}', b"", None):
        producer.produce(deployment.settings.fraud_topic, value, b"\xff<b>")
    producer.flush(30)
    wait_until(lambda: sum(live.words().values()) == 7)

    answer = live.client.get("/api/verdicts")

    assert answer.headers["content-type"] == "application/json"
    rows = answer.json()["rows"]
    assert {row["word"] for row in rows} == {"OTHER", "FRAUD", "DEAD"} - {
        "FRAUD" if rows[-1]["word"] == "DEAD" else "DEAD"
    }
    assert EVIL in {row["key"] for row in rows}
    for row in rows:
        opened = live.client.get(f"/api/verdicts/{row['number']}")
        assert opened.status_code == 200
        assert opened.headers["content-type"] == "application/json"
    assert live.client.get("/", params={"text": EVIL}).text.count("<script") == 1


def test_the_page_has_no_script_or_style_of_others_and_none_in_it(page) -> None:
    text = page(ready=False).client.get("/").text
    files = [*WEB.glob("static/*.js"), *WEB.glob("templates/*.html")]

    assert not re.search(r"<script(?![^>]* src=\"/static/)|<style|\sstyle=|\son[a-z]+=|javascript:", text)
    assert len(files) > 5
    for file in files:
        assert not re.search(
            r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|https?://(?!www\.w3\.org/2000/svg)|\|\s*safe",
            file.read_text(),
        ), file


def test_the_page_leads_to_no_page_that_is_not_there(page) -> None:
    for review in (False, True):
        client = page(ready=False, review=review).client
        links = re.findall(r'<a href="([^"]+)"', client.get("/").text)

        assert ("/review" in links) == review
        assert {client.get(link).status_code for link in links} <= {200}


@pytest.mark.parametrize("path", ["/api/verdicts/1", "/api/verdicts/99999999999999999999"])
def test_a_verdict_that_is_not_kept_is_told_to_be_gone(path: str, page) -> None:
    answer = page(ready=False).client.get(path)

    assert answer.status_code == 404
    assert "no longer kept" in answer.json()["error"]


def test_an_open_stream_does_not_keep_the_server_from_its_end(page) -> None:
    live = page(ready=False)
    with connect(live.url.replace("http", "ws") + "/ws") as socket, live.client.stream("GET", "/events") as events:
        socket.recv(timeout=10)
        lines = events.iter_lines()
        next(lines)

        live.stop.set()
        live.thread.join(2)

        assert not live.thread.is_alive()


def test_a_page_without_its_broker_says_so_and_goes_on_when_it_is_there(page, deployment) -> None:
    with EmbeddedBroker() as broker:
        for topic in [*deployment.pack.topics_in, *deployment.pack.topics_out, deployment.settings.dead_letter_topic]:
            broker.create_topic(topic, 1)
        deployment.settings = deployment.settings.model_copy(update={"kafka_broker_url": broker.address})
        live = page(settings=deployment.settings)
        deployment.write([transfer(900)])
        wait_until(lambda: live.words() == {"FRAUD": 1})

    wait_until(lambda: broker.address in live.client.get("/api/state").json()["problem"])
    assert live.words() == {"FRAUD": 1}


def test_a_missing_topic_is_told_on_the_page_until_it_is_made(page, deployment, embedded, topic_name) -> None:
    topic = topic_name()
    live = page(settings=deployment.settings.model_copy(update={"dead_letter_topic": topic}), ready=False)

    wait_until(lambda: f"topic {topic} does not exist" in live.client.get("/api/state").json()["problem"])
    embedded.create_topic(topic, 1)

    wait_until(lambda: not live.client.get("/api/state").json()["problem"])
