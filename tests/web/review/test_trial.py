"""An edited pack is tried on the newest events, by the engine that runs, in a process that cannot do harm."""

import asyncio
import json
import re
from pathlib import Path

import pytest
from confluent_kafka import Producer

from broker.errors import BrokerError
from detection.loading import parse
from detection.records import Record
from tests.conftest import wait_until
from tests.web.conftest import transfer
from tests.web.review.test_review import TOKENS, USERS
from web.review import newest as newest_events
from web.review import trial
from web.review.newest import newest
from web.review.trial import TrialError, compare, run_trial

PACK = """
[event.x]
topic = "xs"
fields = { n = "int", k = "str" }
[feature.c]
on = "x"
key = ["k"]
fn = "count"
window = "1h"
[rule.large]
on = "x"
when = "n > LIMIT"
reason = "large"
score = 90
outcome = "block"
[rule.many]
on = "x"
when = "c > 2"
reason = "many"
score = 10
outcome = "review"
"""
OLD, NEW = PACK.replace("LIMIT", "5"), PACK.replace("LIMIT", "7")


def records(values: list[bytes], topic: str = "xs") -> list[Record]:
    return [Record(topic, 0, number, 1_000, None, value) for number, value in enumerate(values)]


def event(n: int, k: str = "") -> bytes:
    return json.dumps({"n": n, "k": k or str(n)}).encode()


def test_what_changes_is_told_event_by_event_and_in_all() -> None:
    told = compare(parse({"p": OLD}), parse({"p": NEW}), records([event(5), event(6), event(7), event(8), b"{"]))

    assert (told["events"], told["changed"]) == (5, 2)
    assert told["decisions"] == {"accept": [1, 3], "block": [3, 1], "dead letter": [1, 1]}
    assert told["rules"] == {"large": [3, 1], "many": [0, 0]}
    assert told["shown"] == [
        {"origin": f"xs/0/{offset}", "before": "block", "after": "accept", "more": [], "fewer": ["large"]}
        for offset in (1, 2)
    ]


def test_what_a_pack_cannot_decide_is_told_rule_by_rule() -> None:
    optional = OLD.replace('n = "int"', 'n = "int?"')
    given = [event(9), b'{"k":"a"}', b'{"k":"b"}']

    told = compare(parse({"p": optional}), parse({"p": optional.replace("n > 5", "known(n) && n > 5")}), records(given))

    assert told["unknowns"] == {"large": [2, 0], "many": [0, 0]}


def test_windows_are_those_of_the_engine() -> None:
    told = compare(parse({"p": OLD}), parse({"p": NEW.replace("c > 2", "c > 3")}), records([event(1, "a")] * 4))

    assert told["rules"]["many"] == [2, 1]
    assert [each["origin"] for each in told["shown"]] == ["xs/0/2"]


def test_a_rule_that_is_gone_or_new_and_a_topic_that_is_read_no_more_are_told_as_that() -> None:
    renamed = NEW.replace("rule.many", "rule.often").replace('"xs"', '"ys"')

    told = compare(parse({"p": OLD}), parse({"p": renamed}), records([event(9)]))

    assert told["rules"] == {"large": [1, 0], "many": [0, None], "often": [None, 0]}
    assert told["decisions"] == {"block": [1, 0], "not read": [0, 1]}


def test_the_first_hundred_changes_are_shown_and_all_are_counted() -> None:
    told = compare(parse({"p": OLD}), parse({"p": NEW}), records([event(6, str(number)) for number in range(150)]))

    assert (told["changed"], len(told["shown"])) == (150, 100)


def test_a_process_of_its_own_finds_the_same() -> None:
    given = records([event(number) for number in range(20)])

    told = asyncio.run(run_trial({"p": OLD}, {"p": NEW}, {}, given))

    assert told == compare(parse({"p": OLD}), parse({"p": NEW}), given)


def test_what_is_wrong_with_the_pack_is_told_with_its_place() -> None:
    with pytest.raises(TrialError, match=r"p:1\d:.*nosuch"):
        asyncio.run(run_trial({"p": OLD}, {"p": NEW.replace("c > 2", "nosuch > 2")}, {}, []))


def test_a_trial_that_does_not_end_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial, "SECONDS", 0.05)

    with pytest.raises(TrialError, match=r"more than 0\.05 s"):
        asyncio.run(run_trial({"p": OLD}, {"p": NEW}, {}, records([event(1)])))


def test_a_trial_is_told_no_secret(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    spy = tmp_path / "spy"
    spy.write_text(f"#!/bin/sh\nenv > {tmp_path}/env\ncat > /dev/null\necho '{{}}'\n")
    spy.chmod(0o700)
    monkeypatch.setattr(trial.sys, "executable", str(spy))
    monkeypatch.setenv("KAFKA_SASL_PASSWORD", "hunter2")
    monkeypatch.setenv("FRAUD_WEB_TOKEN", "hunter3")

    assert asyncio.run(run_trial({}, {}, {}, [])) == {}

    assert "hunter" not in (tmp_path / "env").read_text()


def test_the_newest_events_come_in_the_order_of_their_partitions_and_no_more_than_asked_for(deployment) -> None:
    topic = deployment.settings.transactions_topic
    producer = Producer({"bootstrap.servers": deployment.settings.kafka_broker_url})
    for number in range(20):
        producer.produce(topic, str(number), partition=number % 2)
    assert producer.flush(30) == 0

    found = newest(deployment.settings, [topic], 8)

    assert len(found) == 8
    assert {record.value for record in found} == {str(number).encode() for number in range(12, 20)}
    for partition in (0, 1):
        offsets = [record.offset for record in found if record.partition == partition]
        assert offsets == sorted(offsets)
    assert newest(deployment.settings, [deployment.settings.fraud_topic], 8) == []


def test_events_too_large_to_be_kept_are_told(deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(newest_events, "_BYTES", 10_000)
    deployment.write([transfer(1, source="x" * 2_000)] * 20)

    with pytest.raises(BrokerError, match="the newest events: expected them"):
        newest(deployment.settings, [deployment.settings.transactions_topic])


def test_an_admin_tries_an_edited_pack_on_the_events_that_there_are(page, deployment) -> None:
    file = Path(__file__).parents[3] / "packs" / "transfers.toml"
    deployment.settings = deployment.settings.model_copy(update={"fraud_packs": (file,)})
    served = page(users=USERS, loopback=False, review=True, settings=deployment.settings)
    deployment.write([transfer(1), transfer(950), transfer(2_000)])

    def ask(who: str, method: str = "POST", **asked: str):
        headers = {"authorization": f"Bearer {TOKENS[who]}"}
        return served.client.request(method, "/api/trial", headers=headers, json=asked or None, timeout=60)

    text = ask("root", "GET").json()["files"][str(file)]
    edited = re.sub(r"amount >= 900", "amount >= 1000", text)
    edited = edited.replace("fires = [true, false, true]", "fires = [false, false, true]", 1)
    told = ask("root", file=str(file), text=edited)

    assert told.status_code == 200, told.text
    assert (told.json()["events"], told.json()["changed"]) == (3, 1)
    assert told.json()["rules"]["large_transfer"] == [2, 1]
    assert [ask(who, file=str(file), text=text).status_code for who in ("vera", "ana")] == [403, 403]
    assert ask("ana", "GET").status_code == 403
    assert ask("root", file="/etc/passwd", text=text).status_code == 400
    assert ask("root", file=str(file), text="[").status_code == 422
    wait_until(
        lambda: served.client.get("/api/state", headers={"authorization": f"Bearer {TOKENS['vera']}"}).is_success
    )
