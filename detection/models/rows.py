"""From an event with its features to the row that a model looks at: one function for live, training and evaluation."""

from collections.abc import Callable
from typing import Final

from detection.codec import Event
from detection.expressions import Symbol
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
    lines = [*plan.unpacking(event), f"return {row_source(model)}"]
    return define("row", ["def row(e):", *indent(lines)], dict(event.constants.values))


def row_source(model: ModelSpec) -> str:
    """Source of a row, where an event `e`, the locals of `Plan.unpacking` and the event's constants are known."""
    return "".join(f"{_number(symbol)}, " for symbol in model.symbols).join("()")


def _number(symbol: Symbol) -> str:
    if not symbol.optional:
        return NUMBERS[symbol.kind].format(x=symbol.source)
    if symbol.source.replace(".", "_").isidentifier():
        return f"None if {symbol.source} is None else {NUMBERS[symbol.kind].format(x=symbol.source)}"
    return f"None if (found := {symbol.source}) is None else {NUMBERS[symbol.kind].format(x='found')}"
