"""The kinds of values that packs know, and how each is held inside."""

import re
from datetime import UTC, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Final

LARGEST: Final = 2**63 - 1
"""Whole numbers, money, times and durations all stay within 64 bits: from ``-LARGEST - 1`` to ``LARGEST``."""

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
"""Where times count from."""

MICROS: Final = 1_000_000
"""Units inside one unit of money, and microseconds in a second."""


class Kind(StrEnum):
    """What a value is.

    Attributes:
        STR: Text; a ``str``.
        INT: A whole number of 64 bits; an ``int``.
        FLOAT: A floating-point number (IEEE double); a ``float``.
        BOOL: ``True`` or ``False``; a ``bool``.
        MONEY: An amount; an ``int`` of 10⁻⁶ units within 64 bits. Not a float.
        TIME: A moment; an ``int`` of microseconds since 1970-01-01 UTC within 64 bits.
        DURATION: A length of time; an ``int`` of microseconds within 64 bits. Not seconds.
    """

    STR = "str"
    INT = "int"
    FLOAT = "float"
    BOOL = "bool"
    MONEY = "money"
    TIME = "time"
    DURATION = "duration"


def money_text(micros: int) -> str:
    """Write money with as many decimals as it needs.

    >>> money_text(400_010_000), money_text(400_000_000), money_text(-500_000)
    ('400.01', '400', '-0.5')
    """
    if micros < 0:
        return f"-{money_text(-micros)}"
    units, fraction = divmod(micros, MICROS)
    cents, finer = divmod(fraction, MICROS // 100)
    if not finer:  # as nearly all amounts are
        return f"{units}{_CENTS[cents]}"
    return f"{units}.{fraction:06}".rstrip("0")


_CENTS: Final = ["", *(f".{cents:02}".rstrip("0") for cents in range(1, 100))]


_UNIT_MICROS: Final = {
    "us": 1,
    "ms": 1_000,
    "s": MICROS,
    "m": 60 * MICROS,
    "h": 3_600 * MICROS,
    "d": 86_400 * MICROS,
}
_PART: Final = r"([0-9]+(?:\.[0-9]+)?)(us|ms|s|m|h|d)"


def parse_duration(text: str, subject: str) -> int:
    """Read a duration such as "10s", "500ms", "1.5h", "90d" or "1h30m".

    Args:
        text: Numbers, each with its unit: us ms s m h d.
        subject: What the duration belongs to; errors begin with it.

    Returns:
        Microseconds, not negative.

    Raises:
        ValueError: It is no duration, is finer than a microsecond or does not fit 64 bits.
    """
    if not re.fullmatch(f"(?:{_PART})+", text):
        msg = f'{subject}: expected a duration such as "10s", "5m", "24h" or "7d", got "{text}"'
        raise ValueError(msg)
    # Decimal rounds beyond 28 digits; a number that long is out of range anyway, or finer than a microsecond.
    micros = sum(Decimal(number) * _UNIT_MICROS[unit] for number, unit in re.findall(_PART, text))
    if micros > LARGEST:
        msg = f'{subject}: expected a duration of less than 106751991 days, got "{text}"'
        raise ValueError(msg)
    if micros != int(micros):
        msg = f'{subject}: expected a duration of whole microseconds, got "{text}"'
        raise ValueError(msg)
    return int(micros)
