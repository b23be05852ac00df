"""How much each feature has to do with a score: Shapley values, exact.

S. M. Lundberg et al., "From local explanations to global understanding with explainable AI for trees" (Nature Machine
Intelligence 2, 2020, https://doi.org/10.1038/s42256-019-0138-9): path-dependent TreeSHAP. What a tree says without
knowing a feature is the mean of both ways, weighted by the training weight that went them.

To a leaf, a feature that its path looks at has a factor: 1 if it agrees with the path and 0 if not (o), or, while it is
not known, the share of the weight that goes this way (z). The Shapley value of a feature is the integral over t from
0 to 1 of (o - z) times the product of t o + (1 - t) z over all other features of the path: G. Owen, "Multilinear
extensions of games" (Management Science 18, 1972, https://doi.org/10.1287/mnsc.18.5.64). That is a polynomial, so a
Gauss-Legendre sum of half as many points as there are features is exact, and one walk through all nodes of a tree,
which multiplies on its way down and adds up on its way back, gives the values of all features: the idea of P. Yu et
al., "Linear TreeShap" (NeurIPS 2022, https://arxiv.org/abs/2209.08192).
"""

from collections.abc import Callable
from functools import cache
from math import cos, pi
from struct import Struct
from typing import Any, Final, Literal, TypeAlias

from detection.generated import define, indent
from detection.models.forest import LARGE_FIELD, Forest, Row, Tree
from detection.models.masks import Masks

Vector: TypeAlias = tuple[float, ...]
"""Numbers for the points of the sum."""

_REMEMBERED: Final = 128
"""Patterns of decisions of one tree whose values are kept."""


class Explainer:
    """Explains the sum of a forest's leaves."""

    def __init__(self, forest: Forest, features: int) -> None:
        """Take the trees apart.

        Args:
            forest: A forest that `check_forest` lets through.
            features: How many values a row has.
        """
        self._trees = [_Explained(tree) for tree in forest.trees]
        self._features = features
        self._decisions = _decisions(forest.trees, features)

    def __call__(self, row: Row) -> list[float]:
        """The contribution of each feature: together the sum of the leaves less its mean in training."""
        total = [0.0] * self._features
        for tree, decisions in zip(self._trees, self._decisions(row), strict=True):
            for feature, contribution in zip(tree.features, tree.contributions(decisions), strict=True):
                total[feature] += contribution
        return total


def _decisions(trees: list[Tree], features: int) -> Callable[[Row], tuple[int, ...]]:
    """Generate the function from a row to the nodes of each tree that send it left, a bit for each."""
    nodes = [len(tree.feature) for tree in trees]
    masks = Masks(trees, [(number, [1 << node for node in range(number)]) for number in nodes], features)
    fields = Struct(f"<{len(trees)}{'Q' if masks.field == LARGE_FIELD else 'I'}")
    lines = [*masks.lines(), f"return unpack(b.to_bytes({masks.size}, 'little'))"]
    return define("decisions", ["def decisions(row):", *indent(lines)], {**masks.scope(), "unpack": fields.unpack})


class _Explained:
    """One tree.

    Attributes:
        features: Those that it looks at.
    """

    def __init__(self, tree: Tree) -> None:
        self.features = sorted(set(tree.feature))
        points = _points(max(1, (_longest(tree) + 1) // 2))
        self._nodes = _nodes(tree, self.features, points)
        self._values = tree.value
        self._walk = _walk(len(points))
        self._start = (1.0,) * len(points)
        self._known: dict[int, list[float]] = {}

    def contributions(self, decisions: int) -> list[float]:
        """Of each of its features, for what these nodes send left, a bit for each."""
        found = self._known.get(decisions)
        if found is None:
            found = [0.0] * len(self.features)
            if found:
                self._walk(0, decisions, 0, self._nodes, self._values, found, *self._start)
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            self._known[decisions] = found
        return found


_Node: TypeAlias = tuple[int, int, int, int, int, float, float, Vector, Vector]
"""The place of a node's feature, its bit, the bit of the node above it with the same feature (0: none), its children,
and the shares of these; then what counts where the value goes left, and where it goes right, see `_factors`."""


def _nodes(tree: Tree, features: list[int], points: list[tuple[float, float]]) -> list[_Node]:
    found: list[Any] = [None] * len(tree.feature)
    ahead: list[tuple[int, dict[int, tuple[int, float]]]] = [(0, {})] if found else []
    while ahead:
        node, way = ahead.pop()
        feature, children = tree.feature[node], (tree.left[node], tree.right[node])
        above, share = way.get(feature, (0, 1.0))
        covers = [_cover(tree, child) for child in children]
        left, right = (cover / sum(covers) for cover in covers)
        found[node] = (
            *(features.index(feature), 1 << node, above, *children, left, right),
            _factors(share, share * left, share * right, points, agrees="left"),
            _factors(share, share * left, share * right, points, agrees="right"),
        )
        ahead += (
            (child, {**way, feature: (1 << node, share * part)})
            for child, part in zip(children, (left, right), strict=True)
            if child >= 0
        )
    return found


def _factors(
    old: float, left: float, right: float, points: list[tuple[float, float]], *, agrees: Literal["left", "right"]
) -> Vector:
    """What a node does to a feature that agreed so far, one number for each point and each of four things.

    On the way down to the left, and to the right, the product is multiplied by the new factor over the old one. On the
    way back, what comes from the left, and from the right, counts by the new (o - z) over its factor less the old one.

    Args:
        old: The share of the training weight that goes the way of the feature so far.
        left: The share that goes on to the left.
        right: The share that goes on to the right.
        points: Those of the sum, and their weights.
        agrees: The side that the value goes to.
    """
    o_left, o_right = (1.0, 0.0) if agrees == "left" else (0.0, 1.0)
    down_left: list[float] = []
    down_right: list[float] = []
    up_left: list[float] = []
    up_right: list[float] = []
    for t, weight in points:
        before = t + (1.0 - t) * old
        counted = (1.0 - old) / before
        for o, z, down, up in ((o_left, left, down_left, up_left), (o_right, right, down_right, up_right)):
            factor = t * o + (1.0 - t) * z
            down.append(factor / before)
            up.append(weight * ((o - z) / factor - counted))
    return (*down_left, *down_right, *up_left, *up_right)


@cache
def _walk(points: int) -> Callable[..., Vector]:
    """Generate the walk for so many points.

    Of a feature that agreed no more further up, a node has nothing to tell: only the shares of its sides count.
    """

    def each(text: str, joint: str = ", ") -> str:
        return joint.join(text.replace("#", str(number)) for number in range(points))

    def below(child: str, name: str) -> list[str]:
        walked = f"walk({child}, decisions, {child}_agreed, nodes, values, found, {each(f'{name}#')})"
        return [
            f"if {child} < 0:",
            f"    value = values[~{child}]",
            *(f"    {name}{number} *= value" for number in range(points)),
            "else:",
            f"    {each(f'{name}#')}, = {walked}",
        ]

    factors = ", ".join(each(f"{name}#") for name in ("l", "r", "x", "y"))
    lines = [
        "place, bit, above, left, right, left_share, right_share, if_left, if_right = nodes[child]",
        "left_agreed = right_agreed = agreed",
        "told = not above or agreed & above",
        "if told:",
        "    if decisions & bit:",
        f"        {factors} = if_left",
        "        left_agreed |= bit",
        "    else:",
        f"        {factors} = if_right",
        "        right_agreed |= bit",
        *(f"    a{number} = p{number} * l{number}; b{number} = p{number} * r{number}" for number in range(points)),
        "else:",
        *(f"    a{number} = p{number} * left_share; b{number} = p{number} * right_share" for number in range(points)),
        *below("left", "a"),
        *below("right", "b"),
        "if told:",
        f"    found[place] += {each('a# * x# + b# * y#', ' + ')}",
        f"return {each('a# + b#')},",
    ]
    head = f"def walk(child, decisions, agreed, nodes, values, found, {each('p#')}):"
    return define("walk", [head, *indent(lines)], {})


def _longest(tree: Tree) -> int:
    """How many features a path looks at, at the most."""
    most = 0
    ahead: list[tuple[int, frozenset[int]]] = [(0 if tree.feature else ~0, frozenset())]
    while ahead:
        child, way = ahead.pop()
        most = max(most, len(way))
        if child >= 0:
            way |= {tree.feature[child]}
            ahead += ((tree.left[child], way), (tree.right[child], way))
    return most


def _cover(tree: Tree, child: int) -> float:
    return tree.leaf_cover[~child] if child < 0 else tree.node_cover[child]


@cache
def _points(number: int) -> list[tuple[float, float]]:
    """Points and weights of the Gauss-Legendre sum from 0 to 1: the roots of a polynomial, by Newton's method."""
    found = []
    for index in range(number):
        x = cos(pi * (index + 0.75) / (number + 0.5))
        for _ in range(10):  # doubles its digits each time
            value, before = x, 1.0
            for degree in range(2, number + 1):
                value, before = ((2 * degree - 1) * x * value - (degree - 1) * before) / degree, value
            slope = number * (x * value - before) / (x * x - 1.0)
            x -= value / slope
        found.append(((1.0 + x) / 2.0, 1.0 / ((1.0 - x * x) * slope * slope)))
    return found
