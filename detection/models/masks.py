"""What a row's values leave of all trees of a forest, as one whole number: a bisection and an `&` for each feature."""

from bisect import bisect_left
from collections.abc import Sequence
from itertools import groupby
from operator import itemgetter
from typing import Any

from detection.models.forest import Tree, field_of


class Masks:
    """Each tree has a field of bits. A node that a value goes right at rules some of them out.

    All nodes of all trees that look at one feature rule out more the greater the value is, so what they leave is kept
    for each threshold.

    Attributes:
        field: Bits of each tree; the first tree has the lowest ones.
        size: Bytes of all fields.
    """

    def __init__(self, trees: Sequence[Tree], ruled_out: Sequence[tuple[int, Sequence[int]]], features: int) -> None:
        """Work out what is left.

        Args:
            trees: The trees.
            ruled_out: Of each tree how many bits it has, and of each of its inner nodes those that it rules out.
            features: How many values a row has.
        """
        self.field = field_of(trees)
        self._trees = len(trees)
        self.size = self._trees * self.field // 8
        self._start = sum((1 << bits) - 1 << self.field * number for number, (bits, _) in enumerate(ruled_out))
        self._thresholds: list[list[float]] = [[] for _ in range(features)]
        self._left: list[list[int]] = [[self._start] for _ in range(features)]
        self._unknown = [self._start] * features
        nodes: list[list[tuple[float, int]]] = [[] for _ in range(features)]
        for number, (tree, (_, outs)) in enumerate(zip(trees, ruled_out, strict=True)):
            for feature, threshold, missing_left, out in zip(
                tree.feature, tree.threshold, tree.missing_left, outs, strict=True
            ):
                placed = out << self.field * number
                nodes[feature].append((threshold, placed))
                if not missing_left:
                    self._unknown[feature] &= ~placed
        for found, thresholds, left in zip(nodes, self._thresholds, self._left, strict=True):
            found.sort(key=itemgetter(0))
            for threshold, same in groupby(found, itemgetter(0)):
                remaining = left[-1]
                for _, out in same:
                    remaining &= ~out
                thresholds.append(threshold)
                left.append(remaining)

    def lines(self) -> list[str]:
        """Source that makes `b`, what is left, from a `row`; wants `scope`."""
        features = range(len(self._thresholds))
        values = "".join(f"x{index}, " for index in features)
        return [
            f"{values}= row",
            "b = START",
            *(
                f"b &= U{index} if x{index} is None or x{index} != x{index} else M{index}[bisect(T{index}, x{index})]"
                for index in features
                if self._thresholds[index]
            ),
        ]

    def scope(self) -> dict[str, Any]:
        """What the source names."""
        found: dict[str, Any] = {"START": self._start, "bisect": bisect_left}
        for index, thresholds in enumerate(self._thresholds):
            if thresholds:
                found |= {f"T{index}": thresholds, f"M{index}": self._left[index], f"U{index}": self._unknown[index]}
        return found

    def each(self, value: int) -> int:
        """A number with this value in the field of each tree."""
        return int.from_bytes(value.to_bytes(self.field // 8, "little") * self._trees, "little")

    def filled(self, byte: int) -> int:
        """A number with this value in each byte."""
        return int.from_bytes(bytes([byte]) * self.size, "little")
