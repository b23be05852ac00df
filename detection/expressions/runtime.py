"""What generated code calls where a Python operator would raise, round or differ from CEL.

None of these raises for values of the kinds in its row of the language table; None stands for *unknown*.
"""

import math
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Context, Decimal
from typing import Any, Final
from zoneinfo import ZoneInfo

from detection.kinds import EPOCH, LARGEST, MICROS

DAY: Final = 86_400 * MICROS

# A float's shortest decimal has 17 digits at most, so nothing is rounded; the thread's own context may be narrower.
_EXACT: Final = Context(prec=28, traps=[])


def _fits(number: int) -> int | None:
    return number if -LARGEST - 1 <= number <= LARGEST else None


def listed(entries: Mapping[Any, tuple[int, int, Any]], member: object, now: int) -> bool:
    """Whether a member is on a list at an event's time."""
    entry = entries.get(member)
    return entry is not None and entry[0] <= now < entry[1]


def said(entries: Mapping[Any, tuple[int, int, Any]], member: object, now: int) -> Any:
    """What a list says of a member at an event's time."""
    entry = entries.get(member)
    return entry[2] if entry is not None and entry[0] <= now < entry[1] else None


def int_quotient(dividend: int, divisor: int) -> int | None:
    """Divide toward zero, as CEL does; Python's ``//`` goes toward minus infinity."""
    if not divisor:
        return None
    quotient = abs(dividend) // abs(divisor)
    return _fits(quotient if (dividend < 0) == (divisor < 0) else -quotient)


def int_remainder(dividend: int, divisor: int) -> int | None:
    """What `int_quotient` leaves: it has the sign of the dividend; Python's has that of the divisor."""
    if not divisor or (divisor == -1 and dividend < -LARGEST):  # the quotient would not fit, so CEL fails here too
        return None
    remainder = abs(dividend) % abs(divisor)
    return -remainder if dividend < 0 else remainder


def float_quotient(dividend: float, divisor: float) -> float:
    """Divide as IEEE 754 says: by zero is an infinity, and zero by zero is no number."""
    if divisor:
        return dividend / divisor
    if not dividend or math.isnan(dividend):
        return math.nan
    return math.copysign(math.inf, math.copysign(1.0, dividend) * math.copysign(1.0, divisor))


def exact_micros(number: float) -> int | Decimal | float:
    """The money a float stands for, exactly, to compare with.

    A float stands for its shortest decimal: 400.01 means 400.01, not the binary fraction next to it.
    What is finer than money stays a fraction and an infinity stays itself, so that comparing is right for both.
    """
    if not math.isfinite(number):
        return number
    micros = _EXACT.multiply(Decimal(repr(number)), MICROS)
    whole = int(micros)
    return whole if whole == micros else micros


def decimal_ratio(number: float) -> tuple[int, int] | None:
    """The shortest decimal that reads as this float, as a fraction; unknown if it is infinite or no number."""
    return Decimal(repr(number)).as_integer_ratio() if math.isfinite(number) else None


def money_of_int(number: int) -> int | None:
    """A whole number as money; unknown if money cannot hold it."""
    return _fits(number * MICROS)


def money_of_float(number: float) -> int | None:
    """A float as money, rounded half-even as money in events is; unknown if money cannot hold it."""
    factor = decimal_ratio(number)
    return money_times(MICROS, factor) if factor else None


def money_times(micros: int, factor: tuple[int, int]) -> int | None:
    """Multiply money by a fraction."""
    return half_even(micros * factor[0], factor[1])


def money_over(micros: int, divisor: tuple[int, int]) -> int | None:
    """Divide money by a fraction."""
    return half_even(micros * divisor[1], divisor[0])


def half_even(dividend: int, divisor: int) -> int | None:
    """Divide and round to the nearest, and to the even one of two that are as near."""
    if not divisor:
        return None
    if divisor < 0:
        dividend, divisor = -dividend, -divisor
    quotient, remainder = divmod(dividend, divisor)
    if 2 * remainder > divisor or (2 * remainder == divisor and quotient % 2):
        quotient += 1
    return _fits(quotient)


def ratio(part: int, whole: int) -> float | None:
    """How many times one amount goes into another."""
    return part / whole if whole else None


def ascii_lower(text: str) -> str:
    """Lower only A to Z, as CEL does."""
    return text.lower() if text.isascii() else text.translate(_LOWER)


def ascii_upper(text: str) -> str:
    """Raise only a to z, as CEL does."""
    return text.upper() if text.isascii() else text.translate(_UPPER)


_LOWER: Final = {code: code + 32 for code in range(ord("A"), ord("Z") + 1)}
_UPPER: Final = {code + 32: code for code in range(ord("A"), ord("Z") + 1)}

# Unicode's White_Space, as CEL trims. Python's own list also has U+001C to U+001F.
_WHITESPACE: Final = (
    "\t\n\v\f\r \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u2028\u2029\u202f\u205f\u3000"
)


def trimmed(text: str) -> str:
    """Text without white space at its ends."""
    return text.strip(_WHITESPACE)


# Where offsets are looked up; a time of 64 bits may lie outside what a datetime holds.
_FIRST: Final = (datetime(2, 1, 1, tzinfo=UTC) - EPOCH) // timedelta(microseconds=1)
_LAST: Final = (datetime(9998, 1, 1, tzinfo=UTC) - EPOCH) // timedelta(microseconds=1)


def local(time: int, zone: ZoneInfo) -> int:
    """The time shifted so that its UTC calendar reads as the zone's clock does."""
    moment = EPOCH + timedelta(microseconds=min(max(time, _FIRST), _LAST))
    offset = moment.astimezone(zone).utcoffset() or timedelta()
    return time + offset // timedelta(microseconds=1)


_CYCLE: Final = 146_097  # days in 400 Gregorian years, after which the calendar repeats
_ORDINAL: Final = date(1970, 1, 1).toordinal()


def _calendar(time: int) -> tuple[int, date]:
    cycles, day = divmod(time // DAY, _CYCLE)
    return 400 * cycles, date.fromordinal(_ORDINAL + day)


def year_of(time: int) -> int:
    """The year, also beyond 9999."""
    years, day = _calendar(time)
    return years + day.year


def month_of(time: int) -> int:
    """The month from 0 (January) to 11, as CEL counts."""
    return _calendar(time)[1].month - 1


def day_of(time: int) -> int:
    """The day of the month, from 1."""
    return _calendar(time)[1].day
