"""Forests of binary trees, as plain data."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Final, Literal, TypeAlias

import msgspec

Row: TypeAlias = Sequence[float | None]
"""The values of a model's features in order; None, or what is no number, is unknown."""

MOST_LEAVES: Final = 64
"""Of one tree."""

MOST_TREES: Final = 1_000
LARGEST_SCORER: Final = 128 * 1024 * 1024
"""Bytes that scoring may keep, see `detection.models.masks`: 1,000 trees of 32 leaves, or 500 of 64. Explaining keeps
as much again."""

SMALL_FIELD: Final = 32
LARGE_FIELD: Final = 64
"""Bits that scoring keeps of a tree: `field_of` says which."""

MOST_FEATURES: Final = 256
LARGEST_LEAF: Final = 1e6
"""The greatest absolute value of a leaf: the sum of a forest stays far from where floats end."""


class ForestError(ValueError):
    """Trees that are none, or not of these features."""


class Tree(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One binary tree.

    A child is an inner node if it is not negative, else `~child` is the number of a leaf. Leaves are numbered from left
    to right. The root is inner node 0; a tree without inner nodes is its one leaf.

    A value goes left when it is at most the threshold. An unknown value goes left where `missing_left` says so.

    Attributes:
        feature: Of each inner node: the index of the feature it looks at.
        threshold: Of each inner node; finite.
        left: Of each inner node: the child for values up to the threshold.
        right: Of each inner node: the child for greater values.
        missing_left: Of each inner node: whether it sends unknown values left.
        value: Of each leaf; finite. Multiples of 2⁻⁴⁰, as `on_grid` makes them, are added up in the least time.
        node_cover: Training weight that came to each inner node; positive.
        leaf_cover: Training weight that came to each leaf; positive.
    """

    feature: list[int]
    threshold: list[float]
    left: list[int]
    right: list[int]
    missing_left: list[bool]
    value: list[float]
    node_cover: list[float]
    leaf_cover: list[float]


class Forest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Trees whose leaf values are added up, and how the sum S becomes a score.

    Of gradient boosting the raw score is 1 / (1 + exp(-S)), of an isolation forest 2^(-S / scale): F. T. Liu,
    K. M. Ting, Z.-H. Zhou, "Isolation Forest" (ICDM 2008, https://doi.org/10.1109/ICDM.2008.17).

    Attributes:
        kind: What the trees are.
        trees: The trees.
        scale: Of an isolation forest: the number of its trees times the mean path length c(n) of its samples. Else 1.
        knots: Raw scores, ascending, each with the score (0 to 1, never falling) that it becomes; linear in between,
            and beyond them as at the nearest. None: the raw score is the score.
    """

    kind: Literal["gradient_boosting", "isolation_forest"]
    trees: list[Tree]
    scale: float = 1.0
    knots: list[tuple[float, float]] = []


def on_grid(value: float) -> float:
    """The multiple of 2⁻⁴⁰ that is nearest to a leaf's value.

    Sums of such values, as long as they stay below 2¹³, are exact in floats, so the quickest way to add is right.

    >>> on_grid(0.1) == 0.1, abs(on_grid(0.1) - 0.1) <= 2**-41
    (False, True)
    """
    return round(value * _GRID) / _GRID


_GRID: Final = 2.0**40


def field_of(trees: Sequence[Tree]) -> int:
    """How many bits hold one for each leaf, or each inner node, of any of these trees."""
    return LARGE_FIELD if max(len(tree.value) for tree in trees) > SMALL_FIELD else SMALL_FIELD


def check_forest(forest: Forest, features: int) -> None:
    """Hold a forest to what the attributes of its classes say.

    Args:
        forest: The forest.
        features: How many features a row has.

    Raises:
        ForestError: What was expected where, and what came.
    """
    expect(1 <= features <= MOST_FEATURES, "features", f"1 to {MOST_FEATURES}", features)
    expect(1 <= len(forest.trees) <= MOST_TREES, "trees", f"1 to {MOST_TREES}", len(forest.trees))
    expect(0 < forest.scale <= LARGEST_LEAF * MOST_TREES, "scale", "a positive number", forest.scale)
    for number, ((low, low_score), (high, high_score)) in enumerate(pairwise(forest.knots)):
        place = f"knots[{number + 1}]"
        expect(low < high, place, f"a raw score above {low}", high)
        expect(low_score <= high_score, place, f"a score of at least {low_score}", high_score)
    for number, (_, score) in enumerate(forest.knots):
        expect(0 <= score <= 1, f"knots[{number}]", "a score of 0 to 1", score)
    for number, tree in enumerate(forest.trees):
        _check_tree(tree, features, f"trees[{number}]")
        if forest.kind == "isolation_forest":
            expect(min(tree.value) >= 0, f"trees[{number}].value", "path lengths", min(tree.value))
    _check_size(forest)


def _check_size(forest: Forest) -> None:
    """A scorer keeps, for each inner node, a field of bits for each tree."""
    kept = sum(len(tree.feature) for tree in forest.trees) * len(forest.trees) * field_of(forest.trees) // 8
    expect(kept <= LARGEST_SCORER, "trees", f"such as take a scorer of {LARGEST_SCORER} bytes", kept)


def _check_tree(tree: Tree, features: int, place: str) -> None:
    nodes, leaves = len(tree.feature), len(tree.value)
    expect(1 <= leaves <= MOST_LEAVES, f"{place}.value", f"1 to {MOST_LEAVES} leaves", leaves)
    expect(nodes == leaves - 1, f"{place}.feature", f"{leaves - 1} inner nodes for {leaves} leaves", nodes)
    for name in ("threshold", "left", "right", "missing_left", "node_cover"):
        expect(len(getattr(tree, name)) == nodes, f"{place}.{name}", f"{nodes} members", len(getattr(tree, name)))
    expect(len(tree.leaf_cover) == leaves, f"{place}.leaf_cover", f"{leaves} members", len(tree.leaf_cover))
    for node, feature in enumerate(tree.feature):
        expect(0 <= feature < features, f"{place}.feature[{node}]", f"an index below {features}", feature)
    for name in ("node_cover", "leaf_cover"):
        for cover in getattr(tree, name):
            expect(0 < cover < float("inf"), f"{place}.{name}", "positive numbers", cover)
    for threshold in tree.threshold:
        expect(abs(threshold) < float("inf"), f"{place}.threshold", "finite numbers", threshold)
    for value in tree.value:
        expect(abs(value) <= LARGEST_LEAF, f"{place}.value", f"numbers up to ±{LARGEST_LEAF:.0f}", value)
    _check_shape(tree, place)


def _check_shape(tree: Tree, place: str) -> None:
    """Each node has one way to it, and the leaves are in order: so there is no cycle, and nothing beside the tree."""
    nodes, leaves = len(tree.feature), len(tree.value)
    seen: set[int] = set()
    leaf = 0
    ahead = [0 if nodes else ~0]
    while ahead:
        child = ahead.pop()
        expect(-leaves <= child < nodes, f"{place}: a child", f"{-leaves} to {nodes - 1}", child)
        if child < 0:
            expect(~child == leaf, f"{place}: leaf {~child}", f"leaf {leaf}, in order from left to right", ~child)
            leaf += 1
            continue
        expect(child not in seen, f"{place}: inner node {child}", "one way to it", "two, or a cycle")
        seen.add(child)
        ahead += (tree.right[child], tree.left[child])
    expect(len(seen) == nodes, f"{place}: inner nodes", f"a way to each of {nodes}", f"one to {len(seen)}")


def expect(holds: bool, place: str, expected: str, got: object) -> None:  # noqa: FBT001
    """Raise a ForestError unless a condition holds."""
    if not holds:
        msg = f"{place}: expected {expected}, got {got}"
        raise ForestError(msg)
