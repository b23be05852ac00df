"""gap_stddev: how regularly a key's events come."""

from collections.abc import Mapping
from itertools import pairwise
from typing import ClassVar

from detection.aggregates.aggregate import Aggregate, Window
from detection.aggregates.stddev import whole_deviation
from detection.expressions import Range
from detection.kinds import Kind


def gap_deviation(times: list[int]) -> int | None:
    """The deviation of the times between, to the microsecond.

    >>> gap_deviation([0, 10, 20, 30]), gap_deviation([0, 10, 30]), gap_deviation([0, 10])
    (0, 5, None)
    """
    return whole_deviation([after - before for before, after in pairwise(times)])


class GapStddev(Aggregate):
    """The population standard deviation of the times between the events in the window, this event included.

    Near zero for a machine that acts by the clock. Unknown for fewer than three events. The work grows with the events
    in the window.

    >>> GapStddev().source(Window("i", "j", "times"), None)
    'gap_deviation(times[i:j])'
    """

    name: ClassVar[str] = "gap_stddev"
    of: ClassVar[frozenset[Kind]] = frozenset()
    optional: ClassVar[bool] = True
    helpers: ClassVar[Mapping[str, object]] = {"gap_deviation": gap_deviation}

    def result(self, of: Kind | None) -> Kind:  # noqa: ARG002
        """Always a duration."""
        return Kind.DURATION

    def range(self, window: int) -> Range:
        """Never negative, and no longer than the window."""
        return (0, window)

    def work(self, of: Kind | None, *, paned: bool) -> int:  # noqa: ARG002
        """It looks at each."""
        return 97

    def source(self, window: Window, of: Kind | None) -> str:  # noqa: ARG002
        """One pass over the slice of the times."""
        return f"gap_deviation({window.times}[{window.start}:{window.stop}])"
