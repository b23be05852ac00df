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
    """One window of one log; several features may read it."""

    log: "Log"
    window: int
    delay: int
    session: int


@dataclass(slots=True, eq=False)
class Log:
    """The history of one event type by one key.

    Attributes:
        event: The event type.
        key: The key's fields.
        of: The optional fields every entry has; events without them are no part of this log.
        where: What every entry fulfils.
        columns: The lists kept beside times and origins: the field and what is kept of it.
        longest: How far back the windows over it reach at the most, us.
    """

    event: EventType
    key: tuple[Field, ...]
    of: tuple[Field, ...]
    where: Expression | None = None
    columns: list[tuple[Field, Column]] = field(default_factory=list)
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
        return self.longest + self.event.lateness


class Step:
    """All features whose key begins with one field.

    Attributes:
        name: The field; also the step's name in the stored state.
        number: Its place in the plan.
        logs: Its logs, by name.
    """

    def __init__(self, name: str, number: int) -> None:
        self.name = name
        self.number = number
        self.logs: dict[str, Log] = {}
        self.by_event: dict[str, list[Feature]] = {}

    def add(self, event: EventType, feature: Feature) -> None:
        """Give the feature its log and column."""
        log = Log(event, feature.key, _optional(feature.of), feature.where)
        log = self.logs.setdefault(log.name, log)
        log.longest = max(log.longest, feature.window + feature.delay)
        for of in feature.of:
            for column in feature.aggregate.columns(of.kind):
                if (of, column) not in log.columns:
                    log.columns.append((of, column))
        self.by_event.setdefault(event.name, []).append(feature)

    def log_of(self, feature: Feature) -> Log:
        """The log that the feature reads."""
        return next(
            log
            for log in self.logs.values()
            if (log.event.name, log.key, log.of, log.where and log.where.text)
            == (feature.on, feature.key, _optional(feature.of), feature.where and feature.where.text)
        )


class Plan:
    """How a pack's features are computed.

    Attributes:
        steps: The keyed steps, by name.
        joined: The numbers of the event types that more than one step works on.
        keyless: The numbers of the event types that no step works on.
        places: Which of an event type's steps a step is, by the numbers of step and event type.
    """

    def __init__(self, pack: Pack) -> None:
        self.pack = pack
        self.steps: dict[str, Step] = {}
        for event in pack.events:
            for feature in event.features:
                name = feature.key[0].name
                step = self.steps.setdefault(name, Step(name, len(self.steps)))
                step.add(event, feature)
        self.joined = frozenset(index for index, event in enumerate(pack.events) if len(self.steps_of(event)) > 1)
        self.places = {
            (step.number, index): place
            for index, event in enumerate(pack.events)
            for place, step in enumerate(self.steps_of(event))
        }
        self.keyless = frozenset(index for index, event in enumerate(pack.events) if not event.features)

    def steps_of(self, event: EventType) -> list[Step]:
        """The steps that work on an event type, in the order in which their values stand in `features`."""
        return [step for step in self.steps.values() if event.name in step.by_event]

    def computed(self, event: EventType) -> dict[Feature | Span, int]:
        """What stands in an event's `features`, and where: for each step the values, then the windows a rule reads.

        A window stands there as three items: the list of origins, where the window starts in it and where it ends.
        """
        computed: dict[Feature | Span, int] = {}
        place = 0
        for step in self.steps_of(event):
            items: list[Feature | Span] = [*step.by_event[event.name], *self.spans(step, event)]
            for item in items:
                computed[item] = place
                place += 3 if isinstance(item, Span) else 1
        return computed

    def values(self, event: EventType) -> dict[str, int]:
        """Where the value of each feature stands in an event's `features`."""
        return {item.name: place for item, place in self.computed(event).items() if isinstance(item, Feature)}

    def span_of(self, feature: Feature) -> Span:
        """The window that the feature reads."""
        return _span(self.steps[feature.key[0].name], feature)

    def spans(self, step: Step, event: EventType) -> list[Span]:
        """The windows of one step whose evidence a verdict may name."""
        read = {name for rule in event.rules for name in rule.reads}
        spans: list[Span] = []
        for feature in step.by_event[event.name]:
            span = _span(step, feature)
            if feature.name in read and span not in spans:
                spans.append(span)
        return spans


def _span(step: Step, feature: Feature) -> Span:
    return Span(step.log_of(feature), feature.window, feature.delay, feature.session)


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

    def update(self, events: Iterable[Event]) -> list[tuple[Event, tuple[Any, ...]]]:
        """Take the events into the histories, in order.

        Returns:
            The events that are joined with what was computed for them; the others have it in `features` now.
        """
        return self._program.run(events, self._logs, self._watermarks)

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
    """

    def __init__(self, plan: Plan, step: Step, types: Mapping[str, type]) -> None:
        self.name = step.name
        self.number = step.number
        self.logs = list(step.logs.values())
        self.groups = 0
        self._plan = plan
        self._step = step
        self._types = types
        self._features = [feature for features in step.by_event.values() for feature in features]

    @cached_property
    def run(self) -> Callable[[Iterable[Event], list[Keys], list[dict[int, int]]], list[Any]]:
        """The generated function: events in, what is computed is set on them or returned."""
        events = [event for event in self._plan.pack.events if event.name in self._step.by_event]
        lines = ["def run(events, logs, watermarks):", "    joined = []"]
        lines += indent(
            [f"keys{n} = logs[{n}]; get{n} = keys{n}.get; marks{n} = watermarks[{n}]" for n in range(len(self.logs))]
        )
        lines += [
            "    for e in events:",
            "        t = e.time",
            "        p = e.partition",
            "        o = p << 48 | e.offset",
            "        w = e.watermark",
        ]
        for branch, event in enumerate(events):
            body = self._event(event)
            if len(events) > 1:
                lines += [f"        {'if' if branch == 0 else 'elif'} type(e) is Type{branch}:"]
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
                for feature in self._features
                if feature.constants
                for name, value in feature.constants.values.items()
            },
            **{f"Type{branch}": self._types[event.name] for branch, event in enumerate(events)},
        }
        return define("run", lines, scope)

    def _event(self, event: EventType) -> list[str]:
        """The body for one event type: each log once, each window once, each feature once."""
        lines: list[str] = []
        features = self._step.by_event[event.name]
        spans = self._plan.spans(self._step, event)
        for number, log in enumerate(self.logs):
            mine = [feature for feature in features if self._step.log_of(feature) is log]
            if mine:
                lines += self._log(number, log, mine, [span for span in spans if span.log is log])
        values = "".join(f"v_{feature.name}, " for feature in features)
        evidence = "".join(f"{self._evidence(span)}, " for span in spans)
        if len(self._plan.steps_of(event)) > 1:
            return [*lines, f"joined.append((e, ({values}{evidence})))"]
        return [*lines, f"e.features = ({values}{evidence})"]

    def _evidence(self, span: Span) -> str:
        number = self.logs.index(span.log)
        return f"origins{number}, {self._start(span)}, {self._stop(span.log, span.delay)}"

    def _start(self, span: Span) -> str:
        name = f"i{self.logs.index(span.log)}_{span.window}" + (f"_{span.delay}" if span.delay else "")
        return name + (f"_session{span.session}" if span.session else "")

    def _stop(self, log: Log, delay: int) -> str:
        return f"j{self.logs.index(log)}" + (f"_{delay}" if delay else "")

    def _log(self, number: int, log: Log, features: list[Feature], evident: list[Span]) -> list[str]:
        missing = [f"e.f_{part.name} is None" for part in (*log.key, *log.of) if part.optional]
        times, stop = f"times{number}", f"j{number}"
        nul = " or ".join(f"'\\0' in e.f_{part.name}" for part in log.key[:-1] if part.kind is Kind.STR)
        body = [
            f"k = {_key(log.key)}",
            *([f"if {nul}: k = unambiguous({_parts(log.key)})"] if nul else []),
            f"marks{number}[p] = w",
            f"keep = w - {log.retention}",
            f"h = get{number}(k)",
        ]
        append = [
            "if h is None:",
            f"    keys{number}[k] = h = [{', '.join(self._fresh(number, log))}]",
            f"    {stop} = 1",
            "else:",
            f"    {', '.join(self._names(number, log))} = h",
            f"    if t >= {times}[-1]:",
            f"        {times}.append(t); origins{number}.append(o)",
            *[f"        {line}" for line in self._append(number, log)],
            f"        {stop} = len({times})",
            "    else:",
            f"        {stop} = insert(h, t, o, {self._inserted(log)})",
            f"        {', '.join(self._names(number, log))} = h",
        ]
        if log.where is None:
            body += append
        else:
            body += [f"m{number} = {log.where.source}", f"if m{number}:", *indent(append), "else:"]
            body += indent(self._look(number, log))
        spans = {feature: _span(self._step, feature) for feature in features}
        for span in sorted(set(spans.values()), key=lambda span: (span.window, span.delay, span.session)):
            body += self._slice(number, span, [feature for feature in features if spans[feature] == span])
        forget = f"if {times}[{stop} >> 1] <= keep: forget(keys{number}, k, h, keep)"
        body += [forget.replace("if ", f"if m{number} and ", 1) if log.where else forget]
        if not missing:
            return body
        unknown = [f"v_{feature.name} = None" for feature in features]
        unknown += [
            f"origins{number} = (); {self._start(span)} = {self._stop(log, span.delay)} = 0" for span in evident
        ]
        return [f"if {' or '.join(missing)}:", *indent(unknown), "else:", *indent(body)]

    def _look(self, number: int, log: Log) -> list[str]:
        """What an event does that `where` keeps out: it sees the history, and is no part of it."""
        names = self._names(number, log)
        none = ["()", "()", *("(0,)" if column is Column.TOTAL else "()" for _, column in log.columns)]
        return [
            f"if h is None: {', '.join(names)} = {', '.join(none)}",
            f"else: {', '.join(names)} = h",
            f"j{number} = bisect_right(times{number}, t)",
        ]

    def _slice(self, number: int, span: Span, features: list[Feature]) -> list[str]:
        """One window, and the features that read it."""
        log, window, delay = span.log, span.window, span.delay
        times, start, stop = f"times{number}", self._start(span), self._stop(log, delay)
        lines = [f"{stop} = bisect_right({times}, t - {delay}, 0, j{number})"] if delay else []
        lines += [
            f"s = t - {window + delay}",
            f"{start} = bisect_right({times}, s if s > keep else keep, 0, {stop})",
        ]
        if not delay:  # a late event that the log will not keep sees itself
            lines += [f"if {start} == {stop}{f' and m{number}' if log.where else ''}: {start} = {stop} - 1"]
        if span.session:
            lines += [f"{start} = session_start({times}, {start}, {stop}, t - {delay}, {span.session})"]
        for feature in features:
            kind = feature.of[0].kind if feature.of else None
            source = feature.aggregate.source(self._window(number, feature, log), kind)
            if (log.where or delay) and not feature.aggregate.of_none:
                source = f"({source} if {stop} > {start} else None)"
            lines += [f"v_{feature.name} = {source}"]
        return lines

    def _window(self, number: int, feature: Feature, log: Log) -> Window:
        names = {(of, column): f"c{number}_{index}" for index, (of, column) in enumerate(log.columns)}
        first, other = (*feature.of, None, None)[:2]
        stop = self._stop(log, feature.delay)
        past = f"{stop} - 1"
        if feature.delay:
            past = stop
        elif log.where:
            past = f"({stop} - 1 if m{number} else {stop})"
        return Window(
            self._start(_span(self._step, feature)),
            stop,
            f"times{number}",
            names.get((first, Column.VALUE), "") if first else "",
            names.get((first, Column.TOTAL), "") if first else "",
            past,
            others=names.get((other, Column.VALUE), "") if other else "",
            here=f"(e.f_{first.name}, e.f_{other.name})" if first and other else "",
        )

    @staticmethod
    def _names(number: int, log: Log) -> list[str]:
        return [f"times{number}", f"origins{number}", *(f"c{number}_{index}" for index in range(len(log.columns)))]

    def _fresh(self, number: int, log: Log) -> list[str]:
        firsts = ["[t]", "[o]"]
        firsts += [
            f"[e.f_{of.name}]" if column is Column.VALUE else f"[0, e.f_{of.name}]" for of, column in log.columns
        ]
        return [f"({name} := {first})" for name, first in zip(self._names(number, log), firsts, strict=True)]

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
