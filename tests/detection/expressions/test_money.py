"""Money beside numbers: exact at the limit, whatever the number looks like."""

import operator
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detection.expressions import Constants, Language
from detection.kinds import LARGEST

OPERATORS = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
MIRRORED = {"==": "==", "!=": "!=", "<": ">", "<=": ">=", ">": "<", ">=": "<="}
micros = st.integers(-LARGEST - 1, LARGEST)
finite = st.one_of(st.floats(allow_nan=False, allow_infinity=False), st.floats(-1e4, 1e4).map(lambda x: round(x, 2)))


@pytest.mark.parametrize(
    ("amount", "fires"), [(400_009_999, False), (400_010_000, False), (400_010_001, True), (-400_010_001, False)]
)
def test_a_limit_with_decimals_fires_one_millionth_past_it_and_not_at_it(
    evaluate: Any, amount: int, *, fires: bool
) -> None:
    assert evaluate("m > 400.01", m=amount) is fires
    assert evaluate("400.01 < m", m=amount) is fires
    assert evaluate("m > x", m=amount, x=400.01) is fires


def test_a_literal_finer_than_money_is_not_rounded(evaluate: Any) -> None:
    assert evaluate("m > 0.0000005", m=0) is False
    assert evaluate("m > 0.0000005", m=1) is True
    assert evaluate("m >= 0.0000015", m=1) is False
    assert evaluate("m == 0.0000005", m=0) is False
    assert evaluate("m < 1e-300", m=0) is True


def test_a_limit_beyond_what_money_holds_compares_right(evaluate: Any) -> None:
    assert evaluate("m < 1e300", m=LARGEST) is True
    assert evaluate("m > -9223372036854775808", m=-LARGEST - 1) is True
    assert evaluate("m < 9223372036854.777", m=LARGEST) is True
    assert evaluate("m < x", m=LARGEST, x=float("inf")) is True
    assert evaluate("m == x", m=0, x=float("nan")) is False


@given(micros, finite, st.sampled_from(sorted(OPERATORS)))
def test_money_compares_with_a_float_as_with_its_shortest_decimal(
    evaluate: Any, amount: int, number: float, symbol: str
) -> None:
    expected = OPERATORS[symbol](Decimal(amount), Decimal(repr(number)) * 1_000_000)

    assert evaluate(f"m {symbol} x", m=amount, x=number) is expected
    assert evaluate(f"x {MIRRORED[symbol]} m", m=amount, x=number) is expected
    assert evaluate(f"m {symbol} {number!r}", m=amount) is expected


@given(micros, st.integers(-LARGEST - 1, LARGEST), st.sampled_from(sorted(OPERATORS)))
def test_money_compares_exactly_with_whole_numbers(evaluate: Any, amount: int, number: int, symbol: str) -> None:
    expected = OPERATORS[symbol](amount, number * 1_000_000)

    assert evaluate(f"m {symbol} i", m=amount, i=number) is expected
    assert evaluate(f"m {symbol} {number}", m=amount) is expected


@given(micros, finite)
def test_money_times_a_literal_is_money_times_its_value(evaluate: Any, amount: int, number: float) -> None:
    assert evaluate(f"m * {number!r}", m=amount) == evaluate("x * m", m=amount, x=number)
    if number:  # a constant zero is refused
        assert evaluate(f"m / {number!r}", m=amount) == evaluate("m / x", m=amount, x=number)


def test_a_literal_beside_money_costs_nothing_at_run_time(language: Language) -> None:
    constants = Constants()

    assert language.compile("m > 400.01 && i >= 3", constants).source == "((e.m > 400010000) and (e.i >= 3))"
    assert not constants.values
