"""Reading Kafka topics: a fixed number of lanes, one consumer a worker, offsets in the snapshots.

Bytewax fixes the parts of a source at the start, and a resume whose part is gone fails. So the parts are not
partitions but **lanes**: partition p of a topic always belongs to the same lane, however many partitions or topics
there are. The lanes of one worker share a consumer: 64 partitions are not 64 clients with 64 buffers.

A lane's snapshot is its next offset by `topic/partition`, and the bounds behind which answers to later records may
stand, by output partition (see `sources.answered`).
"""

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from time import monotonic
from typing import Any, Final, Protocol, TypeAlias, TypedDict
from zlib import crc32

import structlog
from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaException, TopicPartition
from typing_extensions import override

from broker.client import ConsumerClient
from broker.errors import error_in
from broker.group import committed_to
from broker.vitals import Vitals
from detection.records import Record
from sources.answered import Answered, Tails
from sources.reading import CLUSTER_SECONDS, SourceError, complain, count_partitions, headers_of

LANES: Final = 32
"""Part of the stored state: never change it."""

BATCH: Final = 2_500
"""The most records taken from the client at once."""

_LOOK_SECONDS: Final = 1.0
_ASLEEP: Final = timedelta(milliseconds=500)

_log = structlog.get_logger(__name__)


class LaneState(TypedDict):
    """What a lane has in a snapshot.

    Attributes:
        offsets: The next offsets, by input partition, `topic/partition`.
        bounds: Where answers to the records from there on can begin, by output partition.
    """

    offsets: dict[str, int]
    bounds: dict[str, int]


class Cluster(Protocol):
    """What the cluster told when it was last asked. Asking does not wait for the answer.

    Attributes:
        partitions: How many partitions the topics have, by topic.
        ends: The offset after the last record, by `topic/partition`.
    """

    @property
    def partitions(self) -> Mapping[str, int]:
        """By topic."""

    @property
    def ends(self) -> Mapping[str, int]:
        """By `topic/partition`."""

    def refresh(self) -> None:
        """Take what was answered, and ask anew."""


Skip: TypeAlias = Callable[[str, int, Callable[[], int]], list[Record]]
"""What stands for the offsets of a topic's partition that are not to be read, given where it would be read on."""


def lane_of(topic: str, partition: int) -> int:
    """The lane that a partition belongs to, the same in every process and release."""
    return (crc32(topic.encode()) + partition) % LANES


def _never() -> bool:
    return False


def _nothing(_topic: str, _partition: int, _position: Callable[[], int]) -> list[Record]:
    return []


class KafkaSource(FixedPartitionedSource[Record, LaneState]):
    """Reads topics from the snapshot's offsets, else from where the deployment began; without one, where the group is.

    A lane ends (and the dataflow with it, after an exact snapshot) when `stop` says so. Offsets are also committed to
    the consumer group, one snapshot late: what a lag tool sees as consumed has been delivered.
    """

    def __init__(
        self,
        config: Mapping[str, Any],
        topics: Sequence[str],
        *,
        stop: Callable[[], bool] = _never,
        pause: Callable[[], bool] = _never,
        tails: Tails | None = None,
        answered: Answered | None = None,
        cluster: Callable[[], Cluster] | None = None,
        client: Callable[[dict[str, Any]], ConsumerClient] = Consumer,
        worker: Callable[[], int] = threading.get_ident,
        vitals: Vitals | None = None,
        began: Mapping[str, int] | None = None,
        skip: Skip = _nothing,
    ) -> None:
        """Open nothing yet.

        Args:
            config: librdkafka's configuration, see `broker.config.consumer_config`.
            topics: What to read; each must exist.
            stop: Asked before each batch; True ends the lanes.
            pause: Asked before each batch; while it says True nothing is handed out, and all else goes on. Where
                others read too, in other processes, it holds back none of them.
            tails: What was answered after a snapshot; without it nobody looks.
            answered: Where that is marked.
            cluster: Makes what a worker asks for new partitions and the ends of the outputs.
            client: Makes the Kafka client.
            worker: Which worker calls.
            vitals: Where to note how the reading goes.
            began: Where partitions that are in no snapshot begin, by `topic/partition`, others at their beginning.
                None asks the group, which can be ahead of the snapshot: what the windows hold would be missed.
            skip: Gives what stands for offsets that are not to be read.
        """
        self._config = dict(config)
        self._topics = tuple(topics)
        self._stop = stop
        self._pause = pause
        self._tails = tails
        self._answered = Answered() if answered is None else answered
        self._cluster = cluster
        self._client = client
        self._worker = worker
        self._vitals = vitals or Vitals()
        self._began = began
        self._skip = skip
        # By thread, not in a `threading.local`: of a thread that is not Python's own, such as a worker's, one is gone
        # after each call.
        self._readers: dict[int, Reader] = {}

    @override
    def list_parts(self) -> list[str]:
        self._vitals.joined = True
        return [f"lane-{number:02}" for number in range(LANES)]

    @override
    def build_part(self, step_id: str, for_part: str, resume_state: LaneState | None) -> "Lane":
        worker = self._worker()
        reader = self._readers.get(worker)
        if reader is None or reader.closed:
            reader = self._readers[worker] = Reader(
                self._client(dict(self._config)),
                self._topics,
                tails=self._tails,
                answered=self._answered,
                cluster=self._cluster and self._cluster(),
                stop=self._stop,
                pause=self._pause,
                vitals=self._vitals,
                began=self._began,
                skip=self._skip,
            )
        return reader.lane(int(for_part.removeprefix("lane-")), resume_state)


class Reader:
    """The consumer of one worker, and the lanes it feeds. Used by one thread only."""

    def __init__(
        self,
        client: ConsumerClient,
        topics: Sequence[str],
        *,
        tails: Tails | None,
        answered: Answered,
        cluster: Cluster | None,
        stop: Callable[[], bool],
        pause: Callable[[], bool],
        vitals: Vitals,
        began: Mapping[str, int] | None,
        skip: Skip,
    ) -> None:
        self.answered = answered
        self.stop = stop
        self.vitals = vitals
        self.paused = False
        self._pause = pause
        self._began = began
        self._skip = skip
        self._client = client
        self._topics = topics
        self._tails = tails
        self._cluster = cluster
        self._lanes: dict[int, Lane] = {}
        self._by_partition: dict[tuple[str, int], Lane] = {}
        self._partitions: dict[str, int] | None = None
        self._next_look = 0.0
        self._open = 0
        self.closed = False

    def lane(self, number: int, state: LaneState | None) -> "Lane":
        """Make a lane and assign its partitions to the consumer."""
        if self._partitions is None:
            self._partitions = count_partitions(self._client, self._topics)
        mine = [
            TopicPartition(topic, partition)
            for topic, count in self._partitions.items()
            for partition in range(count)
            if lane_of(topic, partition) == number
        ]
        start = dict(state["offsets"] if state else {})
        unknown = [part for part in mine if _address(part) not in start]
        if unknown and self._began is None:
            start |= self._committed(unknown)
        elif self._began is not None:
            start |= {_address(part): self._began[_address(part)] for part in unknown if _address(part) in self._began}
        for part in mine:
            part.offset = start.get(_address(part), OFFSET_BEGINNING)
        bounds = {} if self._tails is None else self._mark(mine, None if state is None else state["bounds"])
        lane = Lane(self, start, bounds, pump=not self._lanes)
        self._lanes[number] = lane
        self._open += 1
        for part in mine:
            skipped = self._skip(part.topic, part.partition, partial(self._position, part))
            if skipped:
                lane.arrived += skipped
                part.offset = lane.ahead[_address(part)] = skipped[-1].offset + 1
        self._assign(lane, mine)
        return lane

    def _position(self, part: TopicPartition) -> int:
        """Where a partition is read on: also one that begins at its beginning."""
        if part.offset >= 0:
            return part.offset
        found = self._client.get_watermark_offsets(part, timeout=CLUSTER_SECONDS)
        if found is None:
            msg = f"{_address(part)}: does not tell where it begins"
            raise SourceError(msg)
        return found[0]

    def _assign(self, lane: "Lane", parts: list[TopicPartition]) -> None:
        if parts:
            self._by_partition.update({(part.topic, part.partition): lane for part in parts})
            new = [(part.topic, part.partition) for part in parts]
            lane.parts += new
            self.vitals.follow(new, lane.offsets)
            self._client.incremental_assign(parts)

    def _mark(self, parts: list[TopicPartition], bounds: dict[str, int] | None) -> dict[str, int]:
        """Mark what the snapshot's bounds say may have been answered; gives the bounds."""
        assert self._tails is not None
        known = self._tails.bounds(bounds)
        answers = self._tails.answers(known, {_address(part): part.offset for part in parts})
        for part in parts:
            self.answered.mark(part.topic, part.partition, answers[_address(part)])
        return known

    def bounds(self) -> dict[str, int]:
        """Where answers to records that are not yet read, and were not answered before the start, can begin."""
        if self._tails is None:
            return {}
        ends = self._cluster.ends if self._cluster else {}
        return {**self._tails.ends, **{address: ends[address] for address in self._tails.ends.keys() & ends.keys()}}

    def _committed(self, parts: list[TopicPartition]) -> dict[str, int]:
        try:
            return committed_to(self._client, parts)
        except KafkaException as exception:
            msg = f"the group's committed offsets cannot be read: {error_in(exception).str()}"
            raise SourceError(msg) from None

    def poll(self) -> None:
        """Hand what has arrived to the lanes. Never waits."""
        if self._cluster is not None and (now := monotonic()) >= self._next_look:
            self._next_look = now + _LOOK_SECONDS
            self._cluster.refresh()
            self._take_new_partitions(self._cluster.partitions)
        self.paused = self.vitals.paused = self._pause()
        if self.paused and any(lane.arrived for lane in self._lanes.values()):
            return  # one batch may wait here; more waits in the client, which fetches only so far, and in Kafka
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
            assert offset is not None
            arrive(
                Record(
                    topic,
                    partition,
                    offset,
                    timestamp if kind else -1,
                    message.key(),
                    message.value(),
                    headers_of(message),
                )
            )
            ahead[address] = offset + 1

    def _take_new_partitions(self, partitions: Mapping[str, int]) -> None:
        """Read partitions that a topic gained from their beginning, each in its lane."""
        assert self._partitions is not None
        for topic, known in self._partitions.items():
            count = partitions.get(topic, 0)
            for partition in range(known, count):
                lane = self._lanes.get(lane_of(topic, partition))
                if lane is not None:  # else the lane is another worker's
                    self._assign(lane, [TopicPartition(topic, partition, OFFSET_BEGINNING)])
                    _log.info("a new partition is read", partition=f"{topic}/{partition}")
            self._partitions[topic] = max(known, count)

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


class Lane(StatefulSourcePartition[Record, LaneState]):
    """A part of the source: some partitions, read in order.

    Attributes:
        arrived: Records that the consumer handed over and Bytewax has not yet taken.
        ahead: The next offsets once `arrived` is taken.
        parts: Its partitions.
        offsets: The next offsets by `topic/partition`; changed in place.
    """

    def __init__(self, reader: Reader, offsets: dict[str, int], bounds: dict[str, int], *, pump: bool) -> None:
        """Belong to a reader; the `pump` is the one lane of a worker that asks the consumer."""
        self.arrived: list[Record] = []
        self.ahead: dict[str, int] = {}
        self.parts: list[tuple[str, int]] = []
        self._reader = reader
        self.offsets = offsets
        self._bounds = bounds
        # Whoever took the snapshot that is gone on from may have been killed before it told the group.
        self._committed: dict[str, int] = {}
        self._snapshot: dict[str, int] = {}
        self._pump = pump

    @override
    def next_batch(self) -> Iterable[Record]:
        if self._reader.stop():
            raise StopIteration
        self._reader.vitals.alive()
        if self._pump and (self._reader.paused or not self.arrived):
            self._reader.poll()
        if self._reader.paused:
            return ()
        records = self.arrived
        if records:
            self.arrived = []
            self.offsets.update(self.ahead)
            self.ahead.clear()
        return records

    @override
    def next_awake(self) -> datetime | None:
        # None: at once after a full batch, after 1 ms when there was nothing.
        return None if self.parts or self._pump else datetime.now(UTC) + _ASLEEP

    @override
    def snapshot(self) -> LaneState:
        if self._pump:  # once a worker
            self._reader.vitals.snapshot()
        # The records before the previous snapshot are delivered by now: the sinks flushed when it was taken.
        news = {address: offset for address, offset in self._snapshot.items() if self._committed.get(address) != offset}
        if news:
            self._reader.commit(news)
            self._committed.update(news)
        mine = (f"{topic}/{partition}" for topic, partition in self.parts)  # not what a changed pack does not read
        self._snapshot = {address: self.offsets[address] for address in mine if address in self.offsets}
        # The answers to what is still to be read again stand behind the old bounds.
        if not any(self._reader.answered.is_pending(*part) for part in self.parts):
            self._bounds = self._reader.bounds()
        return {"offsets": dict(self.offsets), "bounds": self._bounds}

    @override
    def close(self) -> None:
        self._reader.close_lane()


def _address(part: TopicPartition) -> str:
    return f"{part.topic}/{part.partition}"


def _place(address: str) -> tuple[str, int]:
    topic, _, partition = address.rpartition("/")
    return topic, int(partition)
