"""first_seen_age: how long the key has been known."""

from typing import ClassVar

from detection.aggregates.aggregate import Aggregate, Column, Window
from detection.expressions import Range
from detection.kinds import Kind


class FirstSeenAge(Aggregate):
    """The event time from the oldest event in the window to this one: zero for a key that is new.

    Never longer than the window. Compare it with a duration: `known_for < duration("1d")`.

    >>> FirstSeenAge().source(Window("i", "j", "times"), None)
    't - times[i]'
    """

    name: ClassVar[str] = "first_seen_age"
    of: ClassVar[frozenset[Kind]] = frozenset()

    def result(self, of: Kind | None) -> Kind:  # noqa: ARG002
        """Always a duration."""
        return Kind.DURATION

    def range(self, window: int) -> Range:
        """Never negative, and no longer than the window."""
        return (0, window)

    def source(self, window: Window, of: Kind | None) -> str:  # noqa: ARG002
        """One difference."""
        return f"{window.time} - {window.times}[{window.start}]"

    def panes(self, of: Kind | None) -> tuple[Column, ...] | None:  # noqa: ARG002
        """From the beginning of the oldest pane."""
        return ()
