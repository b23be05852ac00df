"""min: the smallest value of a field."""

from collections.abc import Mapping
from typing import Any, ClassVar

from detection.aggregates.aggregate import Column
from detection.aggregates.extreme import Extreme


def least(values: list[Any]) -> Any:
    """The smallest of those that are there.

    >>> least([3, None, 1]), least([None])
    (1, None)
    """
    try:
        return min(values)
    except TypeError:  # None: events from before the field was kept
        return min((value for value in values if value is not None), default=None)


class Min(Extreme):
    """The smallest value of a field in the window, this event included.

    Exact. The work grows with the events in the window.
    """

    name: ClassVar[str] = "min"
    helpers: ClassVar[Mapping[str, object]] = {"least": least}
    column: ClassVar[Column] = Column.LEAST
