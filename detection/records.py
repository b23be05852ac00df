"""What comes in and what goes out: records, verdicts, dead letters."""

from hashlib import sha256
from typing import Final, Literal, TypeAlias

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
        return [*(self.record.headers or ()), *self._reason()]

    def message(self, largest: int) -> tuple[bytes | None, bytes | None, Headers]:
        """Key, value and headers of the record to write, no larger than `largest` bytes.

        Of what is too large the beginning of the value is kept, with `fraud.length` (bytes) and `fraud.sha256` of the
        whole value beside it; own headers and key go only where they alone are too large.
        """
        key, value, headers = self.record.key, self.record.value, self.headers()
        room = largest - _FRAMING
        if value is None or _size(key, headers) + len(value) <= room:
            return key, value, headers
        if _size(key, headers) > room:
            key, headers = None, self._reason()
        headers += [("fraud.length", b"%d" % len(value)), ("fraud.sha256", sha256(value).hexdigest().encode())]
        return key, value[: room - _size(key, headers)], headers

    def _reason(self) -> Headers:
        return [
            ("fraud.error", self.error.encode("utf-8", "backslashreplace")),
            ("fraud.origin", self.record.origin.encode("utf-8", "backslashreplace")),
            ("fraud.time", b"%d" % self.record.timestamp),
        ]


_FRAMING: Final = 1_000
"""Room for what surrounds a record in its batch, and for the headers about a cut."""


def _size(key: bytes | None, headers: Headers) -> int:
    return len(key or b"") + sum(len(name.encode()) + len(value or b"") + 10 for name, value in headers)
