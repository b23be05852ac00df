"""What a pack costs: the state of a busy key, and the work of an event. Rough, and told before anything runs.

The numbers are of CPython 3.11 on one core of a server of 2023: `python -m bench.packs` measures yours.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from detection.aggregates import Column
from detection.features import Plan
from detection.features.plan import SLACK, Log
from detection.kinds import Kind
from detection.pack import EventType, Feature, Field, Pack

LARGEST_HISTORY: Final = 64 * 2**20
"""The most that the history of one key may take, bytes."""

SLOWEST_EVENT: Final = 10_000.0
"""The most that an event of the busiest key may cost, us."""

_POINTER: Final = 8
_NUMBER: Final = 32
_VALUES: Final = 16  # different values in a pane
_SIZES: Final = {
    Column.TOTAL: _NUMBER,
    Column.COUNT: _NUMBER,
    Column.LEAST: _NUMBER,
    Column.GREATEST: _NUMBER,
    Column.TALLY: 100 * _VALUES,
    Column.MOMENTS: 180,
}
_VALUE_SIZES: Final = {Kind.STR: 64, Kind.BOOL: 0}

_EVENT_MICROS: Final = 3.0  # decoding, the way to the key and back, the verdict
_LOG_MICROS: Final = 0.5
_FEATURE_MICROS: Final = 0.2
_RULE_MICROS: Final = 0.02
_TREE_MICROS: Final = 0.1


@dataclass(frozen=True, slots=True)
class HistoryCost:
    """What one key keeps.

    Attributes:
        event: The event type that is counted.
        key: The fields of the key.
        hourly: Events an hour of the busiest key.
        entries: How many its history holds at the most: events, or panes.
        size: How much that is, bytes.
        features: What is computed from it, the longest window first.
    """

    event: EventType
    key: tuple[Field, ...]
    hourly: int
    entries: int
    size: int
    features: tuple[Feature, ...]


@dataclass(frozen=True, slots=True)
class Cost:
    """What a pack costs.

    Attributes:
        histories: Of each history that keys have, what the busiest key keeps.
        features: What a feature adds to an event of the busiest key, us, by its name.
        events: What such an event costs altogether, us, by event type.
    """

    histories: tuple[HistoryCost, ...]
    features: dict[str, float]
    events: dict[str, float]


def cost_of(pack: Pack) -> Cost:
    """Estimate what a pack costs."""
    plan = Plan(pack)
    features = {feature.name: _work(feature, plan.span_of(feature).log) for feature in plan.features}
    events = {}
    for event in pack.events:
        kept = {id(log) for step in plan.steps.values() for log in step.logs.values() if log.event is event}
        seen = {id(plan.span_of(feature).log) for feature in event.features}
        mine = sum(features[feature.name] for feature in event.features)
        mine += _TREE_MICROS * sum(model.trees for spec in event.models for model in spec.loaded)
        events[event.name] = _EVENT_MICROS + _LOG_MICROS * len(kept | seen) + mine + _RULE_MICROS * len(event.rules)
    return Cost(tuple(_histories(plan)), features, events)


def _histories(plan: Plan) -> Iterator[HistoryCost]:
    for step in plan.steps.values():
        for log in step.logs.values():
            mine = [feature for feature in plan.features if plan.span_of(feature).log is log]
            mine.sort(key=lambda feature: -feature.reach)
            entries = SLACK * log.expected(log.retention)
            size = entries * (2 * (_POINTER + _NUMBER) + sum(_size(of, column) for of, column in log.columns))
            yield HistoryCost(log.event, log.key, log.hourly, entries, size, tuple(mine))


def _size(of: Field | None, column: Column) -> int:
    if column is Column.VALUE and of is not None:
        return _POINTER + _VALUE_SIZES.get(of.kind, _NUMBER)
    return _POINTER + _SIZES[column]


def _work(feature: Feature, log: Log) -> float:
    kind = feature.of[0].kind if feature.of else None
    nanoseconds = feature.aggregate.work(kind, paned=bool(feature.resolution))
    if feature.session:
        nanoseconds += 100
    return _FEATURE_MICROS + nanoseconds * log.expected(feature.window) / 1_000
