"""Clients of the fake Kafka: what `broker.client` asks of a consumer and a producer, and a machine that can be killed.

Whatever waits lets the simulated time pass. Errors are those of confluent_kafka.
"""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from functools import partial
from types import SimpleNamespace
from typing import Any, Final, Literal, overload
from zlib import crc32

from confluent_kafka import (
    OFFSET_BEGINNING,
    OFFSET_END,
    OFFSET_INVALID,
    TIMESTAMP_CREATE_TIME,
    KafkaError,
    KafkaException,
    TopicPartition,
)

from broker.client import Headers
from proofs.simulator.cluster import Batch, Cluster, Entry, Marker, Payload, Pipe, Place

_LINGER_MS: Final = 5
_RETRY_MS: Final = 20
_FENCED_CODES: Final = frozenset({KafkaError.INVALID_PRODUCER_EPOCH, KafkaError.PRODUCER_FENCED})

Report = Callable[[KafkaError | None, Any], None]


class Machine:
    """What runs in one process: its clients live and die together."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.alive = True
        self._pipes: dict[tuple[int, Place | str], Pipe] = {}
        self._clients = 0
        self._consumers: list[FakeConsumer] = []

    def consumer(self, config: Mapping[str, Any]) -> "FakeConsumer":
        """A client like `confluent_kafka.Consumer`."""
        consumer = FakeConsumer(self, config)
        self._consumers.append(consumer)
        return consumer

    def producer(self, config: Mapping[str, Any]) -> "FakeProducer":
        """A client like `confluent_kafka.Producer`."""
        return FakeProducer(self, config)

    def watch(self, topics: Sequence[str]) -> "FakeWatch":
        """A client like `broker.cluster.ClusterWatch`."""
        return FakeWatch(self, topics)

    def ends(self, topics: Sequence[str]) -> dict[str, int]:
        """As `broker.cluster.ends_now`: where all partitions of topics end, by `topic/partition`."""
        clock = self.cluster.clock
        found = {}
        for topic in topics:
            for number, partition in enumerate(self.cluster.topics[topic]):
                place = topic, number
                clock.wait(lambda place=place: not self.cluster.held(place))  # type: ignore[misc]
                found[f"{topic}/{number}"] = partition.end
        clock.advance(1)
        return found

    def finished(self) -> set[Place]:
        """The partitions that its consumers have read to their end."""
        return set().union(*(consumer.finished() for consumer in self._consumers))

    def pipe(self, client: int, to: Place | str) -> Pipe:
        """The connection of a client to the leader of a partition, or to the coordinator that a text names."""
        try:
            return self._pipes[client, to]
        except KeyError:
            pipe = self._pipes[client, to] = Pipe(self.cluster, None if isinstance(to, str) else to, alive=self.alive)
            return pipe

    def new_client(self) -> int:
        """A number for a client."""
        self._clients += 1
        return self._clients

    def cut(self) -> bool:
        """Lose every connection; gives whether anything was on its way."""
        return sum(pipe.cut() for pipe in self._pipes.values()) > 0

    def kill(self, late_ms: Callable[[], int]) -> bool:
        """End without a goodbye: what is not sent is gone, of what is on its way some arrives, maybe late.

        Args:
            late_ms: How late, asked for each connection.

        Returns:
            Whether anything still will arrive.
        """
        self.alive = False
        return sum(pipe.kill(late_ms()) for pipe in self._pipes.values()) > 0


class FakeMessage:
    """A record as a consumer gets it, or an error in its place."""

    __slots__ = ("_entry", "_error", "_offset", "_place")

    def __init__(self, place: Place, offset: int, entry: Entry | None, error: KafkaError | None = None) -> None:
        self._place = place
        self._offset = offset
        self._entry = entry
        self._error = error

    def error(self) -> KafkaError | None:
        """What went wrong, None for a record."""
        return self._error

    def topic(self) -> str:
        """Where it was read."""
        return self._place[0]

    def partition(self) -> int:
        """Where it was read."""
        return self._place[1]

    def offset(self) -> int:
        """Where it was read."""
        return self._offset

    def timestamp(self) -> tuple[int, int]:
        """Kind, and milliseconds since the epoch."""
        return TIMESTAMP_CREATE_TIME, self._entry.timestamp if self._entry else 0

    def key(self) -> bytes | None:
        """The record's key."""
        return self._entry.payload[0] if self._entry else None

    def value(self) -> bytes | None:
        """The record's value."""
        return self._entry.payload[1] if self._entry else self._error.str().encode() if self._error else None

    def headers(self) -> Any:
        """The record's headers."""
        return self._entry.payload[2] if self._entry else None


class _Client:
    """What both kinds of clients can do."""

    def __init__(self, machine: Machine, config: Mapping[str, Any]) -> None:
        self._machine = machine
        self._cluster = machine.cluster
        self._clock = machine.cluster.clock
        self._config = dict(config)
        self._number = machine.new_client()

    def list_topics(self, topic: str | None = None, timeout: float = -1) -> Any:
        """The cluster's topics, as far as our code looks at `ClusterMetadata`."""
        self._call(timeout)
        names = self._cluster.topics if topic is None else [topic]
        missing = KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART)
        return SimpleNamespace(
            topics={
                name: SimpleNamespace(
                    topic=name,
                    partitions=dict.fromkeys(range(self._cluster.partitions_told(name))),
                    error=None if name in self._cluster.topics else missing,
                )
                for name in names
            },
            brokers={0: None},
        )

    def _call(self, timeout: float) -> None:
        """Wait for an answer that no fault but a freeze can keep back."""
        limit = _ms(timeout)
        if not self._clock.wait(lambda: not self._cluster.held(None), limit):
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT))  # noqa: SLF001  (its public name)
        self._clock.advance(1)


class FakeConsumer(_Client):
    """Reads what is assigned to it."""

    def __init__(self, machine: Machine, config: Mapping[str, Any]) -> None:
        super().__init__(machine, config)
        self._positions: dict[Place, int] = {}
        self._told: dict[Place, int] = {}  # ends that were told
        self._committed_only = config.get("isolation.level", "read_committed") == "read_committed"
        self._tell_ends = bool(config.get("enable.partition.eof", False))

    def assign(self, partitions: list[TopicPartition], /) -> None:
        """Read these, each from its offset, and no others."""
        self._positions.clear()
        self._told.clear()
        self.incremental_assign(partitions)

    def incremental_assign(self, partitions: list[TopicPartition], /) -> None:
        """Read these too."""
        for part in partitions:
            place = part.topic, part.partition
            if place in self._positions:
                raise KafkaException(KafkaError(KafkaError._CONFLICT))  # noqa: SLF001
            self._positions[place] = part.offset

    def consume(self, num_messages: int = 1, timeout: float = -1) -> Sequence[FakeMessage]:
        """What has arrived."""
        found: list[FakeMessage] = []
        # A fetch is always on its way: now and then its answer has not come.
        if timeout or self._cluster.random.random() < 0.8:
            self._fetch(found, num_messages)
        if not found and timeout:

            def arrived() -> bool:
                self._fetch(found, num_messages)
                return bool(found)

            self._clock.wait(arrived, _ms(timeout))
        return found

    def committed(self, partitions: list[TopicPartition], timeout: float = -1) -> list[TopicPartition]:
        """The group's offsets."""
        self._call(timeout)
        known = self._cluster.offsets.get(self._group, {})
        return [
            TopicPartition(part.topic, part.partition, known.get((part.topic, part.partition), OFFSET_INVALID))
            for part in partitions
        ]

    @overload
    def commit(self, *, offsets: list[TopicPartition], asynchronous: Literal[True] = ...) -> None: ...

    @overload
    def commit(self, *, offsets: list[TopicPartition], asynchronous: Literal[False]) -> list[TopicPartition]: ...

    def commit(self, *, offsets: list[TopicPartition], asynchronous: bool = True) -> list[TopicPartition] | None:
        """Set the group's offsets."""
        committed = {(part.topic, part.partition): part.offset for part in offsets}
        done: list[bool] = []
        pipe = self._machine.pipe(self._number, "group")
        pipe.ask(lambda: self._cluster.commit_offsets(self._group, committed), lambda _: done.append(True))
        if asynchronous:
            return None
        self._clock.wait(lambda: bool(done))
        return offsets

    def get_watermark_offsets(self, partition: TopicPartition, timeout: float = -1) -> tuple[int, int] | None:
        """The first offset and the one after the last that this reader may get."""
        place = partition.topic, partition.partition
        if not self._clock.wait(lambda: not self._cluster.held(place), _ms(timeout)):
            return None
        self._clock.advance(1)
        found = self._cluster.partition(place)
        return found.start, found.stable if self._committed_only else found.end

    def close(self) -> None:
        """Leave."""
        self._positions.clear()

    def finished(self) -> set[Place]:
        """The partitions that it has read to their end."""
        return {place for place, at in self._positions.items() if at >= self._cluster.partition(place).stable}

    @property
    def _group(self) -> str:
        return str(self._config["group.id"])

    def _fetch(self, found: list[FakeMessage], most: int) -> None:
        random = self._cluster.random
        places = list(self._positions)
        if len(places) > 1:
            random.shuffle(places)
        for place in places:
            if len(found) < most and not self._cluster.held(place):
                self._read(place, found, most)

    def _read(self, place: Place, found: list[FakeMessage], most: int) -> None:
        partition = self._cluster.partition(place)
        limit = partition.stable if self._committed_only else partition.end
        at = self._position(place, limit)
        if at is None:
            found.append(FakeMessage(place, -1, None, KafkaError(KafkaError._AUTO_OFFSET_RESET)))  # noqa: SLF001
            del self._positions[place]
            return
        log = partition.log
        while at < limit and len(found) < most:
            entry = log[at]
            if entry.marker is None and not (entry.aborted and self._committed_only):
                found.append(FakeMessage(place, at, entry))
            at += 1
        self._positions[place] = at
        if self._tell_ends and at >= limit and self._told.get(place) != at and len(found) < most:
            self._told[place] = at
            found.append(FakeMessage(place, at, None, KafkaError(KafkaError._PARTITION_EOF)))  # noqa: SLF001

    def _position(self, place: Place, limit: int) -> int | None:
        """Where to read on; None where that is not in the log and nobody said what then."""
        partition = self._cluster.partition(place)
        at = self._positions[place]
        if at == OFFSET_BEGINNING:
            return partition.start
        if at == OFFSET_END:
            return limit
        if partition.start <= at <= partition.end:
            return at
        reset = self._config.get("auto.offset.reset", "latest")
        return {"earliest": partition.start, "latest": limit}.get(reset)


class FakeWatch:
    """What the cluster told when it was last asked.

    Attributes:
        partitions: How many partitions each topic has.
        ends: The offset after the last record, by `topic/partition`.
    """

    def __init__(self, machine: Machine, topics: Sequence[str]) -> None:
        self._machine = machine
        self._number = machine.new_client()
        self._asked = 0
        self.partitions = {topic: machine.cluster.partitions_told(topic) for topic in topics}
        self.ends: dict[str, int] = {}

    def refresh(self) -> None:
        """Ask anew, unless an answer is still to come."""
        if self._asked:
            return
        cluster = self._machine.cluster
        for topic, count in self.partitions.items():
            self._ask(f"metadata of {topic}", partial(self._count, cluster, topic), partial(self._counted, topic))
            for number in range(count):
                place = topic, number
                self._ask(place, partial(self._end, cluster, place), partial(self._told, f"{topic}/{number}"))

    def _ask(self, to: Place | str, serve: Callable[[], int], answered: Callable[[int], None]) -> None:
        self._asked += 1
        self._machine.pipe(self._number, to).ask(serve, answered)

    @staticmethod
    def _count(cluster: Cluster, topic: str) -> int:
        return cluster.partitions_told(topic)

    @staticmethod
    def _end(cluster: Cluster, place: Place) -> int:
        return cluster.partition(place).end

    def _counted(self, topic: str, count: int) -> None:
        self._asked -= 1
        self.partitions[topic] = max(count, self.partitions[topic])

    def _told(self, address: str, end: int) -> None:
        self._asked -= 1
        self.ends[address] = end


@dataclass(slots=True)
class _Waiting:
    """A record that is not confirmed."""

    place: Place
    payload: Payload
    report: Report | None


class _State(Enum):
    """Where a transactional producer stands."""

    NEW = auto()
    READY = auto()
    OPEN = auto()
    ENDING = auto()


class FakeProducer(_Client):
    """Writes, with idempotence, and in transactions where its configuration has a `transactional.id`."""

    def __init__(self, machine: Machine, config: Mapping[str, Any]) -> None:
        super().__init__(machine, config)
        self._most = int(config.get("queue.buffering.max.messages", 100_000))
        self._errors_only = bool(config.get("delivery.report.only.error", False))
        self._id: str | None = config.get("transactional.id")
        self._producer, self._epoch = -1, -1
        self._buffers: dict[Place, list[_Waiting]] = {}
        self._sequences: dict[Place, int] = {}
        self._left = 0
        self._reports: deque[tuple[_Waiting, KafkaError | None]] = deque()
        self._state = _State.NEW
        self._joined: dict[Place, bool] = {}  # partitions of the transaction, and whether the coordinator knows
        self._fatal: KafkaError | None = None
        self._alarm = False  # a fatal error that was not told yet
        self._failed: KafkaError | None = None
        if self._id is None:
            found = self._cluster.new_producer(None)
            assert isinstance(found, tuple)
            self._producer, self._epoch = found

    def produce(
        self,
        topic: str,
        value: bytes | None = None,
        key: bytes | None = None,
        *,
        on_delivery: Report | None = None,
        headers: Headers | None = None,
    ) -> None:
        """Queue one record."""
        self._check_open()
        if len(self) >= self._most:
            msg = "Local: Queue full"
            raise BufferError(msg)
        pairs = None if headers is None else [(n, v.encode() if isinstance(v, str) else v) for n, v in headers]
        self._queue(topic, (key, value, pairs), on_delivery)

    def produce_batch(self, topic: str, messages: list[dict[str, Any]], *, on_delivery: Report | None = None) -> int:
        """Queue many: returns how many fitted, and puts `_error` into the others."""
        queued = 0
        for message in messages:
            error = self._closed()
            if error is None and len(self) >= self._most:
                error = KafkaError(KafkaError._QUEUE_FULL)  # noqa: SLF001
            if error is not None:
                message["_error"] = error
                continue
            self._queue(topic, (message.get("key"), message.get("value"), None), on_delivery)
            queued += 1
        return queued

    def __len__(self) -> int:
        return self._left + len(self._reports)

    def poll(self, timeout: float = -1) -> int:
        """Take delivery reports.

        Raises:
            KafkaException: The producer is dead; told once, before the reports.
        """
        if not self._reports and timeout:
            self._clock.wait(lambda: bool(self._reports or self._alarm), _ms(timeout))
        if self._alarm:
            self._alarm = False
            self._raise_fatal()
        return self._report()

    def flush(self, timeout: float = -1) -> int:
        """Wait until all is delivered: returns how many records are not.

        Raises:
            KafkaException: The producer is dead; told once.
            SystemError: It is, and the client has called for a report meanwhile, with the exception already set.
        """
        self._send_all()

        def done() -> bool:
            if self._alarm:
                self._alarm = False
                if self._report():
                    msg = "returned a result with an exception set"
                    raise SystemError(msg) from KafkaException(self._fatal)
                self._raise_fatal()
            self._report()
            return not len(self)

        self._clock.wait(done, _ms(timeout))
        return len(self)

    def init_transactions(self, timeout: float = -1) -> None:
        """Fence every older producer of this transactional id."""
        if self._id is None or self._state is not _State.NEW:
            raise KafkaException(_erroneous("init_transactions"))
        end = self._end(timeout)
        while True:
            found = self._ask(lambda: self._cluster.new_producer(self._id), end, "init_transactions")
            if isinstance(found, tuple):
                break
            self._clock.advance(_RETRY_MS)
        self._producer, self._epoch = found
        self._state = _State.READY

    def begin_transaction(self) -> None:
        """Open a transaction."""
        self._raise_fatal()
        if self._state is not _State.READY:
            raise KafkaException(_erroneous("begin_transaction"))
        self._state = _State.OPEN
        self._joined.clear()
        self._failed = None

    def commit_transaction(self, timeout: float = -1) -> None:
        """Flush, and make it visible to `read_committed` readers."""
        self._end_transaction(Marker.COMMIT, timeout)

    def abort_transaction(self, timeout: float = -1) -> None:
        """Take back what was produced in it."""
        for buffer in self._buffers.values():
            for waiting in buffer:
                self._done(waiting, KafkaError(KafkaError._PURGE_QUEUE))  # noqa: SLF001
            buffer.clear()
        self._failed = None
        self._end_transaction(Marker.ABORT, timeout)

    def _end_transaction(self, marker: Marker, timeout: float) -> None:
        name = "commit_transaction" if marker is Marker.COMMIT else "abort_transaction"
        self._raise_fatal()
        if self._state not in {_State.OPEN, _State.ENDING}:
            raise KafkaException(_erroneous(name))
        end = self._end(timeout)
        self._send_all()
        left = None if end is None else max(0, end - self._clock.now)
        self._clock.wait(lambda: not self._left or self._fatal is not None, left)
        self._raise_fatal()
        if self._left:
            raise KafkaException(_timed_out(name))
        if self._failed is not None and marker is Marker.COMMIT:
            raise KafkaException(KafkaError(self._failed.code(), self._failed.str(), False, False, True))  # noqa: FBT003
        self._state = _State.ENDING
        if self._joined:
            transactional_id, epoch = str(self._id), self._epoch
            while True:
                code = self._ask(lambda: self._cluster.end_transaction(transactional_id, epoch, marker), end, name)
                if code != KafkaError.CONCURRENT_TRANSACTIONS:
                    break
                self._clock.advance(_RETRY_MS)
            if code is not None:
                self._die(code)
                self._raise_fatal()
        self._joined.clear()
        self._state = _State.READY

    def _queue(self, topic: str, payload: Payload, report: Report | None) -> None:
        partitions = len(self._cluster.topics.get(topic, ()))
        key = payload[0]
        number = self._cluster.random.randrange(max(partitions, 1)) if key is None else crc32(key) % max(partitions, 1)
        waiting = _Waiting((topic, number), payload, report)
        self._left += 1
        if not partitions:
            self._done(waiting, KafkaError(KafkaError._UNKNOWN_TOPIC))  # noqa: SLF001
            return
        buffer = self._buffers.setdefault(waiting.place, [])
        buffer.append(waiting)
        if len(buffer) == 1:
            self._clock.after(_LINGER_MS, lambda: self._send(waiting.place))

    def _send_all(self) -> None:
        for place in list(self._buffers):
            self._send(place)

    def _send(self, place: Place) -> None:
        buffer = self._buffers[place]
        if not buffer or self._fatal is not None:
            return
        if self._id is not None and not self._joined.get(place, False):
            if place not in self._joined:
                self._joined[place] = False
                self._join(place)
            return
        self._buffers[place] = []
        sequence = self._sequences[place] = self._sequences.get(place, -1) + 1
        payloads = [waiting.payload for waiting in buffer]
        batch = Batch(self._producer, self._epoch, sequence, self._id, payloads)
        pipe = self._machine.pipe(self._number, place)
        pipe.ask(lambda: self._cluster.append(place, batch), lambda code: self._confirmed(buffer, code))

    def _join(self, place: Place) -> None:
        """Have the coordinator know the partition first."""
        transactional_id, epoch = str(self._id), self._epoch

        def joined(code: int | None) -> None:
            if code == KafkaError.CONCURRENT_TRANSACTIONS:
                self._clock.after(_RETRY_MS, lambda: self._join(place))
            elif code is not None:
                self._die(code)
            else:
                self._joined[place] = True
                self._send(place)

        if self._fatal is None:
            pipe = self._machine.pipe(self._number, "transactions")
            pipe.ask(lambda: self._cluster.add_to_transaction(transactional_id, epoch, place), joined)

    def _confirmed(self, batch: list[_Waiting], code: int | None) -> None:
        if code is not None and self._id is not None:
            self._die(code)
        error = None if code is None else KafkaError(code)
        for waiting in batch:
            self._done(waiting, error)

    def _die(self, code: int) -> None:
        """No further use is possible: everything that waits to be sent fails."""
        if self._fatal is None:
            if code in _FENCED_CODES:
                code = KafkaError._FENCED  # noqa: SLF001
            self._fatal = KafkaError(code, "another producer has this transactional id", True)  # noqa: FBT003
            self._alarm = True
        for buffer in self._buffers.values():
            for waiting in buffer:
                self._done(waiting, KafkaError(KafkaError._PURGE_QUEUE))  # noqa: SLF001
            buffer.clear()

    def _done(self, waiting: _Waiting, error: KafkaError | None) -> None:
        self._left -= 1
        if error is not None:
            self._failed = error
        if waiting.report is not None and (error is not None or not self._errors_only):
            self._reports.append((waiting, error))

    def _report(self) -> int:
        served = 0
        while self._reports:
            waiting, error = self._reports.popleft()
            served += 1
            assert waiting.report is not None
            waiting.report(error, FakeMessage(waiting.place, -1, Entry(waiting.payload, 0, self._producer), error))
        return served

    def _closed(self) -> KafkaError | None:
        """Why nothing can be produced now."""
        if self._fatal is not None:
            return KafkaError(KafkaError._FATAL, self._fatal.str())  # noqa: SLF001
        if self._id is not None and self._state is not _State.OPEN:
            return _erroneous("produce")
        return None

    def _check_open(self) -> None:
        error = self._closed()
        if error is not None:
            raise KafkaException(error)

    def _raise_fatal(self) -> None:
        if self._fatal is not None:
            raise KafkaException(self._fatal)

    def _ask(self, serve: Callable[[], Any], end: int | None, name: str) -> Any:
        """Ask the coordinator and wait for its answer."""
        answers: list[Any] = []
        self._machine.pipe(self._number, "transactions").ask(serve, answers.append)
        left = None if end is None else max(0, end - self._clock.now)
        if not self._clock.wait(lambda: bool(answers), left):
            raise KafkaException(_timed_out(name))
        return answers[0]

    def _end(self, timeout: float) -> int | None:
        """When the time is over, ms."""
        limit = _ms(timeout)
        return None if limit is None else self._clock.now + limit


def _ms(timeout: float) -> int | None:
    """Seconds as librdkafka takes them: negative is for ever."""
    return None if timeout < 0 else round(timeout * 1000)


def _erroneous(call: str) -> KafkaError:
    return KafkaError(KafkaError._STATE, f"{call}: not in this state")  # noqa: SLF001


def _timed_out(call: str) -> KafkaError:
    return KafkaError(KafkaError._TIMED_OUT, f"{call}: timed out", False, True)  # noqa: FBT003, SLF001
