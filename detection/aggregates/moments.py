"""Moments: of some values their number, mean and squared distances from it, `[n, mean, m2]`.

Two of them make one without their values, which no running sum does without losing digits. T. F. Chan, G. H. Golub,
R. J. LeVeque: Updating formulae and a pairwise algorithm for computing sample variances (1979).
"""

from collections.abc import Sequence
from math import fsum, isfinite, sqrt
from typing import TypeAlias

Moments: TypeAlias = list[float]

_FEWEST = 2
_TINY = 2.0**-64


def observe(moments: Moments, value: float) -> None:
    """Take one more value in.

    >>> moments = [1, 4.0, 0.0]
    >>> observe(moments, 8)
    >>> moments
    [2, 6.0, 8.0]
    """
    count, middle, squares = moments
    count += 1
    apart = value - middle
    # Two halves instead of a difference that is too large for a float.
    after = middle + apart / count if isfinite(apart) else middle - middle / count + value / count
    moments[:] = count, after, squares + apart * (value - after)


def merged(one: Moments, other: Moments) -> Moments:
    """The moments of the values of both.

    >>> merged([1, 4.0, 0.0], [1, 8.0, 0.0]), merged([0, 0.0, 0.0], [1, 8.0, 0.0])
    ([2, 6.0, 8.0], [1, 8.0, 0.0])
    """
    count = one[0] + other[0]
    share = other[0] / count
    apart = other[1] - one[1]
    middle = one[1] + apart * share if isfinite(apart) else one[1] * (1 - share) + other[1] * share
    return [count, middle, one[2] + other[2] + apart * apart * one[0] * share]


def sum_of_moments(panes: Sequence[Moments]) -> float:
    """The sum of all values.

    >>> sum_of_moments([[2, 1.5, 0.5], [1, 4.0, 0.0]]), sum_of_moments([])
    (7.0, 0.0)
    """
    try:
        total = fsum([count * middle for count, middle, _ in panes])
        if isfinite(total):
            return total
    except (OverflowError, ValueError):
        pass
    # The sum of a pane, or of some of them, is too large already.
    return fsum([count * (middle * _TINY) for count, middle, _ in panes]) / _TINY


def mean_of_moments(panes: Sequence[Moments]) -> float | None:
    """The mean of all values.

    >>> mean_of_moments([[2, 1.5, 0.5], [2, 4.5, 0.0]])
    3.0
    """
    total = sum([count for count, _, _ in panes])
    return fsum([count / total * middle for count, middle, _ in panes]) if total else None


def deviation_of_moments(panes: Sequence[Moments]) -> float | None:
    """The population standard deviation of all values; None for fewer than two, and where a square is too large.

    >>> deviation_of_moments([[1, 1.0, 0.0], [1, 3.0, 0.0]]), deviation_of_moments([[1, 1.0, 0.0]])
    (1.0, None)
    """
    total = sum([count for count, _, _ in panes])
    middle = mean_of_moments(panes)
    if middle is None or total < _FEWEST:
        return None
    squares = sum([m2 + count * (mean - middle) * (mean - middle) for count, mean, m2 in panes])
    return sqrt(squares / total) if isfinite(squares) else None


def whole_deviation_of_moments(panes: Sequence[Moments]) -> int | None:
    """As `deviation_of_moments`, rounded to a whole number."""
    deviation = deviation_of_moments(panes)
    return None if deviation is None else round(deviation)
