"""Scores of forests, by a traversal of bits instead of a walk from node to node.

QuickScorer: C. Lucchese et al., "QuickScorer: a Fast Algorithm to Rank Documents with Additive Ensembles of Regression
Trees" (SIGIR 2015, https://doi.org/10.1145/2766462.2767733). Each tree has a field of bits, one for each leaf. A node
that sends a value right rules out the leaves at its left; of the leaves that no node rules out, the leftmost is the one
that a walk ends at. All nodes of all trees that look at one feature rule out more the greater the value is, so what
they leave is looked up by one bisection, and the rest is arithmetic on whole numbers as long as the forest.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable
from math import exp, fsum
from operator import getitem
from typing import Any, Final

from detection.generated import define, indent
from detection.models.forest import LARGE_FIELD, Forest, Row, Tree
from detection.models.masks import Masks

SCORE_DIGITS: Final = 6

_EXACT: Final = 2.0**53
_FINEST: Final = 60


def scorer(forest: Forest, features: int) -> Callable[[Row], float]:
    """Generate the function that scores a row.

    Args:
        forest: A forest that `check_forest` lets through.
        features: How many values a row has.

    Returns:
        From a row to its score, 0 to 1, the same bit for bit as a walk through each tree and `score_of` give.
    """
    masks = leaves_left(forest, features)
    lines = masks.lines()
    # From the lowest bit of each field down all are set; then counting the bits of each byte, and adding up the bytes
    # of a field in its lowest one, gives 1 + the number of the leaf. See H. S. Warren, Hacker's Delight, chapter 5.
    lines += [
        "b ^= b - ONES",
        "b -= (b >> 1) & PAIRS",
        "b = (b & QUADS) + ((b >> 2) & QUADS)",
        "b = (b + (b >> 4)) & BYTES",
        "b += b >> 8",
        "b += b >> 16",
        *(["b += b >> 32"] if masks.field == LARGE_FIELD else []),
        f"return score(add(map(getitem, LEAVES, b.to_bytes({masks.size}, 'little')[::{masks.field // 8}])))",
    ]
    scope: dict[str, Any] = {
        **masks.scope(),
        "ONES": masks.each(1),
        "PAIRS": masks.filled(0x55),
        "QUADS": masks.filled(0x33),
        "BYTES": masks.filled(0x0F),
        "LEAVES": [(0.0, *tree.value) for tree in forest.trees],
        "add": sum if adds_exactly(forest.trees) else fsum,
        "score": score_of(forest),
        "getitem": getitem,
    }
    return define("score_row", ["def score_row(row):", *indent(lines)], scope)


def score_of(forest: Forest) -> Callable[[float], float]:
    """The function from the sum of a forest's leaves to its score, 0 to 1, rounded to six decimals."""
    raw = _logistic if forest.kind == "gradient_boosting" else _isolation(forest.scale)
    if not forest.knots:
        return lambda total: round(raw(total), SCORE_DIGITS)
    at, becomes = zip(*forest.knots, strict=True)
    last = len(at) - 1

    def score(total: float) -> float:
        x = raw(total)
        after = bisect_left(at, x)
        if not after or after > last:
            return float(round(becomes[min(after, last)], SCORE_DIGITS))
        low, high = at[after - 1], at[after]
        share = (x - low) / (high - low)
        return float(round(becomes[after - 1] + share * (becomes[after] - becomes[after - 1]), SCORE_DIGITS))

    return score


def _logistic(total: float) -> float:
    if total >= 0:
        return 1.0 / (1.0 + exp(-total))
    grown = exp(total)  # exp of a large number would overflow
    return grown / (1.0 + grown)


def _isolation(scale: float) -> Callable[[float], float]:
    return lambda total: 2.0 ** (-total / scale)


def leaves_left(forest: Forest, features: int) -> Masks:
    """What a row's values leave of the leaves: a bit for each, of which the lowest is the one that a walk ends at."""
    leaves = [(len(tree.value), _leaves_at_the_left(tree)) for tree in forest.trees]
    return Masks(forest.trees, leaves, features)


def _leaves_at_the_left(tree: Tree) -> list[int]:
    """Of each inner node: a bit for each leaf below its left child."""
    found = [0] * len(tree.feature)

    def below(child: int) -> int:  # at most as deep as a tree has leaves
        if child < 0:
            return 1 << ~child
        found[child] = below(tree.left[child])
        return found[child] | below(tree.right[child])

    below(0 if found else ~0)
    return found


def adds_exactly(trees: Iterable[Tree]) -> bool:
    """Whether floats hold each sum of leaves, also on the way to it, so that `sum` is as right as `fsum`.

    It is so if all are multiples of one power of two, and less than 2⁵³ of it come together.
    """
    trees = list(trees)
    finest = max(value.as_integer_ratio()[1].bit_length() - 1 for tree in trees for value in tree.value)
    if finest > _FINEST:
        return False
    return sum(max(map(abs, tree.value)) for tree in trees) * 2.0**finest < _EXACT
