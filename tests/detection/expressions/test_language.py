"""Every overload: what it yields, and what all overloads promise."""

import math
from itertools import product
from typing import Any

import pytest

from detection.expressions import Constants, Language, reference
from detection.expressions.language import ROWS, Row, spelled, usage
from detection.kinds import LARGEST, Kind
from tests.detection.expressions.conftest import NAMES

SMALLEST = -LARGEST - 1
WHOLE = [0, 1, -1, 7, -7, LARGEST, SMALLEST]
EDGES: dict[Kind, list[Any]] = {
    Kind.INT: WHOLE,
    Kind.MONEY: [*WHOLE, 400_010_000],
    Kind.TIME: WHOLE,
    Kind.DURATION: WHOLE,
    Kind.FLOAT: [0.0, -0.0, 1.5, -400.01, math.inf, -math.inf, math.nan, 1.7e308, 5e-324],
    Kind.STR: ["", "a", 'é\n"\\ {}', "\U0001f600 "],
    Kind.BOOL: [True, False],
}
TYPES = {Kind.FLOAT: float, Kind.STR: str, Kind.BOOL: bool}
LITERALS = {
    "timestamp": {0: '"2026-01-01T00:00:00Z"'},
    "duration": {0: '"90s"'},
    **{
        name: {1: '"America/New_York"'}
        for name in ("getFullYear", "getMonth", "getDate", "getDayOfMonth", "getDayOfWeek", "getHours", "getMinutes")
    },
}
CALLED = [row for row in ROWS.values() if row.function != "_[_]"]  # for that one see test_look_ups.py
STRICT = [row for row in CALLED if row.function not in ("_&&_", "_||_", "_?_:_", "known")]


def call(row: Row, *, maybe: bool = False) -> tuple[str, dict[str, Kind]]:
    """The text of a call of the overload, and the names it reads."""
    literals = LITERALS.get(row.function, {})
    read: dict[str, Kind] = {}
    words: list[str] = []
    for at, kind in enumerate(row.operands):
        if at in literals:
            words.append(literals[at])
            continue
        name = f"{'maybe_' if maybe else ''}{NAMES[kind][kind in row.operands[:at]]}"
        if row.function == "_?_:_" and at == 2 and kind is Kind.BOOL:
            name = name.replace("q", "p")
        read[name] = kind
        words.append(name)
    function = spelled(row.function)
    match row.function:
        case "@in":
            return f"{words[0]} in [{words[1]}]", read
        case "_?_:_":
            return f"{words[0]} ? {words[1]} : {words[2]}", read
        case name if name.startswith("_"):
            return f"{words[0]} {function} {words[1]}", read
        case name if name.endswith("_"):
            return f"{function} {words[0]}", read
    if row.member:
        return f"{words[0]}.{function}({', '.join(words[1:])})", read
    return f"{function}({', '.join(words)})", read


@pytest.mark.parametrize("maybe", [False, True])
@pytest.mark.parametrize("row", CALLED, ids=usage)
def test_an_overload_never_raises_and_yields_its_kind(evaluate: Any, row: Row, *, maybe: bool) -> None:
    text, names = call(row, maybe=maybe)
    for values in product(*(EDGES[kind] + ([None] if maybe else []) for kind in names.values())):
        result = evaluate(text, **dict(zip(names, values, strict=True)))
        if result is not None:
            assert type(result) is TYPES.get(row.result, int), (text, values)
            if type(result) is int:
                assert SMALLEST <= result <= LARGEST, (text, values)


@pytest.mark.parametrize("row", STRICT, ids=usage)
def test_a_function_of_an_unknown_is_unknown(evaluate: Any, row: Row) -> None:
    text, names = call(row, maybe=True)
    for unknown in names:
        values = {name: EDGES[kind][0] for name, kind in names.items()}
        assert evaluate(text, **values | {unknown: None}) is None


@pytest.mark.parametrize("row", CALLED, ids=usage)
def test_the_kind_of_an_expression_is_that_of_its_overload(language: Language, row: Row) -> None:
    text, names = call(row)
    expression = language.compile(text, Constants(), expects=row.result)

    assert expression.kind is row.result
    assert expression.names == tuple(names)


def test_the_reference_has_one_line_for_each_overload() -> None:
    lines = reference()

    assert len(lines) == len(set(lines)) == len(ROWS)
    assert (">", "money > float → bool", "is more than, exactly") in lines
    assert "str.startsWith(str) → bool" in {line.signature for line in lines}
    assert all(line.meaning and "\n" not in line.meaning for line in lines)


HOUR = 3_600_000_000


@pytest.mark.parametrize(
    ("text", "values", "expected"),
    [
        # comparison
        ("i == j", {"i": 3, "j": 3}, True),
        ("i != j", {"i": 3, "j": 3}, False),
        ("s < u", {"s": "Z", "u": "a"}, True),
        ("s < u", {"s": "\uffff", "u": "\U0001f600"}, True),
        ("p == q", {"p": True, "q": False}, False),
        ("i > x", {"i": 2**53 + 1, "x": 2.0**53}, True),
        ("i == x", {"i": 2**53 + 1, "x": 2.0**53}, False),
        ("x < i", {"x": math.nan, "i": 1}, False),
        ("x != x", {"x": math.nan}, True),
        ("1 < 1.5", {}, True),
        # whole numbers
        ("i + j", {"i": LARGEST, "j": 1}, None),
        ("i + j", {"i": LARGEST, "j": 0}, LARGEST),
        ("i - j", {"i": SMALLEST, "j": 1}, None),
        ("i * j", {"i": 2**32, "j": 2**31}, None),
        ("i * j", {"i": -(2**32), "j": 2**31}, SMALLEST),
        ("-i", {"i": SMALLEST}, None),
        ("abs(i)", {"i": SMALLEST}, None),
        ("abs(i)", {"i": -LARGEST}, LARGEST),
        ("i / j", {"i": 7, "j": 2}, 3),
        ("i / j", {"i": -7, "j": 2}, -3),
        ("i / j", {"i": 7, "j": -2}, -3),
        ("i / j", {"i": -7, "j": -2}, 3),
        ("i / j", {"i": 7, "j": 0}, None),
        ("i / -1", {"i": SMALLEST}, None),
        ("i / 2", {"i": -7}, -3),
        ("i % j", {"i": 7, "j": 3}, 1),
        ("i % j", {"i": -7, "j": 3}, -1),
        ("i % j", {"i": 7, "j": -3}, 1),
        ("i % j", {"i": 7, "j": 0}, None),
        ("i % -1", {"i": SMALLEST}, None),
        # floats
        ("x / y", {"x": 1.0, "y": 0.0}, math.inf),
        ("x / y", {"x": 1.0, "y": -0.0}, -math.inf),
        ("x / y", {"x": -math.inf, "y": 0.0}, -math.inf),
        ("i / x", {"i": 1, "x": 4.0}, 0.25),
        ("x * i", {"x": 0.5, "i": 3}, 1.5),
        ("x + 1", {"x": 0.5}, 1.5),
        ("x * y", {"x": 1e308, "y": 10.0}, math.inf),
        # money
        ("m + n", {"m": 100_000, "n": 200_000}, 300_000),
        ("m + 0.1", {"m": 200_000}, 300_000),
        ("1 - m", {"m": 1}, 999_999),
        ("m + n", {"m": LARGEST, "n": 1}, None),
        ("m * 3", {"m": 100_000}, 300_000),
        ("3 * m", {"m": 100_000}, 300_000),
        ("m * 0.1", {"m": 5}, 0),
        ("m * 0.1", {"m": 15}, 2),
        ("0.1 * m", {"m": 25}, 2),
        ("m * x", {"m": -15, "x": 0.1}, -2),
        ("m * x", {"m": LARGEST, "x": 1.0000000000000002}, None),
        ("m * x", {"m": LARGEST, "x": 1.0}, LARGEST),
        ("m * x", {"m": 1, "x": math.nan}, None),
        ("m / 2", {"m": 5}, 2),
        ("m / 2", {"m": 7}, 4),
        ("m / -2", {"m": 5}, -2),
        ("m / i", {"m": 7, "i": -2}, -4),
        ("m / -2.0", {"m": -7}, 4),
        ("m / i", {"m": 5, "i": 0}, None),
        ("m / -1", {"m": SMALLEST}, None),
        ("m / 0.5", {"m": 3}, 6),
        ("m / x", {"m": 3, "x": 0.0}, None),
        ("m / n", {"m": 1, "n": 4}, 0.25),
        ("m / n", {"m": 1, "n": 0}, None),
        ("m > 3 * n", {"m": 300_000, "n": 100_000}, False),
        ("m > 0.9 * n", {"m": 90_001, "n": 100_000}, True),
        ("n * 0.9 < m", {"m": 90_000, "n": 100_000}, False),
        # choices
        ("p ? i : 2.5", {"p": True, "i": 1}, 1.0),
        ("p ? m : 5", {"p": False, "m": 1}, 5_000_000),
        ("p ? m : x", {"p": False, "m": 1, "x": 0.5}, 500_000),
        ("p ? m : x", {"p": False, "m": 1, "x": 1e30}, None),
        ("p ? m : x", {"p": True, "m": 1, "x": 1e30}, 1),
        ("p ? maybe_i : j", {"p": False, "j": 1}, 1),
        ("p ? maybe_i : j", {"p": True, "j": 1}, None),
        ("maybe_p ? 1 : 1", {}, None),
        ("min(i, 2.5)", {"i": 2}, 2.0),
        ("max(m, 100)", {"m": 99_999_999}, 100_000_000),
        ("min(d, duration('1s'))", {"d": 2_000_000}, 1_000_000),
        # membership
        ("s in ['a', 'b']", {"s": "b"}, True),
        ("s in []", {"s": "b"}, False),
        ("i in [1, 2.0]", {"i": 2}, True),
        ("m in [1, 2.5]", {"m": 2_500_000}, True),
        ("m in [0.1, 0.0000001]", {"m": 0}, False),
        ("m in [x, i]", {"m": 2_500_000, "x": 2.5, "i": 1}, True),
        ("i + 1 in [j, 3]", {"i": 2, "j": 9}, True),
        ("i + 1 in [j, 3]", {"i": LARGEST, "j": 9}, None),
        ("s.trim() in [u, 'a']", {"s": " a ", "u": "b"}, True),
        ("x in [x]", {"x": math.nan}, False),
        ("i in [maybe_i, 3]", {"i": 3}, None),
        ("t in [timestamp('1970-01-01T00:00:01Z')]", {"t": 1_000_000}, True),
        ("p in [true]", {"p": True}, True),
        # text
        ("s + u", {"s": "a", "u": "b"}, "ab"),
        ("size(s)", {"s": "é\U0001f600"}, 2),
        ("s.size()", {"s": ""}, 0),
        ("s.startsWith(u)", {"s": "abc", "u": "ab"}, True),
        ("s.endsWith(u)", {"s": "abc", "u": "ab"}, False),
        ("s.contains(u)", {"s": "abc", "u": "b"}, True),
        ("s.contains('')", {"s": ""}, True),
        ("s.lowerAscii()", {"s": "ÀBC"}, "Àbc"),
        ("s.upperAscii()", {"s": "straße"}, "STRAßE"),
        ("s.trim()", {"s": "\u2003\x1c a\u3000\n"}, "\x1c a"),
        # time
        ("t - w", {"t": 5, "w": 7}, -2),
        ("t + d", {"t": LARGEST, "d": 1}, None),
        ("d + t", {"t": 1, "d": 2}, 3),
        ("t - duration('1h30m')", {"t": 0}, -5_400_000_000),
        ("t > timestamp('2026-01-01T00:00:00+01:00')", {"t": 1_767_222_000_000_001}, True),
        ("t == timestamp('2026-01-01T00:00:00')", {"t": 1_767_225_600_000_000}, True),
        ("d == duration('7d')", {"d": 604_800_000_000}, True),
        ("d.getSeconds()", {"d": -1_999_999}, -1),
        ("t.getHours()", {"t": -1}, 23),
        ("t.getMinutes()", {"t": -1}, 59),
        ("t.getDayOfWeek()", {"t": 0}, 4),
        ("t.getDayOfWeek()", {"t": 3 * 24 * HOUR}, 0),
        ("t.getMonth()", {"t": 0}, 0),
        ("t.getDate()", {"t": 0}, 1),
        ("t.getDayOfMonth()", {"t": 0}, 0),
        ("t.getFullYear()", {"t": -1}, 1969),
        ("t.getFullYear()", {"t": LARGEST}, 294_247),
        ("t.getFullYear()", {"t": SMALLEST}, -290_308),
        ("t.getHours('Asia/Kolkata')", {"t": 0}, 5),
        ("t.getMinutes('Asia/Kolkata')", {"t": 0}, 30),
        # Berlin's clocks go from 02:00 to 03:00 at 2026-03-29T01:00:00Z, and back at 2026-10-25T01:00:00Z.
        ("t.getHours('Europe/Berlin')", {"t": 1_774_745_999_999_999}, 1),
        ("t.getHours('Europe/Berlin')", {"t": 1_774_746_000_000_000}, 3),
        ("t.getHours('Europe/Berlin')", {"t": 1_792_889_999_999_999}, 2),
        ("t.getHours('Europe/Berlin')", {"t": 1_792_890_000_000_000}, 2),
        # 2025-12-31T23:30:00Z is already the new year in Berlin, a Thursday.
        ("t.getFullYear('Europe/Berlin')", {"t": 1_767_223_800_000_000}, 2026),
        ("t.getMonth('Europe/Berlin')", {"t": 1_767_223_800_000_000}, 0),
        ("t.getDate('Europe/Berlin')", {"t": 1_767_223_800_000_000}, 1),
        ("t.getDayOfMonth('Europe/Berlin')", {"t": 1_767_223_800_000_000}, 0),
        ("t.getDayOfWeek('Europe/Berlin')", {"t": 1_767_223_800_000_000}, 4),
        ("t.getDayOfWeek()", {"t": 1_767_223_800_000_000}, 3),
        # known
        ("known(maybe_s)", {}, False),
        ("known(maybe_s)", {"maybe_s": ""}, True),
        ("known(i)", {"i": 0}, True),
        ("known(i / j)", {"i": 1, "j": 0}, False),
        ("known(maybe_i) && maybe_i > 3", {}, False),
    ],
)
def test_an_overload_yields(evaluate: Any, text: str, values: dict[str, Any], expected: object) -> None:
    result = evaluate(text, **values)

    assert (result, type(result)) == (expected, type(expected))
