"""The language reference: every operator and function, the kinds it takes, what it yields and how.

What is not in this table does not exist: the checker knows these overloads and no others, and the code of an
expression is put together from these sources alone.

In a source, ``{a} {b} {c}`` stand for the operands, ``{t}`` for a fresh local, ``{SMALLEST}`` and ``{LARGEST}`` for
the ends of 64 bits, and any other name for the helper of that name in `HELPERS`.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import product
from typing import Final, NamedTuple, TypeAlias
from zoneinfo import ZoneInfo

from detection.expressions import runtime
from detection.kinds import MICROS, Kind, parse_duration

STR, INT, FLOAT, BOOL = Kind.STR, Kind.INT, Kind.FLOAT, Kind.BOOL
MONEY, TIME, DURATION = Kind.MONEY, Kind.TIME, Kind.DURATION


@dataclass(frozen=True, slots=True)
class Conversion:
    """How an operand becomes what the source of its row needs.

    Attributes:
        literal: Converts a literal, once, when the expression is compiled. A ValueError says why it cannot.
        source: Converts any other operand, `{a}`; None if only a literal will do.
        unknown: Whether the converted operand may be unknown although the operand is known.
        needs: What the operand must be a literal of, for errors.
    """

    literal: Callable[..., object]
    source: str | None = None
    unknown: bool = False
    needs: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """One overload.

    Attributes:
        function: The name CEL's grammar gives it, such as `_>_`.
        operands: Their kinds. The last one of `@in` is the kind of the list's elements, the
            first one of `_[_]` that of what the list says of its members.
        result: The kind it yields.
        meaning: One line for the reference.
        source: Python for it; empty where `detection.expressions.lowering` has a function of its own for it.
        unknown: Whether the result may be unknown although all operands are known.
        divisor: Source for a last operand that is a literal other than 0 and -1; never unknown. Empty: no such.
        member: Whether it is called as `a.f(b)`.
        conversions: One for each operand, None for one that is used as it is; empty for none at all.
    """

    function: str
    operands: tuple[Kind, ...]
    result: Kind
    meaning: str
    source: str = ""
    unknown: bool = False
    divisor: str = ""
    member: bool = False
    conversions: tuple[Conversion | None, ...] = ()


Key: TypeAlias = tuple[str, bool, tuple[Kind, ...]]

HELPERS: Final[Mapping[str, object]] = {
    "abs": abs,
    "ascii_lower": runtime.ascii_lower,
    "ascii_upper": runtime.ascii_upper,
    "day_of": runtime.day_of,
    "decimal_ratio": runtime.decimal_ratio,
    "exact_micros": runtime.exact_micros,
    "float": float,
    "float_quotient": runtime.float_quotient,
    "half_even": runtime.half_even,
    "int_quotient": runtime.int_quotient,
    "int_remainder": runtime.int_remainder,
    "len": len,
    "listed": runtime.listed,
    "local": runtime.local,
    "max": max,
    "min": min,
    "money_of_float": runtime.money_of_float,
    "money_of_int": runtime.money_of_int,
    "money_over": runtime.money_over,
    "money_times": runtime.money_times,
    "month_of": runtime.month_of,
    "ratio": runtime.ratio,
    "said": runtime.said,
    "trimmed": runtime.trimmed,
    "year_of": runtime.year_of,
}


# Literals


# RFC 3339 to the microsecond; `fromisoformat` would drop finer digits, and reads weeks as well.
_TIME: Final = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?(Z|[+-][0-9]{2}:[0-9]{2})?"
)


def _timestamp(text: str) -> int:
    try:
        moment = datetime.fromisoformat(text) if _TIME.fullmatch(text) else None
    except ValueError:
        moment = None
    if moment is None:
        msg = f'timestamp: expected a time such as "2026-01-31T18:30:00Z", got "{text}"'
        raise ValueError(msg)
    # A time without a zone is UTC, as in events.
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return (aware - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (OSError, ValueError, LookupError):  # the name is no file, no path inside the database, or not there
        msg = f'time zone: expected a name such as "Europe/Berlin", got "{name}"'
        raise ValueError(msg) from None


def _money(number: float) -> int:
    micros = runtime.money_of_int(number) if isinstance(number, int) else runtime.money_of_float(number)
    if micros is None:
        msg = f"money: expected a number within 9223372036854.775807, got {number}"
        raise ValueError(msg)
    return micros


def _factor(number: float) -> tuple[int, int]:
    factor = runtime.decimal_ratio(number)
    if factor is None:
        msg = f"money: expected a finite number, got {number}"
        raise ValueError(msg)
    return factor


def _micros(number: int) -> int:
    return number * MICROS


_TIMESTAMP: Final = Conversion(_timestamp, needs="a time")
_DURATION: Final = Conversion(lambda text: parse_duration(text, "duration"), needs="a duration")
_ZONE: Final = Conversion(_zone, needs="a zone's name")

# Numbers beside money. To compare, they are scaled exactly; to compute, they become money.
_EXACT: Final = {
    INT: Conversion(_micros, "({a} * 1000000)"),
    FLOAT: Conversion(runtime.exact_micros, "{exact_micros}({a})"),
    MONEY: None,
}
_AS_MONEY: Final = {
    INT: Conversion(_money, "{money_of_int}({a})", unknown=True),
    FLOAT: Conversion(_money, "{money_of_float}({a})", unknown=True),
    MONEY: None,
}
_AS_FLOAT: Final = Conversion(float, "{float}({a})")
_FACTOR: Final = Conversion(_factor, "{decimal_ratio}({a})", unknown=True)


def _checked(source: str) -> str:
    """A whole number's arithmetic: unknown beyond 64 bits."""
    return f"({{t}} if {{SMALLEST}} <= ({{t}} := {source}) <= {{LARGEST}} else None)"


# Rows


def _comparisons() -> Iterator[Row]:
    words = {
        "_==_": ("==", "is equal to"),
        "_!=_": ("!=", "differs from"),
        "_<_": ("<", "is less than"),
        "_<=_": ("<=", "is at most"),
        "_>_": (">", "is more than"),
        "_>=_": (">=", "is at least"),
    }
    numbers = (INT, FLOAT, MONEY)
    for function, (operator, words_for_it) in words.items():
        source = f"({{a}} {operator} {{b}})"
        for kind in (STR, TIME, DURATION):
            meaning = f"{words_for_it}, by code points" if kind is STR else words_for_it
            yield Row(function, (kind, kind), BOOL, meaning, source)
        if operator in ("==", "!="):
            yield Row(function, (BOOL, BOOL), BOOL, words_for_it, source)
        for pair in product(numbers, numbers):
            converted = (_EXACT[pair[0]], _EXACT[pair[1]]) if MONEY in pair else ()
            yield Row(function, pair, BOOL, f"{words_for_it}, exactly", source, conversions=converted)


def _membership() -> Iterator[Row]:
    for row in _comparisons():
        if row.function == "_==_":
            yield Row("@in", row.operands, BOOL, "is equal to an element of the list")


def _look_ups() -> Iterator[Row]:
    meaning = "what a list of the pack says of the member; unknown if it is not on it"
    for member, value in product((STR, INT), (STR, INT, FLOAT, BOOL)):
        yield Row("_[_]", (value, member), value, meaning, unknown=True)


def _logic() -> Iterator[Row]:
    yield Row("_&&_", (BOOL, BOOL), BOOL, "both; false if either is false, also when the other is unknown")
    yield Row("_||_", (BOOL, BOOL), BOOL, "either; true if either is true, also when the other is unknown")
    yield Row("!_", (BOOL,), BOOL, "not", "(not {a})")
    for kind in Kind:
        yield Row("known", (kind,), BOOL, "whether the value is there; never unknown itself")


def _choices() -> Iterator[Row]:
    """Operators that yield one of two operands, which may be numbers of different kinds."""
    pairs: list[tuple[Kind, Kind, Kind, tuple[Conversion | None, ...]]] = [(kind, kind, kind, ()) for kind in Kind]
    pairs += [(INT, FLOAT, FLOAT, (_AS_FLOAT, None)), (FLOAT, INT, FLOAT, (None, _AS_FLOAT))]
    pairs += [(MONEY, kind, MONEY, (None, _AS_MONEY[kind])) for kind in (INT, FLOAT)]
    pairs += [(kind, MONEY, MONEY, (_AS_MONEY[kind], None)) for kind in (INT, FLOAT)]
    for left, right, result, conversions in pairs:
        meaning = "the first if the condition is true, the second if it is false"
        choice = (None, *conversions) if conversions else ()
        yield Row("_?_:_", (BOOL, left, right), result, meaning, conversions=choice)
        if result in (INT, FLOAT, MONEY, DURATION):
            for function, words in (("min", "the smaller"), ("max", "the larger")):
                source = f"{{{function}}}({{a}}, {{b}})"
                yield Row(function, (left, right), result, words, source, conversions=conversions)


def _whole_arithmetic() -> Iterator[Row]:
    overflow = "unknown beyond 64 bits"
    for function, operator in (("_+_", "+"), ("_-_", "-"), ("_*_", "*")):
        source = _checked(f"{{a}} {operator} {{b}}")
        yield Row(function, (INT, INT), INT, overflow, source, unknown=True)
    yield Row(
        "_/_",
        (INT, INT),
        INT,
        "toward zero; unknown if divided by 0",
        "{int_quotient}({a}, {b})",
        unknown=True,
        divisor="{int_quotient}({a}, {b})",
    )
    yield Row(
        "_%_",
        (INT, INT),
        INT,
        "with the sign of the first; unknown if divided by 0",
        "{int_remainder}({a}, {b})",
        unknown=True,
        divisor="{int_remainder}({a}, {b})",
    )
    for kind in (INT, MONEY, DURATION):
        yield Row("-_", (kind,), kind, f"negated; {overflow}", _checked("-{a}"), unknown=True)
        yield Row("abs", (kind,), kind, f"without its sign; {overflow}", _checked("{abs}({a})"), unknown=True)


def _float_arithmetic() -> Iterator[Row]:
    for pair in ((FLOAT, FLOAT), (INT, FLOAT), (FLOAT, INT)):
        for function, operator in (("_+_", "+"), ("_-_", "-"), ("_*_", "*")):
            yield Row(function, pair, FLOAT, "as IEEE 754", f"({{a}} {operator} {{b}})")
        quotient = "{float_quotient}({a}, {b})"
        yield Row("_/_", pair, FLOAT, "as IEEE 754; infinite if divided by 0", quotient, divisor="({a} / {b})")
    yield Row("-_", (FLOAT,), FLOAT, "negated", "(-{a})")
    yield Row("abs", (FLOAT,), FLOAT, "without its sign", "{abs}({a})")


def _money_arithmetic() -> Iterator[Row]:
    overflow = "unknown beyond 64 bits"
    for pair in ((MONEY, MONEY), (MONEY, INT), (INT, MONEY), (MONEY, FLOAT), (FLOAT, MONEY)):
        converted = (_AS_MONEY[pair[0]], _AS_MONEY[pair[1]])
        for function, operator in (("_+_", "+"), ("_-_", "-")):
            source = _checked(f"{{a}} {operator} {{b}}")
            yield Row(function, pair, MONEY, f"exact; {overflow}", source, unknown=True, conversions=converted)
    for pair in ((MONEY, INT), (INT, MONEY)):
        yield Row("_*_", pair, MONEY, f"exact; {overflow}", _checked("{a} * {b}"), unknown=True)
    rounded = f"rounded half-even; {overflow}"
    times, over, shared = "{money_times}({a}, {b})", "{money_over}({a}, {b})", "{half_even}({a}, {b})"
    yield Row("_*_", (MONEY, FLOAT), MONEY, rounded, times, unknown=True, conversions=(None, _FACTOR))
    swapped = "{money_times}({b}, {a})"
    yield Row("_*_", (FLOAT, MONEY), MONEY, rounded, swapped, unknown=True, conversions=(_FACTOR, None))
    by_zero = f"{rounded} or if divided by 0"
    yield Row("_/_", (MONEY, INT), MONEY, by_zero, shared, unknown=True, divisor=shared)
    yield Row("_/_", (MONEY, FLOAT), MONEY, by_zero, over, unknown=True, conversions=(None, _FACTOR))
    yield Row("_/_", (MONEY, MONEY), FLOAT, "unknown if divided by 0", "{ratio}({a}, {b})", unknown=True)


def _time_arithmetic() -> Iterator[Row]:
    for function, operator, left, right, result in (
        ("_+_", "+", DURATION, DURATION, DURATION),
        ("_-_", "-", DURATION, DURATION, DURATION),
        ("_-_", "-", TIME, TIME, DURATION),
        ("_+_", "+", TIME, DURATION, TIME),
        ("_+_", "+", DURATION, TIME, TIME),
        ("_-_", "-", TIME, DURATION, TIME),
    ):
        source = _checked(f"{{a}} {operator} {{b}}")
        yield Row(function, (left, right), result, "unknown beyond 64 bits", source, unknown=True)


def _text() -> Iterator[Row]:
    yield Row("_+_", (STR, STR), STR, "the texts, one after the other", "({a} + {b})")
    yield Row("size", (STR,), INT, "how many code points", "{len}({a})")
    yield Row("size", (STR,), INT, "how many code points", "{len}({a})", member=True)
    for name, second, result, meaning, source in (
        ("startsWith", STR, BOOL, "whether it begins with the other", "{a}.startswith({b})"),
        ("endsWith", STR, BOOL, "whether it ends with the other", "{a}.endswith({b})"),
        ("contains", STR, BOOL, "whether the other is in it", "({b} in {a})"),
        ("lowerAscii", None, STR, "with a to z for A to Z", "{ascii_lower}({a})"),
        ("upperAscii", None, STR, "with A to Z for a to z", "{ascii_upper}({a})"),
        ("trim", None, STR, "without white space at its ends", "{trimmed}({a})"),
    ):
        operands = (STR, second) if second else (STR,)
        yield Row(name, operands, result, meaning, source, member=True)


def _times() -> Iterator[Row]:
    literal = "of a literal, read when the pack is loaded"
    yield Row("timestamp", (STR,), TIME, f"the time {literal}; UTC unless it says", "{a}", conversions=(_TIMESTAMP,))
    yield Row("duration", (STR,), DURATION, f'the duration {literal}: "1h30m", "7d"', "{a}", conversions=(_DURATION,))
    for name, meaning, source in (
        ("getFullYear", "the year", "{year_of}({a})"),
        ("getMonth", "the month, 0 to 11", "{month_of}({a})"),
        ("getDate", "the day of the month, 1 to 31", "{day_of}({a})"),
        ("getDayOfMonth", "the day of the month, 0 to 30", "({day_of}({a}) - 1)"),
        # The epoch was a Thursday.
        ("getDayOfWeek", "the day of the week, 0 (Sunday) to 6", "(({a} // 86400000000 + 4) % 7)"),
        ("getHours", "the hour, 0 to 23", "({a} // 3600000000 % 24)"),
        ("getMinutes", "the minute, 0 to 59", "({a} // 60000000 % 60)"),
    ):
        yield Row(name, (TIME,), INT, f"{meaning}; UTC", source, member=True)
        zoned = source.replace("{a}", "{local}({a}, {b})")
        in_zone = f"{meaning}; in the time zone named by a literal"
        yield Row(name, (TIME, STR), INT, in_zone, zoned, member=True, conversions=(None, _ZONE))
    seconds = "{int_quotient}({a}, 1000000)"
    yield Row("getSeconds", (DURATION,), INT, "whole seconds, toward zero", seconds, member=True)


ROWS: Final[Mapping[Key, Row]] = {
    (row.function, row.member, row.operands): row
    for rows in (
        _logic,
        _comparisons,
        _membership,
        _look_ups,
        _choices,
        _whole_arithmetic,
        _float_arithmetic,
        _money_arithmetic,
        _time_arithmetic,
        _text,
        _times,
    )
    for row in rows()
}


class Reference(NamedTuple):
    """One line of the language reference.

    Attributes:
        name: The operator or function as it is written, such as `>` or `startsWith`.
        signature: Such as `money > float → bool`.
        meaning: What it yields, on one line.
    """

    name: str
    signature: str
    meaning: str


def reference() -> list[Reference]:
    """The whole language, one overload a line."""
    return [Reference(spelled(row.function), f"{usage(row)} → {row.result}", row.meaning) for row in ROWS.values()]


def spelled(function: str) -> str:
    """The name as people write it: `>` for `_>_`.

    >>> spelled("_>_"), spelled("@in"), spelled("_?_:_"), spelled("size")
    ('>', 'in', '? :', 'size')
    """
    if function in _SPELLED:
        return _SPELLED[function]
    operator = function.strip("_")
    return function if operator.isidentifier() else operator


_SPELLED: Final = {"@in": "in", "_?_:_": "? :", "_[_]": "[ ]"}


def usage(row: Row) -> str:
    """An example of the row with kinds for operands: `money > float`, `str.startsWith(str)`."""
    name, (first, *rest) = spelled(row.function), row.operands
    special = {"@in": "{0} in [{1}, …]", "_[_]": "list[{1}]", "_?_:_": "{0} ? {1} : {2}"}
    if row.function in special:
        return special[row.function].format(*row.operands)
    if row.function.startswith("_"):
        return f"{first} {name} {rest[0]}"
    if row.function.endswith("_"):
        return f"{name}{first}"
    if row.member:
        return f"{first}.{name}({', '.join(rest)})"
    return f"{name}({', '.join(row.operands)})"
