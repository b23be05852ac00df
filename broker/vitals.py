"""What a process knows about its own health: plain attributes that its source sets and a reporter thread reads.

Here and nowhere else the clock is looked at, for it is about operation: no verdict knows of any of it. There is no
lock: each attribute has one writer, and a reader copies in one step.
"""

from collections.abc import Iterable
from time import monotonic


class Vitals:
    """The vital signs of one process, of all its workers together.

    Attributes:
        joined: Whether the dataflow is being built, which no process does before all have found each other.
        assigned: The input partitions that are read here.
        begins: Where a partition begins, by `topic/partition`, as far as it was asked.
        ends: The offset after the last record, by `topic/partition`, as last heard.
        beat: When a worker last asked for records, on the monotonic clock, s; None before the first time.
        snapshots: How many snapshots the source was asked for, by each worker.
        snapshot_at: When it was last asked, on the monotonic clock, s.
        started_at: When the process began, on the monotonic clock, s.
        stalled: Partitions that grow and are not read on.
        paused: Whether nothing is read on purpose.
    """

    def __init__(self) -> None:
        self.joined = False
        self.assigned: list[tuple[str, int]] = []
        self.begins: dict[str, int] = {}
        self.ends: dict[str, int] = {}
        self.beat: float | None = None
        self.snapshots = 0
        self.snapshot_at: float | None = None
        self.started_at = monotonic()
        self.stalled: frozenset[str] = frozenset()
        self.paused = False
        self._offsets: list[dict[str, int]] = []

    def follow(self, partitions: Iterable[tuple[str, int]], offsets: dict[str, int]) -> None:
        """Read these partitions' next offsets from this dict from now on: their reader changes it in place."""
        if not any(known is offsets for known in self._offsets):
            self._offsets.append(offsets)
        self.assigned = [*self.assigned, *partitions]

    def alive(self) -> None:
        """A worker asks for records."""
        self.beat = monotonic()

    def snapshot(self) -> None:
        """The source is asked for a snapshot."""
        self.snapshot_at = monotonic()
        self.snapshots += 1

    def positions(self) -> dict[str, int]:
        """The next offset of each assigned partition; of one not read yet its beginning, if that is known."""
        found = dict(self.begins)
        for offsets in self._offsets:
            found.update(offsets.copy())
        mine = [f"{topic}/{partition}" for topic, partition in self.assigned]
        return {address: found[address] for address in mine if address in found}

    def lag(self) -> dict[str, int | None]:
        """How many offsets each assigned partition has beyond our position; None where it is not known yet.

        The marks that transactions leave in a topic count too.
        """
        positions = self.positions()
        mine = [f"{topic}/{partition}" for topic, partition in self.assigned]
        return {
            address: max(0, self.ends[address] - positions[address])
            if address in self.ends and address in positions
            else None
            for address in mine
        }

    def snapshot_age(self, now: float) -> float:
        """Seconds since the last snapshot, or since the start of the process."""
        return now - (self.started_at if self.snapshot_at is None else self.snapshot_at)
