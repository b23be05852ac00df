import numpy as np
import pytest
from sklearn.ensemble import IsolationForest

from detection.models.forest import check_forest
from detection.models.scoring import scorer
from training.isolation import Isolation, isolate

SETTINGS = Isolation(trees=30)


@pytest.fixture(scope="module")
def rows() -> np.ndarray:
    return np.random.default_rng(2).normal(size=(3_000, 3))


def test_the_score_is_the_share_of_training_that_is_less_strange(rows) -> None:
    forest = isolate(rows, SETTINGS)
    check_forest(forest, 3)

    scores = np.array([scorer(forest, 3)(row) for row in rows[:500].tolist()])
    assert np.abs(np.sort(scores) - np.linspace(0, 1, 500)).max() < 0.08
    assert scorer(forest, 3)([9.0, 9.0, 9.0]) == pytest.approx(1, abs=0.01)


def test_it_ranks_as_scikit_learn_does(rows) -> None:
    theirs = -IsolationForest(n_estimators=30, max_samples=64, random_state=1).fit(rows).score_samples(rows[:300])
    score = scorer(isolate(rows, SETTINGS), 3)

    ours = np.array([score(row) for row in rows[:300].tolist()])

    order = np.argsort(theirs)
    assert (np.diff(ours[order]) >= -1e-6).all()


def test_what_is_unknown_takes_the_way_of_the_median(rows) -> None:
    score = scorer(isolate(rows, SETTINGS), 3)

    assert score([None, 0.5, 3.0]) == pytest.approx(score([float(np.median(rows[:, 0])), 0.5, 3.0]))


def test_a_feature_that_is_never_known_or_always_the_same_says_nothing(rows) -> None:
    wider = np.column_stack([rows, np.full(len(rows), np.nan), np.ones(len(rows))])

    score = scorer(isolate(wider, SETTINGS), 5)

    assert score([0.0, 0.0, 0.0, 5.0, 7.0]) == score([0.0, 0.0, 0.0, None, 1.0])
