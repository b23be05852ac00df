"""Conditions that nothing can fulfil, found before any event comes.

Abstract interpretation over intervals (P. Cousot, R. Cousot: Abstract interpretation, 1977): each number is known to
lie in a range, and a comparison of ranges may come out true, false, or both ways. What is not understood may come out
either way, so "impossible" is only said of what surely is.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from math import inf
from typing import Final, TypeAlias

from detection.expressions.tree import Call, ListOf, Literal, Name, Node
from detection.kinds import parse_duration

Range: TypeAlias = tuple[float, float]
"""The least and the greatest value, both possible; durations in us, money in its own unit."""

EVERYTHING: Final[Range] = (-inf, inf)
_MIRRORED: Final = {"_<_": "_>_", "_<=_": "_>=_", "_>_": "_<_", "_>=_": "_<=_", "_==_": "_==_"}
_OPPOSITE: Final = {"_<_": "_>=_", "_<=_": "_>_", "_>_": "_<=_", "_>=_": "_<_", "_==_": "_!=_", "_!=_": "_==_"}

_COMPARABLE: Final[Mapping[str, Callable[[float, float, float, float], bool]]] = {
    "_<_": lambda low, _, __, most: low < most,
    "_<=_": lambda low, _, __, most: low <= most,
    "_>_": lambda _, high, least, __: high > least,
    "_>=_": lambda _, high, least, __: high >= least,
    "_==_": lambda low, high, least, most: low <= most and least <= high,
    "_!=_": lambda low, high, least, most: not low == high == least == most,
}
"""Whether one number from `low` to `high` may compare so with one from `least` to `most`."""


def possible(node: Node, ranges: Mapping[str, Range], *, outcome: bool = True) -> bool:
    """Whether a condition may come out so; True where it is not sure.

    Args:
        node: The checked condition.
        ranges: Where the values of names lie; names that are missing here may be anything.
        outcome: What it may come out as.
    """
    match node:
        case Literal(_, bool(value)):
            return value is outcome
        case Call(_, "!_", _, (operand,)):
            return possible(operand, ranges, outcome=not outcome)
        case Call(_, ("_&&_" | "_||_") as function):
            return _chained(
                list(_chain(node, function)), ranges, outcome=outcome, any_will_do=outcome is (function == "_||_")
            )
        case Call(_, "@in", _, (left, ListOf(_, elements))) if outcome:
            return any(_comparable("_==_", left, element, ranges) for element in elements)
        case Call(_, function, _, (left, right)) if function in _OPPOSITE:
            return _comparable(function if outcome else _OPPOSITE[function], left, right, ranges)
        case _:
            return True


def _chained(parts: list[Node], ranges: Mapping[str, Range], *, outcome: bool, any_will_do: bool) -> bool:
    if any_will_do:
        return any(possible(part, ranges, outcome=outcome) for part in parts)
    # All of them must come out so, of the same values: what one says of a name holds in the others too.
    narrowed = _narrowed(parts, ranges, outcome=outcome)
    return narrowed is not None and all(possible(part, narrowed, outcome=outcome) for part in parts)


def _chain(node: Node, function: str) -> Iterator[Node]:
    if isinstance(node, Call) and node.function == function:
        for operand in node.operands:
            yield from _chain(operand, function)
    else:
        yield node


def _comparable(function: str, left: Node, right: Node, ranges: Mapping[str, Range]) -> bool:
    if isinstance(left, Literal) and isinstance(right, Literal) and isinstance(left.value, str):
        return function not in {"_==_", "_!=_"} or (left.value == right.value) is (function == "_==_")
    first, second = _range(left, ranges), _range(right, ranges)
    return _COMPARABLE[function](*first, *second)


def _range(node: Node, ranges: Mapping[str, Range]) -> Range:
    match node:
        case Literal(_, int() | float() as value) if not isinstance(value, bool):
            return (value, value)
        case Name(_, name):
            return ranges.get(name, EVERYTHING)
        case Call(_, "duration", _, (Literal(_, str(text)),)):
            micros = parse_duration(text, "duration")
            return (micros, micros)
        case Call(_, "-_", _, (operand,)):
            low, high = _range(operand, ranges)
            return (-high, -low)
        case _:
            return EVERYTHING


def _narrowed(parts: Iterable[Node], ranges: Mapping[str, Range], *, outcome: bool) -> dict[str, Range] | None:
    """The ranges where every part comes out so, as far as each part says it of one name; None if there are none."""
    found = dict(ranges)
    texts: dict[str, str] = {}
    for part in parts:
        for name, function, other in _sides(part):
            if isinstance(other, Literal) and isinstance(other.value, str):
                if function == "_==_" and outcome and texts.setdefault(name, other.value) != other.value:
                    return None
                continue
            said = function if outcome else _OPPOSITE[function]
            low, high = found.get(name, EVERYTHING)
            least, most = _range(other, ranges)
            if said in {"_>_", "_>=_", "_==_"}:
                low = max(low, least)
            if said in {"_<_", "_<=_", "_==_"}:
                high = min(high, most)
            if low > high:
                return None
            found[name] = (low, high)
    return found


def _sides(part: Node) -> Iterator[tuple[str, str, Node]]:
    """A comparison as it reads from each side that is a name."""
    if isinstance(part, Call) and part.function in _MIRRORED:
        left, right = part.operands
        if isinstance(left, Name):
            yield left.name, part.function, right
        if isinstance(right, Name):
            yield right.name, _MIRRORED[part.function], left
