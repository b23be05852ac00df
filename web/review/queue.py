"""The verdicts to look at, bounded: a flood of frauds pushes out none that were to be reviewed."""

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Final, Literal

import msgspec

from web.live.records import Shown
from web.review.entries import Summary
from web.review.ledger import Ledger

WORDS: Final = ("FRAUD", "REVIEW")
MOST: Final = 5_000
"""Verdicts of each word."""

ROWS: Final = 200
_BYTES: Final = 32 * 2**20
"""Of each word."""

Order = Literal["newest", "highest"]
Group = Literal["open", "snoozed", "done"]


class _Judged(msgspec.Struct):
    score: int = 0
    pack: str = ""


class _Value(msgspec.Struct):
    verdict: _Judged


_judged: Final = msgspec.json.Decoder(_Value).decode


class Case(msgspec.Struct, frozen=True):
    """A verdict to look at.

    Attributes:
        shown: The record.
        score: 0 to 100.
        pack: The hash of the pack that judged.
    """

    shown: Shown
    score: int
    pack: str

    @property
    def summary(self) -> Summary:
        """As the audit keeps it."""
        return Summary(self.shown.word, self.shown.key, self.score, self.shown.rules, self.pack)


def case_of(shown: Shown) -> Case | None:
    """The case that a record is; None for one that nobody has to look at."""
    if shown.word not in WORDS:
        return None
    try:
        judged = _judged(shown.value).verdict
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):  # a score that is no number
        return None
    return Case(shown, judged.score, judged.pack)


def _age(case: Case) -> tuple[int, int]:
    """What grows with time: partitions are read one after the other, so not in the order of their verdicts."""
    return case.shown.at, case.shown.number


class Queue:
    """The newest cases of each word. One thread adds to it, any may ask.

    Attributes:
        dropped: How many were let go of for newer ones.
    """

    def __init__(self, most: int = MOST, largest: int = _BYTES) -> None:
        """Keep at most so many cases of each word, and so many bytes, about."""
        self.dropped = 0
        self._most = most
        self._largest = largest
        self._lock = threading.Lock()
        self._kept = {word: OrderedDict[str, Case]() for word in WORDS}  # a dict looks for its oldest among the gone
        self._bytes = dict.fromkeys(WORDS, 0)

    def take(self, case: Case) -> None:
        """Add a case; it takes the place of an earlier one of the same event."""
        word = case.shown.word
        with self._lock:
            for other, of in self._kept.items():
                before = of.pop(case.shown.origin, None)
                if before is not None:
                    self._bytes[other] -= before.shown.size
            kept = self._kept[word]
            kept[case.shown.origin] = case
            self._bytes[word] += case.shown.size
            while len(kept) > self._most or self._bytes[word] > self._largest:
                _, oldest = kept.popitem(last=False)
                self._bytes[word] -= oldest.shown.size
                self.dropped += 1

    def get(self, origin: str) -> Case | None:
        """The case of an event, if it is still kept."""
        with self._lock:
            return next((of[origin] for of in self._kept.values() if origin in of), None)

    def told(
        self,
        ledger: Ledger,
        now: int,
        group: Group,
        order: Order,
        row: Callable[[Shown], dict[str, Any]],
    ) -> dict[str, Any]:
        """The cases in a group, for a page: the first of them, and how many there are.

        Args:
            ledger: What is decided.
            now: ms since the epoch.
            group: `open`, `snoozed`, or `done` for what is decided.
            order: Which come first.
            row: What is shown of a record.
        """
        with self._lock:
            cases = [case for of in self._kept.values() for case in of.values()]
        found = []
        counts = {"open": 0, "snoozed": 0, "done": 0}
        standings = ledger.standings((case.shown.origin for case in cases), now)
        for case, standing in zip(cases, standings, strict=True):
            own = standing.state if standing.state in counts else "done"
            counts[own] += 1
            if own == group:
                found.append((case, standing))
        newest = order == "newest"
        found.sort(key=lambda item: (0 if newest else item[0].score, *_age(item[0])), reverse=True)
        rows = [
            row(case.shown) | {"score": case.score, "state": standing.state, "until": standing.until}
            for case, standing in found[:ROWS]
        ]
        return {"rows": rows, "counts": counts, "dropped": self.dropped}
