"""A frame: what changed on the page, as one JSON text for all browsers."""

from collections import deque
from typing import Any, Final, NamedTuple

import msgspec

from sources.verdicts import DEAD, OTHER
from web.live.buffer import Buffer
from web.live.records import Shown
from web.live.tally import SECONDS, Tally
from web.live.veil import Veil

ROWS: Final = 20
"""Records in a frame, at most."""

_FIRST_ROWS: Final = 200
_OVERLAP_SECONDS: Final = 5
_MOST_RULES: Final = 40
_RANK: Final = ("FRAUD", "REVIEW", DEAD, OTHER, "LEGIT")
_encode: Final = msgspec.json.Encoder().encode


class Frame(NamedTuple):
    """A frame in its two forms, which are the same bytes if nothing is personal.

    Attributes:
        plain: For who may see all.
        masked: For all others.
    """

    plain: bytes
    masked: bytes


class Sample:
    """What came since the last frame: the newest records of each word, and how many there were."""

    def __init__(self) -> None:
        self._newest: dict[str, deque[Shown]] = {word: deque(maxlen=ROWS) for word in _RANK}
        self._seen = 0

    def add(self, record: Shown) -> None:
        """Take a record in."""
        self._seen += 1
        self._newest[record.word].append(record)

    def leave_out(self, number: int) -> None:
        """Know of records that nobody has read."""
        self._seen += number

    def take(self) -> tuple[list[Shown], int]:
        """The records to show, frauds before all others and then by age, and how many are left out. Begins anew."""
        shown: list[Shown] = []
        for word in _RANK:
            room = ROWS - len(shown)
            shown += list(self._newest[word])[-room:] if room else []
            self._newest[word].clear()
        left_out, self._seen = self._seen - len(shown), 0
        return sorted(shown, key=lambda record: record.number), left_out


def frame(number: int, tally: Tally, sample: Sample, status: dict[str, Any], veil: Veil) -> Frame:
    """What a browser that has all before needs; a few seconds of the plots overlap, for one that missed some."""
    rows, left_out = sample.take()
    told = _common(number, tally, status, _OVERLAP_SECONDS)

    def encoded(*, plain: bool) -> bytes:
        return _encode(told | {"rows": [veil.row(record, plain=plain) for record in rows], "left_out": left_out})

    shown = encoded(plain=True)
    return Frame(shown, encoded(plain=False) if veil.hides else shown)


def first(number: int, tally: Tally, buffer: Buffer, status: dict[str, Any], veil: Veil, *, plain: bool) -> bytes:
    """What a browser needs that has nothing yet."""
    rows = buffer.find(lambda _record: True, _FIRST_ROWS)
    told = _common(number, tally, status, SECONDS)
    return _encode(told | {"rows": [veil.row(record, plain=plain) for record in reversed(rows)], "left_out": 0})


def _common(number: int, tally: Tally, status: dict[str, Any], seconds: int) -> dict[str, Any]:
    series = tally.newest(seconds)
    p50, p99 = tally.latency()
    return {
        "frame": number,
        **status,
        "rate": round(tally.rate(), 1),
        "words": dict(tally.words),
        "rules": dict(tally.rules.most_common(_MOST_RULES)),
        "latency": {"p50": p50, "p99": p99},
        "lag": tally.lag(),
        "series": series,
    }
