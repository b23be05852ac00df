"""How the values that a model sees, and its scores, are spread, beside how they were in training."""

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from math import isnan
from typing import Final

from detection.models.files import SCORE, Reference
from detection.models.forest import Row
from detection.reporting.drift import stability

EVERY: Final = 10
"""One event in so many is looked at: by its offset, so that it is the same ones each time."""

REMEMBERED: Final = 20_000
"""When so many events were looked at, each of them counts half from then on: the index is about the newest ones."""

LEAST: Final = 500
"""Events to look at before it is told: of so few, in ten classes, chance makes an index of up to 0.04."""


class Spread:
    """Counts a sample of what one model sees and says."""

    def __init__(self, features: Sequence[str], reference: Mapping[str, Reference]) -> None:
        """Begin with nothing.

        Args:
            features: Names of a row's values.
            reference: How these, and `score`, were spread in training; what it does not name is not looked at.
        """
        self._looked_at = [
            (index, reference[name].edges, [0] * (len(reference[name].counts) + 1))
            for index, name in enumerate((*features, SCORE))
            if name in reference
        ]
        self._before = {name: [*seen.counts, seen.unknown] for name, seen in reference.items()}
        self._names = (*features, SCORE)
        self._total = 0

    def add(self, row: Row, score: float | None) -> None:
        """Count an event."""
        values = (*row, score)
        for index, edges, counts in self._looked_at:
            value = values[index]
            counts[-1 if value is None or isnan(value) else bisect_left(edges, value)] += 1
        self._total += 1
        if self._total >= REMEMBERED:
            self._total = REMEMBERED // 2
            for _, _, counts in self._looked_at:
                counts[:] = [count // 2 for count in counts]

    def stability(self) -> dict[str, float]:
        """The population stability index of each feature and of the score; empty until enough was looked at."""
        if self._total < LEAST:
            return {}
        found = {
            self._names[index]: stability(counts, self._before[self._names[index]])
            for index, _, counts in self._looked_at
        }
        return {name: index for name, index in found.items() if index is not None}
