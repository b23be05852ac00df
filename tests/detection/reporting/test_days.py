from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

import pytest

from detection.reporting.days import Days


def us(*at: int) -> int:
    return int(datetime(*at, tzinfo=UTC).timestamp()) * 1_000_000  # type: ignore[misc,arg-type]


def test_a_day_is_from_midnight_to_midnight_and_the_seven_before_it_too() -> None:
    days = Days(date(2026, 1, 10), ZoneInfo("UTC"))
    first, last = us(2026, 1, 10), us(2026, 1, 11)

    assert [days.number(at) for at in (first, last - 1, last, first - 1)] == [0, 0, None, 1]
    assert [days.number(at) for at in (us(2026, 1, 3), us(2026, 1, 3) - 1)] == [7, None]


@pytest.mark.parametrize(
    ("day", "zone", "begins", "hours"),
    [
        (date(2026, 1, 10), "Asia/Kolkata", us(2026, 1, 9, 18, 30), 24),
        (date(2026, 3, 29), "Europe/Berlin", us(2026, 3, 28, 23), 23),
        (date(2026, 10, 25), "Europe/Berlin", us(2026, 10, 24, 22), 25),
    ],
)
def test_a_zone_has_its_own_midnights(day: date, zone: str, begins: int, hours: int) -> None:
    days = Days(day, ZoneInfo(zone))

    assert days.end - begins == hours * 3_600_000_000
    assert [days.number(begins), days.number(begins - 1)] == [0, 1]
