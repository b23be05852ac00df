"""Is a challenger better than the champion, on what neither of them has learned from?"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
import numpy as np

from detection.errors import TrainingError
from detection.models.files import Model
from training.arrays import Flags, Numbers, Times
from training.history import History
from training.making import figures_of, scores_of
from training.measures import average_precision, cards_found

RESAMPLES: Final = 1_000
CARDS: Final = 100
"""How many cards people look at in a day."""

LEAST: Final = 10
"""Frauds, and as many others, that a comparison wants."""

_DAY: Final = 86_400_000_000


class Interval(msgspec.Struct, frozen=True):
    """A difference, and where it may lie: 95 % of the resamples are in between."""

    value: float
    low: float
    high: float


class Segment(msgspec.Struct, frozen=True):
    """The average precisions of two models on the events with one value of a field; None: no fraud, or nothing else."""

    value: str
    events: int
    frauds: int
    champion: float | None
    challenger: float | None


class Comparison(msgspec.Struct, frozen=True):
    """How two models did on the same events.

    Attributes:
        events: How many.
        frauds: How many of them were frauds.
        since: The events are younger than this (ISO time): both were trained by then.
        champion: Its figures, see `training.making.figures_of`, and `card_precision` where there are cards.
        challenger: Its figures.
        difference: By how much the average precision of the challenger is higher.
        segments: By value of a field, the most events first.
    """

    events: int
    frauds: int
    since: str
    champion: dict[str, float]
    challenger: dict[str, float]
    difference: Interval
    segments: list[Segment]

    def better_by(self, margin: float) -> bool:
        """Whether the challenger is surely better, and by so much at least."""
        return self.difference.value >= margin and self.difference.low > 0


def compare(
    champion: Model,
    challenger: Model,
    seen: History,
    labels: Numbers,
    *,
    card: str | None = None,
    segment: str | None = None,
    seed: int = 1,
) -> Comparison:
    """Compare two models on the labelled events that came after both were trained.

    Args:
        champion: A model.
        challenger: Another one with the same features.
        seen: Events with the rows of these models.
        labels: Of each 1 if it was a fraud, 0 if not, NaN if nobody knows.
        card: A kept field of `seen` that says who pays: resamples draw whole cards, whose events are alike, and card
            precision is about them. None: each event is on its own.
        segment: A kept field of `seen` to tell the figures by.
        seed: Of the resamples.

    Raises:
        TrainingError: There are too few such events.
    """
    since = max(str(model.manifest.trained["to"]) for model in (champion, challenger))
    later = seen.times > int(datetime.fromisoformat(since).astimezone(UTC).timestamp() * 1e6)
    where = later & ~np.isnan(labels)
    frauds = labels[where] > 0
    count = int(frauds.sum())
    if min(count, len(frauds) - count) < LEAST:
        expected = f"at least {LEAST} events labelled a fraud and {LEAST} labelled none after {since}"
        msg = f"model {champion.manifest.name}: expected {expected}, got {count:,} and {len(frauds) - count:,}"
        raise TrainingError(msg)
    chosen = seen.at(where)
    scores = scores_of(champion.forest, chosen.rows), scores_of(challenger.forest, chosen.rows)
    figures = [figures_of(frauds, given) for given in scores]
    if card is not None:
        cards = [str(value) for value in chosen.kept[card]]
        for told, given in zip(figures, scores, strict=True):
            told["card_precision"] = card_precision(chosen.times, cards, frauds, given)
    return Comparison(
        events=len(frauds),
        frauds=count,
        since=since,
        champion=figures[0],
        challenger=figures[1],
        difference=_difference(frauds, *scores, chosen.kept[card] if card else range(len(frauds)), seed),
        segments=_segments(frauds, *scores, chosen.kept[segment]) if segment else [],
    )


def card_precision(times: Times, cards: Sequence[str], frauds: Flags, scores: Numbers) -> float:
    """Of the cards that people look at in a day, the share with a fraud that day, on average; found ones not again.

    >>> card_precision(np.array([1, 2]), ["a", "b"], np.array([True, False]), np.array([0.9, 0.1]))
    0.01
    """
    days = times // _DAY
    found: set[str] = set()
    precisions = []
    for day in np.unique(days).tolist():
        places = [place for place in np.flatnonzero(days == day).tolist() if cards[place] not in found]
        _, hit = cards_found([cards[p] for p in places], frauds[places].tolist(), scores[places].tolist(), CARDS)
        found |= set(hit)
        precisions.append(len(hit) / CARDS)
    return float(np.mean(precisions))


def _difference(frauds: Flags, champion: Numbers, challenger: Numbers, clusters: Sequence[Any], seed: int) -> Interval:
    """The bootstrap's percentiles: B. Efron, R. Tibshirani, An Introduction to the Bootstrap (1993), chapter 13."""
    numbers = {value: number for number, value in enumerate(dict.fromkeys(clusters))}
    members = np.array([numbers[value] for value in clusters])
    random = np.random.default_rng(seed)
    weighted = [_Ranked(frauds, scores) for scores in (champion, challenger)]
    drawn = []
    for _ in range(RESAMPLES):
        times = np.bincount(random.integers(len(numbers), size=len(numbers)), minlength=len(numbers))
        old, new = (ranked.average_precision(times[members]) for ranked in weighted)
        if not np.isnan(old):
            drawn.append(new - old)
    low, high = np.quantile(drawn, (0.025, 0.975)).tolist()
    return Interval(average_precision(frauds, challenger) - average_precision(frauds, champion), low, high)


class _Ranked:
    """Events from the highest score down, ranked once for all resamples."""

    def __init__(self, frauds: Flags, scores: Numbers) -> None:
        self._order = np.argsort(-scores, kind="stable")
        self._ends = np.flatnonzero(np.diff(scores[self._order], append=np.nan))
        self._frauds = frauds[self._order]

    def average_precision(self, weights: Times) -> float:
        """As `training.measures.average_precision`, each event so many times."""
        drawn = weights[self._order]
        found = np.cumsum(drawn * self._frauds)[self._ends]
        taken = np.cumsum(drawn)[self._ends]
        if not found[-1]:
            return float("nan")
        return float(np.sum(np.diff(found, prepend=0) * found / np.maximum(taken, 1)) / found[-1])


def _segments(frauds: Flags, champion: Numbers, challenger: Numbers, values: Sequence[Any]) -> list[Segment]:
    places: dict[str, list[int]] = {}
    for place, value in enumerate(values):
        places.setdefault("unknown" if value is None else str(value), []).append(place)
    found = []
    for value, mine in sorted(places.items(), key=lambda item: -len(item[1])):
        old, new = (
            figures_of(frauds[mine], scores[mine]).get("average_precision") for scores in (champion, challenger)
        )
        found.append(Segment(value, len(mine), int(frauds[mine].sum()), old, new))
    return found
