"""Decoding inside the source.

The watermark of a partition belongs to the source's snapshot, so it is kept where the offset is.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import bytewax.operators as op
import msgspec
from bytewax.dataflow import Dataflow, Stream, operator
from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition
from typing_extensions import override

from dataflows.store.quarantine import Guard
from detection.codec import Event
from detection.errors import StateError
from detection.program import Decoder, Program
from detection.records import DeadLetter, Record
from detection.sealed import seal, unseal
from sources.answered import Answered

STATE_FORMAT = 2

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder().decode


@dataclass(frozen=True)
class Decoded:
    """What decoding gives.

    Attributes:
        events: Typed events, each with its place, time and watermark.
        dead_letters: Records that are no event, whole, each with its error.
    """

    events: Stream[Event]
    dead_letters: Stream[DeadLetter]


class _Lane(StatefulSourcePartition[Event | DeadLetter, bytes]):
    """A part of a source with a decoder behind it; one snapshot of both."""

    def __init__(
        self, lane: StatefulSourcePartition[Record, Any], decoder: Decoder, answered: Answered, guard: Guard
    ) -> None:
        self._lane = lane
        self._decoder = decoder
        self._decode = guard.decoding(decoder.decode)
        self._answered = answered

    @override
    def next_batch(self) -> Iterable[Event | DeadLetter]:
        records = self._lane.next_batch()
        if not records:
            return ()
        items = self._decode(records)
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
    def snapshot(self) -> bytes:
        return seal(_encode({"format": STATE_FORMAT, "source": self._lane.snapshot(), **self._decoder.snapshot()}))

    @override
    def close(self) -> None:
        self._lane.close()


def read_snapshot(for_part: str, snapshot: bytes) -> dict[str, Any]:
    """What the snapshot of a part holds: its format, the `source`'s own snapshot, and that of the decoder.

    Raises:
        StateError: It is damaged, or of a format that this release does not know.
    """
    try:
        state = _decode(unseal(snapshot))
        found = state.get("format")
    except (ValueError, AttributeError, RecursionError) as error:
        msg = f"state of source {for_part}: cannot be read: {error}"
        raise StateError(msg) from error
    if found != STATE_FORMAT:
        msg = f"state of source {for_part}: expected format {STATE_FORMAT}, got {found!r}"
        raise StateError(msg)
    return dict(state)


class DecodingSource(FixedPartitionedSource[Event | DeadLetter, bytes]):
    """A source of records, seen as a source of events and dead letters; those that have their answer are marked."""

    def __init__(
        self,
        source: FixedPartitionedSource[Record, Any],
        program: Program,
        answered: Answered | None = None,
        guard: Guard | None = None,
    ) -> None:
        self._source = source
        self._program = program
        self._answered = Answered() if answered is None else answered
        self._guard = guard or Guard(program)

    @override
    def list_parts(self) -> list[str]:
        return self._source.list_parts()

    @override
    def build_part(self, step_id: str, for_part: str, resume_state: bytes | None) -> _Lane:
        state = {"source": None} if resume_state is None else read_snapshot(for_part, resume_state)
        lane = self._source.build_part(step_id, for_part, state["source"])
        return _Lane(lane, Decoder(self._program, state), self._answered, self._guard)


@operator
def decode(  # noqa: PLR0917  (Bytewax's operators take no keywords)
    step_id: str,  # noqa: ARG001  Bytewax reads it
    flow: Dataflow,
    source: FixedPartitionedSource[Record, Any],
    program: Program,
    answered: Answered | None = None,
    guard: Guard | None = None,
) -> Decoded:
    """Read a source and decode its records: each becomes one event or one dead letter."""
    decoding = DecodingSource(source, program, answered, guard)
    split = op.branch("is_event", op.input("source", flow, decoding), _is_event)
    return Decoded(split.trues, split.falses)


def _is_event(item: Event | DeadLetter) -> bool:
    return type(item) is not DeadLetter
