"""Random forests for tests, and the plain walk that scoring is held to."""

import random
from math import fsum, isnan
from typing import Any

from hypothesis import strategies as st

from detection.models.files import Manifest, Reference
from detection.models.forest import MOST_LEAVES, Forest, Row, Tree
from detection.models.scoring import score_of


def tree(chance: random.Random, features: int, leaves: int, thresholds: list[float]) -> Tree:
    """Any shape; only the first of two features or more is never looked at if `features` says one less."""
    built: dict[str, list[Any]] = {name: [] for name in Tree.__struct_fields__}

    def grow(number: int) -> tuple[int, float]:
        if number == 1:
            built["value"].append(chance.choice([chance.gauss(0, 1), 0.25, -0.0]))
            built["leaf_cover"].append(cover := float(chance.randint(1, 9)))
            return ~(len(built["value"]) - 1), cover
        node = len(built["feature"])
        built["feature"].append(chance.randrange(features))
        built["threshold"].append(chance.choice(thresholds))
        built["missing_left"].append(chance.random() < 0.5)
        for name in ("left", "right", "node_cover"):
            built[name].append(0)
        at_the_left = chance.randint(1, number - 1)
        built["left"][node], left = grow(at_the_left)
        built["right"][node], right = grow(number - at_the_left)
        built["node_cover"][node] = left + right
        return node, left + right

    grow(leaves)
    return Tree(**built)


def leaf_of(tree: Tree, row: Row) -> int:
    """A walk from node to node."""
    child = 0 if tree.feature else ~0
    while child >= 0:
        value = row[tree.feature[child]]
        left = tree.missing_left[child] if value is None or isnan(value) else value <= tree.threshold[child]
        child = (tree.left if left else tree.right)[child]
    return ~child


def walked(forest: Forest, row: Row) -> float:
    """The score by walks."""
    return score_of(forest)(fsum(tree.value[leaf_of(tree, row)] for tree in forest.trees))


VALUES = [-1.5, -0.0, 0.0, 0.5, 1.0, 1e-300, 2.0, 1e300]
"""Thresholds and values meet in these."""


@st.composite
def forests(draw: st.DrawFn, features: int = 3, most: int = MOST_LEAVES) -> Forest:
    """Boosted or isolating, with and without knots."""
    chance = random.Random(draw(st.integers(0, 2**32)))
    sizes = draw(st.lists(st.integers(1, draw(st.sampled_from([3, min(32, most), most]))), min_size=1, max_size=6))
    trees = [tree(chance, features, size, VALUES[: chance.randint(1, len(VALUES))]) for size in sizes]
    knots = draw(st.sampled_from([[], [(0.5, 0.25)], [(0.1, 0.0), (0.5, 0.5), (0.75, 0.5), (0.9, 1.0)]]))
    if draw(st.booleans()):
        return Forest("gradient_boosting", trees, knots=knots)
    paths = [Tree(**{**fields(one), "value": [abs(value) for value in one.value]}) for one in trees]
    return Forest("isolation_forest", paths, scale=draw(st.sampled_from([1.0, 3.7])), knots=knots)


def fields(one: Tree) -> dict[str, Any]:
    return {name: getattr(one, name) for name in Tree.__struct_fields__}


STUMP = Tree(
    feature=[0],
    threshold=[100.0],
    left=[~0],
    right=[~1],
    missing_left=[True],
    value=[-2.0, 2.0],
    node_cover=[10.0],
    leaf_cover=[9.0, 1.0],
)
"""Over 100 is suspicious."""

FOREST = Forest("gradient_boosting", [STUMP])


def manifest(**changes: Any) -> Manifest:
    return Manifest(
        **{
            "format": 1,
            "name": "payments",
            "kind": "gradient_boosting",
            "event": "pay",
            "features": ["amount"],
            "definitions": "d" * 64,
            "pack": "p" * 64,
            "trained": {"from": "2026-01-01T00:00:00+00:00", "rows": 10, "frauds": 1},
            "figures": {"average_precision": 0.5},
            "reference": {"amount": Reference([10.0, 20.0], [3, 3, 4]), "score": Reference([], [10])},
            **changes,
        }
    )
