"""A label is an event that the packs read: with the time and the keys of the event it is about."""

import json
from pathlib import Path
from typing import Any

import pytest

from detection.loading import load, parse
from detection.pack import EventType, Pack
from detection.program import Engine
from detection.records import Record, Verdict
from web.review.labels import NoLabelError, label_of

PACKS = Path(__file__).parents[3] / "packs"
DAY = 86_400_000
NOW = 1_767_268_800_000  # ms, 2026-01-01T12:00:00Z


def payment(number: int, **others: Any) -> dict[str, Any]:
    return {
        "timestamp": NOW + number,
        "user": f"u{number}",
        "amount": 1.5,
        "location": "US",
        "merchant": "Shop",
        **others,
    }


def judged(engine: Engine, topic: str, offset: int, event: Any, stamp: int = NOW) -> Verdict:
    value = event if isinstance(event, bytes) else json.dumps(event).encode()
    verdict = engine.judge(Record(topic, 0, offset, stamp, b"k", value))
    assert isinstance(verdict, Verdict), verdict
    return verdict


def labelled(event: EventType | None, verdict: bytes, *, fraudulent: bool = True, note: str = "") -> bytes:
    return label_of(
        event,
        verdict,
        written=NOW + 7,
        origin="t/0/1",
        fraudulent=fraudulent,
        source="review",
        at=NOW + DAY,
        version=1,
        note=note,
    )


def event_of(pack: Pack, name: str) -> EventType:
    return next(event for event in pack.events if event.name == name)


def test_labels_of_payments_make_the_fraud_rate_of_their_merchant_and_their_rule_fires() -> None:
    pack = load([PACKS / "labels.toml"])
    engine = Engine(pack)
    event, label = event_of(pack, "transaction"), event_of(pack, "label")

    before = judged(engine, event.topic, 0, payment(0))
    for number in range(1, 11):
        verdict = judged(engine, event.topic, number, payment(number))
        value = labelled(event, verdict.value, fraudulent=number <= 2)
        judged(engine, label.topic, number, value, NOW + DAY)
    after = json.loads(judged(engine, event.topic, 11, payment(DAY), NOW + DAY).value)

    assert "risky_merchant" not in before.value.decode()
    assert "Of 10 labelled payments at Shop, 0.2 were fraud" in after["reason"]


def test_the_victim_of_a_confirmed_fraud_is_known_by_its_next_payment() -> None:
    pack = load([PACKS / "labels.toml"])
    engine = Engine(pack)
    event, label = event_of(pack, "transaction"), event_of(pack, "label")
    verdict = judged(engine, event.topic, 0, payment(1))

    judged(engine, label.topic, 0, labelled(event, verdict.value), NOW + DAY)
    after = json.loads(judged(engine, event.topic, 1, payment(DAY, user="u1"), NOW + DAY).value)

    assert "u1 was a victim 1 times within 90 days" in after["reason"]


@pytest.mark.parametrize("name", ["clicks", "transfers", "mules"])
def test_labels_of_other_events_are_no_dead_letters_of_the_one_who_reads_labels(name: str) -> None:
    pack = load([PACKS / "labels.toml", PACKS / f"{name}.toml"])
    engine = Engine(pack)
    values = {
        "click": {"session_id": "s", "ad_id": "a", "url": "/u", "timestamp": NOW},
        "transfer": {"source": "a", "target": "b", "amount": 900, "currency": "EUR"},
    }
    event = next(event for event in pack.events if event.name in values)
    verdict = judged(engine, event.topic, 0, values[event.name])

    judged(engine, event_of(pack, "label").topic, 0, labelled(event, verdict.value), NOW + DAY)


def test_a_label_says_what_of_what_when_and_why_and_repeats_the_keys_to_the_digit() -> None:
    pack = load([PACKS / "transfers.toml"])
    event = event_of(pack, "transfer")
    verdict = judged(
        Engine(pack),
        event.topic,
        5,
        b'{"source": "a", "target": "b\\u00e9", "amount": 900.10, "currency": "EUR", "iban": "secret"}',
    )

    value = labelled(event, verdict.value, note="called the customer")

    assert b'"amount":900.10' in value
    told = json.loads(value)
    assert told == {
        "target": "bé",
        "amount": 900.10,
        "currency": "EUR",
        "origin": "t/0/1",
        "fraudulent": True,
        "source": "review",
        "at": NOW + DAY,
        "time": NOW + 7,  # a transfer has no time of its own: when its verdict was written
        "version": 1,
        "note": "called the customer",
    }


CLASHES = """
[event.x]
topic = "xs"
time = "time? @ meta.when"
fields = { source = "str", fraudulent = "str", account = "str @ payer.account.id", n = "int?" }
[feature.a]
on = "x"
key = ["source", "fraudulent"]
fn = "count"
window = "1h"
[feature.b]
on = "x"
key = ["account", "n"]
fn = "count"
window = "1h"
[rule.r]
on = "x"
when = "a > 0 && b > 0"
reason = "r"
score = 1
outcome = "block"
"""


def test_members_that_a_label_has_itself_are_in_its_input_and_inner_ones_where_they_were() -> None:
    pack = parse({"p": CLASHES})
    (event,) = pack.events
    given = {
        "source": "s",
        "fraudulent": "maybe",
        "payer": {"account": {"id": "A", "name": "N"}},
        "meta": {"when": "2026-01-01T11:00:00Z"},
    }
    verdict = judged(Engine(pack), "xs", 0, given)

    told = json.loads(labelled(event, verdict.value))

    assert told["input"] == {"source": "s", "fraudulent": "maybe"}
    assert (told["source"], told["fraudulent"]) == ("review", True)
    assert told["payer"] == {"account": {"id": "A"}}
    assert told["time"] == "2026-01-01T11:00:00Z"
    assert "n" not in told


def test_an_event_that_no_pack_has_any_more_gets_a_label_without_fields() -> None:
    pack = load([PACKS / "transfers.toml"])
    verdict = judged(
        Engine(pack), pack.events[0].topic, 0, {"source": "a", "target": "b", "amount": 900, "currency": "EUR"}
    )

    assert set(json.loads(labelled(None, verdict.value))) == {"origin", "fraudulent", "source", "at", "time", "version"}


@pytest.mark.parametrize("value", [b"", b"[]", b"{}", b'{"verdict": 1}', b"\xff", b"[" * 10_000])
def test_what_is_no_verdict_gets_no_label(value: bytes) -> None:
    with pytest.raises(NoLabelError, match="t/0/1: expected a verdict"):
        labelled(None, value)
