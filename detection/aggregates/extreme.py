"""What min and max share."""

from typing import ClassVar

from detection.aggregates.aggregate import Aggregate, Column, Window
from detection.kinds import Kind


class Extreme(Aggregate):
    """One of a window's own values, picked by the one helper.

    Attributes:
        column: Where panes keep theirs.
    """

    column: ClassVar[Column]
    of: ClassVar[frozenset[Kind]] = frozenset({Kind.INT, Kind.FLOAT, Kind.MONEY})

    def result(self, of: Kind | None) -> Kind:
        """The kind of the field."""
        assert of is not None
        return of

    def columns(self, of: Kind | None) -> tuple[Column, ...]:  # noqa: ARG002
        """The values themselves."""
        return (Column.VALUE,)

    def work(self, of: Kind | None, *, paned: bool) -> int:  # noqa: ARG002
        """It looks at each."""
        return 14

    def source(self, window: Window, of: Kind | None) -> str:  # noqa: ARG002
        """One pass over the slice."""
        (pick,) = self.helpers
        return f"{pick}({window.values}[{window.start}:{window.stop}])"

    def panes(self, of: Kind | None) -> tuple[Column, ...] | None:  # noqa: ARG002
        """That of each pane."""
        return (self.column,)
