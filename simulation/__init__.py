"""Labelled, seeded traffic for the shipped packs, and the loop that produces it to Kafka at a rate."""

from collections.abc import Callable
from typing import Final

import msgspec

from simulation.clicks import Clicks
from simulation.counter import Counter
from simulation.payments import Payments
from simulation.traffic import Generate, Labelled
from simulation.transfers import Transfers

__all__ = ["DEFAULT_FRAUD_SHARE", "TRAFFIC", "Generate", "Labelled", "TrafficKind"]

DEFAULT_FRAUD_SHARE: Final = 0.05


class TrafficKind(msgspec.Struct, frozen=True, kw_only=True):
    """One kind of traffic a user may ask for.

    Attributes:
        topic: Where it goes unless the user names a topic.
        description: One line for a help text.
        generator: Makes a generator from a seed and a share of fraud (0.0 to 1.0). Same seed and same times, same
            records; a later start moves nothing but the times.
    """

    topic: str
    description: str
    generator: Callable[[int, float], Generate]


TRAFFIC: Final[dict[str, TrafficKind]] = {
    "clicks": TrafficKind(
        topic="clicks",
        description="clicks by session; fraud: three or more on one URL within 10 s",
        generator=Clicks,
    ),
    "counter": TrafficKind(
        topic="fcd-producer",
        description="counts of clicks; fraud: a count over 3",
        generator=Counter,
    ),
    "transfers": TrafficKind(
        topic="queuing.transactions",
        description="transfers between accounts; fraud: 900.00 or more",
        generator=Transfers,
    ),
    "payments": TrafficKind(
        topic="transactions",
        description="payments by user; fraud: over 400.00, a new place within 1 h, or a flagged merchant",
        generator=Payments,
    ),
}
