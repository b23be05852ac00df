"""The ends of the dataflow's branches."""

from dataclasses import dataclass
from typing import Any

from bytewax.inputs import DynamicSource
from bytewax.outputs import Sink


@dataclass(frozen=True)
class Sinks:
    """Where each branch ends.

    Attributes:
        fraud: Blocked events.
        review: Events a person should look at.
        legit: Accepted events.
        dead_letters: Records that cannot be judged.
        commits: Ticks that make visible what the sinks wrote, for sinks that write within transactions.
    """

    fraud: Sink[Any]
    review: Sink[Any]
    legit: Sink[Any]
    dead_letters: Sink[Any]
    commits: DynamicSource[Any] | None = None
