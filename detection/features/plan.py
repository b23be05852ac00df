"""How a pack's features are computed: which logs are kept, and who goes where."""

from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Final

from detection.aggregates import Column
from detection.expressions import Expression
from detection.pack import EventType, Feature, Field, Pack

EVIDENCE: Final = 20
"""How many of the newest origins of a window a verdict names."""

ORIGIN_BITS: Final = 48
OFFSET: Final = (1 << ORIGIN_BITS) - 1
"""The part of an origin that is the offset; above it is the partition."""

BUSIEST: Final = 60
"""Events an hour of the busiest key, where the pack does not say."""

SLACK: Final = 2
"""A history forgets when so much of it, one part of so many, is too old."""

LEAST_LIMIT: Final = 10_000
"""Entries that the history of one key may always keep."""

_HOUR: Final = 3_600_000_000


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
        columns: The lists kept beside times and origins: the field and what is kept of it; counts have no field.
        lateness: How late an event may be that is part of it, or looks into it, us.
        longest: How far back the windows over it reach at the most, us.
        resolution: How long its panes are, us; 0: it has an entry for each event.
    """

    event: EventType
    key: tuple[Field, ...]
    of: tuple[Field, ...]
    where: Expression | None = None
    columns: list[tuple[Field | None, Column]] = field(default_factory=list)
    lateness: int = 0
    longest: int = 0
    resolution: int = 0

    @property
    def name(self) -> str:
        """Its name in the stored state: never change how it is made."""
        key = ",".join(part.name for part in self.key)
        has = f"/has:{','.join(part.name for part in self.of)}" if self.of else ""
        where = f"/where:{sha256(self.where.text.encode()).hexdigest()[:16]}" if self.where else ""
        panes = f"/panes:{self.resolution}" if self.resolution else ""
        return f"{self.event.name}/{key}{has}{where}{panes}"

    @property
    def retention(self) -> int:
        """How far behind the watermark an entry may be before nobody can see it, us."""
        return self.longest + self.lateness

    @property
    def hourly(self) -> int:
        """Events an hour of the busiest key: several fields together are no busier than each of them."""
        return min(self.event.busiest.get(part.name, BUSIEST) for part in self.key)

    def expected(self, length: int) -> int:
        """How many entries of the busiest key so many us hold."""
        events = -(-self.hourly * length // _HOUR)
        return min(events, length // self.resolution + 2) if self.resolution else events

    @property
    def limit(self) -> int:
        """How many entries one key keeps: a key with more is busier than the pack says that any is."""
        return max(LEAST_LIMIT, SLACK * self.expected(self.retention))


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
        log = Log(counted, feature.counted_key, _optional(feature.of), feature.where, resolution=feature.resolution)
        log = self.logs.setdefault(log.name, log)
        if log.resolution and not log.columns:
            log.columns.append((None, Column.COUNT))
        looking = feature.key if feature.over else ()
        self.spans[feature.name] = Span(log, feature.window, feature.delay, feature.session, looking)
        log.lateness = max(log.lateness, counted.lateness, event.lateness)
        log.longest = max(log.longest, feature.reach)
        for of in feature.of:
            for column in feature.columns:
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

    def unpacking(self, event: EventType) -> list[str]:
        """Source that gives each item of an event's `features` a local.

        That is `v_NAME` for a value, and `x`, `y` and `z` with its place for a window.
        """
        items = "".join(
            f"x{place}, y{place}, z{place}, " if isinstance(item, Span) else f"v_{item.name}, "
            for item, place in self.computed(event).items()
        )
        return [f"{items}= e.features"] if items else []

    def span_of(self, feature: Feature) -> Span:
        """The window that the feature reads."""
        return self.steps[feature.counted_key[0].name].spans[feature.name]

    @staticmethod
    def spans(visit: Visit) -> list[Span]:
        """The windows of one visit whose evidence a verdict may name; panes know of no single event."""
        read = {name for rule in visit.event.rules for name in rule.reads}
        spans = (visit.step.spans[feature.name] for feature in visit.features if feature.name in read)
        return list(dict.fromkeys(span for span in spans if not span.log.resolution))


def _optional(fields: tuple[Field, ...]) -> tuple[Field, ...]:
    return tuple(field for field in fields if field.optional)
