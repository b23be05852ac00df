"""min: the smallest value of a field."""

from collections.abc import Mapping
from typing import Any, ClassVar

from detection.aggregates.aggregate import Aggregate, Column, Window
from detection.kinds import Kind


def least(values: list[Any]) -> Any:
    """The smallest of those that are there."""
    try:
        return min(values)
    except TypeError:  # None: events from before the field was kept
        return min((value for value in values if value is not None), default=None)


class Min(Aggregate):
    """The smallest value of a field in the window, this event included.

    Exact. The work grows with the events in the window.

    >>> Min().source(Window("i", "j", "times", "values"), Kind.INT)
    'least(values[i:j])'
    """

    name: ClassVar[str] = "min"
    of: ClassVar[frozenset[Kind]] = frozenset({Kind.INT, Kind.FLOAT, Kind.MONEY})
    helpers: ClassVar[Mapping[str, object]] = {"least": least}

    def result(self, of: Kind | None) -> Kind:
        """The kind of the field."""
        assert of is not None
        return of

    def columns(self, of: Kind | None) -> tuple[Column, ...]:  # noqa: ARG002
        """The values themselves."""
        return (Column.VALUE,)

    def source(self, window: Window, of: Kind | None) -> str:  # noqa: ARG002
        """One pass over the slice."""
        return f"least({window.values}[{window.start}:{window.stop}])"
