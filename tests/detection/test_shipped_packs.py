"""The packs that ship, against what the tutorials expect of them."""

import json
from pathlib import Path
from typing import Any

import pytest

from detection.loading import load
from detection.pack import Pack
from detection.program import Engine
from detection.records import Record, Verdict

PACKS = Path(__file__).parents[2] / "packs"
FILES = sorted(PACKS.glob("*.toml"))
NOW = 1_767_268_800_000  # ms, 2026-01-01T12:00:00Z


@pytest.fixture
def engine() -> Engine:
    return Engine(load(FILES))


def judge(engine: Engine, topic: str, event: dict[str, Any], timestamp: int = NOW) -> tuple[str, dict[str, Any]]:
    verdict = engine.judge(Record(topic, 0, 0, timestamp, None, json.dumps(event).encode()))
    assert isinstance(verdict, Verdict), verdict
    return verdict.topic, json.loads(verdict.value)


@pytest.mark.parametrize(
    "files", [FILES, *([file] for file in FILES)], ids=lambda files: "+".join(f.stem for f in files)
)
def test_packs_load_together_and_alone_without_a_warning(files: list[Path]) -> None:
    assert load(files).warnings == ()


def test_each_rule_is_shown_where_it_fires_and_where_it_does_not() -> None:
    for event in load(FILES).events:
        for rule in event.rules:
            shown = [fires for case in rule.tests for fires in case.fires]
            assert set(shown) == {True, False}, rule.name


def test_events_are_read_from_and_written_to_the_topics_of_the_tutorials() -> None:
    pack: Pack = load(FILES)

    topics = {event.name: (event.topic, event.topics["accept"], event.topics["block"]) for event in pack.events}
    assert topics == {
        "click": ("clicks", "clicks.legit", "clicks.fraud"),
        "login": ("logins", "logins.legit", "logins.fraud"),
        "click_count": ("fcd-producer", "fcd-consumer", "fcd-consumer"),
        "transaction": ("transactions", "classified_transactions", "fraud_alerts"),
        "label": ("fraud.labels", "labels.taken", "labels.taken"),
        "page_event": ("page-events", "page-events.legit", "page-events.fraud"),
        "transfer": ("queuing.transactions", "queuing.legit", "queuing.fraud"),
    }


def test_the_topics_of_transfers_are_settings() -> None:
    names = {"TRANSACTIONS_TOPIC": "queueing.transactions", "LEGIT_TOPIC": "legit", "FRAUD_TOPIC": "fraud"}
    (event,) = load([PACKS / "transfers.toml"], names).events

    assert (event.topic, event.topics["accept"], event.topics["block"]) == ("queueing.transactions", "legit", "fraud")


# --- clicks ------------------------------------------------------------------------------------------------------


def click(engine: Engine, seconds: float, url: str = "/ad", session: str = "s") -> tuple[str, dict[str, Any]]:
    return judge(engine, "clicks", {"session_id": session, "url": url}, NOW + round(seconds * 1000))


def test_the_third_click_on_a_url_in_ten_seconds_of_a_session_is_fraud(engine: Engine) -> None:
    topics = [click(engine, second)[0] for second in (0, 5, 9.999, 20, 30)]
    assert topics == ["clicks.legit", "clicks.legit", "clicks.fraud", "clicks.legit", "clicks.legit"]

    topic, verdict = [click(engine, 100 + second, session="t") for second in (0, 0, 0)][-1]
    assert (topic, verdict["reason"]) == ("clicks.fraud", ["3 clicks on /ad in 10 s"])


def test_clicks_of_other_sessions_and_urls_do_not_count(engine: Engine) -> None:
    for session, url in (("s", "/ad"), ("t", "/ad"), ("s", "/b"), ("s\0/ad", ""), ("s", "/ad")):
        assert click(engine, 0, url, session)[0] == "clicks.legit"


@pytest.mark.parametrize(("count", "answer"), [(0, "No"), (3, "No"), (4, "Yes"), (10**12, "Yes")])
def test_the_counter_says_yes_above_three(engine: Engine, count: int, answer: str) -> None:
    topic, verdict = judge(engine, "fcd-producer", {"click_count": count})

    assert (topic, verdict["fraudClick"], verdict["fraudulent"]) == ("fcd-consumer", answer, answer == "Yes")


# --- transfers ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("amount", "topic"),
    [
        (899.99, "queuing.legit"),
        ("899.999999", "queuing.legit"),
        (900, "queuing.fraud"),
        (900.0, "queuing.fraud"),
        (900.01, "queuing.fraud"),
        ("900.00", "queuing.fraud"),
        (10_000.0, "queuing.fraud"),
        (1.0, "queuing.legit"),
    ],
)
def test_a_transfer_of_900_or_more_is_fraud_and_passes_through_as_it_came(
    engine: Engine, amount: object, topic: str
) -> None:
    transfer = {"source": "A1B2C3D4E5F6", "target": "F6E5D4C3B2A1", "amount": amount, "currency": "EUR"}

    found, verdict = judge(engine, "queuing.transactions", transfer)

    assert found == topic
    assert {name: verdict[name] for name in transfer} == transfer


def test_a_transfer_may_say_its_place_and_is_blocked_where_its_sender_is_closed(engine: Engine) -> None:
    transfer = {"source": "hotel", "target": "b", "amount": 1, "currency": "EUR"}
    closed = b'{"since": "2026-01-01T00:00:00Z", "until": "2026-01-01T13:00:00Z"}'
    engine.program.lists.put("closed_entities", b"hotel/Ischgl", closed)

    topics = [
        judge(engine, "queuing.transactions", transfer | place, time)[0]
        for place, time in (({}, NOW), ({"location": "Ischgl"}, NOW), ({"location": "Ischgl"}, NOW + 3_600_000))
    ]

    assert topics == ["queuing.legit", "queuing.fraud", "queuing.legit"]


# --- payments ----------------------------------------------------------------------------------------------------

PAYMENT = {
    "user": "Sam",
    "amount": 123.45,
    "location": "US",
    "device": "mobile",
    "merchant": "Nike",
    "txn_type": "purchase",
    "timestamp": "2026-01-01T12:00:00.123456",
}


def pay(engine: Engine, **members: object) -> tuple[str, list[str]]:
    topic, verdict = judge(engine, "transactions", PAYMENT | members)
    return topic, verdict["reason"]


def test_a_plain_payment_is_classified_without_a_reason(engine: Engine) -> None:
    assert pay(engine) == ("classified_transactions", [])


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        ({"amount": 400.01}, "High amount"),
        ({"merchant": "XYZ_Merchant"}, "Merchant XYZ_Merchant flagged"),
        ({"merchant": "UnknownShop"}, "Merchant UnknownShop flagged"),
    ],
)
def test_reasons_read_as_in_the_tutorials(engine: Engine, members: dict[str, object], reason: str) -> None:
    assert pay(engine, **members) == ("fraud_alerts", [reason])


def test_400_is_no_high_amount(engine: Engine) -> None:
    assert pay(engine, amount=400)[0] == "classified_transactions"


def test_a_change_of_place_names_both_places_and_only_the_users_own_count(engine: Engine) -> None:
    assert pay(engine, location="US") == ("classified_transactions", [])
    assert pay(engine, location="JP", user="Peter") == ("classified_transactions", [])
    assert pay(engine, location="FR", timestamp="2026-01-01T12:00:10") == (
        "fraud_alerts",
        ["Location change from US to FR"],
    )
    assert pay(engine, location="FR", timestamp="2026-01-01T12:00:20") == ("classified_transactions", [])


def test_several_reasons_stand_in_the_order_of_the_tutorial(engine: Engine) -> None:
    pay(engine)

    topic, reasons = pay(engine, amount=499.99, location="BR", merchant="XYZ_Merchant", timestamp="2026-01-01T12:00:05")

    assert topic == "fraud_alerts"
    assert reasons[:3] == ["High amount", "Location change from US to BR", "Merchant XYZ_Merchant flagged"]


def test_device_and_type_may_be_missing(engine: Engine) -> None:
    topic, reasons = pay(engine, device=None, txn_type=None)

    assert (topic, reasons) == ("classified_transactions", [])
