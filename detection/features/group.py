"""The state of one key group of one step."""

import zlib
from collections.abc import Collection, Iterable, Iterator
from typing import Any, Final

import msgspec

from detection.codec import Event
from detection.errors import StateError
from detection.features.columns import nothing
from detection.features.history import History, Keys
from detection.features.plan import ORIGIN_BITS, Log
from detection.features.step import StepProgram
from detection.sealed import seal, unseal

STATE_FORMAT: Final = 2
_OLDER: Final = 1
"""The format of releases that wrote all histories with each snapshot."""

_ALL_EVERY: Final = 16
"""In one of so many snapshots a group looks at all its keys."""
_CLEAN_EVERY: Final = 256
"""In one of so many snapshots a group writes all anew if anything at all no longer counts."""
_LOOK: Final = 100
"""Keys that are not expired, after which a group does not look for more of them at other snapshots."""
_ROOM: Final = 1_000
"""Keys that a group may gain at least before it looks for expired ones between two snapshots."""

_FAST: Final = 1
"""The level of zlib that costs least."""


class GroupState:
    """The histories of one key group of one step: updated by each event, snapshot and restored whole.

    A snapshot holds segments: each has the histories that changed between two snapshots, and of a key the newest one
    counts. So a snapshot costs by what changed since the one before, not by what there is; now and then a group writes
    all its histories anew, as one segment, to be rid of those that no longer count.

    Attributes:
        step: The step's name.
    """

    def __init__(self, program: StepProgram) -> None:
        self._program = program
        self._logs: list[Keys] = [{} for _ in program.logs]  # what changed since the last snapshot
        self._settled: list[Keys] = [{} for _ in program.logs]  # what did not
        self._left: list[list[str]] = [[] for _ in program.logs]  # whose histories are in segments, and not settled
        self._segments: list[list[bytes]] = [[] for _ in program.logs]
        self._stored = [0] * len(program.logs)  # histories in the segments, and keys that they say are gone
        self._watermarks: list[dict[int, int]] = [{} for _ in program.logs]
        # Groups that are born one after the other evict at different snapshots, so that no epoch pays for all of them.
        self._snapshots = program.groups
        program.groups += 1
        self._room = _ROOM

    def update(self, events: Iterable[Event], roles: Iterable[int]) -> list[tuple[Event, int, tuple[Any, ...]]]:
        """Take the events into the histories, in order, or let them look: each in its role (see `Visit`).

        Returns:
            The events that are joined, the place of the visit, and what was computed; the others have that in
            `features` now.
        """
        joined = self._program.run(events, roles, self._logs, self._settled, self._left, self._watermarks)
        # A backlog brings an hour of keys between two snapshots. Looking each time they have doubled costs each key
        # a constant.
        if self._live() > self._room:
            self.evict()
        return joined

    def sizes(self) -> dict[str, int]:
        """How many keys each log holds."""
        return {
            log.name: len(keys) + len(settled)
            for log, keys, settled in zip(self._program.logs, self._logs, self._settled, strict=True)
        }

    def evict(self) -> None:
        """Drop the keys that no event in time can see any more."""
        for number, keep in self._keeps():
            self._logs[number] = _kept(self._logs[number], keep)
            settled = self._settled[number]
            self._settled[number] = _kept(settled, keep)
            if len(self._settled[number]) < len(settled):
                self._left[number] += [key for key in settled if key not in self._settled[number]]
        self._room = _ROOM + 2 * self._live()

    def _live(self) -> int:
        return sum(map(len, self._logs)) + sum(map(len, self._settled))

    def _evict_oldest(self) -> None:
        """Drop most of them, at a price that goes by how many they are.

        What settled first is first in its dict, so those that expired stand at its beginning, but for some whose events
        came late or from another partition.
        """
        for number, keep in self._keeps():
            settled = self._settled[number]
            expired, kept = [], 0
            for key, history in settled.items():
                if _is_kept(history, keep):
                    kept += 1
                    if kept > _LOOK:
                        break
                else:
                    expired.append(key)
            for key in expired:
                del settled[key]
            self._left[number] += expired

    def _keeps(self) -> Iterator[tuple[int, dict[int, int]]]:
        """Of each log that knows the time its number, and until when its keys are expired, by partition."""
        for number, log in enumerate(self._program.logs):
            if marks := self._watermarks[number]:
                yield number, {partition: watermark - log.retention for partition, watermark in marks.items()}

    def snapshot(self) -> bytes:
        """The state as sealed msgpack; expired keys are dropped before, at every sixteenth snapshot all of them."""
        self._snapshots += 1
        if self._snapshots % _ALL_EVERY == 0:
            self.evict()
        else:
            self._evict_oldest()
        for number, log in enumerate(self._program.logs):
            self._settle(number, log)
        state = {
            "format": STATE_FORMAT,
            "step": self._program.name,
            "logs": {
                log.name: {
                    "columns": _names(log),
                    "kinds": _kinds(log),
                    "retention": log.retention,
                    "watermarks": watermarks,
                    "count": len(settled),
                    "stored": stored,
                    "segments": segments,
                }
                for log, settled, stored, segments, watermarks in zip(
                    self._program.logs, self._settled, self._stored, self._segments, self._watermarks, strict=True
                )
            },
        }
        return seal(_encode(state))

    def _settle(self, number: int, log: Log) -> None:
        """Put what changed into a segment, or everything if too much in the segments no longer counts."""
        changed, settled = self._logs[number], self._settled[number]
        gone = [key for key in self._left[number] if key not in changed]
        stored, live = self._stored[number] + len(gone) + len(changed), len(changed) + len(settled)
        settled.update(changed)
        self._logs[number], self._left[number] = {}, []
        # Groups do it at different snapshots where it can wait.
        in_turn = self._snapshots % _ALL_EVERY == 0 and 4 * stored > 5 * live
        at_last = self._snapshots % _CLEAN_EVERY == 0 and stored > live
        if in_turn or at_last or stored > 2 * live:
            self._segments[number] = [_segment(settled, (), log)] if live else []
            self._stored[number] = live
        elif changed or gone:
            self._segments[number].append(_segment(changed, gone, log))
            self._stored[number] = stored

    @staticmethod
    def step_of(snapshot: bytes) -> str:
        """The step that a snapshot belongs to.

        Raises:
            StateError: It is no snapshot.
        """
        try:
            return _decode_step(unseal(snapshot)).step
        except (ValueError, TypeError, RecursionError, msgspec.DecodeError) as error:
            msg = f"state: cannot be read: {error}"
            raise StateError(msg) from error

    @classmethod
    def restore(cls, program: StepProgram, snapshot: bytes) -> "GroupState":
        """The state that a snapshot was taken of, fitted to the pack of today.

        Logs that the pack no longer names are dropped, new ones start empty, columns that are new to a log hold nothing
        for the events before; the next snapshot writes what did not fit anew.

        Raises:
            StateError: The snapshot is damaged, or of a format that this release does not know.
        """
        self = cls(program)
        try:
            state = read_snapshot(snapshot)
            if state["format"] not in {STATE_FORMAT, _OLDER}:
                msg = f"state of step {program.name}: expected format {STATE_FORMAT}, got {state['format']!r}"
                raise StateError(msg)
            if state["step"] != program.name:
                msg = f"state: expected step {program.name}, got {state['step']!r}"
                raise StateError(msg)
            for number, log in enumerate(program.logs):
                stored = state["logs"].get(log.name)
                if stored is not None:
                    self._watermarks[number] = stored["watermarks"]
                    keys = histories(stored)
                    fitted = _fitted(keys, stored, log)
                    if fitted is keys and "segments" in stored:
                        self._settled[number] = keys
                        self._segments[number], self._stored[number] = stored["segments"], int(stored["stored"])
                    else:
                        self._logs[number] = fitted
        except (
            ValueError,
            LookupError,
            TypeError,
            AttributeError,
            RecursionError,
            msgspec.DecodeError,
            zlib.error,
        ) as error:
            msg = f"state of step {program.name}: cannot be read: {error}"
            raise StateError(msg) from error
        return self


def read_snapshot(snapshot: bytes) -> dict[str, Any]:
    """What a snapshot of a key group holds, as `GroupState.snapshot` wrote it.

    Raises:
        DamagedError: It is not what was written.
        msgspec.DecodeError: It never was a snapshot.
    """
    state: dict[str, Any] = _decode(unseal(snapshot))
    return state


def _names(log: Log) -> list[str]:
    return [f"{column}:{of.name if of else ''}" for of, column in log.columns]


def _kinds(log: Log) -> list[str]:
    return [of.kind if of else "" for of, _ in log.columns]


def _kept(keys: Keys, keep: dict[int, int]) -> Keys:
    return {key: history for key, history in keys.items() if _is_kept(history, keep)}


def _is_kept(history: History, keep: dict[int, int]) -> bool:
    """Whether an event in time can see a key: it ages by the watermark of the partition of its newest event."""
    newest: int = history[0][-1]
    return newest > keep[history[1][-1] >> ORIGIN_BITS]


def _segment(keys: Keys, gone: Collection[str], log: Log) -> bytes:
    """Compressed msgpack: the columns whose numbers are text, keys that are gone, and histories by key.

    Compressed once, a segment is written with each snapshot until it is replaced, so it pays.
    """
    try:
        packed = _encode(((), gone, keys))
    except OverflowError:  # running sums beyond 64 bits, where msgpack ends
        totals = [2 + index for index, (_, column) in enumerate(log.columns) if column.running]
        texts = {
            key: [[str(item) for item in column] if index in totals else column for index, column in enumerate(history)]
            for key, history in keys.items()
        }
        packed = _encode((totals, gone, texts))
    return zlib.compress(packed, _FAST)


def histories(stored: dict[str, Any]) -> Keys:
    """The histories of a log of `read_snapshot`, by key; also of an older release. Running sums are one item longer."""
    if "segments" not in stored:
        return _numbers(stored.get("big", ()), stored["keys"])
    keys: Keys = {}
    for segment in stored["segments"]:
        texts, gone, newer = _decode(zlib.decompress(segment))
        for key in gone:
            keys.pop(key, None)
        for key in keys.keys() & newer.keys():
            del keys[key]  # it stands where it settled last
        keys |= _numbers(texts, newer)
    return keys


def _numbers(texts: Collection[int], keys: Keys) -> Keys:
    """The histories with numbers in the columns in which they are text."""
    if not texts:
        return keys
    return {
        key: [
            [int(item) if type(item) is str else item for item in column] if n in texts else column
            for n, column in enumerate(history)
        ]
        for key, history in keys.items()
    }


def _fitted(keys: Keys, stored: dict[str, Any], log: Log) -> Keys:
    """The stored histories with the columns that the log has today; these very ones, if they have them."""
    wanted = _names(log)
    kinds = dict(zip(stored["columns"], stored["kinds"], strict=True))
    present = {name: 2 + index for index, name in enumerate(stored["columns"])}
    usable = {name: present[name] for name, kind in zip(wanted, _kinds(log), strict=True) if kinds.get(name) == kind}
    if list(usable) == stored["columns"] == wanted:
        return keys
    return {
        key: [
            *history[:2],
            *(
                history[usable[name]] if name in usable else nothing(column, len(history[0]))
                for name, (_, column) in zip(wanted, log.columns, strict=True)
            ),
        ]
        for key, history in keys.items()
    }


class _Step(msgspec.Struct):
    """Of a snapshot its step alone: the histories are passed over, not read."""

    step: str


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder().decode
_decode_step = msgspec.msgpack.Decoder(_Step).decode
