"""avg: the mean of a field."""

from collections.abc import Mapping
from math import fsum
from typing import ClassVar

from detection.aggregates.aggregate import Aggregate, Column, Window
from detection.aggregates.moments import mean_of_moments
from detection.expressions.runtime import half_even
from detection.kinds import Kind


def mean(values: list[float | None]) -> float | None:
    """The mean of those that are there."""
    there = [value for value in values if value is not None]
    if not there:
        return None
    try:
        return fsum(there) / len(there)
    except OverflowError:
        return fsum([value / len(there) for value in there])


class Avg(Aggregate):
    """The arithmetic mean of a field over the window, this event included.

    Exact for money (rounded half-even to its 10^-6 units), correctly rounded for int, to 1e-9 for float.

    >>> Avg().source(Window("i", "j", "times", "values", "totals"), Kind.INT)
    '(totals[j] - totals[i]) / (j - i)'
    """

    name: ClassVar[str] = "avg"
    of: ClassVar[frozenset[Kind]] = frozenset({Kind.INT, Kind.FLOAT, Kind.MONEY})
    helpers: ClassVar[Mapping[str, object]] = {
        "half_even": half_even,
        "mean": mean,
        "mean_of_moments": mean_of_moments,
    }

    def result(self, of: Kind | None) -> Kind:
        """Money stays money, a mean of ints is a float."""
        return Kind.MONEY if of is Kind.MONEY else Kind.FLOAT

    def columns(self, of: Kind | None) -> tuple[Column, ...]:
        """Running sums, or the values where sums would drift."""
        return (Column.VALUE,) if of is Kind.FLOAT else (Column.TOTAL,)

    def work(self, of: Kind | None, *, paned: bool) -> int:
        """It looks at each."""
        return (76 if paned else 36) if of is Kind.FLOAT else 0

    def source(self, window: Window, of: Kind | None) -> str:
        """One division."""
        if of is Kind.FLOAT:
            return f"mean({window.values}[{window.start}:{window.stop}])"
        total = f"({window.totals}[{window.stop}] - {window.totals}[{window.start}])"
        return f"half_even({total}, {window.count})" if of is Kind.MONEY else f"{total} / {window.count}"

    def panes(self, of: Kind | None) -> tuple[Column, ...] | None:
        """Running sums, of floats the moments of each pane."""
        return (Column.MOMENTS,) if of is Kind.FLOAT else (Column.TOTAL,)

    def paned(self, window: Window, of: Kind | None) -> str:
        """Of floats: from the means of the panes."""
        if of is Kind.FLOAT:
            return f"mean_of_moments({window.values}[{window.start}:{window.stop}])"
        return self.source(window, of)
