from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition
from bytewax.testing import TestingSource

from dataflows.decoding import STATE_FORMAT, DecodingSource, read_snapshot
from detection.errors import StateError
from detection.program import Program
from detection.records import DeadLetter, Record
from detection.sealed import seal
from sources.answered import Answered
from tests.dataflows.examples import START, payment, traffic, wide


def stored(state: dict[str, Any]) -> bytes:
    return seal(msgspec.msgpack.encode(state))


class Slow(StatefulSourcePartition[Record, str]):
    """A part that has nothing, sleeps, and remembers that it was closed."""

    def __init__(self) -> None:
        self.closed = False

    def next_batch(self) -> list[Record]:
        return []

    def next_awake(self) -> datetime:
        return datetime(2030, 1, 1, tzinfo=UTC)

    def snapshot(self) -> str:
        return "place"

    def close(self) -> None:
        self.closed = True


class SlowSource(FixedPartitionedSource[Record, str]):
    def __init__(self) -> None:
        self.part = Slow()
        self.built: Any = None

    def list_parts(self) -> list[str]:
        return ["a", "b"]

    def build_part(self, step_id: str, for_part: str, resume_state: str | None) -> Slow:
        self.built = (step_id, for_part, resume_state)
        return self.part


def test_the_source_behind_it_sleeps_closes_and_resumes_as_it_wants() -> None:
    source = SlowSource()
    decoding = DecodingSource(source, Program(wide()), Answered())

    assert decoding.list_parts() == ["a", "b"]
    part = decoding.build_part("step", "b", stored({"format": STATE_FORMAT, "source": "there", "watermarks": {}}))
    assert source.built == ("step", "b", "there")
    assert list(part.next_batch()) == []
    assert part.next_awake() == datetime(2030, 1, 1, tzinfo=UTC)
    taken = {"format": STATE_FORMAT, "source": "place", "watermarks": {}, "kept": {}, "since": {}}
    assert read_snapshot("b", part.snapshot()) == taken
    part.close()
    assert source.part.closed


def test_each_record_becomes_one_event_or_one_dead_letter_in_order() -> None:
    records = traffic(200)
    part = DecodingSource(TestingSource(records, 200), Program(wide()), Answered()).build_part("s", "iterable", None)

    items = list(part.next_batch())

    assert [(item.record if isinstance(item, DeadLetter) else item).offset for item in items] == [
        record.offset for record in records
    ]
    assert 0 < sum(isinstance(item, DeadLetter) for item in items) < 100


def test_the_newest_time_of_each_partition_is_in_the_snapshot() -> None:
    records = [
        payment(1, at=5_000),
        payment(1, at=3_000, offset=1),
        payment(1, at=1_000, partition=2),
        Record("payments", 1, 0, START, None, b"rubbish"),
    ]
    source = DecodingSource(TestingSource(records, 4), Program(wide()), Answered())
    part = source.build_part("s", "iterable", None)
    part.next_batch()
    state = part.snapshot()

    assert read_snapshot("", state)["watermarks"] == {
        "payments": {0: (START + 5_000) * 1000, 2: (START + 1_000) * 1000}
    }
    assert source.build_part("s", "iterable", state).snapshot() == state


def test_a_snapshot_does_not_change_afterwards() -> None:
    source = DecodingSource(
        TestingSource([payment(1, at=n, offset=n) for n in range(2)], 1), Program(wide()), Answered()
    )
    part = source.build_part("s", "iterable", None)
    part.next_batch()
    state = part.snapshot()
    part.next_batch()

    assert read_snapshot("", state)["watermarks"] == {"payments": {0: START * 1000}}


@pytest.mark.parametrize("state", [{"format": 1, "source": 1, "watermarks": {}}, {"source": 1, "watermarks": {}}, {}])
def test_a_snapshot_of_another_format_is_refused(state: dict[str, Any]) -> None:
    source = DecodingSource(TestingSource([]), Program(wide()), Answered())

    with pytest.raises(StateError, match=r"^state of source iterable: expected format 2, got (1|None)$"):
        source.build_part("s", "iterable", stored(state))


@pytest.mark.parametrize("state", [b"", b"\x80", {"format": 2}, seal(b"\x90"), seal(b"\xc1"), stored({})[:-1] + b"x"])
def test_a_snapshot_that_is_damaged_is_refused(state: Any) -> None:
    source = DecodingSource(TestingSource([]), Program(wide()), Answered())

    with pytest.raises(StateError, match=r"^state of source iterable: cannot be read: "):
        source.build_part("s", "iterable", state)
