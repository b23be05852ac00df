from typing import Any


def test_equal_values_count_once_and_this_events_counts(values: Any) -> None:
    assert values("distinct", "str", [(0, "a"), (1, "b"), (2, "a"), (3, "")]) == [1, 2, 2, 3]


def test_a_value_that_left_the_window_is_forgotten_unless_it_came_again(values: Any) -> None:
    assert values("distinct", "int", [(0, 1), (0, 2), (5, 1), (10, 3)]) == [1, 2, 2, 2]


def test_equal_amounts_are_one_whatever_their_decimals(values: Any) -> None:
    assert values("distinct", "money", [(0, "1.0"), (0, 1), (0, "1.0000001"), (0, "1.000001")]) == [1, 1, 1, 2]
