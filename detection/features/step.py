"""The generated function of a keyed step."""

from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any, TypeAlias

from detection.aggregates import Column, Window
from detection.codec import Event
from detection.features import columns
from detection.features.history import cut, forget, insert, put, session_start, sum_of_floats, unambiguous
from detection.features.log_state import LogState
from detection.features.plan import Log, Plan, Span, Step, Visit
from detection.generated import define, indent
from detection.kinds import Kind
from detection.pack import Feature, Field

Run: TypeAlias = Callable[[Iterable[Event], Iterable[int], Sequence[LogState]], list[Any]]
"""Takes events, their roles, and the state of each log."""


class StepProgram:
    """The generated function of one step, and what it needs to know.

    Attributes:
        name: The step's name.
        number: The step's place in the plan.
        logs: The logs, in the order of the state.
        groups: How many groups were made so far.
        mixed: Whether an event may come in several roles.
        overflows: Of each log, how many entries did not find or keep their place, because a key had too many.
    """

    def __init__(self, plan: Plan, step: Step, types: Mapping[str, type]) -> None:
        self.name = step.name
        self.number = step.number
        self.logs = list(step.logs.values())
        self.groups = 0
        self.overflows = [0] * len(self.logs)
        self._plan = plan
        self._step = step
        self._types = types
        self._visits = [visit for event in plan.pack.events for visit in plan.visits(event) if visit.step is step]
        self._features = [feature for visit in self._visits for feature in visit.features]
        self._looks = list(dict.fromkeys((span.log, span.key) for span in step.spans.values() if span.key))
        self.mixed = any(visit.role for visit in self._visits)

    @cached_property
    def run(self) -> Run:
        """The generated function: events in, what is computed is set on them or returned.

        A settled history that an event may change is taken to the others.
        """
        lines = ["def run(events, roles, states):", "    joined = []"]
        for n in range(len(self.logs)):
            lines += [f"    s = states[{n}]; keys{n} = s.changed; get{n} = keys{n}.get; marks{n} = s.watermarks"]
            lines += [f"    find{n} = s.settled.get; take{n} = s.settled.pop; leave{n} = s.left.append"]
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
            "insert": insert,
            "put": put,
            "Column": Column,
            **columns.HELPERS,
            "forget": forget,
            "cut": cut,
            "overflows": self.overflows,
            "unambiguous": unambiguous,
            "fsum": sum_of_floats,
            "session_start": session_start,
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
        for number, log in enumerate(visit.logs):
            lines += ["t = e.time"] if number else []  # which the log before may have moved
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
            f"if h is None: h = find{self.logs.index(log)}(k)",
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
            f"if h is None and (h := take{number}(k, None)) is not None: keys{number}[k] = h; leave{number}(k)",
        ]
        append = self._paned(number, log) if log.resolution else self._append(number, log)
        if log.where is None:
            body += append
        else:
            body += [f"m{number} = {log.where.source}", f"if m{number}:", *indent(append), "else:"]
            body += indent(self._read(str(number), log))
        body += self._slices(features)
        is_part = (f"m{number} and " if log.where else "") + ("h and " if log.resolution else "")
        body += [
            f"if {is_part}{times}[{stop} >> 1] <= keep: forget(keys{number}, k, h, keep)",
            # A quarter at a time, so it costs little each.
            f"elif {stop} > {log.limit + log.limit // 4}: overflows[{number}] += cut(h, {log.limit})",
        ]
        # Also an event that is no part of it tells the time, by which keys leave.
        return [f"marks{number}[p] = w", *self._unless_missing((*log.key, *log.of), features, evident, body)]

    def _append(self, number: int, log: Log) -> list[str]:
        """Put the event into its history."""
        times, stop = f"times{number}", f"j{number}"
        names = ", ".join(self._names(str(number), log))
        return [
            "if h is None:",
            f"    keys{number}[k] = h = [{', '.join(self._fresh(number, log, 't'))}]",
            f"    {stop} = 1",
            "else:",
            f"    {names} = h",
            f"    {stop} = len({times})",
            f"    if t >= {times}[{stop} - 1]:",  # CPython is slower at [-1]
            f"        {times}.append(t); origins{number}.append(o)",
            *indent([columns.append(*named, last=stop) for named in self._columns(number, log)], 2),
            f"        {stop} += 1",
            f"    elif {stop} < {log.limit}:",
            f"        {stop} = insert(h, t, o, {self._items(log)})",
            f"        {names} = h",
            "    else:",  # a place inside would cost time by the length of a full history: so it is taken as the newest
            f"        t = {times}[{stop} - 1]; overflows[{number}] += 1",
            f"        {times}.append(t); origins{number}.append(o)",
            *indent([columns.append(*named, last=stop) for named in self._columns(number, log)], 2),
            f"        {stop} += 1",
        ]

    def _paned(self, number: int, log: Log) -> list[str]:
        """Take the event into its pane. One that is too late to be kept sees itself alone."""
        times, stop = f"times{number}", f"j{number}"
        names = ", ".join(self._names(str(number), log))
        fresh = ", ".join(self._fresh(number, log, "q"))
        return [
            f"q = t - t % {log.resolution}",
            "if q <= keep:",
            f"    {fresh}; {stop} = 1; h = None",
            "elif h is None:",
            f"    keys{number}[k] = h = [{fresh}]; {stop} = 1",
            "else:",
            f"    {names} = h",
            f"    if q == {times}[-1]:",
            f"        origins{number}[-1] = o",
            *indent([columns.fold(*named) for named in self._columns(number, log)], 2),
            f"        {stop} = len({times})",
            f"    elif q > {times}[-1]:",
            f"        {times}.append(q); origins{number}.append(o)",
            *indent([columns.append(*named) for named in self._columns(number, log)], 2),
            f"        {stop} = len({times})",
            f"    elif len({times}) < {log.limit}:",
            f"        {stop} = put(h, q, o, {self._items(log)})",
            f"        {names} = h",
            "    else:",
            f"        t = {times}[-1]; overflows[{number}] += 1; origins{number}[-1] = o",
            *indent([columns.fold(*named) for named in self._columns(number, log)], 2),
            f"        {stop} = len({times})",
        ]

    def _read(self, tag: str, log: Log) -> list[str]:
        """Name the history `h`, which the event is no part of, up to the event's time."""
        names = self._names(tag, log)
        none = ["()", "()", *("(0,)" if column.running else "()" for _, column in log.columns)]
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
            *([f"s -= (s + 1) % {log.resolution}"] if log.resolution else []),  # to the beginning of a pane
            "if s < keep: s = keep",
        ]
        search = [f"{start} = bisect_right({times}, s, 0, {stop})"]
        if not delay and not span.key:  # a late event that the log will not keep sees itself
            search += [f"if {start} == {stop}{f' and m{tag}' if log.where else ''}: {start} = {stop} - 1"]
        if span.key or log.where:  # the history may be empty
            lines += search
        else:  # most keys have few events, which all are in the window
            lines += [f"if {times}[0] > s: {start} = 0", "else:", *indent(search)]
        if span.session:
            lines += [f"{start} = session_start({times}, {start}, {stop}, t - {delay}, {span.session})"]
        for feature in features:
            kind = feature.of[0].kind if feature.of else None
            aggregate = feature.aggregate
            compute = aggregate.paned if log.resolution else aggregate.source
            source = compute(self._window(tag, feature, span), kind)
            if feature.may_be_empty and not aggregate.of_none:
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
            next((names[first, column] for column in feature.columns if not column.running), "") if first else "",
            names.get((first, Column.TOTAL), "") if first else "",
            past,
            others=names.get((other, Column.VALUE), "") if other else "",
            here=f"(e.f_{first.name}, e.f_{other.name})" if first and other else "",
            counts=names.get((None, Column.COUNT), ""),
        )

    @staticmethod
    def _names(tag: str, log: Log) -> list[str]:
        return [f"times{tag}", f"origins{tag}", *(f"c{tag}_{index}" for index in range(len(log.columns)))]

    @staticmethod
    def _columns(number: int, log: Log) -> list[tuple[str, Column, Field | None]]:
        return [(f"c{number}_{index}", column, of) for index, (of, column) in enumerate(log.columns)]

    def _fresh(self, number: int, log: Log, time: str) -> list[str]:
        firsts = [f"[{time}]", "[o]", *(columns.fresh(column, of) for of, column in log.columns)]
        return [f"({name} := {first})" for name, first in zip(self._names(str(number), log), firsts, strict=True)]

    @staticmethod
    def _items(log: Log) -> str:
        items = [f"(Column.{column.name}, {columns.item(column, of)}), " for of, column in log.columns]
        return f"({''.join(items)})"


def _joined_key(parts: tuple[Field, ...]) -> list[str]:
    nul = " or ".join(f"'\\0' in e.f_{part.name}" for part in parts[:-1] if part.kind is Kind.STR)
    return [f"k = {_key(parts)}", *([f"if {nul}: k = unambiguous({_parts(parts)})"] if nul else [])]


def _key(parts: tuple[Field, ...]) -> str:
    return " + '\\0' + ".join(
        f"e.f_{part.name}" if part.kind is Kind.STR else f"str(e.f_{part.name})" for part in parts
    )


def _parts(parts: tuple[Field, ...]) -> str:
    return "".join(f"e.f_{part.name}, " for part in parts).join("()")
