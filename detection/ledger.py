"""Counting answers: which records of some input partitions have one, which have none, and which have several.

One byte for each offset of a range, so ten million records take ten megabytes. Pure: who reads tells what was read. It
shares no code with the resume filter: what counts doubles must not be wrong where that is.
"""

from array import array
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from itertools import islice
from typing import Final

import msgspec

EXAMPLES: Final = 10
"""How many places a report names, of each kind."""

_THERE: Final = 0x80
_MOST: Final = 0x7F  # answers that are told apart: beyond them a record has "127 or more"
_SUMS: Final = 1 << 128

_NONE, _LOST, _ONCE, _DOUBLED = b".", b"l", b"o", b"d"
_KINDS: Final = _NONE * _THERE + _LOST + _ONCE + _DOUBLED * (_MOST - 1)


class _Verdict(msgspec.Struct):
    origin: str


class _Answer(msgspec.Struct):
    verdict: _Verdict


_answer: Final = msgspec.json.Decoder(_Answer).decode


def origin_of(value: bytes | None) -> str | None:
    """The origin that a verdict names; None for what is no verdict."""
    try:
        return _answer(value or b"").verdict.origin
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


class InputCount(msgspec.Struct, kw_only=True):
    """What became of the records of an input partition.

    Attributes:
        first: The range counted begins here,
        end: and ends before this offset.
        committed: The next offset by the consumer group; None where it has none.
        records: How many there are. Offsets have gaps: what was taken back, compacted, or marks a transaction.
        answered: How many of them have an answer.
        pending: Not answered, and the group does not say that they were.
        lost: Not answered, though the group is past them.
        doubled: Answered more than once.
        digest: Of all answers, whatever their order: key, value, and the error of a dead letter, byte for byte.
    """

    first: int
    end: int
    committed: int | None
    records: int
    answered: int
    pending: int
    lost: int
    doubled: int
    digest: str


class OutputCount(msgspec.Struct, kw_only=True):
    """What the records of an output partition are.

    Attributes:
        records: How many were read.
        foreign: Without an origin, or with that of a record that does not exist.
        outside: Answers to records before or after the ranges counted.
    """

    records: int = 0
    foreign: int = 0
    outside: int = 0


class Report(msgspec.Struct, kw_only=True):
    """An audit's result.

    Attributes:
        exact: No record is lost, doubled or foreign.
        inputs: By `topic/partition`.
        outputs: By `topic/partition`.
        examples: Some places of each kind: origins that are lost, doubled or pending, and foreign records' own places.
        held_back: Output partitions whose end an open transaction hid: nothing is called lost then.
        cut: Output partitions whose oldest records are deleted: what was answered there looks lost.
    """

    exact: bool
    records: int
    answered: int
    pending: int
    lost: int
    doubled: int
    foreign: int
    inputs: dict[str, InputCount]
    outputs: dict[str, OutputCount]
    examples: dict[str, list[str]]
    held_back: list[str] = []
    cut: list[str] = []

    def differences(self, other: "Report") -> list[str]:
        """The input partitions whose range or whose answers are not those of another report."""

        def said(report: Report, address: str) -> object:
            count = report.inputs.get(address)
            return count and (count.first, count.end, count.digest)

        addresses = sorted(self.inputs.keys() | other.inputs.keys())
        return [address for address in addresses if said(self, address) != said(other, address)]


class Account:
    """The records of one input partition."""

    def __init__(self, first: int, end: int) -> None:
        """Count offsets from `first` on and before `end`."""
        self.first = first
        self.end = max(first, end)
        self.cells = bytearray(self.end - first)
        self.digest = 0

    def record(self, offset: int) -> None:
        """There is a record."""
        if self.first <= offset < self.end:
            self.cells[offset - self.first] |= _THERE

    def answer(self, offset: int, content: int) -> bool:
        """There is an answer to a record of the range. False if there is no such record."""
        cell = self.cells[offset - self.first]
        if not cell & _THERE:
            return False
        if cell & _MOST < _MOST:
            self.cells[offset - self.first] = cell + 1
        self.digest = (self.digest + content) % _SUMS
        return True

    def count(self, committed: int | None, *, all_pending: bool) -> InputCount:
        """What became of the records."""
        kinds = self.cells.translate(_KINDS)
        unanswered, once, doubled = kinds.count(_LOST), kinds.count(_ONCE), kinds.count(_DOUBLED)
        known = self.first if committed is None or all_pending else max(committed, self.first)
        pending = kinds.count(_LOST, known - self.first)
        return InputCount(
            first=self.first,
            end=self.end,
            committed=committed,
            records=unanswered + once + doubled,
            answered=once + doubled,
            pending=pending,
            lost=unanswered - pending,
            doubled=doubled,
            digest=f"{self.digest:032x}",
        )

    def examples(self, committed: int | None, *, all_pending: bool) -> dict[str, Iterator[int]]:
        """The offsets of records that are lost, pending or doubled, in order."""
        kinds = self.cells.translate(_KINDS)
        known = self.first if committed is None or all_pending else max(committed, self.first)
        return {
            "lost": self._places(kinds, _LOST, self.first, known),
            "pending": self._places(kinds, _LOST, known, self.end),
            "doubled": self._places(kinds, _DOUBLED, self.first, self.end),
        }

    def _places(self, kinds: bytearray, kind: bytes, start: int, stop: int) -> Iterator[int]:
        offset = start - 1
        while (place := kinds.find(kind, offset + 1 - self.first, stop - self.first)) >= 0:
            offset = self.first + place
            yield offset


@dataclass(slots=True)
class _Beyond:
    """Answers of one output partition to records that were written after the range of theirs was set."""

    origins: "array[int]" = field(default_factory=lambda: array("q"))
    places: "array[int]" = field(default_factory=lambda: array("q"))


class Ledger:
    """The accounts of all input partitions, and what the output partitions hold.

    First all records, then the answers: an answer to a record that nobody told of is foreign.
    """

    def __init__(self, ranges: Mapping[str, tuple[int, int]]) -> None:
        """Count these ranges of offsets, by `topic/partition`."""
        self.accounts = {address: Account(first, end) for address, (first, end) in ranges.items()}
        self.outputs: dict[str, OutputCount] = {}
        self._foreign: list[str] = []
        self._beyond: dict[tuple[str, str], _Beyond] = {}

    def answer(
        self,
        output: str,
        offset: int,
        origin: str | None,
        *,
        key: bytes | None,
        value: bytes | None,
        error: bytes | None = None,
    ) -> None:
        """A record of an output topic.

        Args:
            output: Its `topic/partition`.
            offset: Its place there.
            origin: What it says it answers.
            key: Its key.
            value: Its value.
            error: A dead letter's reason.
        """
        count = self.outputs.get(output)
        if count is None:
            count = self.outputs[output] = OutputCount()
        count.records += 1
        address, _, number = (origin or "").rpartition("/")
        account = self.accounts.get(address)
        if account is None or not (number.isascii() and number.isdigit()) or len(number) > 19:  # noqa: PLR2004  64 bits
            self._is_foreign(output, offset)
            return
        place = int(number)
        if place < account.first:
            count.outside += 1
        elif place >= account.end:
            beyond = self._beyond.setdefault((output, address), _Beyond())
            beyond.origins.append(min(place, _LARGEST))
            beyond.places.append(offset)
        elif not account.answer(place, _content(number, key, value, error)):
            self._is_foreign(output, offset)

    def settle(self, ends: Mapping[str, int]) -> None:
        """Decide on answers to records behind the ranges: foreign, unless the input has grown so far meanwhile."""
        for (output, address), beyond in self._beyond.items():
            end = ends[address]
            for place, offset in zip(beyond.origins, beyond.places, strict=True):
                if place < end:
                    self.outputs[output].outside += 1
                else:
                    self._is_foreign(output, offset)
        self._beyond.clear()

    def report(self, committed: Mapping[str, int], held_back: list[str], cut: list[str]) -> Report:
        """The result, given the group's next offsets."""
        all_pending = bool(held_back)
        inputs = {
            address: account.count(committed.get(address), all_pending=all_pending)
            for address, account in sorted(self.accounts.items())
        }
        lost, pending, doubled = (sum(getattr(count, name) for count in inputs.values()) for name in _SHOWN)
        foreign = sum(count.foreign for count in self.outputs.values())
        return Report(
            exact=not (lost or doubled or foreign),
            records=sum(count.records for count in inputs.values()),
            answered=sum(count.answered for count in inputs.values()),
            pending=pending,
            lost=lost,
            doubled=doubled,
            foreign=foreign,
            inputs=inputs,
            outputs=dict(sorted(self.outputs.items())),
            examples=self._examples(committed, all_pending=all_pending),
            held_back=held_back,
            cut=cut,
        )

    def _examples(self, committed: Mapping[str, int], *, all_pending: bool) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {"lost": [], "pending": [], "doubled": [], "foreign": self._foreign}
        for address, account in sorted(self.accounts.items()):
            for kind, offsets in account.examples(committed.get(address), all_pending=all_pending).items():
                found[kind] += [f"{address}/{offset}" for offset in islice(offsets, EXAMPLES - len(found[kind]))]
        return {kind: places for kind, places in found.items() if places}

    def _is_foreign(self, output: str, offset: int) -> None:
        self.outputs[output].foreign += 1
        if len(self._foreign) < EXAMPLES:
            self._foreign.append(f"{output}/{offset}")


_SHOWN: Final = ("lost", "pending", "doubled")
_LARGEST: Final = 2**63 - 1


def _content(number: str, key: bytes | None, value: bytes | None, error: bytes | None) -> int:
    """A hash of an answer; those of a partition are added up, so that their order does not matter."""
    parts = [number.encode(), *(b"" if part is None else b"%d:%b" % (len(part), part) for part in (key, value, error))]
    return int.from_bytes(blake2b(b"\0".join(parts), digest_size=16).digest(), "big")
