"""What all generators of labelled traffic share: the record, its time, and how often it is a fraud."""

from collections.abc import Callable
from datetime import datetime, timedelta
from random import Random
from typing import Final

import msgspec

MILLISECOND: Final = 1_000
SECOND: Final = 1_000_000
HOUR: Final = 3_600 * SECOND

_EPOCH: Final = datetime(1970, 1, 1)  # noqa: DTZ001 - the zone is not written, as the producers we stand in for do


class Labelled(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One record as it goes to Kafka, and beside it the truth about it.

    The truth follows from what the generator has sent, by the rule as it is stated; it is not in the value, so no
    rule can see it.

    Attributes:
        event: Event type the record is of, as the packs name it.
        key: Kafka key, None where the producers we stand in for send none.
        value: JSON object.
        at: Event time in microseconds since the epoch, UTC; whole milliseconds, for a Kafka timestamp is no finer.
        fraudulent: Whether the rules as stated call this record a fraud.
        story: Which behaviour it comes from: a kind of fraud, or a kind of harmless record (some look like fraud).
    """

    event: str
    key: bytes | None
    value: bytes
    at: int
    fraudulent: bool
    story: str


Generate = Callable[[int], Labelled]
"""Gives the next record, happening at the given event time (microseconds since the epoch, never going back)."""


class FraudBudget:
    """Says when to commit fraud, for stories that need harmless records first and come in bursts.

    Each record owes `share` of a fraud. Debts are saved up to a burst and then paid until none is left; records a
    burst needs before its first fraud are not counted as paid, so the share comes out right whatever they are.
    """

    def __init__(self, rng: Random, share: float) -> None:
        self._rng = rng
        self._share = checked_share(share)
        self._owed = 0
        self._burst = rng.randint(1, 6)
        self.paying = False

    def due(self) -> bool:
        """Count one record, and tell whether it should work towards a fraud."""
        self._owed += self._rng.random() < self._share
        if self._owed >= self._burst:
            self.paying = True
        return self.paying

    def paid(self) -> None:
        """Note that the record turned out a fraud."""
        self._owed -= 1
        if self._owed <= 0:
            self.paying = False
            self._burst = self._rng.randint(1, 6)


def checked_share(share: float) -> float:
    """Return `share` if it is one."""
    if not 0.0 <= share <= 1.0:
        msg = f"fraud_share: expected 0.0 to 1.0, got {share}"
        raise ValueError(msg)
    return share


def seeded(seed: int) -> Random:
    """Return the generator's only source of chance."""
    return Random(seed)  # noqa: S311 - traffic must repeat with its seed; nothing here is a secret


def whole_milliseconds(at: int) -> int:
    """Cut to what a Kafka timestamp can carry, so that record and value tell the same time and labels hold for both."""
    return at - at % MILLISECOND


def iso(at: int) -> str:
    """Write an event time as ISO 8601 in UTC, without a zone.

    >>> iso(1_700_000_000_123_000)
    '2023-11-14T22:13:20.123'
    """
    return (_EPOCH + timedelta(microseconds=at)).isoformat(timespec="milliseconds")
