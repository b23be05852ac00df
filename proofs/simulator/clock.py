"""Time that passes only when somebody waits."""

import heapq
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta, tzinfo
from time import monotonic, sleep
from typing import Any, Final, Self

EPOCH_MS: Final = 1_767_225_600_000
"""When a simulation begins: 2026-01-01T00:00:00Z, ms since the epoch."""

_FOR_EVER: Final = 3_600_000


class DeadlockError(RuntimeError):
    """Somebody waits without a time limit for what does not happen."""


class Clock:
    """Simulated milliseconds, and what will happen in them.

    Attributes:
        now: Milliseconds since the beginning of the simulation.
    """

    def __init__(self) -> None:
        self.now = 0
        self._due: list[tuple[int, int, Callable[[], None]]] = []
        self._count = 0

    def after(self, ms: int, action: Callable[[], None]) -> None:
        """Have something happen in so many milliseconds; what is due at the same time happens in the order asked."""
        self._count += 1
        heapq.heappush(self._due, (self.now + ms, self._count, action))

    def advance(self, ms: int) -> None:
        """Let time pass, and happen what is due."""
        self.wait(lambda: False, ms)

    def wait(self, until: Callable[[], bool], ms: int | None = None) -> bool:
        """Let time pass until a condition holds.

        Args:
            until: Asked again after everything that happens.
            ms: How long at most; None: for ever.

        Returns:
            Whether it holds.

        Raises:
            DeadlockError: It would take an hour.
        """
        end = self.now + (_FOR_EVER if ms is None else ms)
        while not until():
            if not self._due or self._due[0][0] > end:
                if ms is None:
                    msg = f"at {self.now} ms: somebody waits for ever"
                    raise DeadlockError(msg)
                self.now = max(self.now, end)  # what happened meanwhile may have waited longer
                return False
            at, _, action = heapq.heappop(self._due)
            self.now = max(self.now, at)
            action()
        return True

    def happens_next(self) -> int | None:
        """When the next thing will happen, ms; None when nothing will."""
        return self._due[0][0] if self._due else None

    @contextmanager
    def installed(self, *packages: str) -> Iterator[None]:
        """Show this time to all loaded modules of some packages, in place of the computer's.

        Their global names for `time.monotonic`, `time.sleep` and `datetime.datetime` are replaced meanwhile. The code
        itself need not know that it is simulated.
        """
        clock = self

        class Now(datetime):
            @classmethod
            def now(cls, tz: tzinfo | None = None) -> Self:
                return cls.fromtimestamp(0, tz or UTC) + timedelta(milliseconds=EPOCH_MS + clock.now)

        ours: dict[Any, Any] = {
            monotonic: lambda: clock.now / 1000,
            sleep: lambda seconds: clock.advance(round(seconds * 1000)),
            datetime: Now,
        }
        changed = []
        for name, module in list(sys.modules.items()):
            if name.partition(".")[0] in packages:
                for key, value in list(vars(module).items()):
                    if value is monotonic or value is sleep or value is datetime:
                        changed.append((module, key, value))
                        setattr(module, key, ours[value])
        try:
            yield
        finally:
            for module, key, value in changed:
                setattr(module, key, value)
