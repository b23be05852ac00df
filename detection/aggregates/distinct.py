"""distinct: how many different values of the field the window holds."""

from math import inf
from typing import ClassVar

from detection.aggregates.aggregate import Aggregate, Column, Window
from detection.expressions import Range
from detection.kinds import Kind


class Distinct(Aggregate):
    """How many different values of the field the window holds, this event's included.

    Exact. The work grows with the events in the window.

    >>> Distinct().source(Window("i", "j", "times", "values"), Kind.STR)
    '(len(d := set(values[i:j])) - (None in d))'
    """

    name: ClassVar[str] = "distinct"
    of: ClassVar[frozenset[Kind]] = frozenset(Kind)
    of_none: ClassVar[bool] = True

    def result(self, of: Kind | None) -> Kind:  # noqa: ARG002
        """Always an int."""
        return Kind.INT

    def range(self, window: int) -> Range:  # noqa: ARG002
        """At least the judged event."""
        return (1, inf)

    def columns(self, of: Kind | None) -> tuple[Column, ...]:  # noqa: ARG002
        """The values themselves."""
        return (Column.VALUE,)

    def work(self, of: Kind | None, *, paned: bool) -> int:  # noqa: ARG002
        """It looks at each."""
        return 195 if paned else 40

    def source(self, window: Window, of: Kind | None) -> str:  # noqa: ARG002
        """A set of the slice, without the None of events from before the field was kept."""
        return f"(len(d := set({window.values}[{window.start}:{window.stop}])) - (None in d))"

    def panes(self, of: Kind | None) -> tuple[Column, ...] | None:  # noqa: ARG002
        """The values of each pane."""
        return (Column.TALLY,)

    def paned(self, window: Window, of: Kind | None) -> str:  # noqa: ARG002
        """One union."""
        return f"len(set().union(*{window.values}[{window.start}:{window.stop}]))"
