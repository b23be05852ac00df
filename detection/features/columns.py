"""What each column of a history keeps of an event, as Python source."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from detection.aggregates import Column
from detection.aggregates.moments import Moments, merged, observe
from detection.pack import Field


@dataclass(frozen=True, slots=True)
class Keeping:
    """How one kind of column is kept.

    Attributes:
        item: Source of what one event `{x}` comes to alone.
        fold: Source that takes an event `{x}` into the last item of the column `{c}`; empty if none ever is.
        merge: From the item of a pane and that of one more event to the new item.
        nothing: What a pane has from before the column was kept.
    """

    item: str
    fold: str = ""
    merge: Callable[[Any, Any], Any] = lambda _, item: item
    nothing: Callable[[], Any] = lambda: None


def _smaller(old: Any, new: Any) -> Any:
    return new if old is None else min(old, new)


def _greater(old: Any, new: Any) -> Any:
    return new if old is None else max(old, new)


def _tallied(old: dict[Any, int], new: dict[Any, int]) -> dict[Any, int]:
    return dict(Counter(old) + Counter(new))


def _no_moments() -> Moments:
    return [0, 0.0, 0.0]


_KEEPING = {
    Column.VALUE: Keeping("{x}"),
    Column.TOTAL: Keeping("+{x}", "{c}[-1] += {x}"),
    Column.COUNT: Keeping("1", "{c}[-1] += 1"),
    Column.LEAST: Keeping("{x}", "if {c}[-1] is None or {x} < {c}[-1]: {c}[-1] = {x}", _smaller),
    Column.GREATEST: Keeping("{x}", "if {c}[-1] is None or {x} > {c}[-1]: {c}[-1] = {x}", _greater),
    Column.TALLY: Keeping("{{{x}: 1}}", "d = {c}[-1]; d[{x}] = d.get({x}, 0) + 1", _tallied, dict),
    Column.MOMENTS: Keeping("[1, float({x}), 0.0]", "observe({c}[-1], {x})", merged, _no_moments),
}
HELPERS = {"observe": observe}
"""What these sources name."""


def item(column: Column, of: Field | None) -> str:
    """Source of what the current event comes to alone."""
    return _KEEPING[column].item.format(x=_value(of))


def fresh(column: Column, of: Field | None) -> str:
    """Source of a column with the current event alone."""
    return f"[0, {item(column, of)}]" if column.running else f"[{item(column, of)}]"


def append(name: str, column: Column, of: Field | None, last: str = "-1") -> str:
    """Source that appends the current event to a column; `last` is the index of a running sum's last item."""
    before = f"{name}[{last}] + " if column.running else ""
    return f"{name}.append({before}{item(column, of).removeprefix('+') if before else item(column, of)})"


def fold(name: str, column: Column, of: Field | None) -> str:
    """Source that takes the current event into the last pane of a column."""
    return _KEEPING[column].fold.format(c=name, x=_value(of))


def merge(column: Column, old: Any, new: Any) -> Any:
    """What two items come to together; neither is changed."""
    return _KEEPING[column].merge(old, new)


def nothing(column: Column, length: int) -> list[Any]:
    """A column of so many entries from before it was kept."""
    return [0] * (length + 1) if column.running else [_KEEPING[column].nothing() for _ in range(length)]


def _value(of: Field | None) -> str:
    return f"e.f_{of.name}" if of else ""
