"""Reading the answers while they come, as a `read_committed` reader does."""

from threading import Event, Thread
from time import monotonic, time

import msgspec
from confluent_kafka import Consumer, TopicPartition

from broker.config import consumer_config
from detection.ledger import origin_of
from proofs.deployment import Deployment
from sources.through import bounds


class _Sent(msgspec.Struct):
    sent: int = 0


_sent = msgspec.json.Decoder(_Sent).decode


class Tail:
    """Follows the verdicts in a thread of its own.

    Attributes:
        newest: The newest record that is answered, by input partition.
        latencies: How long after `sent` (ms since the epoch, in their JSON) verdicts were seen, ms: the new ones since
            somebody took them.
    """

    def __init__(self, deployment: Deployment, *, every: int = 1) -> None:
        """Begin at the ends; look into one record of `every`."""
        self.newest: dict[str, int] = {}
        self.latencies: list[float] = []
        self._every = every
        self._consumer = Consumer({**consumer_config(deployment.settings), "fetch.wait.max.ms": 5})
        topics = set(deployment.pack.topics_out)
        known = self._consumer.list_topics(timeout=10).topics
        parts = [TopicPartition(topic, number) for topic in topics for number in known[topic].partitions]
        for part in parts:
            _, part.offset = bounds(self._consumer, (part.topic, part.partition))
        self._consumer.assign(parts)
        self._end = Event()
        self._marks: dict[str, int] = {}
        self._seen: dict[str, float] = {}
        self._thread = Thread(target=self._run, daemon=True)
        self._thread.start()

    def first_beyond(self, marks: dict[str, int], seconds: float) -> float | None:
        """When (monotonic) the first record at or beyond its partition's mark is answered; None if none is in time."""
        self._seen = {}
        self._marks = marks
        deadline = monotonic() + seconds
        while not self._seen and monotonic() < deadline:
            self._end.wait(0.005)
        self._marks = {}
        return min(self._seen.values(), default=None)

    def take_latencies(self) -> list[float]:
        """The latencies since the last time."""
        taken, self.latencies = self.latencies, []
        return taken

    def close(self) -> None:
        """Read no more."""
        self._end.set()
        self._thread.join()
        self._consumer.close()

    def _run(self) -> None:
        count = 0
        while not self._end.is_set():
            messages = self._consumer.consume(5_000, 0.01)
            now, now_ms = monotonic(), time() * 1_000
            for message in messages:
                count += 1
                if message.error() is not None or count % self._every:
                    continue
                value = message.value()
                address, _, number = (origin_of(value) or "/-1").rpartition("/")
                place = int(number)
                if place > self.newest.get(address, -1):
                    self.newest[address] = place
                if place >= self._marks.get(address, place + 1):
                    self._seen.setdefault(address, now)
                if sent := _sent(value or b"{}").sent:
                    self.latencies.append(now_ms - sent)
