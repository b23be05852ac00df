"""max: the largest value of a field."""

from collections.abc import Mapping
from typing import Any, ClassVar

from detection.aggregates.aggregate import Aggregate, Column, Window
from detection.kinds import Kind


def greatest(values: list[Any]) -> Any:
    """The largest of those that are there."""
    try:
        return max(values)
    except TypeError:  # None: events from before the field was kept
        return max((value for value in values if value is not None), default=None)


class Max(Aggregate):
    """The largest value of a field in the window, this event included.

    Exact. The work grows with the events in the window.

    >>> Max().source(Window("i", "j", "times", "values"), Kind.INT)
    'greatest(values[i:j])'
    """

    name: ClassVar[str] = "max"
    of: ClassVar[frozenset[Kind]] = frozenset({Kind.INT, Kind.FLOAT, Kind.MONEY})
    helpers: ClassVar[Mapping[str, object]] = {"greatest": greatest}

    def result(self, of: Kind | None) -> Kind:
        """The kind of the field."""
        assert of is not None
        return of

    def columns(self, of: Kind | None) -> tuple[Column, ...]:  # noqa: ARG002
        """The values themselves."""
        return (Column.VALUE,)

    def source(self, window: Window, of: Kind | None) -> str:  # noqa: ARG002
        """One pass over the slice."""
        return f"greatest({window.values}[{window.start}:{window.stop}])"
