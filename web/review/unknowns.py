"""How often rules were unknown at the newest events: no verdict says so, so the events are judged again."""

import asyncio
import time
from typing import Final

import msgspec
import structlog

from broker.errors import BrokerError
from detection.errors import PackError
from detection.loading import read
from detection.pack import Pack
from detection.settings import Settings
from web.review.newest import newest
from web.review.trial import TrialError, run_trial

_AGAIN_SECONDS: Final = 300.0
_log = structlog.get_logger(__name__)


class Found(msgspec.Struct, frozen=True):
    """What a look found.

    Attributes:
        at: When, ms since the epoch.
        events: How many events were judged again, with windows that began empty.
        rules: By rule, at how many of them its condition was unknown.
        problem: Why nothing was found; empty if all is well.
    """

    at: int
    events: int = 0
    rules: dict[str, int] = {}
    problem: str = ""


class Unknowns:
    """Looks again when somebody asks, every five minutes at most."""

    def __init__(self, settings: Settings, pack: Pack) -> None:
        """Look at nothing yet."""
        self._settings = settings
        self._topics = list(pack.topics_in)
        self._found: Found | None = None
        self._again = 0.0
        self._look: asyncio.Task[None] | None = None

    def told(self) -> Found | None:
        """What the last look found, None before the first; begins another one if it is time."""
        if self._look is None and time.monotonic() >= self._again:
            self._look = asyncio.create_task(self._look_again())
        return self._found

    async def close(self) -> None:
        """End."""
        if self._look is not None:
            self._look.cancel()
            await asyncio.gather(self._look, return_exceptions=True)

    async def _look_again(self) -> None:
        now = time.time_ns() // 1_000_000
        try:
            packs = read(self._settings.fraud_packs)
            records = await asyncio.to_thread(newest, self._settings, self._topics)
            told = await run_trial(packs, packs, self._settings.topics, records)
            rules = {name: number for name, (number, _) in told["unknowns"].items()}
            self._found = Found(now, told["events"], rules)
        except (BrokerError, PackError, TrialError) as error:
            _log.warning("how often rules were unknown is not known", error=str(error))
            self._found = Found(now, problem=str(error))
        finally:
            self._again = time.monotonic() + _AGAIN_SECONDS
            self._look = None
