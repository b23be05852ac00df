"""How good scores are, given what became of the events.

Definitions as in Y.-A. Le Borgne, W. Siblini, B. Lebichot, G. Bontempi, Reproducible Machine Learning for Credit Card
Fraud Detection - Practical Handbook (2022), chapter 4.
"""

from collections.abc import Iterable, Sequence
from math import nan
from typing import Final

import numpy as np

from training.arrays import Flags, Numbers

BINS: Final = 10
"""Classes of equally many events that the calibration is about."""


def average_precision(frauds: Flags, scores: Numbers) -> float:
    """The mean of the precisions at each fraud, from the highest score down; events of equal score come together.

    NaN without any fraud.

    >>> average_precision(np.array([True, False, True, False]), np.array([0.9, 0.8, 0.7, 0.1])).__round__(4)
    0.8333
    """
    found, taken = _curve(frauds, scores)
    if not frauds.any():
        return nan
    return float(np.sum(np.diff(found, prepend=0.0) * found / taken) / found[-1])


def auc_roc(frauds: Flags, scores: Numbers) -> float:
    """The chance that a fraud has a higher score than another event, equal ones counting half; NaN without both.

    >>> auc_roc(np.array([True, False, True, False]), np.array([0.9, 0.8, 0.8, 0.1]))
    0.875
    """
    found, taken = _curve(frauds, scores)
    others = taken - found
    if not frauds.any() or frauds.all():
        return nan
    steps = np.diff(others, prepend=0.0)
    return float(np.sum(steps * (found + np.concatenate(([0.0], found[:-1]))) / 2) / (found[-1] * others[-1]))


def _curve(frauds: Flags, scores: Numbers) -> tuple[Numbers, Numbers]:
    """At each different score, from the highest down: how many frauds, and how many events, have it or a higher one."""
    order = np.argsort(-scores, kind="stable")
    ends = np.flatnonzero(np.diff(scores[order], append=np.nan))
    return np.cumsum(frauds[order], dtype=np.float64)[ends], (ends + 1).astype(np.float64)


def cards_found(
    cards: Sequence[str], frauds: Iterable[bool], scores: Iterable[float], most: int
) -> tuple[list[str], list[str]]:
    """The cards with the highest scores of a day, as many as people can look at, and those of them with a fraud.

    A card's score is the highest of its payments; of cards with equal ones the earlier card comes first.

    >>> cards_found(["a", "b", "a", "c"], [False, True, True, False], [0.1, 0.5, 0.9, 0.2], most=2)
    (['a', 'b'], ['a', 'b'])
    """
    best: dict[str, float] = {}
    defrauded: set[str] = set()
    for card, fraud, score in zip(cards, frauds, scores, strict=True):
        if score > best.get(card, -1.0):
            best[card] = score
        if fraud:
            defrauded.add(card)
    looked_at = sorted(best, key=lambda card: -best[card])[:most]
    return looked_at, [card for card in looked_at if card in defrauded]


def calibration_error(frauds: Flags, scores: Numbers) -> float:
    """By how much scores and shares of frauds differ, on average over ten classes of equally many events.

    >>> calibration_error(np.array([True, False]), np.array([0.5, 0.5]))
    0.5
    """
    order = np.argsort(scores, kind="stable")
    parts = [part for part in np.array_split(order, BINS) if len(part)]
    return float(sum(abs(scores[part].mean() - frauds[part].mean()) * len(part) for part in parts) / len(frauds))
