"""Click counts: what a page with one button reports, one visitor after the other."""

from typing import Final

import msgspec

from simulation.traffic import FraudBudget, Labelled, seeded, whole_milliseconds

_HARMLESS: Final = 3


class Counter:
    """Counts that go up by one and start over for a new visitor; a count over three is a fraud. No key.

    Stories: `over_three` and `up_to_three`.
    """

    def __init__(self, seed: int, fraud_share: float) -> None:
        self._rng = seeded(seed)
        self._budget = FraudBudget(self._rng, fraud_share)
        self._count = 0
        self._stay = self._rng.randint(1, _HARMLESS)

    def __call__(self, at: int) -> Labelled:
        """Give the next count, reported at `at`."""
        if not self._budget.due() and self._count >= self._stay:
            self._count = 0
            self._stay = self._rng.randint(1, _HARMLESS)
        self._count += 1
        fraudulent = self._count > _HARMLESS
        if fraudulent:
            self._budget.paid()
        return Labelled(
            event="click_count",
            key=None,
            value=msgspec.json.encode({"click_count": self._count}),
            at=whole_milliseconds(at),
            fraudulent=fraudulent,
            story="over_three" if fraudulent else "up_to_three",
        )
