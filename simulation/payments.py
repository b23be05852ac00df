"""Payments of a population of users who each have a place they pay from."""

from typing import Final

import msgspec

from simulation.traffic import HOUR, Labelled, checked_share, iso, seeded, whole_milliseconds

_LEAST, _LIMIT, _MOST = 1_00, 400_00, 500_00  # cents
_EDGE_SHARE: Final = 0.02
_LONG_AGO: Final = -(1 << 62)
_USERS: Final = 20_000
"""At some hundred payments a second few users pay twice a minute: more would be a false alarm by rules on pace."""
_NAMES: Final = ("Amara", "Bruno", "Chen", "Dara", "Elif", "Femi", "Greta", "Hugo", "Ines", "John", "Peter", "Sam")
_LOCATIONS: Final = ("US", "IN", "FR", "BR", "JP")
_DEVICES: Final = ("mobile", "desktop", "tablet")
_MERCHANTS: Final = ("Amazon", "Walmart", "Apple", "Nike")
_FLAGGED: Final = ("XYZ_Merchant", "UnknownShop")
_TYPES: Final = ("purchase", "transfer", "withdrawal", "deposit")
_STORIES: Final = ("high_amount", "location_change", "flagged_merchant")


class _User:
    __slots__ = ("key", "last_at", "location", "name")

    def __init__(self, name: str, location: str) -> None:
        self.name = name
        self.key = name.encode()
        self.location = location
        self.last_at = _LONG_AGO


class Payments:
    """Payments keyed by user; a fraud is one over 400.00, from a new place within an hour, or to a flagged merchant.

    Keyed, because the place is compared with the user's last: without a key one user's payments lie in several
    partitions, and which of them was the last is decided by who reads them. A population larger than a handful, each
    with a home, because users who pay from random places would be frauds four times in five. Who turns up in a new
    place stays there: going home would be a second fraud. Names come from the seed: two runs of one seed within an
    hour share users, and labels miss that.
    Stories: `high_amount`, `location_change`, `flagged_merchant` in equal parts, `ordinary`, `just_at_limit`.
    """

    def __init__(self, seed: int, fraud_share: float) -> None:
        self._rng = rng = seeded(seed)
        self._share = checked_share(fraud_share)
        self._users = [
            _User(f"{rng.choice(_NAMES)}-{rng.getrandbits(40):010x}", rng.choice(_LOCATIONS)) for _ in range(_USERS)
        ]

    def __call__(self, at: int) -> Labelled:
        """Give the next payment, made at `at`."""
        rng = self._rng
        at = whole_milliseconds(at)
        user = rng.choice(self._users)
        was_here = user.last_at > at - HOUR
        fraudulent = rng.random() < self._share
        story = rng.choice(_STORIES) if fraudulent else "ordinary"
        if story == "location_change" and not was_here:
            story = "high_amount"  # a first payment comes from anywhere
        if story == "location_change":
            user.location = rng.choice([place for place in _LOCATIONS if place != user.location])
        cents = self._cents(over=story == "high_amount")
        if not fraudulent and cents == _LIMIT:
            story = "just_at_limit"
        user.last_at = at
        value = {
            "user": user.name,
            "amount": cents / 100,
            "location": user.location,
            "device": rng.choice(_DEVICES),
            "merchant": rng.choice(_FLAGGED if story == "flagged_merchant" else _MERCHANTS),
            "txn_type": rng.choice(_TYPES),
            "timestamp": iso(at),
        }
        return Labelled(
            event="transaction",
            key=user.key,
            value=msgspec.json.encode(value),
            at=at,
            fraudulent=fraudulent,
            story=story,
        )

    def _cents(self, *, over: bool) -> int:
        at_edge = self._rng.random() < _EDGE_SHARE
        if over:
            return _LIMIT + 1 if at_edge else self._rng.randint(_LIMIT + 1, _MOST)
        return _LIMIT if at_edge else self._rng.randint(_LEAST, _LIMIT)
