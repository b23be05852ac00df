"""What mode_share and entropy share: counts of values, pane by pane."""

from collections import Counter
from collections.abc import Iterable
from typing import Any


def tallied(panes: Iterable[dict[Any, int]]) -> Counter[Any]:
    """The counts of several panes together.

    >>> tallied([{"a": 1}, {"a": 2, "b": 1}])
    Counter({'a': 3, 'b': 1})
    """
    counts: Counter[Any] = Counter()
    for pane in panes:
        counts.update(pane)
    return counts
