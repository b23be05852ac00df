"""The state of one key group of one step."""

import zlib
from collections.abc import Iterable
from typing import Any, Final

import msgspec

from detection.codec import Event
from detection.errors import StateError
from detection.features.log_state import LogState
from detection.features.step import StepProgram
from detection.sealed import seal, unseal

STATE_FORMAT: Final = 2
_OLDER: Final = 1
"""The format of releases that wrote all histories with each snapshot."""

_ALL_EVERY: Final = 16
"""In one of so many snapshots a group looks at all its keys."""
_CLEAN_EVERY: Final = 256
"""In one of so many snapshots a group writes all anew if anything at all no longer counts."""
_ROOM: Final = 1_000
"""Keys that a group may gain at least before it looks for expired ones between two snapshots."""


class GroupState:
    """The histories of one key group of one step: updated by each event, snapshot and restored whole."""

    def __init__(self, program: StepProgram) -> None:
        self._program = program
        self._logs = [LogState(log) for log in program.logs]
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
        joined = self._program.run(events, roles, self._logs)
        # A backlog brings an hour of keys between two snapshots. Looking each time they have doubled costs each key
        # a constant.
        if sum(map(len, self._logs)) > self._room:
            self.evict()
        return joined

    def sizes(self) -> dict[str, int]:
        """How many keys each log holds."""
        return {state.log.name: len(state) for state in self._logs}

    def evict(self) -> None:
        """Drop the keys that no event in time can see any more."""
        for state in self._logs:
            state.evict()
        self._room = _ROOM + 2 * sum(map(len, self._logs))

    def snapshot(self) -> bytes:
        """The state as sealed msgpack; expired keys are dropped before, at every sixteenth snapshot all of them."""
        self._snapshots += 1
        in_turn, at_last = self._snapshots % _ALL_EVERY == 0, self._snapshots % _CLEAN_EVERY == 0
        if in_turn:
            self.evict()
        for state in self._logs:
            if not in_turn:
                state.evict_oldest()
            state.settle(in_turn=in_turn, at_last=at_last)
        logs = {state.log.name: state.snapshot() for state in self._logs}
        return seal(_encode({"format": STATE_FORMAT, "step": self._program.name, "logs": logs}))

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
                if (stored := state["logs"].get(log.name)) is not None:
                    self._logs[number] = LogState.restore(log, stored)
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


class _Step(msgspec.Struct):
    """Of a snapshot its step alone: the histories are passed over, not read."""

    step: str


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder().decode
_decode_step = msgspec.msgpack.Decoder(_Step).decode
