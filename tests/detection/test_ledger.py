"""The counting of answers, without a broker."""

import json
import random
import tracemalloc
from collections import Counter
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detection.ledger import EXAMPLES, Ledger, Report, origin_of


def answered(ledger: Ledger, *origins: str | None, output: str = "out/0", **content: Any) -> Report:
    """The report after these origins were answered, with the group past everything."""
    for offset, origin in enumerate(origins):
        ledger.answer(output, offset, origin, **{"key": None, "value": b"v", **content})
    ends = {address: account.end for address, account in ledger.accounts.items()}
    ledger.settle(ends)
    return ledger.report(ends, [], [])


def told(first: int, end: int, *offsets: int) -> Ledger:
    """A ledger of the input `in/0` that was told of these records."""
    ledger = Ledger({"in/0": (first, end)})
    for offset in offsets or range(first, end):
        ledger.accounts["in/0"].record(offset)
    return ledger


def test_records_answered_once_are_exact() -> None:
    report = answered(told(0, 3), "in/0/2", "in/0/0", "in/0/1")

    assert report.exact
    assert (report.records, report.answered, report.lost, report.pending, report.doubled, report.foreign) == (
        3,
        3,
        0,
        0,
        0,
        0,
    )
    assert report.examples == {}


def test_a_record_without_an_answer_is_lost_before_the_groups_offset_and_pending_from_it_on() -> None:
    ledger = told(10, 15)
    ledger.answer("out/0", 0, "in/0/10", key=None, value=b"")

    report = ledger.report({"in/0": 13}, [], [])

    assert (report.lost, report.pending, report.exact) == (2, 2, False)
    assert report.examples == {"lost": ["in/0/11", "in/0/12"], "pending": ["in/0/13", "in/0/14"]}


@pytest.mark.parametrize(("committed", "pending"), [({}, 5), ({"in/0": 3}, 5), ({"in/0": 99}, 0)])
def test_a_group_that_is_before_the_range_or_has_no_offset_has_lost_nothing(
    committed: dict[str, int], pending: int
) -> None:
    report = told(10, 15).report(committed, [], [])

    assert (report.pending, report.lost) == (pending, 5 - pending)


def test_behind_an_open_transaction_nothing_is_called_lost() -> None:
    report = told(0, 2).report({"in/0": 2}, ["out/0"], [])

    assert (report.lost, report.pending, report.exact) == (0, 2, True)
    assert report.held_back == ["out/0"]


def test_two_answers_double_a_record_wherever_they_are() -> None:
    ledger = told(0, 2)
    ledger.answer("fraud/0", 0, "in/0/1", key=None, value=b"")
    report = answered(ledger, "in/0/0", "in/0/1")

    assert (report.doubled, report.answered, report.exact) == (1, 2, False)
    assert report.examples == {"doubled": ["in/0/1"]}


def test_a_record_is_doubled_once_however_often_it_is_answered() -> None:
    report = answered(told(0, 1), *["in/0/0"] * 300)

    assert (report.doubled, report.records, report.answered) == (1, 1, 1)


@pytest.mark.parametrize(
    "origin",
    [
        *(None, "", "in", "in/0", "in/0/", "in/1/0", "other/0/0", "in/0/3", "in/00/1"),
        *("in/0/+1", "in/0/-1", "in/0/1_0", "in/0/ 1", "in/0/٣", "in/0/" + "9" * 19, "in/0/" + "9" * 30),
    ],
)
def test_an_answer_to_no_record_is_foreign(origin: str | None) -> None:
    report = answered(told(0, 5, 0, 1, 2, 4), "in/0/0", "in/0/1", origin, "in/0/2", "in/0/4")

    assert (report.foreign, report.lost, report.doubled, report.exact) == (1, 0, 0, False)
    assert report.outputs["out/0"].foreign == 1
    assert report.examples == {"foreign": ["out/0/2"]}


def test_a_gap_of_the_input_is_no_record() -> None:
    report = answered(told(0, 10, 0, 3, 9), "in/0/0", "in/0/3", "in/0/9")

    assert report.exact
    assert report.records == 3


def test_answers_outside_the_range_are_foreign_only_behind_the_end_the_input_has_now() -> None:
    ledger = told(5, 7)
    for offset, place in enumerate((4, 5, 6, 7, 8)):
        ledger.answer("out/0", offset, f"in/0/{place}", key=None, value=b"")
    ledger.settle({"in/0": 8})

    report = ledger.report({"in/0": 7}, [], [])

    assert (report.outputs["out/0"].outside, report.foreign) == (2, 1)
    assert report.examples == {"foreign": ["out/0/4"]}


@pytest.mark.parametrize(
    ("value", "origin"),
    [
        (b'{"a":1,"verdict":{"origin":"in/0/1","more":[]}}', "in/0/1"),
        (b'{"verdict":{"origin":"\\u0069n/0/1"}}', "in/0/1"),
        (None, None),
        (b"", None),
        (b"\xff", None),
        (b"[]", None),
        (b'{"verdict":{}}', None),
        (b'{"verdict":{"origin":1}}', None),
        (b'{"verdict":{"origin":"in/0/1"}', None),
        (b'{"x":' + b"[" * 100_000 + b"]" * 100_000 + b',"verdict":{"origin":"in/0/1"}}', None),
    ],
)
def test_the_origin_of_anything_is_read_or_there_is_none(value: bytes | None, origin: str | None) -> None:
    assert origin_of(value) == origin


def test_the_digest_is_that_of_the_same_answers_in_any_order_and_of_no_others() -> None:
    origins = [f"in/0/{place}" for place in range(50)]
    shuffled = random.Random(1).sample(origins, k=50)
    digest = answered(told(0, 50), *origins).inputs["in/0"].digest

    assert answered(told(0, 50), *shuffled, output="elsewhere/3").inputs["in/0"].digest == digest
    others = [
        answered(told(0, 50), *origins, value=b"w"),
        answered(told(0, 50), *origins, key=b""),
        answered(told(0, 50), *origins, error=b""),
        answered(told(0, 50), *origins[:-1]),
        answered(told(0, 50), *origins, origins[0]),
    ]
    assert len({digest, *(report.inputs["in/0"].digest for report in others)}) == 6


def test_two_answers_whose_contents_are_swapped_have_another_digest() -> None:
    def digest(first: bytes, second: bytes) -> str:
        ledger = told(0, 2)
        ledger.answer("out/0", 0, "in/0/0", key=None, value=first)
        ledger.answer("out/0", 1, "in/0/1", key=None, value=second)
        return ledger.report({}, [], []).inputs["in/0"].digest

    assert digest(b"a", b"b") != digest(b"b", b"a")


def test_reports_differ_where_range_or_answers_do() -> None:
    def report(**ranges: tuple[int, int]) -> Report:
        ledger = Ledger({f"{name}/0": bounds for name, bounds in ranges.items()})
        for name, (first, end) in ranges.items():
            for offset in range(first, end):
                ledger.accounts[f"{name}/0"].record(offset)
                ledger.answer("out/0", offset, f"{name}/0/{offset}", key=None, value=b"")
        return ledger.report({}, [], [])

    assert report(a=(0, 2), b=(0, 1)).differences(report(a=(0, 2), b=(0, 1))) == []
    assert report(a=(0, 2), b=(0, 1)).differences(report(a=(0, 3), c=(0, 1))) == ["a/0", "b/0", "c/0"]


def test_so_many_places_are_named_and_no_more() -> None:
    report = answered(told(0, 30), *[f"in/0/{place}" for place in range(5)] * 2)

    assert report.examples["lost"] == [f"in/0/{place}" for place in range(5, 5 + EXAMPLES)]
    assert report.examples["doubled"] == [f"in/0/{place}" for place in range(5)]


@given(
    st.sets(st.integers(0, 40)),
    st.lists(st.integers(-3, 50)),
    st.integers(0, 45),
    st.integers(0, 20),
    st.sampled_from([41, 51]),
)
def test_the_counts_are_those_of_counting_by_hand(
    records: set[int], answers: list[int], committed: int, first: int, now: int
) -> None:
    end = 41
    ledger = told(first, end, -1)  # told of none
    for offset in records:
        ledger.accounts["in/0"].record(offset)
    for offset, place in enumerate(answers):
        ledger.answer("out/0", offset, f"in/0/{place}", key=None, value=b"")
    ledger.settle({"in/0": now})
    report = ledger.report({"in/0": committed}, [], [])

    there = {place for place in records if place >= first}
    counts = Counter(answers)
    assert report.records == len(there)
    assert report.lost == sum(place < committed for place in there if not counts[place])
    assert report.pending == sum(place >= committed for place in there if not counts[place])
    assert report.doubled == sum(counts[place] > 1 for place in there)
    assert report.foreign == sum(
        place < 0 or place >= now or (first <= place < end and place not in there) for place in answers
    )
    assert sum(output.records for output in report.outputs.values()) == len(answers)


def test_a_report_is_json_and_back() -> None:
    report = answered(told(0, 3), "in/0/0", "in/0/0", None)

    assert msgspec.json.decode(msgspec.json.encode(report), type=Report) == report
    assert json.loads(msgspec.json.encode(report))["inputs"]["in/0"]["doubled"] == 1


def test_ten_million_records_take_a_byte_each() -> None:
    tracemalloc.start()
    try:
        ledger = Ledger({f"in/{number}": (0, 2_500_000) for number in range(4)})
        ledger.report({}, [], [])
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert most < 20_000_000
