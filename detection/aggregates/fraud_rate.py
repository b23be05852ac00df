"""fraud_rate: the share of the window's events at which a bool is true."""

from typing import ClassVar

from detection.aggregates.aggregate import Aggregate, Column, Window
from detection.expressions import Range
from detection.kinds import Kind


class FraudRate(Aggregate):
    """The share of the window's events at which the field is true, from 0 to 1: of labels, how many say fraud.

    Exact, by running sums.

    >>> FraudRate().source(Window("i", "j", "times", totals="totals"), Kind.BOOL)
    '(totals[j] - totals[i]) / (j - i)'
    """

    name: ClassVar[str] = "fraud_rate"
    of: ClassVar[frozenset[Kind]] = frozenset({Kind.BOOL})

    def result(self, of: Kind | None) -> Kind:  # noqa: ARG002
        """Always a float."""
        return Kind.FLOAT

    def range(self, window: int) -> Range:  # noqa: ARG002
        """A share."""
        return (0, 1)

    def columns(self, of: Kind | None) -> tuple[Column, ...]:  # noqa: ARG002
        """How many were true so far."""
        return (Column.TOTAL,)

    def source(self, window: Window, of: Kind | None) -> str:  # noqa: ARG002
        """Two differences, whatever the window's length."""
        return f"({window.totals}[{window.stop}] - {window.totals}[{window.start}]) / {window.count}"

    def panes(self, of: Kind | None) -> tuple[Column, ...] | None:  # noqa: ARG002
        """How many were true so far."""
        return (Column.TOTAL,)
