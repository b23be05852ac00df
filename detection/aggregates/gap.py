"""gap: how long ago the key's event before this one was."""

from typing import ClassVar

from detection.aggregates.aggregate import Aggregate, Window
from detection.kinds import Kind


class Gap(Aggregate):
    """The event time between the key's event before this one and this one, if the window holds one.

    Unknown for the first event, never negative. Compare it with a duration: `gap < duration("2s")`.

    >>> Gap().source(Window("i", "j", "times"), None)
    '(times[j - 1] - times[j - 2] if j - i > 1 else None)'
    """

    name: ClassVar[str] = "gap"
    of: ClassVar[frozenset[Kind]] = frozenset()
    optional: ClassVar[bool] = True

    def result(self, of: Kind | None) -> Kind:  # noqa: ARG002
        """Always a duration."""
        return Kind.DURATION

    def source(self, window: Window, of: Kind | None) -> str:  # noqa: ARG002
        """The last time less the last but one."""
        start, stop, times = window.start, window.stop, window.times
        return f"({times}[{stop} - 1] - {times}[{stop} - 2] if {stop} - {start} > 1 else None)"
