"""Explanations against Shapley values by definition."""

from itertools import combinations
from math import factorial, fsum

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detection.models import explaining
from detection.models.explaining import Explainer
from detection.models.forest import Forest, Tree
from tests.detection.models.forests import FOREST, forests, leaf_of
from tests.detection.models.test_scoring import values

FEATURES = 4
rows = st.tuples(*[values] * FEATURES)


def expected(tree: Tree, row: tuple[float | None, ...], known: frozenset[int], child: int) -> float:
    """What a tree says of a row of which only some features are known."""
    if child < 0:
        return tree.value[~child]
    left, right = tree.left[child], tree.right[child]
    feature = tree.feature[child]
    if feature in known:
        value = row[feature]
        goes_left = tree.missing_left[child] if value is None or value != value else value <= tree.threshold[child]  # noqa: PLR0124
        return expected(tree, row, known, left if goes_left else right)
    covers = [tree.leaf_cover[~side] if side < 0 else tree.node_cover[side] for side in (left, right)]
    means = [expected(tree, row, known, side) for side in (left, right)]
    return sum(cover * mean for cover, mean in zip(covers, means, strict=True)) / sum(covers)


def shapley(forest: Forest, row: tuple[float | None, ...]) -> list[float]:
    def worth(known: frozenset[int]) -> float:
        return fsum(expected(tree, row, known, 0 if tree.feature else ~0) for tree in forest.trees)

    def contribution(feature: int) -> float:
        others = [other for other in range(FEATURES) if other != feature]
        return fsum(
            factorial(size)
            * factorial(FEATURES - size - 1)
            / factorial(FEATURES)
            * (worth(frozenset({*known, feature})) - worth(frozenset(known)))
            for size in range(FEATURES)
            for known in combinations(others, size)
        )

    return [contribution(feature) for feature in range(FEATURES)]


@given(forests(FEATURES, 12), st.lists(rows, min_size=1, max_size=3))
def test_contributions_are_shapley_values(forest: Forest, rows: list[tuple[float | None, ...]]) -> None:
    explain = Explainer(forest, FEATURES)

    for row in rows * 2:  # worked out, and remembered
        assert explain(row) == pytest.approx(shapley(forest, row), rel=1e-9, abs=1e-9)


@given(forests(FEATURES), rows)
def test_contributions_add_up_to_the_difference_from_the_mean(forest: Forest, row: tuple[float | None, ...]) -> None:
    total = fsum(tree.value[leaf_of(tree, row)] for tree in forest.trees)
    mean = fsum(expected(tree, row, frozenset(), 0 if tree.feature else ~0) for tree in forest.trees)

    assert fsum(Explainer(forest, FEATURES)(row)) == pytest.approx(total - mean, rel=1e-9, abs=1e-9)


def test_a_stump_is_explained_by_hand() -> None:
    assert Explainer(FOREST, 2)((101.0, 5.0)) == pytest.approx([2.0 - (0.9 * -2.0 + 0.1 * 2.0), 0.0])


@given(forests(FEATURES, 12), st.lists(rows, min_size=2, max_size=6))
def test_what_is_remembered_changes_no_bit(forest: Forest, rows: list[tuple[float | None, ...]]) -> None:
    explain = Explainer(forest, FEATURES)

    assert [explain(row) for row in rows] == [Explainer(forest, FEATURES)(row) for row in rows]


def test_no_more_is_remembered_than_there_is_room_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(explaining, "_REMEMBERED", 2)
    explain = Explainer(FOREST, 1)
    for value in (1.0, 101.0, None) * 3:
        assert explain((value,)) == Explainer(FOREST, 1)((value,))

    assert [len(tree._known) for tree in explain._trees] == [2]
