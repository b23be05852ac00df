"""sum: the field's values in the window, added up."""

from collections.abc import Mapping
from typing import ClassVar

from detection.aggregates.aggregate import Aggregate, Column, Window
from detection.aggregates.moments import sum_of_moments
from detection.kinds import Kind


class Sum(Aggregate):
    """The sum of a field over the window, this event included.

    Exact for int and money, by running sums: any number of windows costs one subtraction each. Floats are added
    afresh with `math.fsum`, which rounds once: running sums of floats would drift.

    >>> Sum().source(Window("i", "j", "times", "values", "totals"), Kind.MONEY)
    'totals[j] - totals[i]'
    """

    name: ClassVar[str] = "sum"
    of: ClassVar[frozenset[Kind]] = frozenset({Kind.INT, Kind.FLOAT, Kind.MONEY})
    of_none: ClassVar[bool] = True
    helpers: ClassVar[Mapping[str, object]] = {"sum_of_moments": sum_of_moments}

    def result(self, of: Kind | None) -> Kind:
        """The kind of what is summed."""
        assert of is not None
        return of

    def columns(self, of: Kind | None) -> tuple[Column, ...]:
        """Running sums, or the values where sums would drift."""
        return (Column.VALUE,) if of is Kind.FLOAT else (Column.TOTAL,)

    def work(self, of: Kind | None, *, paned: bool) -> int:
        """It looks at each."""
        return (48 if paned else 19) if of is Kind.FLOAT else 0

    def source(self, window: Window, of: Kind | None) -> str:
        """One subtraction, or one exact addition of floats."""
        if of is Kind.FLOAT:
            return f"fsum({window.values}[{window.start}:{window.stop}])"
        return f"{window.totals}[{window.stop}] - {window.totals}[{window.start}]"

    def panes(self, of: Kind | None) -> tuple[Column, ...] | None:
        """Running sums, of floats the moments of each pane."""
        return (Column.MOMENTS,) if of is Kind.FLOAT else (Column.TOTAL,)

    def paned(self, window: Window, of: Kind | None) -> str:
        """Of floats: the sums of the panes, added up."""
        if of is Kind.FLOAT:
            return f"sum_of_moments({window.values}[{window.start}:{window.stop}])"
        return self.source(window, of)
