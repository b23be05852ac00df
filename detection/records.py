"""What comes in and what goes out: records, verdicts, dead letters."""

from typing import Literal, TypeAlias

import msgspec

Decision: TypeAlias = Literal["accept", "review", "block"]
Headers: TypeAlias = list[tuple[str, bytes | None]]


class Record(msgspec.Struct, frozen=True, gc=False):
    """One record as a source read it, before anybody looked inside.

    Attributes:
        topic: Where it came from; decides its event type.
        partition: The source partition, at most 32,767.
        offset: Its place in the partition: a Kafka offset, a line of a file.
        timestamp: When it was written, ms since the epoch; negative if nobody said.
        key: The record's key, None where the producer gave none.
        value: The bytes; None is a tombstone.
        headers: As they came, in order.
    """

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Headers | None = None

    @property
    def origin(self) -> str:
        """The record's address, `topic/partition/offset`."""
        return f"{self.topic}/{self.partition}/{self.offset}"


class Verdict(msgspec.Struct, frozen=True, gc=False):
    """One judged event, ready to be written.

    Attributes:
        blocked: Whether the event is fraud.
        decision: What to do with the event.
        topic: Where the verdict goes.
        key: The input record's key.
        value: The input's JSON with `fraudulent`, `reason` and `verdict` added.
        lane: Verdicts that must stay in order have the same one.
    """

    blocked: bool
    decision: Decision
    topic: str
    key: bytes | None
    value: bytes
    lane: int


class DeadLetter(msgspec.Struct, frozen=True, gc=False):
    """A record that cannot be judged: kept whole, with the reason beside it.

    Attributes:
        record: The record, byte for byte.
        error: Where, what was expected, what came.
    """

    record: Record
    error: str

    def headers(self) -> Headers:
        """The input's own headers, then `fraud.error`, `fraud.origin` and `fraud.time` (ms since the epoch)."""
        record = self.record
        return [
            *(record.headers or ()),
            ("fraud.error", self.error.encode("utf-8", "backslashreplace")),
            ("fraud.origin", record.origin.encode("utf-8", "backslashreplace")),
            ("fraud.time", b"%d" % record.timestamp),
        ]
