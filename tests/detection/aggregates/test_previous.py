from typing import Any


def test_a_first_event_has_none_before_it(values: Any) -> None:
    assert values("previous", "str", [(0, "US"), (1, "FR"), (2, "FR")]) == [None, "US", "FR"]


def test_before_is_by_event_time_and_of_equal_times_by_arrival(values: Any) -> None:
    assert values("previous", "int", [(5, 1), (3, 2), (5, 3), (4, 4)]) == [None, None, 1, 2]


def test_an_event_exactly_the_windows_length_ago_is_forgotten(values: Any) -> None:
    assert values("previous", "int", [(0, 1), (10, 2)]) == [None, None]
    assert values("previous", "int", [(0, 1), (9.999, 2)]) == [None, 1]


def test_false_and_zero_are_values(values: Any) -> None:
    assert values("previous", "bool", [(0, False), (1, True)]) == [None, False]
    assert values("previous", "money", [(0, 0), (1, 1)]) == [None, 0]
