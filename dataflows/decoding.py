"""Decoding inside the source.

The watermark of a partition belongs to the source's snapshot, so it is kept where the offset is.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import bytewax.operators as op
from bytewax.dataflow import Dataflow, Stream, operator
from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition
from typing_extensions import override

from detection.codec import Event
from detection.errors import StateError
from detection.program import Decoder, Program
from detection.records import DeadLetter, Record
from sources.answered import Answered

STATE_FORMAT = 2


@dataclass(frozen=True)
class Decoded:
    """What decoding gives.

    Attributes:
        events: Typed events, each with its place, time and watermark.
        dead_letters: Records that are no event, whole, each with its error.
    """

    events: Stream[Event]
    dead_letters: Stream[DeadLetter]


class _Lane(StatefulSourcePartition[Event | DeadLetter, dict[str, Any]]):
    """A part of a source with a decoder behind it; one snapshot of both."""

    def __init__(self, lane: StatefulSourcePartition[Record, Any], decoder: Decoder, answered: Answered) -> None:
        self._lane = lane
        self._decoder = decoder
        self._answered = answered

    @override
    def next_batch(self) -> Iterable[Event | DeadLetter]:
        records = self._lane.next_batch()
        if not records:
            return ()
        items = self._decoder.decode(records)
        return self._told(items) if self._answered else items

    def _told(self, items: list[Event | DeadLetter]) -> list[Event | DeadLetter]:
        """Mark the events that have their answer already, and drop such dead letters: no window needs them."""
        topics = self._decoder.topics
        out = []
        for item in items:
            if isinstance(item, DeadLetter):
                record = item.record
                if not self._answered.is_answered(record.topic, record.partition, record.offset):
                    out.append(item)
            else:
                item.answered = self._answered.is_answered(topics[item.kind], item.partition, item.offset)
                out.append(item)
        return out

    @override
    def next_awake(self) -> datetime | None:
        return self._lane.next_awake()

    @override
    def snapshot(self) -> dict[str, Any]:
        return {"format": STATE_FORMAT, "source": self._lane.snapshot(), **self._decoder.snapshot()}

    @override
    def close(self) -> None:
        self._lane.close()


class DecodingSource(FixedPartitionedSource[Event | DeadLetter, dict[str, Any]]):
    """A source of records, seen as a source of events and dead letters; those that have their answer are marked."""

    def __init__(
        self, source: FixedPartitionedSource[Record, Any], program: Program, answered: Answered | None = None
    ) -> None:
        self._source = source
        self._program = program
        self._answered = Answered() if answered is None else answered

    @override
    def list_parts(self) -> list[str]:
        return self._source.list_parts()

    @override
    def build_part(self, step_id: str, for_part: str, resume_state: dict[str, Any] | None) -> _Lane:
        if resume_state is not None and resume_state.get("format") != STATE_FORMAT:
            msg = f"state of source {for_part}: expected format {STATE_FORMAT}, got {resume_state.get('format')!r}"
            raise StateError(msg)
        state = resume_state or {"source": None}
        lane = self._source.build_part(step_id, for_part, state["source"])
        return _Lane(lane, Decoder(self._program, state), self._answered)


@operator
def decode(
    step_id: str,  # noqa: ARG001  Bytewax reads it
    flow: Dataflow,
    source: FixedPartitionedSource[Record, Any],
    program: Program,
    answered: Answered | None = None,
) -> Decoded:
    """Read a source and decode its records: each becomes one event or one dead letter."""
    split = op.branch("is_event", op.input("source", flow, DecodingSource(source, program, answered)), _is_event)
    return Decoded(split.trues, split.falses)


def _is_event(item: Event | DeadLetter) -> bool:
    return type(item) is not DeadLetter
