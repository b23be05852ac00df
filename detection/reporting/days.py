"""A day and those before it, as a place on earth has them."""

from bisect import bisect_right
from datetime import date, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from detection.kinds import EPOCH

BEFORE: Final = 7
"""How many days before the day it is compared with."""


class Days:
    """The day of a report, and the seven days before it.

    Attributes:
        day: The day.
        zone: Whose midnights they begin at. A day may have 23 or 25 hours.
    """

    def __init__(self, day: date, zone: ZoneInfo) -> None:
        """Reckon the midnights.

        Raises:
            OverflowError: There is no such day, or none before it.
        """
        self.day, self.zone = day, zone
        self._bounds = [_midnight(day + timedelta(days=number), zone) for number in range(-BEFORE, 2)]

    @property
    def start(self) -> int:
        """When the first of the days before begins, us since the epoch."""
        return self._bounds[0]

    @property
    def end(self) -> int:
        """When the day ends, us since the epoch."""
        return self._bounds[-1]

    def number(self, at: int) -> int | None:
        """How many days before the day a time (us since the epoch) is, 0 for the day itself; None: in none of them.

        >>> days = Days(date(2026, 3, 29), ZoneInfo("Europe/Berlin"))  # has 23 hours
        >>> hour = 3_600_000_000
        >>> [days.number(days.end + at) for at in (0, -1, -23 * hour, -23 * hour - 1)]
        [None, 0, 0, 1]
        """
        place = bisect_right(self._bounds, at)
        return BEFORE + 1 - place if 0 < place <= BEFORE + 1 else None


def _midnight(day: date, zone: ZoneInfo) -> int:
    return (datetime(day.year, day.month, day.day, tzinfo=zone) - EPOCH) // timedelta(microseconds=1)
