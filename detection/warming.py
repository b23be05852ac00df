"""Which windows have not yet seen their whole length.

A pack that is changed finds the histories of its old features again; what is new to it begins empty. Until a window's
whole length lies behind that beginning, its value may be too small, and the verdict names it.

Kept beside the watermark, in the snapshot of the source: a key group that is new cannot tell whether nothing happened
before, or whether nobody looked.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from detection.features import Plan
from detection.pack import EventType, Feature

Kept: TypeAlias = dict[str, int]
"""How far back what features need was kept, us, by what that is."""

Since: TypeAlias = dict[int, Kept]
"""From which time on that is whole, us, by partition; absent: always."""


@dataclass(frozen=True, slots=True)
class _Need:
    """What a feature needs.

    Attributes:
        feature: The feature.
        what: The log and its columns, as text: never change how it is made.
        retention: How far back they are kept, us.
    """

    feature: Feature
    what: str
    retention: int

    @classmethod
    def of(cls, feature: Feature, plan: Plan) -> "_Need":
        """What a feature of a plan needs."""
        log = plan.span_of(feature).log
        columns = [f"|{column}:{of.name}:{of.kind}" for of in feature.of for column in feature.columns]
        return cls(feature, log.name + "".join(columns), log.retention)


class Warming:
    """The windows of one event type that are not yet whole."""

    def __init__(
        self,
        event: EventType,
        plan: Plan,
        watermarks: Mapping[int, int],
        kept: Mapping[str, int] | None,
        since: Mapping[int, Mapping[str, int]],
    ) -> None:
        """Go on from a snapshot.

        Args:
            event: The event type.
            plan: How features are computed now.
            watermarks: Those of the snapshot, by partition.
            kept: What was kept then; None: nobody knows, as in a snapshot of an older release.
            since: What was not yet whole then.
        """
        self._needs = [_Need.of(feature, plan) for feature in event.features]
        self.since: Since = {}
        for partition, watermark in watermarks.items():
            before = since.get(partition, {})
            begun = {need.what: self._begin(need, watermark, kept, before.get(need.what)) for need in self._needs}
            if found := {what: at for what, at in begun.items() if at is not None}:
                self.since[partition] = found

    @staticmethod
    def _begin(need: _Need, watermark: int, kept: Mapping[str, int] | None, before: int | None) -> int | None:
        if kept is None:
            return before
        had = kept.get(need.what, 0)  # nothing was kept: whole from the watermark on
        now = watermark - had if had < need.retention else None
        return max((at for at in (before, now) if at is not None), default=None)

    @property
    def kept(self) -> Kept:
        """What is kept now, for the snapshot."""
        return {need.what: need.retention for need in self._needs}

    def names(self, partition: int, time: int, watermark: int) -> tuple[str, ...]:
        """The features whose windows at an event of that time began before what they count was kept."""
        since = self.since[partition]
        needs = [(need, since[need.what]) for need in self._needs if need.what in since]
        if all(watermark - need.retention >= at for need, at in needs):  # no event in time will see it any more
            del self.since[partition]
        return tuple(need.feature.name for need, at in needs if time - need.feature.reach < at)

    def snapshot(self) -> Any:
        """A copy of what is not yet whole."""
        return {partition: dict(found) for partition, found in self.since.items()}
