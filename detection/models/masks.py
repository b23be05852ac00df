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
        start: What is left before any value was looked at.
        thresholds: By feature, ascending.
        left: By feature what a value leaves: one up to the first threshold, one between each two, one beyond the last.
        unknown: By feature what an unknown value leaves.
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
        self.start = sum((1 << bits) - 1 << self.field * number for number, (bits, _) in enumerate(ruled_out))
        self.thresholds: list[list[float]] = [[] for _ in range(features)]
        self.left: list[list[int]] = [[self.start] for _ in range(features)]
        self.unknown = [self.start] * features
        nodes: list[list[tuple[float, int]]] = [[] for _ in range(features)]
        for number, (tree, (_, outs)) in enumerate(zip(trees, ruled_out, strict=True)):
            for feature, threshold, missing_left, out in zip(
                tree.feature, tree.threshold, tree.missing_left, outs, strict=True
            ):
                placed = out << self.field * number
                nodes[feature].append((threshold, placed))
                if not missing_left:
                    self.unknown[feature] &= ~placed
        for found, thresholds, left in zip(nodes, self.thresholds, self.left, strict=True):
            found.sort(key=itemgetter(0))
            for threshold, same in groupby(found, itemgetter(0)):
                remaining = left[-1]
                for _, out in same:
                    remaining &= ~out
                thresholds.append(threshold)
                left.append(remaining)

    def lines(self) -> list[str]:
        """Source that makes `b`, what is left, from a `row`; wants `scope`."""
        features = range(len(self.thresholds))
        values = "".join(f"x{index}, " for index in features)
        return [
            f"{values}= row",
            "b = START",
            *(
                f"b &= U{index} if x{index} is None or x{index} != x{index} else M{index}[bisect(T{index}, x{index})]"
                for index in features
                if self.thresholds[index]
            ),
        ]

    def scope(self) -> dict[str, Any]:
        """What the source names."""
        found: dict[str, Any] = {"START": self.start, "bisect": bisect_left}
        for index, thresholds in enumerate(self.thresholds):
            if thresholds:
                found |= {f"T{index}": thresholds, f"M{index}": self.left[index], f"U{index}": self.unknown[index]}
        return found

    def each(self, value: int) -> int:
        """A number with this value in the field of each tree."""
        return int.from_bytes(value.to_bytes(self.field // 8, "little") * self._trees, "little")

    def filled(self, byte: int) -> int:
        """A number with this value in each byte."""
        return int.from_bytes(bytes([byte]) * self.size, "little")
