"""The scores of many rows at once: the same as the dataflow's, in less time.

The traversal of `detection.models.scoring` over arrays. Where that one rules out leaves of all trees with one `&` of
long numbers, here a matrix holds what each value leaves of each tree, and one `&` does so for many rows.
"""

from collections.abc import Callable
from itertools import groupby
from operator import itemgetter
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from detection.models.forest import SMALL_FIELD, Forest, field_of
from detection.models.scoring import adds_exactly, leaves_at_the_left, score_of, scorer
from training.arrays import Matrix, Numbers

_Bits: TypeAlias = NDArray[np.unsignedinteger[Any]]

_AT_ONCE: Final = 256
"""Rows: what they leave of 300 trees fits into the cache."""


def batch_scorer(forest: Forest, features: int) -> Callable[[Matrix], Numbers]:
    """Make the function that scores rows.

    Args:
        forest: A forest that `check_forest` lets through.
        features: How many values a row has.

    Returns:
        From rows to their scores, 0 to 1, the same bit for bit as those of `detection.models.scoring.scorer`.
    """
    if not adds_exactly(forest.trees):  # the order of a sum would show
        score = scorer(forest, features)
        return lambda rows: np.array([score(row) for row in rows.tolist()])
    bits, looked_at = _tables(forest, features)
    leaves = np.zeros((len(forest.trees), field_of(forest.trees)))
    for number, tree in enumerate(forest.trees):
        leaves[number, : len(tree.value)] = tree.value
    values, first = leaves.ravel(), np.arange(len(forest.trees)) * leaves.shape[1]
    finish, one = score_of(forest), bits.dtype.type(1)

    def score_some(rows: Matrix) -> list[float]:
        left = np.repeat(bits[None, :], len(rows), axis=0)
        for feature, thresholds, table in looked_at:
            column = rows[:, feature]
            place = np.searchsorted(thresholds, column, side="left")
            place[np.isnan(column)] = len(table) - 1
            left &= table[place]
        lowest = (left & (~left + one)).astype(np.float64)
        leaf = (lowest.view(np.int64) >> 52) - 1023  # a power of two: its exponent
        return [finish(total) for total in values[first + leaf].sum(axis=1).tolist()]

    def score_all(rows: Matrix) -> Numbers:
        parts = (rows[begin : begin + _AT_ONCE] for begin in range(0, len(rows), _AT_ONCE))
        return np.array([score for part in parts for score in score_some(part)])

    return score_all


def _tables(forest: Forest, features: int) -> tuple[_Bits, list[tuple[int, Numbers, _Bits]]]:
    """A bit for each leaf of each tree; and by feature its thresholds, and what is left of each tree between them.

    The last row of such a table is what an unknown value leaves.
    """
    kind = np.uint32 if field_of(forest.trees) == SMALL_FIELD else np.uint64
    bits: _Bits = np.array([(1 << len(tree.value)) - 1 for tree in forest.trees], dtype=kind)
    nodes: list[list[tuple[float, int, int]]] = [[] for _ in range(features)]
    unknown = np.repeat(bits[None, :], features, axis=0)
    for number, tree in enumerate(forest.trees):
        outs = leaves_at_the_left(tree)
        for feature, threshold, missing_left, out in zip(
            tree.feature, tree.threshold, tree.missing_left, outs, strict=True
        ):
            nodes[feature].append((threshold, number, out))
            if not missing_left:
                unknown[feature, number] &= ~kind(out)
    looked_at = []
    for feature, found in enumerate(nodes):
        left, thresholds, rows = bits.copy(), [], [bits]
        for threshold, same in groupby(sorted(found), itemgetter(0)):
            for _, number, out in same:
                left[number] &= ~kind(out)
            thresholds.append(threshold)
            rows.append(left.copy())
        if thresholds:
            looked_at.append((feature, np.array(thresholds), np.array([*rows, unknown[feature]])))
    return bits, looked_at
