"""Trees that LightGBM grew, scored and explained by our own code."""

from math import log

import numpy as np
import pytest

from detection.models.explaining import Explainer
from detection.models.forest import check_forest
from detection.models.scoring import scorer
from training.arrays import Flags, Matrix
from training.boosting import Boosting, boost, forest_of, train

SETTINGS = Boosting(rounds=15, least_in_leaf=10)


def data(unknown: float, count: int = 1_500, seed: int = 3) -> tuple[Matrix, Flags]:
    """Columns with values below, at and above zero, and one that is often zero; fraud depends on them and on chance."""
    random = np.random.default_rng(seed)
    rows = random.normal(size=(count, 5))
    rows[:, 1] = np.maximum(rows[:, 1], 0)
    rows[:, 2] = np.round(rows[:, 2])
    frauds = rows[:, 0] + rows[:, 1] * rows[:, 2] + random.normal(size=count) > 1.5
    rows[random.random(rows.shape) < unknown] = np.nan
    return rows, frauds


@pytest.mark.parametrize("unknown", [0.0, 0.1])
def test_our_scores_are_those_of_lightgbm(unknown: float) -> None:
    rows, frauds = data(unknown)
    booster = train(rows, frauds, SETTINGS)
    forest = forest_of(booster)
    check_forest(forest, rows.shape[1])
    seen = np.concatenate([rows, data(0.3, seed=4)[0], np.full((1, 5), np.nan), np.zeros((1, 5))])

    ours = [sum(_raw(tree, row) for tree in forest.trees) for row in seen.tolist()]

    assert np.abs(np.array(ours) - booster.predict(seen, raw_score=True)).max() < 1e-9
    score = scorer(forest, rows.shape[1])
    assert np.abs(np.array([score(row) for row in seen.tolist()]) - booster.predict(seen)).max() <= 0.5e-6 + 1e-9


def _raw(tree, row) -> float:
    """A walk that knows nothing of bits."""
    node = 0 if tree.feature else -1
    while node >= 0:
        value = row[tree.feature[node]]
        left = tree.missing_left[node] if value != value else value <= tree.threshold[node]  # noqa: PLR0124
        node = (tree.left if left else tree.right)[node]
    return tree.value[~node]


@pytest.mark.parametrize("unknown", [0.0, 0.1])
def test_our_explanations_are_those_of_lightgbm(unknown: float) -> None:
    rows, frauds = data(unknown)
    booster = train(rows, frauds, SETTINGS)
    explain = Explainer(forest_of(booster), rows.shape[1])

    theirs = booster.predict(rows[:100], pred_contrib=True)[:, :-1]

    ours = np.array([explain(row) for row in rows[:100].tolist()])
    assert np.abs(ours - theirs).max() < 1e-6


def test_the_same_rows_give_the_same_trees() -> None:
    rows, frauds = data(0.1)

    assert boost(rows, frauds, SETTINGS) == boost(rows, frauds, SETTINGS)


def test_drawing_fewer_others_keeps_the_level_of_the_scores() -> None:
    """20,000 events, 2 % frauds that nothing tells from others: each score is about 0.02, whatever was drawn."""
    random = np.random.default_rng(1)
    rows, frauds = random.normal(size=(20_000, 2)), random.random(20_000) < 0.02

    score = scorer(boost(rows, frauds, Boosting(rounds=1, others_per_fraud=5)), 2)

    assert np.mean([score(row) for row in rows[:2_000].tolist()]) == pytest.approx(frauds.mean(), rel=0.1)


def test_what_nothing_tells_apart_is_one_leaf() -> None:
    frauds = np.arange(100) % 2 == 0
    forest = boost(np.zeros((100, 1)), frauds, Boosting(rounds=2, others_per_fraud=10))

    assert [tree.feature for tree in forest.trees] == [[]] * len(forest.trees)
    assert sum(tree.value[0] for tree in forest.trees) == pytest.approx(log(0.5 / 0.5), abs=1e-9)


def test_what_is_mostly_chance_is_hardly_learned() -> None:
    """Labels that have nothing to do with the rows: whatever a forest tells apart is noise."""
    random = np.random.default_rng(5)
    rows, frauds = random.normal(size=(3_000, 10)), random.random(3_000) < 0.1

    def spread(**changes: float) -> float:
        score = scorer(boost(rows, frauds, Boosting(**changes)), 10)
        return float(np.std([score(row) for row in rows.tolist()]))

    assert spread() < spread(least_gain=0.0) / 3
