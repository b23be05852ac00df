"""max: the largest value of a field."""

from collections.abc import Mapping
from typing import Any, ClassVar

from detection.aggregates.aggregate import Column
from detection.aggregates.extreme import Extreme


def greatest(values: list[Any]) -> Any:
    """The largest of those that are there.

    >>> greatest([3, None, 1]), greatest([None])
    (3, None)
    """
    try:
        return max(values)
    except TypeError:  # None: events from before the field was kept
        return max((value for value in values if value is not None), default=None)


class Max(Extreme):
    """The largest value of a field in the window, this event included.

    Exact. The work grows with the events in the window.
    """

    name: ClassVar[str] = "max"
    helpers: ClassVar[Mapping[str, object]] = {"greatest": greatest}
    column: ClassVar[Column] = Column.GREATEST
