import json
import re
from io import StringIO

import pytest
from rich.console import Console

from cli import board
from cli.score import Answered, Score
from sources.verdicts import OtherError


def verdict(origin: str, *, block: bool = False, rules: tuple[str, ...] = ()) -> bytes:
    return json.dumps(
        {
            "fraudulent": block,
            "reason": ["because"] if block else [],
            "verdict": {
                "decision": "block" if block else "accept",
                "origin": origin,
                "rules": [{"id": rule} for rule in rules],
            },
        }
    ).encode()


def test_an_event_is_missing_until_its_verdict_comes() -> None:
    score = Score()

    score.take_event("t/0/0", 0, fraud=False)
    assert score.missing == 1
    score.take_verdict("out", b"k", verdict("t/0/0"), 5)
    assert score.missing == 0


def test_a_verdict_may_be_read_before_its_event() -> None:
    score = Score()

    score.take_verdict("out", b"k", verdict("t/0/0", block=True), 1_007)
    score.take_event("t/0/0", 1_000, fraud=True)

    assert (score.missing, score.doubled, score.right) == (0, 0, 1)
    assert score.latency_ms(0.5) == 7


def test_a_second_answer_counts_as_doubled_whenever_it_comes() -> None:
    score = Score()
    for offset in range(3):
        score.take_event(f"t/0/{offset}", 0, fraud=False)
        score.take_verdict("out", None, verdict(f"t/0/{offset}"), 0)

    score.take_verdict("out", None, verdict("t/0/0"), 0)
    score.take_dead_letter("t/0/2", 0)
    score.take_verdict("out", None, verdict("t/1/0"), 0)

    assert score.doubled == 2


def test_a_dead_letter_answers_its_event_and_counts_for_no_precision() -> None:
    score = Score()

    score.take_event("t/0/0", 0, fraud=True)
    score.take_dead_letter("t/0/0", 1)

    assert (score.missing, score.dead_letters) == (0, 1)
    assert score.precision is None
    assert score.recall is None


def test_precision_is_of_the_blocked_and_recall_of_the_labelled() -> None:
    score = Score()
    cases = [(True, True)] * 3 + [(False, True)] + [(True, False)] * 2 + [(False, False)] * 10
    for offset, (fraud, block) in enumerate(cases):
        score.take_event(f"t/0/{offset}", 0, fraud=fraud)
        score.take_verdict("out", None, verdict(f"t/0/{offset}", block=block, rules=("r", "s")), 0)

    assert score.precision == 3 / 4
    assert score.recall == 3 / 5
    assert score.rules == {"r": 16, "s": 16}
    assert score.verdicts == {"block": 4, "accept": 12}


def test_latency_is_of_events_from_a_moment_on_and_never_negative() -> None:
    score = Score()
    score.measure_from(1_000)
    for offset, (begun, at) in enumerate([(999, 9_000), (1_000, 1_010), (1_000, 990), (1_001, 1_021)]):
        score.take_event(f"t/0/{offset}", begun, fraud=False)
        score.take_verdict("out", None, verdict(f"t/0/{offset}"), at)

    assert [score.latency_ms(share) for share in (0.3, 0.5, 0.99)] == [0, 10, 20]


def test_without_any_event_there_is_no_latency() -> None:
    assert Score().latency_ms(0.5) is None


def test_answers_in_any_order_take_no_memory_once_all_are_there() -> None:
    answered = Answered()

    assert all(answered.add(offset) for offset in (2, 0, 1, 4, 3))
    assert not any(answered.add(offset) for offset in range(5))
    assert answered._above == set()


def test_only_the_newest_frauds_are_kept() -> None:
    score = Score()
    for offset in range(20):
        score.take_verdict("out", b"key", verdict(f"t/0/{offset}", block=True), offset)

    assert [fraud.at for fraud in score.frauds] == list(range(12, 20))
    assert (score.frauds[0].topic, score.frauds[0].key, score.frauds[0].reasons) == ("t", "key", "because")


@pytest.mark.parametrize("origin", ["-", "", "t/0", "t/0/x", "t/0/-1", "t/0/٣", f"t/0/{'9' * 5_000}"])
def test_an_answer_to_no_event_is_somebody_elses_and_counts_for_nothing(origin: str) -> None:
    score = Score()

    with pytest.raises(OtherError):
        score.take_dead_letter(origin, 0)
    with pytest.raises(OtherError):
        score.take_verdict("out", b"k", verdict(origin, block=True), 0)

    assert score == Score()


def test_the_page_shows_a_fraud_whatever_its_time_and_what_others_wrote() -> None:
    score = Score(others=7)
    score.take_verdict("out", b"k", verdict("t/0/0", block=True), 2**61)
    console = Console(width=200, record=True, file=StringIO())

    console.print(board.page(score, "title"))
    console.print(board.closing(score, 1.0))

    told = console.export_text()
    assert "OTHER" in told
    assert re.search(r"written by others\W+7", told)
