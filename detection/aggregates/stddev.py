"""stddev: how far a field's values lie apart."""

from collections.abc import Mapping
from math import fsum, inf, isqrt, sqrt
from typing import ClassVar

from detection.aggregates.aggregate import Aggregate, Column, Window
from detection.aggregates.avg import mean
from detection.aggregates.moments import deviation_of_moments, whole_deviation_of_moments
from detection.expressions import Range
from detection.kinds import Kind

FEWEST = 2


def variance_of_sums(values: list[int | None]) -> tuple[int, int]:
    """How many values are there, and `n * sum(x^2) - sum(x)^2`, which is n^2 times their variance: exact.

    >>> variance_of_sums([1, None, 3])
    (2, 4)
    """
    there = [value for value in values if value is not None]
    return len(there), len(there) * sum([value * value for value in there]) - sum(there) ** 2


def whole_deviation(values: list[int | None]) -> int | None:
    """The deviation rounded half-even to a whole number, exactly.

    >>> whole_deviation([0, 5]), whole_deviation([0, 7]), whole_deviation([7])
    (2, 4, None)
    """
    count, scaled = variance_of_sums(values)
    if count < FEWEST:
        return None
    halves = isqrt(4 * scaled // (count * count))  # twice the root, rounded down
    whole = halves // 2
    tie = halves % 2 == 1 and (halves * count) ** 2 == 4 * scaled
    return whole + (whole % 2 if tie else halves % 2)


def int_deviation(values: list[int | None]) -> float | None:
    """The deviation of ints: the one rounding is that of the root."""
    count, scaled = variance_of_sums(values)
    return sqrt(scaled) / count if count >= FEWEST else None


def float_deviation(values: list[float | None]) -> float | None:
    """The deviation of floats, in two passes and scaled: nothing overflows that is not itself too large."""
    there = [value for value in values if value is not None]
    middle = mean(values)
    if middle is None or len(there) < FEWEST:
        return None
    half = middle / 2
    apart = [value / 2 - half for value in there]
    scale = max(map(abs, apart))
    return 2 * scale * sqrt(fsum([(value / scale) ** 2 for value in apart]) / len(there)) if scale else 0.0


class Stddev(Aggregate):
    """The population standard deviation of a field over the window, this event included.

    `sqrt(sum((x - mean)^2) / n)`; Chan, Golub, LeVeque: Algorithms for computing the sample variance (1983) compares
    ways to compute it: two passes, or exact sums. Exact for money (rounded to its 10^-6 units) and int, to 1e-9 for
    float. Unknown for fewer than two events. The work grows with the events in the window.

    >>> Stddev().source(Window("i", "j", "times", "values"), Kind.MONEY)
    'whole_deviation(values[i:j])'
    """

    name: ClassVar[str] = "stddev"
    of: ClassVar[frozenset[Kind]] = frozenset({Kind.INT, Kind.FLOAT, Kind.MONEY})
    optional: ClassVar[bool] = True
    helpers: ClassVar[Mapping[str, object]] = {
        "deviation_of_moments": deviation_of_moments,
        "float_deviation": float_deviation,
        "int_deviation": int_deviation,
        "whole_deviation": whole_deviation,
        "whole_deviation_of_moments": whole_deviation_of_moments,
    }

    def result(self, of: Kind | None) -> Kind:
        """Money stays money, that of ints is a float."""
        return Kind.MONEY if of is Kind.MONEY else Kind.FLOAT

    def range(self, window: int) -> Range:  # noqa: ARG002
        """Never negative."""
        return (0, inf)

    def columns(self, of: Kind | None) -> tuple[Column, ...]:  # noqa: ARG002
        """The values themselves."""
        return (Column.VALUE,)

    def work(self, of: Kind | None, *, paned: bool) -> int:
        """It looks at each."""
        return 176 if paned else 225 if of is Kind.FLOAT else 60

    def source(self, window: Window, of: Kind | None) -> str:
        """Two passes over the slice."""
        ways = {Kind.MONEY: "whole_deviation", Kind.INT: "int_deviation", Kind.FLOAT: "float_deviation"}
        assert of is not None
        return f"{ways[of]}({window.values}[{window.start}:{window.stop}])"

    def panes(self, of: Kind | None) -> tuple[Column, ...] | None:  # noqa: ARG002
        """The moments of each pane."""
        return (Column.MOMENTS,)

    def paned(self, window: Window, of: Kind | None) -> str:
        """From the moments, to 1e-9."""
        way = "whole_deviation_of_moments" if of is Kind.MONEY else "deviation_of_moments"
        return f"{way}({window.values}[{window.start}:{window.stop}])"
