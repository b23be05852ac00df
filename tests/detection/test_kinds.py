"""Kinds of values and their texts."""

import pytest

from detection.kinds import LARGEST, money_text, parse_duration


@pytest.mark.parametrize(
    ("micros", "text"),
    [
        (0, "0"),
        (1, "0.000001"),
        (-1, "-0.000001"),
        (-500_000, "-0.5"),
        (400_010_000, "400.01"),
        (400_000_000, "400"),
        (-1_000_000, "-1"),
        (LARGEST, "9223372036854.775807"),
        (-LARGEST - 1, "-9223372036854.775808"),
    ],
)
def test_money_is_written_with_the_decimals_it_needs(micros: int, text: str) -> None:
    assert money_text(micros) == text


@pytest.mark.parametrize(
    ("text", "micros"),
    [
        ("10s", 10_000_000),
        ("500ms", 500_000),
        ("1.5h", 5_400_000_000),
        ("90d", 7_776_000_000_000),
        ("1h30m", 5_400_000_000),
        ("7us", 7),
        ("0s", 0),
        ("0.000001s", 1),
        ("1d1us", 86_400_000_001),
    ],
)
def test_a_duration_is_read_to_the_microsecond(text: str, micros: int) -> None:
    assert parse_duration(text, "window") == micros


@pytest.mark.parametrize("text", ["10", "", "s", "-5s", "1 h", "5 minutes", "1e3s", ".5s", "5.s", "10S", "٣s", "5s\n"])
def test_what_is_no_duration_is_told_with_its_subject_and_what_came(text: str) -> None:
    with pytest.raises(ValueError) as error:
        parse_duration(text, "window")

    assert str(error.value) == f'window: expected a duration such as "10s", "5m", "24h" or "7d", got "{text}"'


@pytest.mark.parametrize("text", ["0.5us", "1.0000005s"])
def test_a_duration_finer_than_a_microsecond_is_refused_not_rounded(text: str) -> None:
    with pytest.raises(ValueError, match="window: expected a duration of whole microseconds"):
        parse_duration(text, "window")


def test_a_duration_beyond_64_bits_is_refused() -> None:
    assert parse_duration("9223372036854775807us", "window") == LARGEST
    with pytest.raises(ValueError, match="window: expected a duration of less than"):
        parse_duration("9223372036854775808us", "window")
    with pytest.raises(ValueError, match="window: expected a duration of less than"):
        parse_duration("9" * 1000 + "d", "window")
