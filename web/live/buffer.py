"""The newest records, bounded in number and bytes: a flood of one kind pushes none of another out."""

from collections import deque
from collections.abc import Callable, Iterator
from heapq import merge
from itertools import islice
from typing import Final

from web.live.records import Shown

_NUMBER: Final = {"FRAUD": 5_000, "REVIEW": 2_000, "LEGIT": 2_000, "DEAD": 1_000, "OTHER": 200}
_BYTES: Final = 16 * 2**20
"""Of each kind."""


class Buffer:
    """Keeps the newest records of each word."""

    def __init__(self, largest: int = _BYTES) -> None:
        """Keep at most `largest` bytes of each word, about."""
        self._largest = largest
        self._kept: dict[str, deque[Shown]] = {word: deque() for word in _NUMBER}
        self._bytes = dict.fromkeys(_NUMBER, 0)

    def add(self, record: Shown) -> None:
        """Keep it, and let go of the oldest of its word as far as there is no room."""
        kept = self._kept[record.word]
        kept.append(record)
        held = self._bytes[record.word] + record.size
        while held > self._largest or len(kept) > _NUMBER[record.word]:
            held -= kept.popleft().size
        self._bytes[record.word] = held

    def __iter__(self) -> Iterator[Shown]:
        """The newest first."""
        return merge(*(reversed(kept) for kept in self._kept.values()), key=lambda record: -record.number)

    def copy(self) -> "Buffer":
        """The same records, to be looked through in peace while new ones come."""
        other = Buffer(self._largest)
        other._kept = {word: kept.copy() for word, kept in self._kept.items()}
        other._bytes = self._bytes.copy()
        return other

    def get(self, number: int) -> Shown | None:
        """The record with this number, if it is still kept."""
        return next((record for record in self if record.number == number), None)

    def find(self, wanted: Callable[[Shown], bool], most: int) -> list[Shown]:
        """The newest records that are wanted, the newest first."""
        return list(islice(filter(wanted, self), most))


def matching(*, words: frozenset[str], rule: str, key: str, text: str) -> Callable[[Shown], bool]:
    """Whether a record passes the filter of a page; what is empty lets all through.

    Args:
        words: FRAUD, REVIEW and so on.
        rule: The name of a rule that fired.
        key: The whole key.
        text: Part of the key, the reasons or the origin; case does not count.
    """
    lowered = text.casefold()

    def passes(record: Shown) -> bool:
        return (
            (not words or record.word in words)
            and (not rule or rule in record.rules)
            and (not key or record.key == key)
            and (not lowered or any(lowered in part.casefold() for part in (record.key, record.text, record.origin)))
        )

    return passes
