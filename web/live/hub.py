"""One frame for all browsers: a slow one misses frames, and none of them waits for another."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, Generic, TypeVar

import structlog

EVERY_SECONDS: Final = 0.2
MOST_BROWSERS: Final = 200

_log = structlog.get_logger(__name__)


T = TypeVar("T")
"""What a frame is made as."""


class Slot(Generic[T]):
    """Room for one frame on its way to one browser."""

    def __init__(self) -> None:
        self._frame: T | None = None
        self._there = asyncio.Event()
        self._closed = False

    def offer(self, frame: T) -> None:
        """Put a frame in; one that is still there is lost."""
        self._frame = frame
        self._there.set()

    def close(self) -> None:
        """Send no more."""
        self._closed = True
        self._there.set()

    async def take(self) -> T | None:
        """Wait for the newest frame; None at the end."""
        await self._there.wait()
        self._there.clear()
        frame, self._frame = self._frame, None
        return None if self._closed else frame


class Hub(Generic[T]):
    """Has a frame made as often as it may be, as long as somebody looks, and gives it to all."""

    def __init__(self, make: Callable[[], T], every: float = EVERY_SECONDS) -> None:
        """Make nothing yet.

        Args:
            make: Makes the next frame.
            every: Seconds between two frames.
        """
        self._make = make
        self._every = every
        self._slots: set[Slot[T]] = set()
        self._closed = False
        self._failure = ""

    async def run(self) -> None:
        """Go on until cancelled."""
        while True:
            await asyncio.sleep(self._every)
            frame = self._next() if self._slots else None
            if frame is not None:
                for slot in self._slots:
                    slot.offer(frame)

    def _next(self) -> T | None:
        try:
            frame = self._make()
        except Exception as error:  # noqa: BLE001  (a frame can be missed, and all that are to come cannot)
            if repr(error) != self._failure:  # once, not five times a second
                self._failure = repr(error)
                _log.exception("a frame is left out")
            return None
        self._failure = ""
        return frame

    @property
    def full(self) -> bool:
        """Whether there are as many browsers as there may be."""
        return len(self._slots) >= MOST_BROWSERS

    @contextmanager
    def subscribe(self) -> Iterator[Slot[T]]:
        """A slot that gets the frames to come."""
        slot = Slot[T]()
        if self._closed:
            slot.close()
        self._slots.add(slot)
        try:
            yield slot
        finally:
            self._slots.discard(slot)

    def close(self) -> None:
        """End all streams, so that the server can end."""
        self._closed = True
        for slot in self._slots:
            slot.close()
