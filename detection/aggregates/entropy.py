"""entropy: how evenly a window is spread over the values of a field."""

from collections import Counter
from collections.abc import Mapping
from math import fsum, inf, log2
from typing import Any, ClassVar

from detection.aggregates.aggregate import Aggregate, Column, Window
from detection.aggregates.tally import tallied
from detection.expressions import Range
from detection.kinds import Kind


def bits(counts: Counter[Any]) -> float | None:
    """The Shannon entropy of those that are there, whatever their order.

    >>> bits(Counter("abba")), bits(Counter("aa")), bits(Counter([None]))
    (1.0, 0.0, None)
    """
    counts.pop(None, None)
    total = counts.total()
    return fsum([count / total * log2(total / count) for count in counts.values()]) if counts else None


class Entropy(Aggregate):
    """The Shannon entropy of the field's values in the window, in bits: 0 for one value, 3 for eight in equal parts.

    `sum(p * log2(1 / p))`; C. E. Shannon: A mathematical theory of communication (1948). The work grows with the events
    in the window.

    >>> Entropy().source(Window("i", "j", "times", "values"), Kind.STR)
    'bits(Counter(values[i:j]))'
    """

    name: ClassVar[str] = "entropy"
    of: ClassVar[frozenset[Kind]] = frozenset(Kind)
    helpers: ClassVar[Mapping[str, object]] = {"bits": bits, "Counter": Counter, "tallied": tallied}

    def result(self, of: Kind | None) -> Kind:  # noqa: ARG002
        """Always a float."""
        return Kind.FLOAT

    def range(self, window: int) -> Range:  # noqa: ARG002
        """Never negative."""
        return (0, inf)

    def columns(self, of: Kind | None) -> tuple[Column, ...]:  # noqa: ARG002
        """The values themselves."""
        return (Column.VALUE,)

    def work(self, of: Kind | None, *, paned: bool) -> int:  # noqa: ARG002
        """It looks at each."""
        return 2_000 if paned else 130

    def source(self, window: Window, of: Kind | None) -> str:  # noqa: ARG002
        """One pass over the slice."""
        return f"bits(Counter({window.values}[{window.start}:{window.stop}]))"

    def panes(self, of: Kind | None) -> tuple[Column, ...] | None:  # noqa: ARG002
        """How often each value came in each pane."""
        return (Column.TALLY,)

    def paned(self, window: Window, of: Kind | None) -> str:  # noqa: ARG002
        """All panes together."""
        return f"bits(tallied({window.values}[{window.start}:{window.stop}]))"
