"""What generated code calls on a history: the rare, long ways."""

from bisect import bisect_right
from math import fsum
from typing import Any, Final, TypeAlias

import msgspec

from detection.aggregates import Column
from detection.features.columns import merge

History: TypeAlias = list[list[Any]]
Keys: TypeAlias = dict[str, History]

_REBASE: Final = 2**60


def unambiguous(parts: tuple[Any, ...]) -> str:
    """The key of parts of which one that is not the last holds a NUL itself.

    A plain key has a NUL between its parts; JSON writes none.
    """
    return msgspec.json.encode([str(part) for part in parts]).decode()


def insert(history: History, time: int, number: int, items: tuple[tuple[Column, Any], ...]) -> int:
    """Put an out-of-order event where its time belongs; gives the index behind it.

    The list of origins is replaced, not changed: the evidence of earlier events is a slice of the old one.
    """
    index = bisect_right(history[0], time)
    history[0].insert(index, time)
    origins = history[1].copy()
    origins.insert(index, number)
    history[1] = origins
    for place, (kind, item) in enumerate(items, 2):
        column = history[place]
        if kind.running:
            column[index + 1 :] = [total + item for total in column[index:]]
        else:
            column.insert(index, item)
    return index + 1


def put(history: History, pane: int, number: int, items: tuple[tuple[Column, Any], ...]) -> int:
    """Take an out-of-order event into its pane, which may be new; gives the index behind it."""
    stop = bisect_right(history[0], pane)
    if not stop or history[0][stop - 1] != pane:
        return insert(history, pane, number, items)
    history[1][stop - 1] = number
    for place, (kind, item) in enumerate(items, 2):
        column = history[place]
        if kind.running:
            column[stop:] = [total + item for total in column[stop:]]
        else:
            column[stop - 1] = merge(kind, column[stop - 1], item)
    return stop


def forget(keys: Keys, key: str, history: History, keep: int) -> None:
    """Drop the entries at or before `keep`, and the key with its last.

    Called when half of them are, so it costs little each.
    """
    times = history[0]
    count = bisect_right(times, keep)
    if count == len(times):
        del keys[key]
    else:
        _drop(history, count)


def cut(history: History, limit: int) -> int:
    """Drop the oldest entries of a history that is too long; gives how many."""
    count = len(history[0]) - limit
    _drop(history, count)
    return count


def _drop(history: History, count: int) -> None:
    """Drop the oldest entries. The lists are replaced, as in `insert`."""
    left = len(history[0]) - count
    for place, column in enumerate(history):
        column = column[count:]  # noqa: PLW2901
        if len(column) > left and not -_REBASE < column[0] < _REBASE:  # running sums
            column = [total - column[0] for total in column]  # noqa: PLW2901
        history[place] = column


def session_start(times: list[int], start: int, stop: int, now: int, silence: int) -> int:
    """Back from `now`, event by event, until one is further from the next than `silence`."""
    while stop > start and now - times[stop - 1] <= silence:
        stop -= 1
        now = times[stop]
    return stop


def sum_of_floats(values: list[float]) -> float:
    """Add up those that are there, rounding once."""
    try:
        return fsum(values)
    except TypeError:  # None: events from before the field was kept
        return sum_of_floats([value for value in values if value is not None])
    except OverflowError:  # of a partial sum already; a power of two scales without an error
        return fsum([value * 2.0**-64 for value in values if value is not None]) * 2.0**64
