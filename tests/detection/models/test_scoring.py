"""Scoring by bits against walks."""

import random
from math import inf, log2, nan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detection.models.forest import Forest, Tree, check_forest, on_grid
from detection.models.scoring import score_of, scorer
from tests.detection.models.forests import FOREST, VALUES, fields, forests, tree, walked

values = st.none() | st.sampled_from([*VALUES, nan, inf, -inf]) | st.floats(allow_nan=True)


@given(forests(), st.lists(st.tuples(values, values, values), min_size=1, max_size=8))
def test_a_score_is_that_of_a_walk_bit_for_bit(forest: Forest, rows: list[tuple[float | None, ...]]) -> None:
    check_forest(forest, 3)
    score = scorer(forest, 3)

    assert [score(row).hex() for row in rows] == [walked(forest, row).hex() for row in rows]


@given(forests(), st.tuples(values, values, values))
def test_a_feature_that_no_node_looks_at_changes_no_score(forest: Forest, row: tuple[float | None, ...]) -> None:
    assert scorer(forest, 5)((*row, None, 1.0)) == scorer(forest, 3)(row)


@given(forests(), st.tuples(values, values, values))
def test_leaves_on_the_grid_are_added_up_as_exactly(forest: Forest, row: tuple[float | None, ...]) -> None:
    trees = [Tree(**{**fields(one), "value": list(map(on_grid, one.value))}) for one in forest.trees]
    rounded = Forest(forest.kind, trees, forest.scale, forest.knots)

    assert scorer(rounded, 3)(row) == walked(rounded, row)


def test_a_forest_of_its_usual_size_scores_as_its_walk_does() -> None:
    chance = random.Random(7)
    forest = Forest(
        "gradient_boosting", [tree(chance, 14, 31, [chance.random() for _ in range(50)]) for _ in range(100)]
    )
    score = scorer(forest, 14)

    for _ in range(200):
        row = [chance.choice([None, chance.random()]) for _ in range(14)]
        assert score(row) == walked(forest, row)


@pytest.mark.parametrize(("value", "score"), [(100.0, 0.119203), (100.01, 0.880797), (None, 0.119203), (nan, 0.119203)])
def test_a_value_at_the_threshold_goes_left_and_one_above_it_right(value: float | None, score: float) -> None:
    assert scorer(FOREST, 1)((value,)) == score


@pytest.mark.parametrize(("leaf", "score"), [(1e6, 1.0), (-1e6, 0.0), (800.0, 1.0), (-800.0, 0.0), (0.0, 0.5)])
def test_no_sum_is_too_large_for_a_score(leaf: float, score: float) -> None:
    only = Tree([], [], [], [], [], [leaf], [], [1.0])

    assert scorer(Forest("gradient_boosting", [only] * 1_000), 1)((None,)) == score


@pytest.mark.parametrize(("total", "score"), [(0.0, 1.0), (1.0, 0.5), (2.0, 0.25), (1.5, 0.353553), (100.0, 0.0)])
def test_of_an_isolation_forest_a_mean_path_as_long_as_its_scale_is_one_half(total: float, score: float) -> None:
    assert score_of(Forest("isolation_forest", [], scale=1.0))(total) == score


@pytest.mark.parametrize("leaf", [0.0, 1e6])
def test_no_scale_is_too_small_for_a_score(leaf: float) -> None:
    only = Tree([], [], [], [], [], [leaf], [], [1.0])

    assert scorer(Forest("isolation_forest", [only], scale=5e-324), 1)((None,)) == float(not leaf)


@pytest.mark.parametrize(
    ("raw", "score"), [(0.05, 0.1), (0.1, 0.1), (0.3, 0.3), (0.5, 0.5), (0.7, 0.5), (0.8, 0.75), (0.95, 1.0)]
)
def test_knots_are_linear_in_between_and_flat_beyond(raw: float, score: float) -> None:
    knots = [(0.1, 0.1), (0.5, 0.5), (0.7, 0.5), (0.9, 1.0)]

    assert score_of(Forest("isolation_forest", [], knots=knots))(-log2(raw)) == pytest.approx(score, abs=1e-6)
