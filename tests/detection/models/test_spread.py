"""How values are spread, against how they were."""

from math import nan

import pytest

from detection.models.files import Reference
from detection.models.spread import LEAST, REMEMBERED, Spread
from detection.reporting.drift import stability

REFERENCE = {"a": Reference([1.0, 2.0], [500, 300, 200]), "score": Reference([0.5], [900, 100], 0)}


def spread(*values: float | None, score: float | None = 0.1, times: int = LEAST) -> Spread:
    found = Spread(["a", "b"], REFERENCE)
    for number in range(times):
        found.add((values[number % len(values)], None), score)
    return found


def test_nothing_is_told_of_too_few_events() -> None:
    assert spread(1.0, times=LEAST - 1).stability() == {}
    assert set(spread(1.0).stability()) == {"a", "score"}  # of b training tells nothing


def test_a_value_at_an_edge_is_in_the_class_below_it() -> None:
    found = spread(1.0, 1.000001, 2.0, 2.000001).stability()

    quarter = LEAST // 4
    assert found["a"] == pytest.approx(stability([quarter, 2 * quarter, quarter, 0], [500, 300, 200, 0]))


@pytest.mark.parametrize("unknown", [None, nan])
def test_unknown_values_are_a_class_of_their_own(unknown: float | None) -> None:
    found = spread(unknown, 1.0).stability()

    assert found["a"] == pytest.approx(stability([LEAST // 2, 0, 0, LEAST // 2], [500, 300, 200, 0]))


def test_what_is_spread_as_in_training_is_stable() -> None:
    like = [0.0] * 5 + [1.5] * 3 + [3.0] * 2

    assert spread(*like).stability()["a"] < 0.001


def test_a_change_shows_within_as_many_events_as_are_remembered() -> None:
    found = spread(0.0, 1.5, 3.0, times=20 * REMEMBERED)
    for _ in range(REMEMBERED):
        found.add((9.0, None), 0.9)

    assert found.stability()["a"] > 0.25
    assert found.stability()["score"] > 0.25


def test_scores_that_there_are_not_are_unknown() -> None:
    assert spread(1.0, score=None).stability()["score"] > 0.25
