"""Transfers between accounts."""

import string
from typing import Final

import msgspec

from simulation.traffic import Labelled, checked_share, seeded, whole_milliseconds

_LEAST, _LIMIT, _MOST = 1_00, 900_00, 1000_00  # cents
_EDGE_SHARE: Final = 0.02
_ACCOUNT_LETTERS: Final = string.ascii_letters + string.digits
_ACCOUNT_LENGTH: Final = 12


class Transfers:
    """Transfers without a key; 900.00 and more is a fraud.

    Amounts are uniform in cents on either side of the limit, and the share decides the side: with `fraud_share` 0.1
    they are uniform from 1.00 to 1000.00 as a whole. Of each side one in fifty lies exactly at the edge.
    Stories: `large_amount`, `small_amount`, `just_below_limit`. No account comes twice.
    """

    def __init__(self, seed: int, fraud_share: float) -> None:
        self._rng = seeded(seed)
        self._share = checked_share(fraud_share)

    def __call__(self, at: int) -> Labelled:
        """Give the next transfer, sent at `at`."""
        cents = self._cents()
        fraudulent = cents >= _LIMIT
        harmless = "just_below_limit" if cents == _LIMIT - 1 else "small_amount"
        value = {"source": self._account(), "target": self._account(), "amount": cents / 100, "currency": "EUR"}
        return Labelled(
            event="transfer",
            key=None,
            value=msgspec.json.encode(value),
            at=whole_milliseconds(at),
            fraudulent=fraudulent,
            story="large_amount" if fraudulent else harmless,
        )

    def _cents(self) -> int:
        at_edge = self._rng.random() < _EDGE_SHARE
        if self._rng.random() < self._share:
            return _LIMIT if at_edge else self._rng.randint(_LIMIT, _MOST)
        return _LIMIT - 1 if at_edge else self._rng.randint(_LEAST, _LIMIT - 1)

    def _account(self) -> str:
        return "".join(self._rng.choices(_ACCOUNT_LETTERS, k=_ACCOUNT_LENGTH))
