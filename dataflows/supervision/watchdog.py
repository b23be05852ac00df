"""Finds partitions that grow and are not read on, which no error tells: a bad batch, a defect of a client."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import structlog

STALLED_SECONDS: Final = 20.0
"""How long a partition may grow unread: with the intervals of asking, the alarm comes within 30 s."""

_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Watched:
    position: int
    end: int
    unread_since: float | None


class Watchdog:
    """Compares positions with ends, time after time."""

    def __init__(self, patience: float = STALLED_SECONDS) -> None:
        """Know nothing yet; `patience` is in seconds."""
        self._patience = patience
        self._watched: dict[str, _Watched] = {}
        self._stalled: frozenset[str] = frozenset()

    def look(self, positions: Mapping[str, int], ends: Mapping[str, int], now: float) -> frozenset[str]:
        """The partitions whose end has moved while their position has not. Each is told once, and its recovery.

        Args:
            positions: The next offset to read, by `topic/partition`; of one that is not given nothing is remembered.
            ends: The offset after the last record.
            now: Seconds on a clock that never goes back.
        """
        stalled = set()
        self._watched = {address: seen for address, seen in self._watched.items() if address in positions}
        for address in positions.keys() & ends.keys():
            position, end = positions[address], ends[address]
            seen = self._watched.get(address)
            if seen is None or position != seen.position:
                self._watched[address] = _Watched(position, end, None)
            elif end > seen.end and position < end:
                if seen.unread_since is None:
                    seen.unread_since = now
                elif now - seen.unread_since >= self._patience:
                    stalled.add(address)
        for address in sorted(stalled - self._stalled):
            _log.error(
                "partition grows and is not read on; if its records cannot be read, stop and `fraud skip` them",
                place=address,
                position=positions[address],
                end=ends[address],
            )
        for address in sorted(self._stalled - stalled):
            _log.info("partition is read on", place=address)
        self._stalled = frozenset(stalled)
        return self._stalled
