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
from time import monotonic, sleep
from typing import Any, Final, Protocol, TypeAlias, TypedDict
from zlib import crc32

import structlog
from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, TopicPartition
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

COMMIT_ALL_SECONDS: Final = 3600.0
"""Brokers forget what a group has not committed for `offsets.retention.minutes`, by default a week."""

_LOOK_SECONDS: Final = 1.0
_RETRY_SECONDS: Final = 0.2
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
                self._client,
                self._config,
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
        client: Callable[[dict[str, Any]], ConsumerClient],
        config: Mapping[str, Any],
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
        self._client = client({**config, "on_commit": self._forget_failed})
        self._topics = topics
        self._tails = tails
        self._cluster = cluster
        self._lanes: dict[int, Lane] = {}
        self._by_partition: dict[tuple[str, int], Lane] = {}
        self._partitions: dict[str, int] | None = None
        self._patient_until: float | None = None
        self._taken: Mapping[str, int] = {}
        # Whoever took the snapshot that is gone on from may have been killed before it told the group.
        self._told: dict[str, int] = {}
        self._commit_all_at = monotonic() + COMMIT_ALL_SECONDS
        self._next_look = 0.0
        self._open = 0
        self.closed = False

    def lane(self, number: int, state: LaneState | None) -> "Lane":
        """Make a lane and assign its partitions to the consumer.

        Raises:
            SourceError: The cluster does not tell of a partition that was read before.
        """
        stored = dict(state["offsets"] if state else {})
        bounds: dict[str, int] = {}
        if self._tails is not None:
            bounds = self._tails.bounds(None if state is None else state["bounds"])
            self._tails.read(bounds)
        mine = self._partitions_of(number, stored)
        lane = Lane(self, stored, bounds, pump=not self._lanes)
        self._lanes[number] = lane
        self._open += 1
        self._begin(lane, mine)
        if self._tails is not None:
            answers = self._tails.answers({_address(part): part.offset for part in mine})
            for part in mine:
                self.answered.mark(part.topic, part.partition, answers[_address(part)])
        for part in mine:
            skipped = self._skip(part.topic, part.partition, partial(self._position, part))
            if skipped:
                lane.arrived += skipped
                part.offset = lane.ahead[_address(part)] = skipped[-1].offset + 1
        self._assign(lane, mine)
        return lane

    def _partitions_of(self, number: int, stored: Mapping[str, int]) -> list[TopicPartition]:
        """The partitions of a lane that the cluster tells of: it has to tell of all that were ever read.

        A broker that lags behind the others leaves out the youngest for a while. Taken up later, those would be read
        from their beginning, and answered again.
        """
        origins = () if self._tails is None else self._tails.origins()
        read, answered = ({address for address in told if self._is_in(number, address)} for told in (stored, origins))
        while True:
            if self._partitions is None:
                self._partitions = count_partitions(self._client, self._topics)
            found = [
                TopicPartition(topic, partition)
                for topic, count in self._partitions.items()
                for partition in range(count)
                if lane_of(topic, partition) == number
            ]
            missing = (read | answered) - {_address(part) for part in found}
            if not missing:
                return found
            if self._patient_until is None:
                self._patient_until = monotonic() + CLUSTER_SECONDS  # for all lanes together
            if monotonic() > self._patient_until:
                break
            self._partitions = None
            sleep(_RETRY_SECONDS)
        if missing & read:
            msg = (
                f"{', '.join(sorted(missing & read))}: was read before, and the cluster does not tell of it any more: "
                "does a broker lag behind? If the topic was made anew, start with a new recovery store and "
                "APPLICATION_ID"
            )
            raise SourceError(msg)
        _log.warning("answers name partitions that are not in the topic", partitions=sorted(missing))
        return found

    def _is_in(self, number: int, address: str) -> bool:
        topic, partition = _place(address)
        return topic in self._topics and lane_of(topic, partition) == number

    def _begin(self, lane: "Lane", parts: list[TopicPartition]) -> None:
        """Set where partitions are read from: snapshot, else beginning of the deployment or group, else their own."""
        unknown = [part for part in parts if _address(part) not in lane.offsets]
        if unknown and self._began is None:
            lane.offsets.update(self._committed(unknown))
        elif self._began is not None:
            began = {_address(part): self._began.get(_address(part)) for part in unknown}
            lane.offsets.update({address: offset for address, offset in began.items() if offset is not None})
        for part in parts:
            part.offset = lane.offsets.get(_address(part), OFFSET_BEGINNING)

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

    def bounds(self) -> dict[str, int]:
        """Where answers to records that are not yet read, and were not answered before the start, can begin."""
        if self._tails is None:
            return {}
        began, ends = self._tails.ends, self._cluster.ends if self._cluster else {}
        return {**began, **{address: ends[address] for address in began.keys() & ends.keys()}}

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
        """Read partitions that a topic gained, each in its lane."""
        if partitions == self._taken:
            return
        self._taken = dict(partitions)
        for topic in self._topics:
            for partition in range(partitions.get(topic, 0)):
                lane = self._lanes.get(lane_of(topic, partition))  # None: another worker's
                if lane is not None and (topic, partition) not in self._by_partition:
                    part = TopicPartition(topic, partition)
                    self._begin(lane, [part])
                    self._assign(lane, [part])
                    _log.info("a new partition is read", partition=f"{topic}/{partition}")

    def commit(self, offsets: Mapping[str, int]) -> None:
        """Tell the group what it does not know yet, and now and then all: it forgets. Nobody waits for the answer."""
        now = monotonic()
        if now >= self._commit_all_at:
            self._commit_all_at = now + COMMIT_ALL_SECONDS
            self._told.clear()
        known = self._told
        news = {address: offset for address, offset in offsets.items() if known.get(address) != offset}
        if news:
            self._client.commit(offsets=[TopicPartition(*_place(address), offset) for address, offset in news.items()])
            known.update(news)

    def _forget_failed(self, error: KafkaError | None, parts: Iterable[TopicPartition]) -> None:
        """Tell the group again, with the next snapshot, what it did not take."""
        for part in parts:
            if error is not None or part.error is not None:
                self._told.pop(_address(part), None)

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
        self._reader.commit(self._snapshot)
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
