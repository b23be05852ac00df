"""previous: the field as the key's event before this one had it."""

from typing import ClassVar

from detection.aggregates.aggregate import Aggregate, Column, Window
from detection.kinds import Kind


class Previous(Aggregate):
    """The field's value in the key's event just before this one, if the window holds one.

    Unknown for the first event. "Before" is by event time; of equal times, by arrival.

    >>> Previous().source(Window("i", "j", "times", "values"), Kind.STR)
    '(values[j - 1 - 1] if j - 1 > i else None)'
    """

    name: ClassVar[str] = "previous"
    of: ClassVar[frozenset[Kind]] = frozenset(Kind)
    optional: ClassVar[bool] = True

    def result(self, of: Kind | None) -> Kind:
        """The kind of the field."""
        assert of is not None
        return of

    def columns(self, of: Kind | None) -> tuple[Column, ...]:  # noqa: ARG002
        """The values themselves."""
        return (Column.VALUE,)

    def source(self, window: Window, of: Kind | None) -> str:  # noqa: ARG002
        """The last one before the current event."""
        return f"({window.values}[{window.past} - 1] if {window.past} > {window.start} else None)"
