"""Produces labelled traffic to Kafka at a rate."""

import math
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, Protocol

import msgspec

from simulation.traffic import SECOND, Generate, Labelled

if TYPE_CHECKING:
    from confluent_kafka import KafkaError, Message

_BATCH_SECONDS: Final = 0.005
_STOP_CHECK_SECONDS: Final = 0.1
_PROGRESS_SECONDS: Final = 1.0

Headers = list[tuple[str, str | bytes | None]]


class DeliveryError(RuntimeError):
    """Records were not delivered: what is in the topic is not the traffic asked for."""


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """How far a run has come.

    Attributes:
        sent: Records handed to the client; at the end of a run all of them are delivered.
        frauds: How many of them are labelled as fraud.
        seconds: Since the run began.
        late_seconds: How long after its time the newest batch was handed over; it grows when the rate is too high.
    """

    sent: int
    frauds: int
    seconds: float
    late_seconds: float


class RecordProducer(Protocol):
    """What `run` needs of `confluent_kafka.Producer`. Not `produce_batch`: it drops headers without a word."""

    def produce(
        self,
        topic: str,
        *,
        value: bytes,
        key: bytes | None,
        timestamp: int,
        headers: Headers,
        on_delivery: "Callable[[KafkaError | None, Message], None]",
    ) -> None:
        """Queue one record; raises BufferError when the queue is full."""

    def poll(self, timeout: float) -> int:
        """Serve delivery reports."""

    def flush(self, timeout: float) -> int:
        """Wait for deliveries and return how many records are still on their way."""


class Clock(Protocol):
    """The time, and the waiting for it."""

    def now(self) -> int:
        """Tell the wall clock in microseconds since the epoch."""

    def monotonic(self) -> float:
        """Tell seconds that never go back."""

    def sleep(self, seconds: float) -> None:
        """Wait."""


class SystemClock:
    """The machine's clock."""

    def now(self) -> int:
        """Tell the wall clock in microseconds since the epoch."""
        return time.time_ns() // 1_000

    def monotonic(self) -> float:
        """Tell seconds that never go back."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Wait."""
        time.sleep(seconds)


def run(
    generate: Generate,
    producer: RecordProducer,
    topic: str,
    *,
    rate: float,
    count: int | None = None,
    clock: Clock | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    stop: threading.Event | None = None,
    delivery_seconds: float = 30.0,
) -> Progress:
    """Produce `rate` records a second until `count` are sent or `stop` is set, and wait for their delivery.

    Record `i` is due `i / rate` seconds after the start, however late the ones before it were (open loop), and that
    is its event time. Its label travels in the headers `label` (`fraud` or `legit`) and `story`.

    Args:
        generate: Makes the records. Not to be used again: the last batch before a stop is made but not sent.
        producer: A `confluent_kafka.Producer`, which the caller owns.
        topic: Where they go.
        rate: Records per second.
        count: How many; None for no end.
        clock: For tests.
        on_progress: Called about once a second.
        stop: Ends the run within 0.1 s, apart from the wait for delivery.
        delivery_seconds: How long the end may wait for delivery.

    Raises:
        DeliveryError: A record was refused, or not delivered in time.
    """
    if not (math.isfinite(rate) and rate > 0):
        msg = f"rate: expected more than 0 records per second, got {rate}"
        raise ValueError(msg)
    if count is not None and count < 0:
        msg = f"count: expected 0 or more, got {count}"
        raise ValueError(msg)
    sending = _Sending(producer, topic, clock or SystemClock(), stop or threading.Event())
    sending.until(generate, rate, math.inf if count is None else count, on_progress)
    sending.finish(delivery_seconds)
    return sending.progress()


class _Sending:
    """One run's counters, and the steps of its loop."""

    def __init__(self, producer: RecordProducer, topic: str, clock: Clock, stop: threading.Event) -> None:
        self._producer = producer
        self._topic = topic
        self._clock = clock
        self._stop = stop
        self._started = clock.monotonic()
        self._started_at = clock.now()
        self._sent = 0
        self._frauds = 0
        self._late_seconds = 0.0
        self._failed = 0
        self._first_failure = ""

    def progress(self) -> Progress:
        return Progress(
            sent=self._sent,
            frauds=self._frauds,
            seconds=self._clock.monotonic() - self._started,
            late_seconds=self._late_seconds,
        )

    def until(
        self, generate: Generate, rate: float, count: float, on_progress: Callable[[Progress], None] | None
    ) -> None:
        most = max(1, int(rate * _BATCH_SECONDS))
        next_progress = self._started + _PROGRESS_SECONDS
        while self._sent < count:
            first = self._sent
            after = int(min(first + most, count))
            # Made before it is due, so that what is left to do at its time is little.
            batch = [generate(self._started_at + int(index * SECOND / rate)) for index in range(first, after)]
            self._wait_until(self._started + (after - 1) / rate)
            for record in batch:
                if self._stop.is_set():
                    return
                self._produce(record)
            self._producer.poll(0)
            self._raise_failures()
            if on_progress and self._clock.monotonic() >= next_progress:
                on_progress(self.progress())
                next_progress += _PROGRESS_SECONDS

    def finish(self, seconds: float) -> None:
        left = self._producer.flush(seconds)
        self._raise_failures()
        if left:
            msg = f"{self._topic}: expected all records delivered within {seconds:g} s, got {left} still on their way"
            raise DeliveryError(msg)

    def _wait_until(self, due: float) -> None:
        while not self._stop.is_set():
            left = due - self._clock.monotonic()
            if left <= 0:
                self._late_seconds = -left
                return
            self._clock.sleep(min(left, _STOP_CHECK_SECONDS))
            self._producer.poll(0)

    def _produce(self, record: Labelled) -> None:
        headers: Headers = [("label", b"fraud" if record.fraudulent else b"legit"), ("story", record.story)]
        while not self._stop.is_set():
            try:
                self._producer.produce(
                    self._topic,
                    value=record.value,
                    key=record.key,
                    timestamp=record.at // 1_000,
                    headers=headers,
                    on_delivery=self._delivered,
                )
            except BufferError:
                # The broker is slower than the rate: wait for room, and let `late_seconds` tell.
                self._producer.poll(_STOP_CHECK_SECONDS)
                self._raise_failures()
            else:
                self._sent += 1
                self._frauds += record.fraudulent
                return

    def _delivered(self, error: "KafkaError | None", _: "Message") -> None:
        if error is not None:
            self._failed += 1
            self._first_failure = self._first_failure or error.str()

    def _raise_failures(self) -> None:
        if self._failed:
            msg = f"{self._topic}: expected every record delivered, got {self._failed} refused: {self._first_failure}"
            raise DeliveryError(msg)
