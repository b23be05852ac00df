"""Reading Kafka topics: a fixed number of lanes, one consumer a worker, offsets in the snapshots.

Bytewax fixes the parts of a source at the start, and a resume whose part is gone fails. So the parts are not
partitions but **lanes**: partition p of a topic always belongs to the same lane, however many partitions or topics
there are. A lane's snapshot is its next offset by `topic/partition`. The lanes of one worker share a consumer: 64
partitions are not 64 clients with 64 buffers.
"""

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from operator import methodcaller
from time import monotonic, sleep
from typing import Any, Final
from zlib import crc32

import structlog
from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, TopicPartition
from typing_extensions import override

from broker.client import ConsumerClient, Message
from detection.records import Record

LANES: Final = 32
"""Part of the stored state: never change it."""

BATCH: Final = 2_500
"""The most records taken from the client at once."""

_CLUSTER_SECONDS: Final = 10.0
_ASLEEP: Final = timedelta(milliseconds=500)

_log = structlog.get_logger(__name__)

# For a header whose name is no UTF-8 the client sets an error and returns a value all the same, which a call that
# CPython has specialised does not look at: the error then comes up somewhere else. This way of calling looks.
_headers = methodcaller("headers")


class SourceError(RuntimeError):
    """Records cannot be read on; the message says what to do. Logged as well, as one line."""

    def __init__(self, message: str) -> None:
        _log.error(message)
        super().__init__(message)


def lane_of(topic: str, partition: int) -> int:
    """The lane that a partition belongs to, the same in every process and release."""
    return (crc32(topic.encode()) + partition) % LANES


def _never() -> bool:
    return False


class KafkaSource(FixedPartitionedSource[Record, dict[str, int]]):
    """Reads topics from the snapshot's offsets, else from the group's, else from the beginning.

    A lane ends (and the dataflow with it, after an exact snapshot) when `stop` says so. Offsets are also committed to
    the consumer group, one snapshot late: what a lag tool sees as consumed has been delivered.
    """

    def __init__(
        self,
        config: Mapping[str, Any],
        topics: Sequence[str],
        *,
        stop: Callable[[], bool] = _never,
        client: Callable[[dict[str, Any]], ConsumerClient] = Consumer,
    ) -> None:
        """Open nothing yet.

        Args:
            config: librdkafka's configuration, see `broker.config.consumer_config`.
            topics: What to read; each must exist.
            stop: Asked before each batch; True ends the lanes.
            client: Makes the Kafka client.
        """
        self._config = dict(config)
        self._topics = tuple(topics)
        self._stop = stop
        self._client = client
        # By thread, not in a `threading.local`: of a thread that is not Python's own, such as a worker's, one is gone
        # after each call.
        self._readers: dict[int, Reader] = {}

    @override
    def list_parts(self) -> list[str]:
        return [f"lane-{number:02}" for number in range(LANES)]

    @override
    def build_part(self, step_id: str, for_part: str, resume_state: dict[str, int] | None) -> "Lane":
        worker = threading.get_ident()
        reader = self._readers.get(worker)
        if reader is None or reader.closed:
            reader = self._readers[worker] = Reader(self._client(dict(self._config)), self._topics)
        return reader.lane(int(for_part.removeprefix("lane-")), resume_state, self._stop)


class Reader:
    """The consumer of one worker, and the lanes it feeds. Used by one thread only."""

    def __init__(self, client: ConsumerClient, topics: Sequence[str]) -> None:
        self._client = client
        self._topics = topics
        self._by_partition: dict[tuple[str, int], Lane] = {}
        self._partitions: dict[str, int] | None = None
        self._open = 0
        self.closed = False

    def lane(self, number: int, offsets: dict[str, int] | None, stop: Callable[[], bool]) -> "Lane":
        """Make a lane and assign its partitions to the consumer."""
        if self._partitions is None:
            self._partitions = count_partitions(self._client, self._topics)
        mine = [
            TopicPartition(topic, partition)
            for topic, count in self._partitions.items()
            for partition in range(count)
            if lane_of(topic, partition) == number
        ]
        start = dict(offsets or {})
        unknown = [part for part in mine if _address(part) not in start]
        if unknown:
            for part in self._committed(unknown):
                if part.offset >= 0:
                    start[_address(part)] = part.offset
        lane = Lane(self, start, pump=bool(mine) and not self._by_partition, stop=stop, asleep=not mine)
        self._open += 1
        if mine:
            self._by_partition.update({(part.topic, part.partition): lane for part in mine})
            self._client.incremental_assign(
                [
                    TopicPartition(part.topic, part.partition, start.get(_address(part), OFFSET_BEGINNING))
                    for part in mine
                ]
            )
        return lane

    def _committed(self, parts: list[TopicPartition]) -> list[TopicPartition]:
        """The group's offsets; asked again while a young cluster still looks for the group's coordinator."""
        deadline = monotonic() + _CLUSTER_SECONDS
        while True:
            try:
                found = self._client.committed(parts, timeout=_CLUSTER_SECONDS)
                error = next((part.error for part in found if part.error is not None), None)
            except KafkaException as exception:
                error = exception.args[0]
                found = []
            if error is None:
                return found
            if monotonic() > deadline:
                msg = f"the group's committed offsets cannot be read: {error.str()}"
                raise SourceError(msg)
            sleep(0.2)

    def poll(self) -> None:
        """Hand what has arrived to the lanes. Never waits."""
        topic, partition = "", -1
        for message in self._client.consume(BATCH, 0.0):
            if message.error() is not None:
                complain(message)
                continue
            # The client gives runs of one partition: look the lane up once a run.
            if message.partition() != partition or message.topic() != topic:
                topic, partition = str(message.topic()), int(message.partition() or 0)
                lane = self._by_partition[topic, partition]
                arrive, ahead, address = lane.arrived.append, lane.ahead, f"{topic}/{partition}"
            offset = message.offset()
            kind, timestamp = message.timestamp()
            try:
                headers = _headers(message)
            except SystemError:  # a name that is no UTF-8: the client cannot give any of them then
                headers = None
            assert offset is not None
            arrive(Record(topic, partition, offset, timestamp if kind else -1, message.key(), message.value(), headers))
            ahead[address] = offset + 1

    def commit(self, offsets: Mapping[str, int]) -> None:
        """Tell the group, for lag tools; nobody waits for the answer, and the next snapshot tries again."""
        parts = [TopicPartition(*_place(address), offset) for address, offset in offsets.items()]
        self._client.commit(offsets=parts)

    def close_lane(self) -> None:
        """Close the consumer with its last lane."""
        self._open -= 1
        if self._open == 0 and not self.closed:
            self.closed = True
            self._client.close()


class Lane(StatefulSourcePartition[Record, dict[str, int]]):
    """A part of the source: some partitions, read in order.

    Attributes:
        arrived: Records that the consumer handed over and Bytewax has not yet taken.
        ahead: The next offsets once `arrived` is taken.
    """

    def __init__(
        self, reader: Reader, offsets: dict[str, int], *, pump: bool, stop: Callable[[], bool], asleep: bool
    ) -> None:
        """Belong to a reader; the `pump` is the one lane of a worker that asks the consumer."""
        self.arrived: list[Record] = []
        self.ahead: dict[str, int] = {}
        self._reader = reader
        self._offsets = offsets
        self._committed = dict(offsets)
        self._snapshot: dict[str, int] = {}
        self._pump = pump
        self._stop = stop
        self._asleep = asleep

    @override
    def next_batch(self) -> Iterable[Record]:
        if self._stop():
            raise StopIteration
        if self._pump and not self.arrived:
            self._reader.poll()
        records = self.arrived
        if records:
            self.arrived = []
            self._offsets.update(self.ahead)
            self.ahead.clear()
        return records

    @override
    def next_awake(self) -> datetime | None:
        # None: at once after a full batch, after 1 ms when there was nothing.
        return datetime.now(UTC) + _ASLEEP if self._asleep else None

    @override
    def snapshot(self) -> dict[str, int]:
        # The records before the previous snapshot are delivered by now: the sinks flushed when it was taken.
        news = {address: offset for address, offset in self._snapshot.items() if self._committed.get(address) != offset}
        if news:
            self._reader.commit(news)
            self._committed.update(news)
        self._snapshot = dict(self._offsets)
        return dict(self._offsets)

    @override
    def close(self) -> None:
        self._reader.close_lane()


def count_partitions(client: ConsumerClient, topics: Iterable[str]) -> dict[str, int]:
    """How many partitions each of the topics has.

    Raises:
        SourceError: Some do not exist.
    """
    known = client.list_topics(timeout=_CLUSTER_SECONDS).topics
    missing = [topic for topic in topics if topic not in known or known[topic].error is not None]
    if missing:
        msg = f"topics {', '.join(missing)}: do not exist; create what is missing with `fraud topics`"
        raise SourceError(msg)
    return {topic: len(known[topic].partitions) for topic in topics}


def _address(part: TopicPartition) -> str:
    return f"{part.topic}/{part.partition}"


def _place(address: str) -> tuple[str, int]:
    topic, _, partition = address.rpartition("/")
    return topic, int(partition)


def complain(message: Message) -> None:
    """Raise what reading cannot go on after; the client itself recovers from the rest."""
    error = message.error()
    assert error is not None
    place = f"{message.topic()}/{message.partition()}"
    if error.code() == KafkaError._AUTO_OFFSET_RESET:  # noqa: SLF001  (confluent_kafka names its own codes so)
        msg = (
            f"{place}: the offset to go on from is not in the topic ({error.str()}): records were deleted before they "
            "were read, or the topic was made anew. Lengthen its retention; to go on with what is there, start with a "
            "new recovery store and APPLICATION_ID"
        )
        raise SourceError(msg)
    if error.code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
        msg = f"{place}: does not exist any more; create what is missing with `fraud topics`"
        raise SourceError(msg)
    if error.fatal() or not (error.retriable() or error.code() in _PASSING):
        msg = f"{place}: {error.str()}"
        raise SourceError(msg)
    _log.warning("reading is held up", place=place, error=error.str())


_PASSING: Final = frozenset(
    {
        KafkaError._ALL_BROKERS_DOWN,  # noqa: SLF001
        KafkaError._TRANSPORT,  # noqa: SLF001
        KafkaError._RESOLVE,  # noqa: SLF001
        KafkaError._TIMED_OUT,  # noqa: SLF001
        KafkaError.NOT_LEADER_FOR_PARTITION,
        KafkaError.LEADER_NOT_AVAILABLE,
        KafkaError.NOT_COORDINATOR,
        KafkaError.COORDINATOR_NOT_AVAILABLE,
        KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
    }
)
