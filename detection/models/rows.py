"""From an event with its features to the row that a model looks at: one function for live, training and evaluation."""

from collections.abc import Callable, Sequence
from typing import Final

from detection.codec import Event
from detection.features import Plan
from detection.generated import define, indent
from detection.kinds import Kind
from detection.models.forest import Row
from detection.pack import EventType, ModelSpec

NUMBERS: Final = {
    Kind.INT: "{x} + 0.0",
    Kind.FLOAT: "{x}",
    Kind.BOOL: "{x} + 0.0",
    Kind.MONEY: "{x} / 1e6",
    Kind.DURATION: "{x} / 1e6",
}
"""The kinds that a model can look at, and the source of such a value as a float: money in its units, durations in s."""


def row_of(event: EventType, plan: Plan, model: ModelSpec) -> Callable[[Event], Row]:
    """Generate the function that makes rows.

    Returns:
        From an event of that type with its `features` to a tuple of floats, in the model's order; unknown is None.
    """
    lines = [*plan.unpacking(event), f"return {row_source(event, model.features)}"]
    return define("row", ["def row(e):", *indent(lines)], {})


def row_source(event: EventType, features: Sequence[str]) -> str:
    """Source of a row, where an event `e` and the locals of `Plan.unpacking` are known."""
    return "".join(f"{_number(event, name)}, " for name in features).join("()")


def _number(event: EventType, name: str) -> str:
    symbol = event.symbols[name]
    number = NUMBERS[symbol.kind].format(x=symbol.source)
    return f"None if {symbol.source} is None else {number}" if symbol.optional else number
