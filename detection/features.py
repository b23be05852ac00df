"""Features: sliding windows over the history of each key, computed by one generated function per keyed step.

A **step** gathers all features whose key begins with the same field; all events with an equal first field meet in one
key group of that step. A **log** is the history of the events of one type by one whole key. Per key it is a list of
parallel lists:

    [times, origins, column…]

sorted by event time, equal times in order of arrival. An origin is `partition << 48 | offset`. Every window of every
feature over that key is a slice of the one log. This is what a snapshot stores: plain builtins that one C call can
encode.

A log forgets what no event in time can see any more: entries at or before `watermark - lateness - longest window`,
the watermark being that of the source partition (`detection.codec`), never a clock. A late event sees what is left.
"""

from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import sha256
from math import fsum
from typing import Any, Final, TypeAlias

import msgspec

from detection.aggregates import Column, Window
from detection.codec import Event
from detection.errors import StateError
from detection.expressions import Expression
from detection.generated import define, indent
from detection.kinds import Kind
from detection.pack import EventType, Feature, Field, Pack

EVIDENCE: Final = 20
"""How many of the newest origins of a window a verdict names."""

STATE_FORMAT: Final = 1
_ORIGIN_BITS: Final = 48
_REBASE: Final = 2**60
_EVICT_EVERY: Final = 4

History: TypeAlias = list[list[Any]]
Keys: TypeAlias = dict[str, History]


def origin(number: int, topic: str) -> str:
    """The address of an origin number: `topic/partition/offset`.

    >>> origin(3 << 48 | 7, "clicks")
    'clicks/3/7'
    """
    return f"{topic}/{number >> _ORIGIN_BITS}/{number & (1 << _ORIGIN_BITS) - 1}"


def newest(computed: tuple[Any, ...]) -> list[Any]:
    """What was computed for an event, with no more of each window's origins than a verdict names: to send it away.

    The start of a window may become negative, so that start and end still tell how many events it holds.

    >>> newest((3, [70, 71, 72], 0, 3)), newest((list(range(30)), 0, 30))[1:]
    ([3, [70, 71, 72], 0, 3], [-10, 20])
    """
    out = list(computed)
    for place, origins in enumerate(computed):
        if type(origins) is list:
            start, stop = computed[place + 1 : place + 3]
            first = max(start, stop - EVIDENCE)
            out[place : place + 3] = origins[first:stop], start - first, stop - first
    return out


@dataclass(frozen=True, slots=True)
class Span:
    """One window of one log; several features may read it.

    Attributes:
        key: The fields with which an event looks into a log that it is no part of; empty: it is.
    """

    log: "Log"
    window: int
    delay: int
    session: int
    key: tuple[Field, ...] = ()


@dataclass(slots=True, eq=False)
class Log:
    """The history of one event type by one key.

    Attributes:
        event: The event type.
        key: The key's fields.
        of: The optional fields every entry has; events without them are no part of this log.
        where: What every entry fulfils.
        columns: The lists kept beside times and origins: the field and what is kept of it.
        lateness: How late an event may be that is part of it, or looks into it, us.
        longest: How far back the windows over it reach at the most, us.
    """

    event: EventType
    key: tuple[Field, ...]
    of: tuple[Field, ...]
    where: Expression | None = None
    columns: list[tuple[Field, Column]] = field(default_factory=list)
    lateness: int = 0
    longest: int = 0

    @property
    def name(self) -> str:
        """Its name in the stored state: never change how it is made."""
        key = ",".join(part.name for part in self.key)
        where = f"/where:{sha256(self.where.text.encode()).hexdigest()[:16]}" if self.where else ""
        return (
            f"{self.event.name}/{key}" + (f"/has:{','.join(part.name for part in self.of)}" if self.of else "") + where
        )

    @property
    def retention(self) -> int:
        """How far behind the watermark an entry may be before nobody can see it, us."""
        return self.longest + self.lateness


class Step:
    """All features whose key begins with one field.

    Attributes:
        name: The field; also the step's name in the stored state.
        number: Its place in the plan.
        logs: Its logs, by name.
        spans: The windows of its features, by the feature's name.
    """

    def __init__(self, name: str, number: int) -> None:
        self.name = name
        self.number = number
        self.logs: dict[str, Log] = {}
        self.spans: dict[str, Span] = {}

    def add(self, event: EventType, counted: EventType, feature: Feature) -> None:
        """Give a feature that is computed at an event its log and column."""
        log = Log(counted, feature.counted_key, _optional(feature.of), feature.where)
        log = self.logs.setdefault(log.name, log)
        looking = feature.key if feature.over else ()
        self.spans[feature.name] = Span(log, feature.window, feature.delay, feature.session, looking)
        log.lateness = max(log.lateness, counted.lateness, event.lateness)
        log.longest = max(log.longest, feature.window + feature.delay)
        for of in feature.of:
            for column in feature.aggregate.columns(of.kind):
                if (of, column) not in log.columns:
                    log.columns.append((of, column))


@dataclass(slots=True, eq=False)
class Visit:
    """One way that the events of a type go: to a step, by the value of a field.

    Attributes:
        event: The event type.
        step: The step.
        by: The field that says which key group.
        place: Its place among the visits of the event type.
        role: Its place among those to the same step.
        features: What is computed there.
    """

    event: EventType
    step: Step
    by: Field
    place: int
    role: int
    features: list[Feature]

    @property
    def logs(self) -> list[Log]:
        """The logs that the event becomes a part of."""
        if self.by.name != self.step.name:
            return []
        return [log for log in self.step.logs.values() if log.event.name == self.event.name]


class Plan:
    """How a pack's features are computed.

    Attributes:
        steps: The keyed steps, by name.
        joined: The numbers of the event types that go more than one way.
        keyless: The numbers of the event types that go none.
    """

    def __init__(self, pack: Pack) -> None:
        self.pack = pack
        self.steps: dict[str, Step] = {}
        events = {event.name: event for event in pack.events}
        ways: dict[str, dict[tuple[str, Field], list[Feature]]] = {name: {} for name in events}
        for event in pack.events:
            for feature in event.features:
                by = feature.counted_key[0]
                step = self.steps.setdefault(by.name, Step(by.name, len(self.steps)))
                step.add(event, events[feature.counted], feature)
                ways[event.name].setdefault((by.name, feature.key[0]), []).append(feature)
                ways[feature.counted].setdefault((by.name, by), [])  # what is counted must get there, too
        self._visits = {name: self._ordered(events[name], found) for name, found in ways.items()}
        self.joined = frozenset(index for index, event in enumerate(pack.events) if len(self.visits(event)) > 1)
        self.keyless = frozenset(index for index, event in enumerate(pack.events) if not self.visits(event))

    def _ordered(self, event: EventType, ways: dict[tuple[str, Field], list[Feature]]) -> list[Visit]:
        """By step, and of one step those first that only look: what an event looks at never holds itself."""
        order = sorted(ways, key=lambda way: (self.steps[way[0]].number, way[0] == way[1].name))
        visits: list[Visit] = []
        for place, (name, by) in enumerate(order):
            role = sum(visit.step.name == name for visit in visits)
            visits.append(Visit(event, self.steps[name], by, place, role, ways[name, by]))
        return visits

    @property
    def features(self) -> list[Feature]:
        """All features of the pack."""
        return [feature for event in self.pack.events for feature in event.features]

    def visits(self, event: EventType) -> list[Visit]:
        """The ways its events go, in the order in which the values stand in `features`."""
        return self._visits[event.name]

    def computed(self, event: EventType) -> dict[Feature | Span, int]:
        """What stands in an event's `features`, and where: for each visit the values, then the windows a rule reads.

        A window stands there as three items: the list of origins, where the window starts in it and where it ends.
        """
        computed: dict[Feature | Span, int] = {}
        place = 0
        for visit in self.visits(event):
            items: list[Feature | Span] = [*visit.features, *self.spans(visit)]
            for item in items:
                computed[item] = place
                place += 3 if isinstance(item, Span) else 1
        return computed

    def values(self, event: EventType) -> dict[str, int]:
        """Where the value of each feature stands in an event's `features`."""
        return {item.name: place for item, place in self.computed(event).items() if isinstance(item, Feature)}

    def span_of(self, feature: Feature) -> Span:
        """The window that the feature reads."""
        return self.steps[feature.counted_key[0].name].spans[feature.name]

    @staticmethod
    def spans(visit: Visit) -> list[Span]:
        """The windows of one visit whose evidence a verdict may name."""
        read = {name for rule in visit.event.rules for name in rule.reads}
        spans = (visit.step.spans[feature.name] for feature in visit.features if feature.name in read)
        return list(dict.fromkeys(spans))


class GroupState:
    """The histories of one key group of one step: updated by each event, snapshot and restored whole.

    Attributes:
        step: The step's name.
    """

    def __init__(self, program: "StepProgram") -> None:
        self._program = program
        self._logs: list[Keys] = [{} for _ in program.logs]
        self._watermarks: list[dict[int, int]] = [{} for _ in program.logs]
        # Groups that are born one after the other evict at different snapshots, so that no epoch pays for all of them.
        self._snapshots = program.groups
        program.groups += 1

    def update(self, events: Iterable[Event], roles: Iterable[int]) -> list[tuple[Event, int, tuple[Any, ...]]]:
        """Take the events into the histories, in order, or let them look: each in its role (see `Visit`).

        Returns:
            The events that are joined, the place of the visit, and what was computed; the others have that in
            `features` now.
        """
        return self._program.run(events, roles, self._logs, self._watermarks)

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
                key: history for key, history in keys.items() if history[0][-1] > keep[history[1][-1] >> _ORIGIN_BITS]
            }

    def snapshot(self) -> bytes:
        """The state as msgpack; at every fourth snapshot the expired keys are dropped first."""
        self._snapshots += 1
        if self._snapshots % _EVICT_EVERY == 0:
            self.evict()
        state = {
            "format": STATE_FORMAT,
            "step": self._program.name,
            "logs": {
                log.name: {
                    "columns": [f"{column}:{of.name}" for of, column in log.columns],
                    "kinds": [of.kind for of, _ in log.columns],
                    "retention": log.retention,
                    "watermarks": watermarks,
                    "keys": keys,
                }
                for log, keys, watermarks in zip(self._program.logs, self._logs, self._watermarks, strict=True)
            },
        }
        try:
            return _encode(state)
        except OverflowError:  # running sums beyond 64 bits
            return _encode(_stringified(state))

    @staticmethod
    def step_of(snapshot: bytes) -> str:
        """The step that a snapshot belongs to.

        Raises:
            StateError: It is no snapshot.
        """
        try:
            return str(_decode(snapshot)["step"])
        except (ValueError, LookupError, TypeError, RecursionError, msgspec.DecodeError) as error:
            msg = f"state: cannot be read: {error}"
            raise StateError(msg) from error

    @classmethod
    def restore(cls, program: "StepProgram", snapshot: bytes) -> "GroupState":
        """The state that a snapshot was taken of, fitted to the pack of today.

        Logs that the pack no longer names are dropped, new ones start empty, columns that are new to a log hold None
        (or a running sum of nothing) for the events before.

        Raises:
            StateError: The snapshot is damaged, or of a format that this release does not know.
        """
        self = cls(program)
        try:
            state = _decode(snapshot)
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


class StepProgram:
    """The generated function of one step, and what it needs to know.

    Attributes:
        name: The step's name.
        number: The step's place in the plan.
        logs: The logs, in the order of the state.
        groups: How many groups were made so far.
        mixed: Whether an event may come in several roles.
    """

    def __init__(self, plan: Plan, step: Step, types: Mapping[str, type]) -> None:
        self.name = step.name
        self.number = step.number
        self.logs = list(step.logs.values())
        self.groups = 0
        self._plan = plan
        self._step = step
        self._types = types
        self._visits = [visit for event in plan.pack.events for visit in plan.visits(event) if visit.step is step]
        self._features = [feature for visit in self._visits for feature in visit.features]
        self._looks = list(dict.fromkeys((span.log, span.key) for span in step.spans.values() if span.key))
        self.mixed = any(visit.role for visit in self._visits)

    @cached_property
    def run(self) -> Callable[[Iterable[Event], Iterable[int], list[Keys], list[dict[int, int]]], list[Any]]:
        """The generated function: events in, what is computed is set on them or returned."""
        lines = ["def run(events, roles, logs, watermarks):", "    joined = []"]
        lines += indent(
            [f"keys{n} = logs[{n}]; get{n} = keys{n}.get; marks{n} = watermarks[{n}]" for n in range(len(self.logs))]
        )
        lines += [
            "    for e, role in zip(events, roles):" if self.mixed else "    for e in events:",
            "        t = e.time",
            "        p = e.partition",
            "        o = p << 48 | e.offset",
            "        w = e.watermark",
        ]
        for branch, visit in enumerate(self._visits):
            body = self._visit(visit)
            if len(self._visits) > 1:
                condition = f"type(e) is Type{branch}" + (f" and role == {visit.role}" if self.mixed else "")
                lines += [f"        {'if' if branch == 0 else 'elif'} {condition}:"]
                lines += indent(body, 3)
            else:
                lines += indent(body, 2)
        lines += ["    return joined"]
        scope = {
            "bisect_right": bisect_right,
            "insert": _insert,
            "forget": _forget,
            "unambiguous": _unambiguous,
            "fsum": _fsum,
            "session_start": _session_start,
            **{name: value for feature in self._features for name, value in feature.aggregate.helpers.items()},
            **{
                name: value
                for feature in self._plan.features
                if feature.constants
                for name, value in feature.constants.values.items()
            },
            **{f"Type{branch}": self._types[visit.event.name] for branch, visit in enumerate(self._visits)},
        }
        return define("run", lines, scope)

    def _visit(self, visit: Visit) -> list[str]:
        """The body for one visit: each log once, each window once, each feature once."""
        lines: list[str] = []
        evident = self._plan.spans(visit)
        spans = {feature: self._step.spans[feature.name] for feature in visit.features}
        for log, key in self._looks:
            mine = [feature for feature, span in spans.items() if (span.log, span.key) == (log, key)]
            if mine:
                lines += self._look(log, key, mine, [span for span in evident if (span.log, span.key) == (log, key)])
        for log in visit.logs:
            mine = [feature for feature, span in spans.items() if span.log is log and not span.key]
            lines += self._log(log, mine, [span for span in evident if span.log is log and not span.key])
        values = "".join(f"v_{feature.name}, " for feature in visit.features)
        evidence = "".join(f"{self._evidence(span)}, " for span in evident)
        if len(self._plan.visits(visit.event)) > 1:
            return [*lines, f"joined.append((e, {visit.place}, ({values}{evidence})))"]
        return [*lines, f"e.features = ({values}{evidence})"]

    def _tag(self, log: Log, key: tuple[Field, ...]) -> str:
        """Ends the names of the locals for a log: an event that is part of one may look into it as well."""
        return f"{self.logs.index(log)}" + (f"l{self._looks.index((log, key))}" if key else "")

    def _evidence(self, span: Span) -> str:
        return f"origins{self._tag(span.log, span.key)}, {self._start(span)}, {self._stop(span)}"

    def _start(self, span: Span) -> str:
        name = f"i{self._tag(span.log, span.key)}_{span.window}" + (f"_{span.delay}" if span.delay else "")
        return name + (f"_session{span.session}" if span.session else "")

    def _stop(self, span: Span) -> str:
        return f"j{self._tag(span.log, span.key)}" + (f"_{span.delay}" if span.delay else "")

    def _look(self, log: Log, key: tuple[Field, ...], features: list[Feature], evident: list[Span]) -> list[str]:
        """What an event sees of a log that it is no part of."""
        tag = self._tag(log, key)
        body = [
            *_joined_key(key),
            f"keep = w - {log.retention}",
            f"h = get{self.logs.index(log)}(k)",
            *self._read(tag, log),
            *self._slices(features),
        ]
        return self._unless_missing(key, features, evident, body)

    def _unless_missing(
        self, fields: tuple[Field, ...], features: list[Feature], evident: list[Span], body: list[str]
    ) -> list[str]:
        missing = [f"e.f_{part.name} is None" for part in fields if part.optional]
        if not missing:
            return body
        unknown = [f"v_{feature.name} = None" for feature in features]
        unknown += [
            f"origins{self._tag(span.log, span.key)} = (); {self._start(span)} = {self._stop(span)} = 0"
            for span in evident
        ]
        return [f"if {' or '.join(missing)}:", *indent(unknown or ["pass"]), "else:", *indent(body)]

    def _slices(self, features: list[Feature]) -> list[str]:
        spans = {feature: self._step.spans[feature.name] for feature in features}
        lines = []
        for span in sorted(set(spans.values()), key=lambda span: (span.window, span.delay, span.session)):
            lines += self._slice(span, [feature for feature in features if spans[feature] == span])
        return lines

    def _log(self, log: Log, features: list[Feature], evident: list[Span]) -> list[str]:
        """What an event does that may become a part of a log, and what it sees then."""
        number = self.logs.index(log)
        times, stop = f"times{number}", f"j{number}"
        body = [
            *_joined_key(log.key),
            f"keep = w - {log.retention}",
            f"h = get{number}(k)",
        ]
        append = [
            "if h is None:",
            f"    keys{number}[k] = h = [{', '.join(self._fresh(number, log))}]",
            f"    {stop} = 1",
            "else:",
            f"    {', '.join(self._names(str(number), log))} = h",
            f"    if t >= {times}[-1]:",
            f"        {times}.append(t); origins{number}.append(o)",
            *[f"        {line}" for line in self._append(number, log)],
            f"        {stop} = len({times})",
            "    else:",
            f"        {stop} = insert(h, t, o, {self._inserted(log)})",
            f"        {', '.join(self._names(str(number), log))} = h",
        ]
        if log.where is None:
            body += append
        else:
            body += [f"m{number} = {log.where.source}", f"if m{number}:", *indent(append), "else:"]
            body += indent(self._read(str(number), log))
        body += self._slices(features)
        is_part = f"m{number} and " if log.where else ""
        body += [f"if {is_part}{times}[{stop} >> 1] <= keep: forget(keys{number}, k, h, keep)"]
        # Also an event that is no part of it tells the time, by which keys leave.
        return [f"marks{number}[p] = w", *self._unless_missing((*log.key, *log.of), features, evident, body)]

    def _read(self, tag: str, log: Log) -> list[str]:
        """Name the history `h`, which the event is no part of, up to the event's time."""
        names = self._names(tag, log)
        none = ["()", "()", *("(0,)" if column is Column.TOTAL else "()" for _, column in log.columns)]
        return [
            f"if h is None: {', '.join(names)} = {', '.join(none)}",
            f"else: {', '.join(names)} = h",
            f"j{tag} = bisect_right(times{tag}, t)",
        ]

    def _slice(self, span: Span, features: list[Feature]) -> list[str]:
        """One window, and the features that read it."""
        log, window, delay = span.log, span.window, span.delay
        tag = self._tag(log, span.key)
        times, start, stop = f"times{tag}", self._start(span), self._stop(span)
        lines = [f"{stop} = bisect_right({times}, t - {delay}, 0, j{tag})"] if delay else []
        lines += [
            f"s = t - {window + delay}",
            f"{start} = bisect_right({times}, s if s > keep else keep, 0, {stop})",
        ]
        if not delay and not span.key:  # a late event that the log will not keep sees itself
            lines += [f"if {start} == {stop}{f' and m{tag}' if log.where else ''}: {start} = {stop} - 1"]
        if span.session:
            lines += [f"{start} = session_start({times}, {start}, {stop}, t - {delay}, {span.session})"]
        for feature in features:
            kind = feature.of[0].kind if feature.of else None
            source = feature.aggregate.source(self._window(tag, feature, span), kind)
            if feature.may_be_empty and not feature.aggregate.of_none:
                source = f"({source} if {stop} > {start} else None)"
            lines += [f"v_{feature.name} = {source}"]
        return lines

    def _window(self, tag: str, feature: Feature, span: Span) -> Window:
        names = {(of, column): f"c{tag}_{index}" for index, (of, column) in enumerate(span.log.columns)}
        first, other = (*feature.of, None, None)[:2]
        stop = self._stop(span)
        past = f"{stop} - 1"
        if span.delay or span.key:
            past = stop
        elif span.log.where:
            past = f"({stop} - 1 if m{tag} else {stop})"
        return Window(
            self._start(span),
            stop,
            f"times{tag}",
            names.get((first, Column.VALUE), "") if first else "",
            names.get((first, Column.TOTAL), "") if first else "",
            past,
            others=names.get((other, Column.VALUE), "") if other else "",
            here=f"(e.f_{first.name}, e.f_{other.name})" if first and other else "",
        )

    @staticmethod
    def _names(tag: str, log: Log) -> list[str]:
        return [f"times{tag}", f"origins{tag}", *(f"c{tag}_{index}" for index in range(len(log.columns)))]

    def _fresh(self, number: int, log: Log) -> list[str]:
        firsts = ["[t]", "[o]"]
        firsts += [
            f"[e.f_{of.name}]" if column is Column.VALUE else f"[0, +e.f_{of.name}]" for of, column in log.columns
        ]
        return [f"({name} := {first})" for name, first in zip(self._names(str(number), log), firsts, strict=True)]

    @staticmethod
    def _append(number: int, log: Log) -> list[str]:
        names = [(f"c{number}_{index}", of.name, column) for index, (of, column) in enumerate(log.columns)]
        return [
            f"{name}.append(e.f_{of})" if column is Column.VALUE else f"{name}.append({name}[-1] + e.f_{of})"
            for name, of, column in names
        ]

    @staticmethod
    def _inserted(log: Log) -> str:
        pairs = [f"({column is Column.TOTAL}, e.f_{of.name}), " for of, column in log.columns]
        return f"({''.join(pairs)})"


def _joined_key(parts: tuple[Field, ...]) -> list[str]:
    nul = " or ".join(f"'\\0' in e.f_{part.name}" for part in parts[:-1] if part.kind is Kind.STR)
    return [f"k = {_key(parts)}", *([f"if {nul}: k = unambiguous({_parts(parts)})"] if nul else [])]


def _optional(fields: tuple[Field, ...]) -> tuple[Field, ...]:
    return tuple(field for field in fields if field.optional)


def _key(parts: tuple[Field, ...]) -> str:
    return " + '\\0' + ".join(
        f"e.f_{part.name}" if part.kind is Kind.STR else f"str(e.f_{part.name})" for part in parts
    )


def _parts(parts: tuple[Field, ...]) -> str:
    return "".join(f"e.f_{part.name}, " for part in parts).join("()")


def _unambiguous(parts: tuple[Any, ...]) -> str:
    """The key of parts of which one that is not the last holds a NUL itself.

    A plain key has a NUL between its parts; JSON writes none.
    """
    return msgspec.json.encode([str(part) for part in parts]).decode()


def _insert(history: History, time: int, number: int, values: tuple[tuple[bool, Any], ...]) -> int:
    """Put an out-of-order event where its time belongs; gives the index behind it.

    The lists are replaced, not changed: the evidence of earlier events is a slice of the old ones.
    """
    index = bisect_right(history[0], time)
    for place, item in enumerate((time, number)):
        column = history[place]
        history[place] = [*column[:index], item, *column[index:]]
    for place, (is_total, value) in enumerate(values, 2):
        column = history[place]
        if is_total:
            history[place] = [*column[: index + 1], *(total + value for total in column[index:])]
        else:
            history[place] = [*column[:index], value, *column[index:]]
    return index + 1


def _forget(keys: Keys, key: str, history: History, keep: int) -> None:
    """Drop the entries at or before `keep`, and the key with its last.

    Called when half of them are, so it costs little each.
    """
    times = history[0]
    count = bisect_right(times, keep)
    if count == len(times):
        del keys[key]
        return
    for place, column in enumerate(history):
        column = column[count:]  # noqa: PLW2901
        if len(column) > len(times) - count and not -_REBASE < column[0] < _REBASE:  # running sums
            column = [total - column[0] for total in column]  # noqa: PLW2901
        history[place] = column


def _session_start(times: list[int], start: int, stop: int, now: int, silence: int) -> int:
    """Back from `now`, event by event, until one is further from the next than `silence`."""
    while stop > start and now - times[stop - 1] <= silence:
        stop -= 1
        now = times[stop]
    return stop


def _fsum(values: list[float]) -> float:
    try:
        return fsum(values)
    except TypeError:  # None: events from before the field was kept
        return _fsum([value for value in values if value is not None])
    except OverflowError:  # of a partial sum already; a power of two scales without an error
        return fsum([value * 2.0**-64 for value in values if value is not None]) * 2.0**64


def _fitted(stored: dict[str, Any], log: Log) -> Keys:
    """The stored histories with the columns that the log has today."""
    keys: Keys = stored["keys"]
    wanted = [f"{column}:{of.name}" for of, column in log.columns]
    kinds = dict(zip(stored["columns"], stored["kinds"], strict=True))
    present = {name: 2 + index for index, name in enumerate(stored["columns"])}
    usable = {
        name: present[name] for name, (of, _) in zip(wanted, log.columns, strict=True) if kinds.get(name) == of.kind
    }
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
                history[usable[name]]
                if name in usable
                else [0] * (len(history[0]) + 1)
                if column is Column.TOTAL
                else [None] * len(history[0])
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


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder().decode
