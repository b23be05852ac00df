"""Has a distribution changed? The population stability index, and how much of it is chance."""

from collections.abc import Sequence
from math import log
from typing import Final, Literal, TypeAlias

Change: TypeAlias = Literal["stable", "by chance", "shifted", "drifted", "unknown"]

SHIFTED: Final = 0.1
DRIFTED: Final = 0.25
"""The customary bounds: N. Siddiqi, Credit Risk Scorecards (Wiley, 2006)."""

_CHI_SQUARED_99: Final = (6.635, 9.210, 11.345, 13.277, 15.086, 16.812)
"""What a chi-squared value exceeds once in a hundred, for 1, 2, … degrees of freedom."""

_HALF: Final = 0.5


def stability(now: Sequence[int], before: Sequence[int]) -> float | None:
    """The population stability index of two counts of the same classes; None: one of them is empty.

    The sum over the classes of (a - b) ln(a / b), with a and b the shares of a class: B. Yurdakul, "Statistical
    Properties of Population Stability Index" (Western Michigan University, 2018,
    https://scholarworks.wmich.edu/dissertations/3208). Half an event is added to each class that is not empty in both,
    so that one which is empty in one of them counts, but not without bounds.

    >>> round(stability([50, 50], [90, 10]), 4)  # (50.5 - 90.5) / 101 * ln(50.5 / 90.5) + ...
    0.8531
    >>> stability([1, 0], [2, 0])
    0.0
    """
    if not sum(now) or not sum(before):
        return None
    pairs = [(a + _HALF, b + _HALF) for a, b in zip(now, before, strict=True) if a or b]
    total_now, total_before = (sum(side) for side in zip(*pairs, strict=True))
    shares = [(a / total_now, b / total_before) for a, b in pairs]
    return float(sum((a - b) * log(a / b) for a, b in shares))


def change(now: Sequence[int], before: Sequence[int]) -> Change:
    """What the index means.

    With n and m events and the same distribution it is about (1/n + 1/m) times a chi-squared value of one degree of
    freedom less than there are classes (Yurdakul, as above): what that exceeds once in a hundred is chance.

    >>> change([5, 5], [50, 50]), change([2, 3], [90, 10]), change([500, 500], [9_000, 1_000])
    ('stable', 'by chance', 'drifted')
    """
    index = stability(now, before)
    if index is None:
        return "unknown"
    if index < SHIFTED:
        return "stable"
    classes = sum(1 for a, b in zip(now, before, strict=True) if a or b)
    limit = _CHI_SQUARED_99[min(classes - 1, len(_CHI_SQUARED_99)) - 1]
    if index <= limit * (1 / sum(now) + 1 / sum(before)):
        return "by chance"
    return "shifted" if index < DRIFTED else "drifted"
