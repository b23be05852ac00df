"""Scoring many rows at once against scoring each."""

import random

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from detection.models.forest import Forest, Tree, on_grid
from detection.models.scoring import scorer
from tests.detection.models.forests import VALUES, fields, forests, tree
from training.scoring import _AT_ONCE, batch_scorer

values = st.sampled_from([*VALUES, np.nan, np.inf, -np.inf]) | st.floats(allow_nan=True)
rows = st.lists(st.tuples(values, values, values), min_size=1, max_size=8)


def each(forest: Forest, rows: np.ndarray) -> list[str]:
    score = scorer(forest, rows.shape[1])
    return [score(row).hex() for row in rows.tolist()]


def together(forest: Forest, rows: np.ndarray) -> list[str]:
    return [score.hex() for score in batch_scorer(forest, rows.shape[1])(rows).tolist()]


@given(forests(), rows)
def test_scores_are_those_of_the_dataflow_bit_for_bit(forest: Forest, rows: list[tuple[float, ...]]) -> None:
    assert together(forest, np.array(rows)) == each(forest, np.array(rows))


@given(forests(), rows)
def test_scores_of_leaves_on_the_grid_are_too(forest: Forest, rows: list[tuple[float, ...]]) -> None:
    trees = [Tree(**{**fields(one), "value": list(map(on_grid, one.value))}) for one in forest.trees]
    rounded = Forest(forest.kind, trees, forest.scale, forest.knots)

    assert together(rounded, np.array(rows)) == each(rounded, np.array(rows))


def test_more_rows_than_are_scored_at_once_come_out_in_their_order() -> None:
    chance = random.Random(7)
    thresholds = [chance.random() for _ in range(50)]
    for leaves in (31, 64):
        grown = [tree(chance, 14, leaves, thresholds) for _ in range(60)]
        trees = [Tree(**{**fields(one), "value": list(map(on_grid, one.value))}) for one in grown]
        forest = Forest("gradient_boosting", trees)
        many = np.array(
            [[chance.choice([np.nan, chance.random()]) for _ in range(14)] for _ in range(2 * _AT_ONCE + 1)]
        )

        assert together(forest, many) == each(forest, many)


def test_no_rows_have_no_scores() -> None:
    forest = Forest("gradient_boosting", [Tree([], [], [], [], [], [0.5], [], [1.0])])

    assert batch_scorer(forest, 2)(np.empty((0, 2))).tolist() == []
