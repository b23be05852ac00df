"""The records of the proofs: clicks and payments of a seed, some of them rubbish, late, doubled or out of order."""

from random import Random
from typing import Final, Literal, Protocol, TypeAlias

from simulation import DEFAULT_FRAUD_SHARE, TRAFFIC
from simulation.traffic import SECOND

Kind: TypeAlias = Literal["clicks", "payments"]
Sent: TypeAlias = tuple[Kind, bytes | None, bytes]
"""Where a record goes, its key, its value."""

_PAYMENTS: Final = 0.25
_RUBBISH: Final = 0.002
RUBBISH_VALUES: Final = (b"", b"{", b"\xff\xfe", b"[]", b'{"session_id": 7}', b'{"session_id":"a","session_id":"b"}')


class Source(Protocol):
    """Where a feed has its records from."""

    def next(self, at: int) -> list[Sent]:
        """The next record, seldom two, made at `at` (us since the epoch)."""


class Keys:
    """Clicks of so many sessions, one after the other, over and over."""

    def __init__(self, number: int) -> None:
        """Begin with the first session."""
        self._number = number
        self._next = 0

    def next(self, at: int) -> list[Sent]:
        """The next click, made at `at` (us since the epoch)."""
        session = b"%016x" % (self._next % self._number)
        self._next += 1
        return [("clicks", session, b'{"session_id":"%b","url":"/offer","timestamp":%d}' % (session, at // 1_000))]


class Traffic:
    """An endless stream of records; the same seed and times give the same ones.

    Args:
        seed: Which stream.
        disorder: The share of records that come out of order (up to 5 minutes), doubled, or very late (2 hours), each.
    """

    def __init__(self, seed: int, *, disorder: float = 0.0) -> None:
        self._rng = Random(seed)
        self._clicks = TRAFFIC["clicks"].generator(seed, DEFAULT_FRAUD_SHARE)
        self._payments = TRAFFIC["payments"].generator(seed, DEFAULT_FRAUD_SHARE)
        self._disorder = disorder

    def next(self, at: int) -> list[Sent]:
        """The next record, seldom two, made at `at` (us since the epoch)."""
        rng = self._rng
        kind: Kind = "payments" if rng.random() < _PAYMENTS else "clicks"
        if rng.random() < _RUBBISH:
            return [(kind, b"rubbish-%d" % rng.randrange(16), rng.choice(RUBBISH_VALUES))]
        copies = 1
        if self._disorder and (drawn := rng.random()) < 3 * self._disorder:
            if drawn < self._disorder:
                at -= rng.randrange(300 * SECOND)
            elif drawn < 2 * self._disorder:
                at -= 2 * 3600 * SECOND
            else:
                copies = 2
        record = (self._payments if kind == "payments" else self._clicks)(at)
        return [(kind, record.key, record.value)] * copies
