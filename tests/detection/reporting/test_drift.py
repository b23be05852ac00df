from math import log

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detection.reporting.drift import change, stability

counts = st.lists(st.integers(0, 10_000), min_size=3, max_size=3)


def test_the_index_is_that_of_the_formula() -> None:
    # shares 20/100 and 80/100 against 40/200 and 160/200, each count with a half more
    a, b = (20.5 / 101, 80.5 / 101), (40.5 / 201, 160.5 / 201)
    expected = (a[0] - b[0]) * log(a[0] / b[0]) + (a[1] - b[1]) * log(a[1] / b[1])

    assert stability([20, 80], [40, 160]) == pytest.approx(expected, abs=1e-15)


@given(counts, counts)
def test_it_is_never_negative_and_has_no_direction(now: list[int], before: list[int]) -> None:
    there, back = stability(now, before), stability(before, now)

    assert there is None if not sum(now) or not sum(before) else (there or 0.0) >= -1e-12
    assert there == pytest.approx(back) if there is not None else back is None


@pytest.mark.parametrize(
    ("now", "before", "says"),
    [
        ([0, 0], [5, 5], "unknown"),
        ([5, 5], [0, 0], "unknown"),
        ([100, 0], [100, 0], "stable"),
        ([1, 0], [500, 500], "by chance"),  # one event shows nothing
        ([650, 350], [5_000, 5_000], "stable"),
        ([670, 330], [5_000, 5_000], "shifted"),
        ([760, 240], [5_000, 5_000], "drifted"),
        ([0, 1_000], [10_000, 0], "drifted"),
    ],
)
def test_a_change_is_one_only_beyond_chance(now: list[int], before: list[int], says: str) -> None:
    assert change(now, before) == says
