"""Isolation Forest, for the first day: it knows no labels, and finds what is unlike the rest.

F. T. Liu, K. M. Ting, Z.-H. Zhou, "Isolation Forest" (ICDM 2008, https://doi.org/10.1109/ICDM.2008.17).
"""

from math import log
from typing import Any, Final

import msgspec
import numpy as np
from sklearn.ensemble import IsolationForest

from detection.models.forest import Forest, Tree, on_grid
from training.arrays import Matrix
from training.scoring import batch_scorer
from training.trees import NodeArrays, tree_of

_EULER: Final = 0.5772156649015329
_QUANTILES: Final = (*(part / 100 for part in range(100)), 0.995, 0.999, 1.0)
_MOST_ROWS: Final = 20_000


class Isolation(msgspec.Struct, frozen=True, kw_only=True):
    """How trees are grown.

    Attributes:
        trees: How many.
        samples: Rows that each tree isolates; so many leaves it has at the most.
        seed: Of what is drawn.
    """

    trees: int = 200
    samples: int = 64
    seed: int = 1


def isolate(rows: Matrix, settings: Isolation | None = None) -> Forest:
    """Grow a forest whose score is the share of the training rows that are less strange: above 0.99 is 1 in 100.

    Args:
        rows: A row for each event; NaN where a value is unknown: it takes the way of the feature's median.
        settings: How.
    """
    settings = settings or Isolation()
    known = ~np.isnan(rows)
    medians = np.array(
        [np.median(column[there]) if there.any() else 0.0 for column, there in zip(rows.T, known.T, strict=True)]
    )
    grown = IsolationForest(
        n_estimators=settings.trees, max_samples=min(settings.samples, len(rows)), random_state=settings.seed
    ).fit(np.where(known, rows, medians))
    trees = [_tree(estimator.tree_, medians) for estimator in grown.estimators_]
    forest = Forest("isolation_forest", trees, scale=len(trees) * path_length(min(settings.samples, len(rows))))
    return msgspec.structs.replace(forest, knots=_knots(forest, rows, settings.seed))


def path_length(rows: int) -> float:
    """The mean length of the path of a search without success in a binary tree of so many rows, c(n).

    >>> path_length(1), path_length(2), round(path_length(64), 3)
    (0.0, 1.0, 7.472)
    """
    if rows < 2:  # noqa: PLR2004  (alone already)
        return 0.0
    return 1.0 if rows == 2 else 2.0 * (log(rows - 1.0) + _EULER) - 2.0 * (rows - 1.0) / rows  # noqa: PLR2004


def _tree(grown: Any, medians: Matrix) -> Tree:
    arrays = NodeArrays()
    ahead = [(0, -1, False, 0)]
    while ahead:
        number, parent, is_left, depth = ahead.pop()
        cover = int(grown.n_node_samples[number])
        left, right = int(grown.children_left[number]), int(grown.children_right[number])
        if left >= 0:
            feature, threshold = int(grown.feature[number]), float(grown.threshold[number])
            place = arrays.inner(feature, threshold, bool(medians[feature] <= threshold), float(cover))
            ahead += [(right, place, False, depth + 1), (left, place, True, depth + 1)]
        else:
            place = arrays.leaf(on_grid(depth + path_length(cover)), float(cover))
        arrays.link(parent, place, is_left=is_left)
    return tree_of(arrays)


def _knots(forest: Forest, rows: Matrix, seed: int) -> list[tuple[float, float]]:
    """Raw scores and the share of the rows that are below them."""
    if len(rows) > _MOST_ROWS:
        rows = np.random.default_rng(seed).choice(rows, _MOST_ROWS, replace=False)
    raw = batch_scorer(forest, rows.shape[1])(rows)
    knots = dict(zip(np.quantile(raw, _QUANTILES).tolist(), _QUANTILES, strict=True))  # of equal ones the last
    return list(knots.items())
