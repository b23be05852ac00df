"""A condition that is called impossible is; and the plain mistakes are found."""

import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detection.expressions import Constants, Language, Symbol
from detection.kinds import Kind

LANGUAGE = Language(
    {
        "n": Symbol(Kind.INT, "n", range=(1, math.inf)),
        "share": Symbol(Kind.FLOAT, "share", range=(0, 1)),
        "pause": Symbol(Kind.DURATION, "pause", optional=True, range=(0, 60_000_000)),
        "i": Symbol(Kind.INT, "i", optional=True),
        "m": Symbol(Kind.MONEY, "m"),
        "s": Symbol(Kind.STR, "s"),
        "b": Symbol(Kind.BOOL, "b"),
    }
)


def possible(text: str) -> bool:
    return LANGUAGE.compile(text, Constants(), expects=Kind.BOOL).possible


@pytest.mark.parametrize(
    "text",
    [
        "false",
        "n < 1",
        "1 > n",
        "n == 0",
        "!(n >= 1)",
        "n in [0, -1]",
        "share > 1.0",
        "share > 1",
        'pause > duration("1m")',
        'duration("1m") < pause',
        "b && n < 1",
        "n < 1 || share < 0.0",
        "i > 5 && i < 5",
        "i > 5 && b && 3 >= i",
        "i == 1 && i == 2",
        "!(i <= 5 || i > 5)",
        "m > 400.01 && m < 400",
        "m > 100 && m <= -5.5",
        's == "a" && s == "b"',
        '"a" == "b"',
        "i > n && i < 0",
    ],
)
def test_a_condition_that_nothing_fulfils_is_found(text: str) -> None:
    assert not possible(text)


@pytest.mark.parametrize(
    "text",
    [
        "n == 1",
        "n > 1",
        "n in [0, 1]",
        "share >= 1.0",
        "share == 0.0",
        'pause >= duration("1m")',
        "i >= 5 && i <= 5",
        "i > 5 || i < 5",
        "!(i > 5 && i < 5)",
        's == "a" || s == "b"',
        's != "a" && s != "b"',
        "b && !b",  # a person sees it; this does not, and says nothing
        "n + i < 1",
        "m < -1",
        "n < 1 ? true : b",
    ],
)
def test_what_may_come_true_is_not_refused(text: str) -> None:
    assert possible(text)


small = st.integers(-3, 3)
comparison = st.builds(
    "{} {} {}".format,
    st.sampled_from(["n", "i", "m", "-i", "2", "-1"]),
    st.sampled_from(["<", "<=", ">", ">=", "==", "!="]),
    st.sampled_from(["n", "i", "0", "1", "2", "-2"]),
)
conditions = st.recursive(
    comparison | st.sampled_from(["b", "true", "false", "i in [0, 2]", 's == "a"', 's == "b"']),
    lambda inner: (
        st.builds("({} {} {})".format, inner, st.sampled_from(["&&", "||"]), inner) | st.builds("!({})".format, inner)
    ),
    max_leaves=6,
)


@settings(max_examples=300, deadline=None)
@given(conditions, st.lists(st.tuples(small, small | st.none(), small, st.booleans()), min_size=1, max_size=8))
def test_nothing_fulfils_what_is_called_impossible(text: str, rows: list[tuple[Any, ...]]) -> None:
    constants = Constants()
    expression = LANGUAGE.compile(text, constants)
    if expression.possible:
        return
    for n, i, m, b in rows:
        names = {"n": 1 + abs(n), "i": i, "m": m * 1_000_000, "b": b, "s": "ab"[m % 2], "share": 0.5, "pause": None}
        assert eval(expression.source, dict(constants.values), names) is not True
