from typing import Any


def test_the_event_itself_counts_and_so_do_equal_times(values: Any) -> None:
    assert values("count", None, [(0, None), (0, None), (0, None)]) == [1, 2, 3]


def test_an_event_exactly_the_windows_length_ago_is_out(values: Any) -> None:
    assert values("count", None, [(0, None), (9.999, None), (10, None)]) == [1, 2, 2]
