"""Key groups: thousands of keys in one Bytewax key, so an event costs a dict look-up, not a logic object.

Each keyed step hashes its keys into a fixed number of groups, with a hash that is the same in every process and
release. A group is one Bytewax key; its logic holds the histories of all its keys and snapshots them in one call.
Steps run beside each other, never behind each other: `stateful_batch` gives its output in the order of the groups, so
a second step behind a first would see the events of its own keys out of order. What several steps computed for one
event is joined again per source partition, in its order.

The number of groups, the step ids and the names of the groups are part of the stored state.
"""

from collections.abc import Callable, Iterable
from typing import Any, Final, TypeAlias, cast
from zlib import crc32

import bytewax.operators as op
import msgspec
from bytewax.dataflow import Stream, operator
from bytewax.operators import KeyedStream, StatefulBatchLogic
from typing_extensions import override

from dataflows.store.quarantine import Guard
from detection.codec import Event
from detection.errors import StateError
from detection.features import GroupState, Visit, newest
from detection.generated import define, indent
from detection.kinds import Kind
from detection.program import Program

GROUPS: Final = 128

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder().decode

Part: TypeAlias = tuple[int, int, tuple[Any, ...], Event | None]
"""What one step computed: the event's sequence, the step's place, the values; from the first step, the event."""


class Batch(list[Event]):
    """Events of one group on their way to it.

    Pickled, it is one msgpack text, unpacked only where the event types are known.
    """

    __slots__ = ("packed", "roles", "step")

    def __init__(self, step: int, roles: list[int] | None = None) -> None:
        self.step = step
        self.roles: list[int] = [] if roles is None else roles  # one for each event, where a step has several
        self.packed = b""

    def __reduce__(self) -> tuple[Callable[[int, list[int], bytes], "Batch"], tuple[int, list[int], bytes]]:
        packed = _encode([(event.kind, *msgspec.structs.astuple(event)) for event in self])
        return Batch.received, (self.step, self.roles, packed)

    @staticmethod
    def received(step: int, roles: list[int], packed: bytes) -> "Batch":
        """A batch as it arrives from another process."""
        batch = Batch(step, roles)
        batch.packed = packed
        return batch

    def unpack(self, types: list[type[Any]]) -> list[Event]:
        """The events, whichever way they came."""
        return [types[kind](*values) for kind, *values in _decode(self.packed)] if self.packed else self


class Parts(list[Part]):
    """What a step computed for events of one source partition, on its way to their join."""

    __slots__ = ("packed",)

    def __init__(self, parts: Iterable[Part] = (), packed: bytes | list[Any] = b"") -> None:
        super().__init__(parts)
        self.packed = packed

    def __reduce__(self) -> tuple[Callable[[bytes | list[Any]], "Parts"], tuple[bytes | list[Any]]]:
        rows = [
            (sequence, place, newest(features), event and (event.kind, *msgspec.structs.astuple(event)))
            for sequence, place, features, event in self
        ]
        try:
            return Parts.received, (_encode(rows),)
        except OverflowError:  # sums beyond 64 bits
            return Parts.received, (rows,)

    @staticmethod
    def received(packed: bytes | list[Any]) -> "Parts":
        """Parts as they arrive from another process."""
        return Parts(packed=packed)

    def unpack(self, types: list[type[Any]]) -> list[Part]:
        """The parts, whichever way they came."""
        if not self.packed:
            return self
        rows = _decode(self.packed) if isinstance(self.packed, bytes) else self.packed
        return [
            (sequence, place, tuple(features), event and types[event[0]](*event[1:]))
            for sequence, place, features, event in rows
        ]


class KeyGroup(StatefulBatchLogic[Batch, "list[Event] | tuple[str, Parts]", bytes]):
    """One key group of one step. Learns from its first batch, or from its snapshot, which step it belongs to."""

    def __init__(self, program: Program, resume: bytes | None, guard: Guard | None = None) -> None:
        self._program = program
        self._update = (guard or Guard(program)).update
        self._state: GroupState | None = None
        self._steps = {step.name: step for step in program.steps}
        if resume is not None:
            step = self._steps.get(GroupState.step_of(resume))
            # The pack of today may not have the step any more: then nobody will send it a batch.
            self._state = None if step is None else GroupState.restore(step, resume)

    @override
    def on_batch(self, values: list[Batch]) -> tuple[list["list[Event] | tuple[str, Parts]"], bool]:
        out: list[list[Event] | tuple[str, Parts]] = []
        for batch in values:
            program = self._program
            state = self._state
            if state is None:
                state = self._state = GroupState(program.steps[batch.step])
            events = batch.unpack(program.types)
            joined = self._update(state, events, batch.roles)
            if not joined:
                out.append(events)
                continue
            out.append([event for event in events if event.kind not in program.plan.joined])
            parts: dict[str, Parts] = {}
            for event, place, features in joined:
                source = f"{program.pack.events[event.kind].topic}/{event.partition}"
                part = (event.sequence, place, features, event if place == 0 else None)
                parts.setdefault(source, Parts()).append(part)
            out += parts.items()
        return out, StatefulBatchLogic.RETAIN

    @override
    def on_eof(self) -> tuple[list["list[Event] | tuple[str, Parts]"], bool]:
        # Every group is asked for a snapshot at the end, also that of a step that is gone: it is dropped instead.
        return [], StatefulBatchLogic.DISCARD if self._state is None else StatefulBatchLogic.RETAIN

    @override
    def snapshot(self) -> bytes:
        if self._state is None:
            msg = "key group: asked for a snapshot before its first batch"
            raise StateError(msg)
        return self._state.snapshot()


class Join(StatefulBatchLogic[Parts, "list[Event]", None]):
    """Puts the parts of the events of one source partition together again, in source order.

    Holds nothing between epochs: all parts of an epoch's events arrive within the epoch. So its snapshot is empty,
    and the sequence numbers start afresh with each process.
    """

    def __init__(self, program: Program) -> None:
        self._types = program.types
        self._counts = [len(program.plan.visits(event)) for event in program.pack.events]
        self._waiting: dict[int, dict[int, Part]] = {}
        self._next = 1

    @override
    def on_batch(self, values: list[Parts]) -> tuple[list[list[Event]], bool]:
        waiting = self._waiting
        for parts in values:
            for part in parts.unpack(self._types):
                waiting.setdefault(part[0], {})[part[1]] = part
        ready: list[Event] = []
        while (found := waiting.get(self._next)) is not None and 0 in found:
            event = found[0][-1]
            if event is None or len(found) < self._counts[event.kind]:
                break
            event.features = tuple(value for place in range(len(found)) for value in found[place][2])
            ready.append(event)
            del waiting[self._next]
            self._next += 1
        return ([ready] if ready else []), StatefulBatchLogic.RETAIN

    @override
    def snapshot(self) -> None:
        if self._waiting:
            msg = f"join: {len(self._waiting)} events are still waiting for a step at the end of an epoch"
            raise StateError(msg)


def _router(program: Program) -> Callable[[list[Event]], list[tuple[str, Batch]]]:
    """Generate the function that sorts events into the batches of their groups."""
    lines = ["def route(events):", "    groups = {}", "    for e in events:"]
    scope: dict[str, Any] = {"crc32": crc32, "Batch": Batch}
    for step in program.steps:
        scope[f"names{step.number}"] = [f"{step.name}/{group:03}" for group in range(GROUPS)]
    body = ["kind = e.kind"] if len(program.types) > 1 else []
    for index, event in enumerate(program.pack.events):
        visits = program.plan.visits(event)
        routed = [line for visit in visits for line in _route(visit, program, alone=len(visits) == 1)]
        if len(program.types) > 1 and routed:
            body += [f"if kind == {index}:", *indent(routed)]
        else:
            body += routed
    return define("route", [*lines, *indent(body, 2), "    return list(groups.items())"], scope)


def _route(visit: Visit, program: Program, *, alone: bool) -> list[str]:
    name, number = visit.by.name, visit.step.number
    text = f"e.f_{name}" if visit.by.kind is Kind.STR else f"str(e.f_{name})"
    if visit.by.optional:  # an event without a key belongs nowhere: anywhere will do
        text = f"(str(e.offset) if e.f_{name} is None else {text})"
    return [
        f"g = crc32({text}.encode()) & {GROUPS - 1}",
        *(["e.lane = g"] if alone else []),
        f"n = names{number}[g]",
        "try: b = groups[n]",
        f"except KeyError: groups[n] = b = Batch({number})",
        "b.append(e)",
        *([f"b.roles.append({visit.role})"] if program.steps[number].mixed else []),
    ]


@operator
def windowed_features(
    step_id: str,  # noqa: ARG001  Bytewax reads it
    up: Stream[Event],
    program: Program,
    guard: Guard,
) -> Stream[Event]:
    """Compute each event's features: its `features` are set, each event comes out once.

    Events of one record key that share their first key field stay in order; where several keyed steps work on an
    event type, its events come out in the order of their source partition.
    """
    plan = program.plan
    if not program.steps:
        return up
    keyless = None
    if plan.keyless:
        split = op.branch("has_key", up, lambda event: event.kind not in plan.keyless)
        up, keyless = split.trues, split.falses
    batches: KeyedStream[Batch] = op.flat_map_batch("by_group", up, guard.over("keys", _router(program)))
    computed = op.stateful_batch("groups", batches, lambda resume: KeyGroup(program, resume, guard))
    if plan.joined:
        whole = op.branch("is_whole", op.key_rm("ungroup", computed), lambda item: type(item) is not tuple)
        parts = cast("KeyedStream[Parts]", whole.falses)
        joined = op.stateful_batch("join", parts, lambda _: Join(program))
        alone = op.flatten("flatten", cast("Stream[list[Event]]", whole.trues))
        done = op.merge("whole", alone, op.flat_map_batch("flatten_joined", joined, _flat))
    else:
        done = op.flat_map_batch("flatten", cast("KeyedStream[list[Event]]", computed), _flat)
    return done if keyless is None else op.merge("all", done, keyless)


def _flat(batches: list[tuple[str, list[Event]]]) -> Iterable[Event]:
    return [event for _, batch in batches for event in batch]
