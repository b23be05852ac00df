import doctest
from types import ModuleType
from typing import Any

import pytest
from msgspec.structs import replace

from detection.alerting import dedupe, outbox, text
from detection.alerting.alert import Alert
from detection.alerting.outbox import Message
from detection.alerting.text import as_html, clean, duration, plain, title

ALERT = Alert(
    alert="ops",
    rule="high_amount",
    decision="block",
    reasons=["High amount"],
    entity=[("user", "ann")],
    amount="400.01 EUR",
    origin="transactions/3/17",
    at=1_767_268_800_000_000,
)


def message(number: int = 1, span: int | None = None, **changes: Any) -> Message:
    return Message([replace(ALERT, **changes)] * number, span)


@pytest.mark.parametrize("module", [dedupe, outbox, text])
def test_the_examples_hold(module: ModuleType) -> None:
    assert doctest.testmod(module).failed == 0


def test_it_tells_decision_rule_reason_entity_amount_origin_and_time() -> None:
    assert title(message()) == "FRAUD high_amount: user ann"
    assert plain(message()).splitlines() == [
        "Decision: FRAUD",
        "Rule: high_amount",
        "Why: High amount",
        "Who: user ann",
        "Amount: 400.01 EUR",
        "Event: 2026-01-01 12:00:00 UTC, transactions/3/17",
    ]


def test_a_burst_is_counted_and_its_newest_are_told() -> None:
    assert title(message(34, 60_000)) == "FRAUD high_amount: 34 more in the last minute"
    assert plain(message(34, 60_000)).count("Decision") == 10
    assert plain(message(34, 60_000)).endswith("and 24 before them")
    assert "before them" not in as_html(message(10, 60_000))
    assert "and 1 before them" in as_html(message(11, 60_000))


HOSTILE = "x\r\nBcc: all@example.com\x00\u202e\u2028<script>alert('1')</script> <!channel> @everyone"


@pytest.mark.parametrize("place", ["reasons", "entity", "rule", "amount", "origin", "decision"])
def test_hostile_texts_stay_texts(place: str) -> None:
    value: Any = {"reasons": [HOSTILE], "entity": [("user", HOSTILE)]}.get(place, HOSTILE)
    bad = message(**{place: value})

    assert title(bad).isprintable() or "\u200b" in title(bad)
    assert not {"\r", "\n"} & set(title(bad))
    assert len(plain(bad).splitlines()) == 6
    assert not {"\r", "\x00", "\u202e", "\u2028"} & set(plain(bad) + as_html(bad))
    assert "<script" not in as_html(bad)
    assert "<!channel" not in plain(bad)
    assert "@everyone" not in plain(bad)


def test_a_long_text_is_cut() -> None:
    assert clean("x" * 301) == "x" * 300 + "…"


@pytest.mark.parametrize(
    ("milliseconds", "said"),
    [(1, "second"), (60_000, "minute"), (90_000, "90 seconds"), (300_000, "5 minutes"), (3_600_000, "hour")],
)
def test_spans_read_well(milliseconds: int, said: str) -> None:
    assert duration(milliseconds) == said


def test_a_time_that_no_calendar_has_is_unknown() -> None:
    assert "unknown" in plain(message(at=2**62))
