"""mode_share: how much of a window has one and the same value."""

from collections import Counter
from collections.abc import Mapping
from typing import Any, ClassVar

from detection.aggregates.aggregate import Aggregate, Column, Window
from detection.aggregates.tally import tallied
from detection.expressions import Range
from detection.kinds import Kind


def share_of_mode(counts: Counter[Any]) -> float | None:
    """The share of the most frequent among those that are there.

    >>> share_of_mode(Counter(["a", "b", "a", None])), share_of_mode(Counter([None]))
    (0.6666666666666666, None)
    """
    counts.pop(None, None)
    return max(counts.values()) / counts.total() if counts else None


class ModeShare(Aggregate):
    """The share of the window's events that have its most frequent value of the field, above 0 and at most 1.

    The work grows with the events in the window.

    >>> ModeShare().source(Window("i", "j", "times", "values"), Kind.STR)
    'share_of_mode(Counter(values[i:j]))'
    """

    name: ClassVar[str] = "mode_share"
    of: ClassVar[frozenset[Kind]] = frozenset(Kind)
    helpers: ClassVar[Mapping[str, object]] = {"share_of_mode": share_of_mode, "Counter": Counter, "tallied": tallied}

    def result(self, of: Kind | None) -> Kind:  # noqa: ARG002
        """Always a float."""
        return Kind.FLOAT

    def range(self, window: int) -> Range:  # noqa: ARG002
        """A share."""
        return (0, 1)

    def columns(self, of: Kind | None) -> tuple[Column, ...]:  # noqa: ARG002
        """The values themselves."""
        return (Column.VALUE,)

    def work(self, of: Kind | None, *, paned: bool) -> int:  # noqa: ARG002
        """It looks at each."""
        return 2_000 if paned else 60

    def source(self, window: Window, of: Kind | None) -> str:  # noqa: ARG002
        """One pass over the slice."""
        return f"share_of_mode(Counter({window.values}[{window.start}:{window.stop}]))"

    def panes(self, of: Kind | None) -> tuple[Column, ...] | None:  # noqa: ARG002
        """How often each value came in each pane."""
        return (Column.TALLY,)

    def paned(self, window: Window, of: Kind | None) -> str:  # noqa: ARG002
        """All panes together."""
        return f"share_of_mode(tallied({window.values}[{window.start}:{window.stop}]))"
