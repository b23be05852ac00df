"""What an aggregate is: a value read off the sorted history of a key, as Python source.

The history of a key (see `detection.features`) is a handful of parallel lists, sorted by event time:

    times    1000  4000  9000          event times, us
    values     "a"   "b"   "a"         column `value`: the aggregated field of each event
    totals  0    5    12    20         column `total`: running sums, one longer than the others

A window is a slice `[i, j)` of them, the current event its last member, so most aggregates are one short expression
over `i` and `j`. The expressions of all features of a key are pasted into one generated function: no call, no object
per feature.

With a `resolution` the history has one entry for each pane, a stretch of time in which the key had events, instead of
one for each event: `times` are the beginnings of the panes, and the columns say what the events of a pane come to.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar

from detection.expressions import EVERYTHING, Range
from detection.kinds import Kind


class Column(StrEnum):
    """A list kept beside the event times. Part of the stored state: never rename one."""

    VALUE = "value"
    TOTAL = "total"
    COUNT = "count"
    """Of panes: running numbers of events, one longer than the others."""
    LEAST = "least"
    """Of panes: the smallest value."""
    GREATEST = "greatest"
    """Of panes: the largest value."""
    TALLY = "tally"
    """Of panes: how often each value came, a dict."""
    MOMENTS = "moments"
    """Of panes: how many values came, their mean, and their squared distances from it: `[n, mean, m2]`."""

    @property
    def running(self) -> bool:
        """Whether it is added up along the history."""
        return self in {Column.TOTAL, Column.COUNT}


@dataclass(frozen=True, slots=True)
class Window:
    """The names that generated code gives to one window of one key.

    Attributes:
        start: Index of the first event inside.
        stop: Index behind the last event inside: the current one, unless `where` or `delay` keeps that out.
        times: The list of event times.
        values: The list of the aggregated field's values, of panes the other column that the aggregate asks for; empty
            text where it asks for none.
        totals: The list of running sums; empty text where the aggregate asks for none.
        past: Index behind the last event inside that came before the current one.
        time: The current event's time.
        others: The list of the second field's values, for an aggregate of a pair.
        here: The current event's own values, a tuple, for an aggregate of a pair.
        counts: The list of running numbers of events, of panes; else empty text.
    """

    start: str
    stop: str
    times: str
    values: str = ""
    totals: str = ""
    past: str = "j - 1"
    time: str = "t"
    others: str = ""
    here: str = ""
    counts: str = ""

    @property
    def count(self) -> str:
        """Source of the number of events inside."""
        counts = self.counts
        return f"({counts}[{self.stop}] - {counts}[{self.start}])" if counts else f"({self.stop} - {self.start})"


class Aggregate(ABC):
    """A function of the events in a window.

    Attributes:
        name: What packs call it.
        of: The kinds of field it aggregates; empty if it takes no field.
        pair: What its two fields are, if it takes two: `of = ["…", "…"]`.
        optional: Whether its value may be unknown though every event has the field.
        of_none: Whether it has a value over no events: `where` and `delay` can leave a window empty.
        helpers: What its source names, beside `fsum`.
    """

    name: ClassVar[str]
    of: ClassVar[frozenset[Kind]]
    pair: ClassVar[tuple[str, str] | None] = None
    optional: ClassVar[bool] = False
    of_none: ClassVar[bool] = False
    helpers: ClassVar[Mapping[str, object]] = {}

    @abstractmethod
    def result(self, of: Kind | None) -> Kind:
        """The kind of the aggregate's value over a field of kind `of`, the first of a pair."""

    def range(self, window: int) -> Range:  # noqa: ARG002  (some are bounded by the window)
        """The least and the greatest value over a window of so many us that holds an event; durations in us."""
        return EVERYTHING

    def columns(self, of: Kind | None) -> tuple[Column, ...]:  # noqa: ARG002  (some aggregates choose by kind)
        """The columns it needs beside the times."""
        return ()

    def work(self, of: Kind | None, *, paned: bool) -> int:  # noqa: ARG002  (most look at the ends of a window only)
        """About how many ns each entry of the window costs; 0: the window's length does not matter."""
        return 0

    @abstractmethod
    def source(self, window: Window, of: Kind | None) -> str:
        """Python source of the value; `fsum` is in its scope. Without `of_none` the window holds an event."""

    def panes(self, of: Kind | None) -> tuple[Column, ...] | None:  # noqa: ARG002  (some aggregates choose by kind)
        """The columns it needs beside the times of panes; None: it needs each event."""
        return None

    def paned(self, window: Window, of: Kind | None) -> str:
        """As `source`, over panes."""
        return self.source(window, of)
