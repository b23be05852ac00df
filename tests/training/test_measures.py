import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score

from training.measures import auc_roc, average_precision, calibration_error, cards_found

EVENTS = st.lists(st.tuples(st.booleans(), st.sampled_from([0.0, 0.1, 0.5, 0.9, 1.0])), min_size=2)


@given(EVENTS)
def test_they_are_those_of_another_library(events: list[tuple[bool, float]]) -> None:
    frauds, scores = np.array([fraud for fraud, _ in events]), np.array([score for _, score in events])

    if frauds.any():
        assert average_precision(frauds, scores) == pytest.approx(average_precision_score(frauds, scores), abs=1e-12)
    if frauds.any() and not frauds.all():
        assert auc_roc(frauds, scores) == pytest.approx(roc_auc_score(frauds, scores), abs=1e-12)


def test_without_frauds_or_others_there_is_no_figure() -> None:
    none, scores = np.array([False, False]), np.array([0.1, 0.2])

    assert np.isnan(average_precision(none, scores))
    assert np.isnan(auc_roc(none, scores))
    assert np.isnan(auc_roc(~none, scores))


def test_a_card_is_looked_at_once_by_its_highest_score_and_equal_cards_in_their_order() -> None:
    looked_at, found = cards_found(["a", "b", "c", "a", "d"], [0, 0, 1, 1, 1], [0.2, 0.5, 0.5, 0.6, 0.1], 3)

    assert looked_at == ["a", "b", "c"]
    assert found == ["a", "c"]  # the fraud of a is one of its other payments: what counts is the card


def test_scores_that_say_the_share_of_frauds_are_calibrated() -> None:
    frauds = np.arange(1_000) % 10 == 0

    assert calibration_error(frauds, np.full(1_000, 0.1)) == pytest.approx(0, abs=1e-12)
    assert calibration_error(frauds, np.full(1_000, 0.4)) == pytest.approx(0.3)
