"""gap: how long ago the key's event before this one was."""

from typing import ClassVar

from detection.aggregates.aggregate import Aggregate, Window
from detection.expressions import Range
from detection.kinds import Kind


class Gap(Aggregate):
    """The event time between the key's event before this one and this one, if the window holds one.

    Unknown for the first event, never negative. Compare it with a duration: `gap < duration("2s")`.

    >>> Gap().source(Window("i", "j", "times"), None)
    '(t - times[j - 1 - 1] if j - 1 > i else None)'
    """

    name: ClassVar[str] = "gap"
    of: ClassVar[frozenset[Kind]] = frozenset()
    optional: ClassVar[bool] = True

    def result(self, of: Kind | None) -> Kind:  # noqa: ARG002
        """Always a duration."""
        return Kind.DURATION

    def range(self, window: int) -> Range:
        """Never negative, and no longer than the window."""
        return (0, window)

    def source(self, window: Window, of: Kind | None) -> str:  # noqa: ARG002
        """The current time less that of the last one before."""
        return f"({window.time} - {window.times}[{window.past} - 1] if {window.past} > {window.start} else None)"
