from typing import Any


def test_a_gap_is_the_time_since_the_event_before(values: Any) -> None:
    assert values("gap", None, [(0, None), (1.5, None), (1.5, None), (1.501, None)]) == [None, 1.5, 0, 0.001]


def test_an_event_that_comes_out_of_order_looks_at_its_own_time(values: Any) -> None:
    assert values("gap", None, [(0, None), (5, None), (3, None), (5, None)]) == [None, 5, 3, 0]


def test_a_gap_as_long_as_the_window_is_unknown(values: Any) -> None:
    assert values("gap", None, [(0, None), (10, None), (19.999, None)]) == [None, None, 9.999]
