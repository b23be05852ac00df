"""Ends crash loops: a record that crashed the dataflow a few times becomes a dead letter.

After an exception in the middle of a keyed step its state may be half updated, so the process has to die and go on from
its snapshot, where it meets the same record again. Who is to blame is therefore kept outside the snapshot, in a file in
the folder of the recovery store. Once a record has had its tries, the source makes it a dead letter at each start: the
entry is never deleted, so that a replay answers the same.

An exception names its record by itself, so nothing is done for it before. A process that is killed or has a memory
fault says nothing: where that has happened time and again, the next processes work **carefully**, one record after the
other, and note each in a file that outlives them.
"""

import fcntl
import mmap
import threading
import traceback
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Final, TypeAlias

import msgspec
import structlog

from broker.vitals import Vitals
from dataflows.store.skips import SkipError, Skips
from detection.codec import Event
from detection.features import GroupState
from detection.files import replace
from detection.program import Program
from detection.records import DeadLetter, Record

FILE: Final = "quarantine.json"
FORMAT: Final = 1
LONGEST_ERROR: Final = 4_000
"""Characters of a traceback that are kept, the last ones."""

CAREFUL_SNAPSHOTS: Final = 3
"""What was fatal lies behind when so many snapshots were taken: from then on work goes on as usual."""

_SLOTS: Final = 64
_SLOT_BYTES: Final = 512  # a topic's name has at most 249

Items: TypeAlias = list[Event | DeadLetter]

_log = structlog.get_logger(__name__)


class QuarantineError(Exception):
    """The file of the quarantine cannot be used; the message says which, and what to do."""


class Case(msgspec.Struct, frozen=True):
    """What is held against a record.

    Attributes:
        tries: How often it crashed the dataflow.
        error: What happened, with the traceback if there was one.
    """

    tries: int
    error: str


class _File(msgspec.Struct):
    """`quarantine.json`: the names of the members are on disk."""

    format: int
    records: dict[str, Case]


class Journal:
    """The file that keeps what records did, by origin. Processes and threads may write at the same time."""

    def __init__(self, folder: Path) -> None:
        """Open nothing yet; `folder` is that of the recovery store."""
        self.path = folder / FILE

    def read(self) -> dict[str, Case]:
        """All cases so far, by origin.

        Raises:
            QuarantineError: The file is damaged, or of another release.
        """
        try:
            found = msgspec.json.decode(self.path.read_bytes(), type=_File)
        except FileNotFoundError:
            return {}
        except msgspec.DecodeError as error:
            msg = f"{self.path}: is damaged ({error}): put a copy in its place, or delete it to try all records again"
            raise QuarantineError(msg) from None
        if found.format != FORMAT:
            msg = f"{self.path}: expected format {FORMAT}, got {found.format}: it was made by another release"
            raise QuarantineError(msg)
        return found.records

    def note(self, origin: str, error: str) -> int:
        """Hold one more crash against a record; gives its tries so far."""
        with self.path.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            records = self.read()
            tries = records[origin].tries + 1 if origin in records else 1
            records[origin] = Case(tries, error)
            replace(self.path, msgspec.json.format(msgspec.json.encode(_File(FORMAT, records))))
        return tries


class InHand:
    """Which record each worker of a process has in hand, in a file that is still there when the process is not.

    It is shared memory: what was noted a moment before a kill is found after it, without a call of the system.
    """

    def __init__(self, path: Path) -> None:
        """Make the file."""
        path.write_bytes(bytes(_SLOTS * _SLOT_BYTES))
        with path.open("r+b") as file:
            self._memory = mmap.mmap(file.fileno(), 0)
        self._slots: dict[int, int] = {}

    def take(self, origin: str) -> None:
        """The calling worker begins with this record."""
        start = self._slots.setdefault(threading.get_ident(), len(self._slots) % _SLOTS) * _SLOT_BYTES
        self._memory[start : start + _SLOT_BYTES] = origin.encode("utf-8", "backslashreplace").ljust(_SLOT_BYTES, b"\0")

    def drop(self) -> None:
        """The calling worker is done with its record."""
        self._memory[self._slots[threading.get_ident()] * _SLOT_BYTES] = 0

    @staticmethod
    def read(path: Path) -> list[str]:
        """The records that were in hand; none where no process came so far as to make the file."""
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            return []
        slots = [content[start : start + _SLOT_BYTES] for start in range(0, len(content), _SLOT_BYTES)]
        return [slot.rstrip(b"\0").decode() for slot in slots if slot[0]]


class Quarantine:
    """What the processes of a dataflow know about bad records.

    Attributes:
        condemned: The records that become dead letters instead of events, by origin, each with its error.
    """

    def __init__(
        self,
        journal: Journal | None = None,
        *,
        tries: int = 3,
        in_hand: InHand | None = None,
        vitals: Vitals | None = None,
        skips: Skips | None = None,
    ) -> None:
        """Read the journal.

        Args:
            journal: Without one nothing is remembered, and nobody condemned.
            tries: How many crashes condemn a record.
            in_hand: Given, work is careful.
            vitals: Tells when it need not be any more.
            skips: What an operator wants skipped.

        Raises:
            QuarantineError: The journal cannot be used.
        """
        self._journal = journal
        self._tries = tries
        self._in_hand = in_hand
        self._vitals = vitals or Vitals()
        self._skips = skips or Skips({})
        cases = {} if journal is None else journal.read()
        self.condemned = {
            origin: f"crashed the dataflow {case.tries} times: {case.error}"
            for origin, case in cases.items()
            if case.tries >= tries
        }

    def skip(self, topic: str, partition: int, position: Callable[[], int]) -> list[Record]:
        """What stands for the offsets of a partition that are skipped, condemned at once. See `Skips.records`."""
        try:
            records = self._skips.records(topic, partition, position)
        except SkipError as error:
            _log.error(str(error))
            raise
        self.condemned.update({record.origin: self._skips.error(record) for record in records})
        return records

    def blame(self, origin: str | None, stage: str, error: Exception) -> None:
        """Note that a record made a stage raise."""
        if origin is None or self._journal is None:
            return
        tries = self._journal.note(origin, f"{stage}: {_told(error)}")
        _log.error("record crashes the dataflow", origin=origin, stage=stage, tries=tries, condemned_at=self._tries)

    @property
    def in_hand(self) -> InHand | None:
        """Where to note each record, as long as work has to be careful."""
        return self._in_hand if self._vitals.snapshots < CAREFUL_SNAPSHOTS else None


class Guard:
    """Stands around the stages of one program, a whole batch each: an event costs nothing.

    Any exception goes on its way; it only leaves a note about the record in whose face it was raised.
    """

    def __init__(self, program: Program, quarantine: Quarantine | None = None) -> None:
        self._quarantine = quarantine or Quarantine()
        self._topics = [event.topic for event in program.pack.events]
        self._kinds = tuple(program.types)
        self._dead_letters = program.dead_letters

    def decoding(self, decode: Callable[[Iterable[Record]], Items]) -> Callable[[Iterable[Record]], Items]:
        """Decode what is not condemned; what is becomes a dead letter."""
        watched = self.over("decode", decode)
        condemned = self._quarantine.condemned
        if not condemned:
            return watched
        # Another worker may be adding to it.
        offsets = {int(origin.rpartition("/")[2]) for origin in tuple(condemned)}

        def sifted(records: Iterable[Record]) -> Items:
            good, letters = [], []
            for record in records:
                if record.offset in offsets and record.origin in condemned:
                    letters.append(DeadLetter(record, condemned[record.origin]))
                    self._dead_letters[record.topic] += 1
                else:
                    good.append(record)
            return [*watched(good), *letters]

        return sifted

    def over(self, stage: str, work: Callable[[Any], list[Any]]) -> Callable[[Any], list[Any]]:
        """The work of a stage on a batch of records or events."""

        def watched(items: Iterable[Any]) -> list[Any]:
            in_hand = self._quarantine.in_hand
            try:
                if in_hand is None:
                    return work(items)
                out = []
                for item in items:
                    in_hand.take(self._origin(item))
                    out += work([item])
                    in_hand.drop()
            except Exception as error:
                self._quarantine.blame(self._found_in(error), stage, error)
                raise
            return out

        return watched

    def update(self, state: GroupState, events: Sequence[Event], roles: Sequence[int]) -> list[Any]:
        """`GroupState.update`."""
        in_hand = self._quarantine.in_hand
        try:
            if in_hand is None:
                return state.update(events, roles)
            out = []
            for number, event in enumerate(events):
                in_hand.take(self._origin(event))
                out += state.update([event], roles[number : number + 1])
                in_hand.drop()
        except Exception as error:
            self._quarantine.blame(self._found_in(error), "features", error)
            raise
        return out

    def _found_in(self, error: Exception) -> str | None:
        """The origin of the record that was worked on, from the innermost function that had one in hand.

        Loops call their record `e`, `event` or `record`, so these go before what else a function may hold.
        """
        frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
        for frame in reversed(frames):
            local = frame.f_locals
            for value in (*(local.get(name) for name in ("e", "event", "record", "r")), *local.values()):
                if isinstance(value, (Record, *self._kinds)):
                    return self._origin(value)
        return None

    def _origin(self, item: Any) -> str:
        if isinstance(item, Record):
            return item.origin
        return f"{self._topics[item.kind]}/{item.partition}/{item.offset}"


def _told(error: Exception) -> str:
    """An exception as text: what it is first, however long its traceback."""
    trace = "".join(traceback.format_exception(error))
    told = "".join(traceback.format_exception_only(error)).strip()
    return f"{told[:LONGEST_ERROR]}\n{trace[-LONGEST_ERROR:]}"
