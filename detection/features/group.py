"""The state of one key group of one step."""

from collections.abc import Iterable
from typing import Any, Final

import msgspec

from detection.aggregates import Column
from detection.codec import Event
from detection.errors import StateError
from detection.features.columns import nothing
from detection.features.history import Keys
from detection.features.plan import ORIGIN_BITS, Log
from detection.features.step import StepProgram
from detection.sealed import seal, unseal

STATE_FORMAT: Final = 1
_EVICT_EVERY: Final = 4
_ROOM: Final = 1_000
"""Keys that a group may gain at least before it looks for expired ones between two snapshots."""


class GroupState:
    """The histories of one key group of one step: updated by each event, snapshot and restored whole.

    Attributes:
        step: The step's name.
    """

    def __init__(self, program: StepProgram) -> None:
        self._program = program
        self._logs: list[Keys] = [{} for _ in program.logs]
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
        joined = self._program.run(events, roles, self._logs, self._watermarks)
        # A backlog brings an hour of keys between two snapshots. Looking each time they have doubled costs each key
        # a constant.
        if sum(map(len, self._logs)) > self._room:
            self.evict()
        return joined

    def sizes(self) -> dict[str, int]:
        """How many keys each log holds."""
        return {log.name: len(keys) for log, keys in zip(self._program.logs, self._logs, strict=True)}

    def evict(self) -> None:
        """Drop the keys that no event in time can see any more."""
        for number, (log, keys) in enumerate(zip(self._program.logs, self._logs, strict=True)):
            keep = {partition: watermark - log.retention for partition, watermark in self._watermarks[number].items()}
            if not keep:
                continue
            # A key ages by the watermark of the partition that its newest event came from.
            self._logs[number] = {
                key: history for key, history in keys.items() if history[0][-1] > keep[history[1][-1] >> ORIGIN_BITS]
            }
        self._room = _ROOM + 2 * sum(map(len, self._logs))

    def snapshot(self) -> bytes:
        """The state as sealed msgpack; at every fourth snapshot the expired keys are dropped first."""
        self._snapshots += 1
        if self._snapshots % _EVICT_EVERY == 0:
            self.evict()
        state = {
            "format": STATE_FORMAT,
            "step": self._program.name,
            "logs": {
                log.name: {
                    "columns": _names(log),
                    "kinds": _kinds(log),
                    "retention": log.retention,
                    "watermarks": watermarks,
                    "keys": keys,
                }
                for log, keys, watermarks in zip(self._program.logs, self._logs, self._watermarks, strict=True)
            },
        }
        try:
            return seal(_encode(state))
        except OverflowError:  # running sums beyond 64 bits
            return seal(_encode(_stringified(state)))

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
        for the events before.

        Raises:
            StateError: The snapshot is damaged, or of a format that this release does not know.
        """
        self = cls(program)
        try:
            state = read_snapshot(snapshot)
            if state["format"] != STATE_FORMAT:
                msg = f"state of step {program.name}: expected format {STATE_FORMAT}, got {state['format']!r}"
                raise StateError(msg)
            if state["step"] != program.name:
                msg = f"state: expected step {program.name}, got {state['step']!r}"
                raise StateError(msg)
            for number, log in enumerate(program.logs):
                stored = state["logs"].get(log.name)
                if stored is not None:
                    self._logs[number] = _fitted(stored, log)
                    self._watermarks[number] = stored["watermarks"]
        except (
            ValueError,
            LookupError,
            TypeError,
            AttributeError,
            RecursionError,
            msgspec.DecodeError,
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


def _fitted(stored: dict[str, Any], log: Log) -> Keys:
    """The stored histories with the columns that the log has today."""
    keys: Keys = stored["keys"]
    wanted = _names(log)
    kinds = dict(zip(stored["columns"], stored["kinds"], strict=True))
    present = {name: 2 + index for index, name in enumerate(stored["columns"])}
    usable = {name: present[name] for name, kind in zip(wanted, _kinds(log), strict=True) if kinds.get(name) == kind}
    if "big" in stored:
        keys = {
            key: [
                [int(item) if type(item) is str else item for item in column] if n in stored["big"] else column
                for n, column in enumerate(history)
            ]
            for key, history in keys.items()
        }
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


def _stringified(state: dict[str, Any]) -> dict[str, Any]:
    """The state with its running sums as text: msgpack ends at 64 bits."""
    logs = {}
    for name, log in state["logs"].items():
        totals = {2 + index for index, column in enumerate(log["columns"]) if column.startswith(Column.TOTAL)}
        keys = {
            key: [[str(item) for item in column] if index in totals else column for index, column in enumerate(history)]
            for key, history in log["keys"].items()
        }
        logs[name] = {**log, "big": sorted(totals), "keys": keys}
    return {**state, "logs": logs}


class _Step(msgspec.Struct):
    """Of a snapshot its step alone: the histories are passed over, not read."""

    step: str


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder().decode
_decode_step = msgspec.msgpack.Decoder(_Step).decode
