from math import inf
from typing import Any

import pytest

from detection.features.history import sum_of_floats


def test_whole_numbers_are_exact_beyond_64_bits(values: Any) -> None:
    huge = 2**63 - 1
    assert values("sum", "int", [(0, huge), (1, huge), (2, -1), (11, 1)]) == [huge, 2 * huge, 2 * huge - 1, 0]


def test_money_is_exact_where_floats_are_not(values: Any) -> None:
    assert values("sum", "money", [(0, 0.1)] * 3) == [0.1, 0.2, 0.3]
    assert values("sum", "money", [(0, "9223372036854.775807"), (10, 0.01)])[-1] == 0.01


def test_floats_do_not_drift(values: Any) -> None:
    # A running sum would have lost the small ones in the large one.
    assert values("sum", "float", [(0, 1e300), (5, 0.1), (10, 0.2)])[-1] == pytest.approx(0.3)
    assert values("sum", "float", [(0, 0.1)] * 10)[-1] == 1.0


def test_floats_beyond_the_largest_are_infinite_which_json_writes_as_null(values: Any) -> None:
    assert values("sum", "float", [(0, 1.7e308), (1, 1.7e308), (11, 1.0)]) == [1.7e308, None, 1.0]


def test_a_sum_within_the_largest_is_right_though_a_part_of_it_is_not(values: Any) -> None:
    assert values("sum", "float", [(0, 1.5e308), (0, 1.5e308), (0, -1.5e308)]) == [1.5e308, None, 1.5e308]


@pytest.mark.parametrize("sign", [1, -1])
def test_an_infinite_sum_keeps_its_sign(sign: int) -> None:
    assert sum_of_floats([sign * 1.7e308] * 2) == sign * inf
