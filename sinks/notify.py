"""Sending alerts: a thread for each receiver of each alert, so none waits for another.

An alert is delivered, or a dead letter, or in the snapshot: what waits and what is on its way goes into the state of
the sink, and a start goes on with it. Promise: at least once. What was delivered between the last snapshot and a crash
is sent again; a stop waits for what is on its way. The queues are bounded: where a receiver cannot keep up, `is_full`
has the source of the dataflow of alerts pause, and Kafka keeps the rest. Detection is another dataflow.
"""

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from random import SystemRandom
from typing import Any, Final, TypeAlias

import msgspec
import structlog
from bytewax.inputs import DynamicSource, StatelessSourcePartition
from bytewax.outputs import FixedPartitionedSink, StatefulSinkPartition
from typing_extensions import override

from detection.alerting.alert import Alert
from detection.alerting.outbox import Message, Outbox, Patience
from detection.errors import StateError
from sinks.receivers import Receiver

QUEUE: Final = 1_000
"""Alerts that may wait for one receiver before nothing is read any more. What was read by then comes on top."""

STOP_SECONDS: Final = 6.0
"""How long a stop waits for what is on its way."""

CLOSE_SECONDS: Final = 1.0
"""How long the end waits for the threads, all of them together."""

TICK_SECONDS: Final = 1.0
"""How often the state is kept though no alert comes."""

PART: Final = "receivers"
"""The one part of the sink, and the key of all that is for it. On disk: never change it."""

_AWAKE: Final = timedelta(milliseconds=20)  # an epoch ends for all sources before any goes on

Bury: TypeAlias = Callable[[Sequence[Alert], str], None]
"""Keeps alerts as dead letters, with the reason; returns when that is certain."""

State: TypeAlias = dict[str, Any]

_FORMAT: Final = 1

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, kw_only=True)
class Way:
    """How one receiver is told of one alert of the pack.

    Attributes:
        alert: The alert's name in the pack.
        receiver: Who.
        group: See `Outbox`.
        limit: See `Outbox`.
    """

    alert: str
    receiver: Receiver
    group: int = 0
    limit: tuple[int, int] | None = None

    @property
    def name(self) -> str:
        """Its name in the stored state."""
        return f"{self.alert} {self.receiver.name}"


def _never() -> bool:
    return False


def _now() -> int:
    return time.time_ns() // 1_000_000


class NotifyTicks(DynamicSource[tuple[str, None]]):
    """Has Bytewax keep the state of the sink, for it does so only where something was written, and not at the end.

    What is delivered after the epoch it came in would be in the newest snapshot still, and be sent again at a start.
    """

    def __init__(self, stop: Callable[[], bool], clock: Callable[[], float] = time.monotonic) -> None:
        """Open nothing yet; `stop` is asked all the time, True ends the ticks with a last one."""
        self._stop = stop
        self._clock = clock

    @override
    def build(self, step_id: str, worker_index: int, worker_count: int) -> "Ticks":
        return Ticks(self._stop, self._clock)


class Ticks(StatelessSourcePartition[tuple[str, None]]):
    """The ticks of one worker."""

    def __init__(self, stop: Callable[[], bool], clock: Callable[[], float]) -> None:
        self._stop = stop
        self._clock = clock
        self._last = clock()
        self._ended = False

    @override
    def next_batch(self) -> Iterable[tuple[str, None]]:
        if self._ended:
            raise StopIteration
        now = self._clock()
        # Nothing is sent any more once a stop was asked for: the snapshot of the epoch of this tick is the last word.
        self._ended = self._stop()
        if not self._ended and now - self._last < TICK_SECONDS:
            return ()
        self._last = now
        return [(PART, None)]

    @override
    def next_awake(self) -> datetime | None:
        return datetime.now(UTC) + _AWAKE


class NotifySink(FixedPartitionedSink[Alert | None, State]):
    """Tells receivers of alerts; a None is a tick. Has one part: limits are kept for the whole deployment."""

    def __init__(
        self,
        ways: Sequence[Way],
        bury: Callable[[], Bury],
        *,
        patience: Patience,
        stop: Callable[[], bool] = _never,
        now: Callable[[], int] = _now,
    ) -> None:
        """Open nothing yet.

        Args:
            ways: Whom to tell of what.
            bury: Makes what keeps dead letters, for one thread.
            patience: How often a message is tried.
            stop: Whether a stop was asked for: nothing new is sent then.
            now: The wall clock, ms.
        """
        self._ways = tuple(ways)
        self._bury = bury
        self._patience = patience
        self._stop = stop
        self._now = now
        self._built: Desks | None = None

    def is_full(self) -> bool:
        """Whether a receiver has as much to hear as may wait for it."""
        return self._built is not None and self._built.is_full()

    @override
    def list_parts(self) -> list[str]:
        return [PART]

    @override
    def part_fn(self, item_key: str) -> int:
        return 0

    @override
    def build_part(self, step_id: str, for_part: str, resume_state: State | None) -> "Desks":
        self._built = Desks(
            self._ways, self._bury, patience=self._patience, stop=self._stop, now=self._now, state=resume_state
        )
        return self._built


class Desks(StatefulSinkPartition[Alert | None, State]):
    """The receivers of all alerts."""

    def __init__(
        self,
        ways: Sequence[Way],
        bury: Callable[[], Bury],
        *,
        patience: Patience,
        stop: Callable[[], bool],
        now: Callable[[], int],
        state: State | None,
    ) -> None:
        self._stop = stop
        self._rests_until: float | None = None
        desks: dict[str, State] = {}
        if state is not None:
            if state.get("format") != _FORMAT:
                msg = f"state of alerts: expected format {_FORMAT}, got {state.get('format')!r}"
                raise StateError(msg)
            desks = dict(state["desks"])
        self._desks: dict[str, list[Desk]] = {}
        for way in ways:
            desk = Desk(way, bury, patience=patience, stop=stop, now=now, state=desks.pop(way.name, None))
            self._desks.setdefault(way.alert, []).append(desk)
        for name, left in desks.items():
            _bury_left(name, left, bury)
        for desk in self._all():
            desk.start()

    def is_full(self) -> bool:
        """Whether a receiver has as much to hear as may wait for it."""
        return any(desk.is_full() for desk in self._all())

    @override
    def write_batch(self, values: list[Alert | None]) -> None:
        for alert in values:
            if alert is not None:
                for desk in self._desks.get(alert.alert, ()):
                    desk.put(alert)

    @override
    def snapshot(self) -> State:
        if self._stop():
            if self._rests_until is None:  # a stop has more than one last snapshot
                self._rests_until = time.monotonic() + STOP_SECONDS
            for desk in self._all():
                desk.rest(max(self._rests_until - time.monotonic(), 0.0))
        return {"format": _FORMAT, "desks": {desk.name: desk.snapshot() for desk in self._all()}}

    @override
    def close(self) -> None:
        for desk in self._all():
            desk.close()
        deadline = time.monotonic() + CLOSE_SECONDS
        for desk in self._all():
            desk.join(max(deadline - time.monotonic(), 0.0))

    def _all(self) -> list["Desk"]:
        return [desk for desks in self._desks.values() for desk in desks]


class Desk:
    """One receiver of one alert, and the thread that tells it."""

    def __init__(
        self,
        way: Way,
        bury: Callable[[], Bury],
        *,
        patience: Patience,
        stop: Callable[[], bool],
        now: Callable[[], int],
        state: State | None,
    ) -> None:
        self.name = way.name
        self._receiver = way.receiver
        self._bury = bury
        self._stop = stop
        self._now = now
        self._outbox = Outbox(
            group=way.group, limit=way.limit, patience=patience, jitter=SystemRandom().random, state=state
        )
        self._changed = threading.Condition()
        self._busy = False
        self._closed = False
        self._failure: Exception | None = None
        self._thread = threading.Thread(target=self._work, name=f"alerts {self.name}", daemon=True)

    def start(self) -> None:
        """Begin to send."""
        self._thread.start()

    def put(self, alert: Alert) -> None:
        """Take an alert. Never waits."""
        with self._changed:
            self._raise_failure()
            self._outbox.add(alert, self._now())
            self._changed.notify_all()

    def is_full(self) -> bool:
        """Whether it has as much to tell as may wait."""
        with self._changed:
            return len(self._outbox) >= QUEUE

    def rest(self, seconds: float) -> None:
        """Wait until nothing is on its way."""
        with self._changed:
            self._changed.wait_for(lambda: not self._busy, seconds)

    def snapshot(self) -> State:
        """What is neither delivered nor a dead letter."""
        with self._changed:
            self._raise_failure()
            return self._outbox.snapshot()

    def close(self) -> None:
        """Send nothing more."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def join(self, seconds: float) -> None:
        """Wait for the end of the thread."""
        self._thread.join(seconds)

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise self._failure

    def _work(self) -> None:
        try:
            bury: Bury | None = None
            while (message := self._next()) is not None:
                error = self._receiver.send(message)
                given_up = False
                if error is not None:
                    _log.warning("an alert was not delivered", to=self.name, tries=message.tries + 1, error=error)
                    with self._changed:
                        given_up = self._outbox.failed(self._now())
                if given_up:
                    bury = bury or self._bury()
                    bury(message.alerts, f"{self.name}: not delivered in {message.tries} tries: {error}")
                with self._changed:
                    if error is None or given_up:
                        self._outbox.delivered()
                    self._busy = False
                    self._changed.notify_all()
        except Exception as failure:  # noqa: BLE001  raised again where Bytewax hears of it
            with self._changed:
                self._failure, self._busy = failure, False
                self._changed.notify_all()

    def _next(self) -> Message | None:
        """What to send; waits for it. None at the end."""
        with self._changed:
            while not self._closed:
                message = None if self._stop() else self._outbox.take(self._now())
                if message is not None:
                    self._busy = True
                    return message
                due = self._outbox.due_at()
                self._changed.wait(0.5 if due is None else min(max((due - self._now()) / 1000, 0.005), 0.5))
            return None


def _bury_left(name: str, state: State, bury: Callable[[], Bury]) -> None:
    """What waited for a receiver that the pack or the settings no longer name."""
    waiting = msgspec.convert(state["waiting"], list[Alert])
    if state["message"] is not None:
        waiting = [*msgspec.convert(state["message"], Message).alerts, *waiting]
    if waiting:
        bury()(waiting, f"{name}: this receiver is not there any more")
