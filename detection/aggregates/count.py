"""count: how many events the window holds."""

from math import inf
from typing import ClassVar

from detection.aggregates.aggregate import Aggregate, Column, Window
from detection.expressions import Range
from detection.kinds import Kind


class Count(Aggregate):
    """How many events the window holds, this one included.

    >>> Count().source(Window("i", "j", "times"), None)
    '(j - i)'
    """

    name: ClassVar[str] = "count"
    of: ClassVar[frozenset[Kind]] = frozenset()
    of_none: ClassVar[bool] = True

    def result(self, of: Kind | None) -> Kind:  # noqa: ARG002
        """Always an int."""
        return Kind.INT

    def range(self, window: int) -> Range:  # noqa: ARG002
        """At least the judged event."""
        return (1, inf)

    def source(self, window: Window, of: Kind | None) -> str:  # noqa: ARG002
        """Two indexes apart."""
        return window.count

    def panes(self, of: Kind | None) -> tuple[Column, ...] | None:  # noqa: ARG002
        """Every history of panes counts."""
        return ()
