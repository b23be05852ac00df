"""Three-valued logic, as CEL's: what is known to decide does, whichever side it is on."""

from itertools import product
from typing import Any, TypeAlias

import pytest

Truth: TypeAlias = bool | None

VALUES: tuple[Truth, ...] = (True, False, None)
PAIRS = list(product(VALUES, repeat=2))
TRIPLES = list(product(VALUES, repeat=3))


def both(left: Truth, right: Truth) -> Truth:
    if left is False or right is False:
        return False
    return None if left is None or right is None else True


def either(left: Truth, right: Truth) -> Truth:
    if left is True or right is True:
        return True
    return None if left is None or right is None else False


def inverse(value: Truth) -> Truth:
    return None if value is None else not value


@pytest.mark.parametrize(("left", "right"), PAIRS)
def test_and_or_not_follow_their_truth_tables(evaluate: Any, left: Truth, right: Truth) -> None:
    known = {"p": left, "q": right, "maybe_p": left, "maybe_q": right}
    for first in ("p", "maybe_p") if left is not None else ("maybe_p",):
        for second in ("q", "maybe_q") if right is not None else ("maybe_q",):
            assert evaluate(f"{first} && {second}", **known) is both(left, right)
            assert evaluate(f"{first} || {second}", **known) is either(left, right)
    assert evaluate("!maybe_p", **known) is inverse(left)


@pytest.mark.parametrize(("a", "b", "c"), TRIPLES)
def test_nested_logic_keeps_unknowns_apart(evaluate: Any, a: Truth, b: Truth, c: Truth) -> None:
    # The third operand is unknown by a division by zero, not by its name.
    values = {"maybe_p": a, "maybe_q": b, "i": 0 if c is None else 1, "j": 1 if c else 0}
    third = "(1 / i == j)"

    assert evaluate(f"maybe_p && maybe_q || {third}", **values) is either(both(a, b), c)
    assert evaluate(f"{third} || maybe_p && maybe_q", **values) is either(both(a, b), c)
    assert evaluate(f"(maybe_p || {third}) && maybe_q", **values) is both(either(a, c), b)
    assert evaluate(f"maybe_q && ({third} || maybe_p)", **values) is both(either(a, c), b)
    assert evaluate(f"!(maybe_p && {third})", **values) is inverse(both(a, c))


@pytest.mark.parametrize(("a", "b", "c"), TRIPLES)
def test_only_the_chosen_branch_must_be_known(evaluate: Any, a: Truth, b: Truth, c: Truth) -> None:
    expected = None if a is None else b if a else c
    chosen = "maybe_p ? maybe_i == 1 : maybe_q"

    assert evaluate(chosen, maybe_p=a, maybe_i=None if b is None else int(b), maybe_q=c) is expected


def test_a_deciding_side_hides_an_overflow_or_division_by_zero(evaluate: Any) -> None:
    assert evaluate("i / j > 0 || p", i=1, j=0, p=True) is True
    assert evaluate("i / j > 0 && p", i=1, j=0, p=False) is False
    assert evaluate("i / j > 0 && p", i=1, j=0, p=True) is None
