import threading
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, ClassVar, Self
from uuid import uuid4

import bytewax.operators as op
import pytest
from bytewax.dataflow import Dataflow
from bytewax.testing import TestingSink, cluster_main, run_main
from confluent_kafka import Consumer, KafkaError, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

import sources.kafka as module
from broker.config import consumer_config
from broker.vitals import Vitals
from detection.records import Record
from detection.settings import Settings
from sources.answered import Answered
from sources.kafka import BATCH, LANES, KafkaSource, Lane, LaneState, lane_of
from sources.reading import SourceError
from tests.conftest import Broker, wait_until

TIME = 1_767_225_600_000
FOR_EVER = {"retention_ms": "-1"}  # the records are older than a topic keeps them otherwise


def config(broker: Broker, group: str | None = None) -> dict[str, Any]:
    return consumer_config(Settings(kafka_broker_url=broker.address, application_id=group or uuid4().hex))


class Worker:
    """All lanes of a source, as one Bytewax worker has them."""

    def __init__(self, source: KafkaSource, states: dict[str, dict[str, int]] | None = None) -> None:
        self.lanes: dict[str, Lane] = {
            name: source.build_part("s", name, (states or {}).get(name)) for name in source.list_parts()
        }
        self.records: list[Record] = []

    def turn(self) -> None:
        """Ask every lane that is awake once."""
        for lane in self.lanes.values():
            if lane.next_awake() is None:
                self.records += lane.next_batch()

    def read(self, number: int) -> list[Record]:
        """Read on until there are so many records."""

        def enough() -> bool:
            self.turn()
            return len(self.records) >= number

        wait_until(enough)
        return self.records

    def snapshots(self) -> dict[str, dict[str, int]]:
        return {name: lane.snapshot() for name, lane in self.lanes.items()}

    def close(self) -> None:
        for lane in self.lanes.values():
            lane.close()


@pytest.fixture
def worker() -> Iterable[Callable[..., Worker]]:
    """Makes workers and closes them after the test."""
    made = []

    def make(source: KafkaSource, states: dict[str, dict[str, int]] | None = None) -> Worker:
        made.append(Worker(source, states))
        return made[-1]

    yield make
    for each in made:
        if any(not lane._reader.closed for lane in each.lanes.values()):
            each.close()


def fill(broker: Broker, topic: str, partitions: int, each: int) -> list[Record]:
    """Records of all kinds in every partition."""
    producer = Producer({"bootstrap.servers": broker.address})
    written = []
    for offset in range(each):
        for partition in range(partitions):
            key = [b"key-%d" % offset, None, b""][offset % 3]
            value = None if offset % 5 == 4 else b'{"n":%d}' % offset
            headers = [("h", b"\x00\xff"), ("h", None), ("", b"")] if offset % 4 == 1 else None
            time = TIME + offset
            producer.produce(topic, value, key, partition, timestamp=time, headers=headers)
            written.append(Record(topic, partition, offset, time, key, value, headers))
    assert not producer.flush(30)
    return written


def at(offsets: dict[str, int]) -> LaneState:
    """The snapshot of a lane, of which nobody asks where its answers are."""
    return {"offsets": offsets, "bounds": {}}


def in_any_order(commits: list[dict[str, int]]) -> list[dict[str, int]]:
    return sorted(commits, key=sorted)


def in_order(records: Iterable[Record]) -> list[Record]:
    return sorted(records, key=lambda record: (record.topic, record.partition, record.offset))


def test_each_record_comes_once_whole_and_in_the_order_of_its_partition(any_broker, new_topic, worker) -> None:
    one, two = new_topic(any_broker, 5, "one", **FOR_EVER), new_topic(any_broker, 1, "two", **FOR_EVER)
    written = fill(any_broker, one, 5, 20) + fill(any_broker, two, 1, 30)

    got = worker(KafkaSource(config(any_broker), [one, two])).read(len(written))

    assert in_order(got) == in_order(written)
    for topic, partition in {(record.topic, record.partition) for record in got}:
        offsets = [record.offset for record in got if (record.topic, record.partition) == (topic, partition)]
        assert offsets == sorted(offsets)


def test_more_records_than_a_batch_holds_come_once(embedded, new_topic, worker) -> None:
    topic = new_topic(embedded, 3)
    written = fill(embedded, topic, 3, BATCH)

    got = worker(KafkaSource(config(embedded), [topic])).read(len(written))

    assert in_order(got) == in_order(written)


def test_while_it_is_paused_nothing_is_handed_out_nothing_lost_and_little_kept(
    any_broker, new_topic, worker, produce
) -> None:
    topic = new_topic(any_broker, 3, **FOR_EVER)
    paused, stopped, vitals = threading.Event(), threading.Event(), Vitals()
    source = KafkaSource(config(any_broker), [topic], pause=paused.is_set, stop=stopped.is_set, vitals=vitals, began={})
    reading = worker(source)
    written = fill(any_broker, topic, 3, 10)
    reading.read(30)
    before = reading.snapshots()

    paused.set()
    for partition in range(3):
        produce(any_broker, topic, [b"{}"] * BATCH, partition=partition)

    def waits() -> list[Record]:
        reading.turn()
        return [record for lane in reading.lanes.values() for record in lane.arrived]

    wait_until(lambda: bool(waits()))
    for _ in range(1_000):
        assert 0 < len(waits()) <= BATCH
    assert vitals.paused
    assert len(reading.records) == 30
    assert {name: state["offsets"] for name, state in reading.snapshots().items()} == {
        name: state["offsets"] for name, state in before.items()
    }

    paused.clear()
    got = reading.read(30 + 3 * BATCH)
    assert not vitals.paused
    assert in_order(got[:30]) == in_order(written)
    places = [(record.partition, record.offset) for record in got]
    assert sorted(places) == [(partition, offset) for partition in range(3) for offset in range(10 + BATCH)]

    paused.set()
    stopped.set()
    with pytest.raises(StopIteration):
        reading.turn()


@pytest.mark.parametrize("before", [0, 1, 40, 120])
def test_a_resume_goes_on_where_the_snapshots_are(any_broker, new_topic, worker, before: int) -> None:
    topic = new_topic(any_broker, 4, **FOR_EVER)
    written = fill(any_broker, topic, 4, 30)
    first = worker(KafkaSource(config(any_broker), [topic]))
    if before:
        first.read(before)
    states = first.snapshots()
    known = len(first.records)
    first.read(min(known + 1, 120))  # what is read after the snapshots is read again
    first.close()

    second = worker(KafkaSource(config(any_broker), [topic]), states)
    second.read(120 - known)

    assert in_order(first.records[:known] + second.records) == in_order(written)


def test_the_same_records_without_snapshots_begin_at_the_beginning(any_broker, new_topic, worker) -> None:
    topic = new_topic(any_broker, 2, **FOR_EVER)
    written = fill(any_broker, topic, 2, 3)
    for _ in range(2):  # nothing was committed by the first
        assert in_order(worker(KafkaSource(config(any_broker, "again"), [topic])).read(6)) == in_order(written)


def test_without_snapshots_it_goes_on_where_the_group_is(any_broker, new_topic, worker) -> None:
    topic = new_topic(any_broker, 3, **FOR_EVER)
    written = fill(any_broker, topic, 3, 10)
    group = uuid4().hex
    client = Consumer({"bootstrap.servers": any_broker.address, "group.id": group})
    client.commit(offsets=[TopicPartition(topic, 0, 4), TopicPartition(topic, 1, 10)], asynchronous=False)
    client.close()

    got = worker(KafkaSource(config(any_broker, group), [topic])).read(16)

    skipped = [("0", offset) for offset in range(4)] + [("1", offset) for offset in range(10)]
    assert in_order(got) == [r for r in in_order(written) if (str(r.partition), r.offset) not in skipped]


def test_snapshots_win_over_the_group(any_broker, new_topic, worker) -> None:
    topic = new_topic(any_broker, 1, **FOR_EVER)
    written = fill(any_broker, topic, 1, 10)
    group = uuid4().hex
    client = Consumer({"bootstrap.servers": any_broker.address, "group.id": group})
    client.commit(offsets=[TopicPartition(topic, 0, 9)], asynchronous=False)
    client.close()
    state = {f"lane-{lane_of(topic, 0):02}": at({f"{topic}/0": 2})}

    assert worker(KafkaSource(config(any_broker, group), [topic]), state).read(8) == written[2:]


def test_what_no_snapshot_names_begins_where_the_deployment_began_wherever_the_group_is(
    embedded, new_topic, worker
) -> None:
    topic = new_topic(embedded, 3, **FOR_EVER)
    written = fill(embedded, topic, 3, 10)
    group = uuid4().hex
    client = Consumer({"bootstrap.servers": embedded.address, "group.id": group})
    client.commit(offsets=[TopicPartition(topic, number, 9) for number in range(3)], asynchronous=False)
    client.close()
    state = {f"lane-{lane_of(topic, 0):02}": at({f"{topic}/0": 2})}

    got = worker(KafkaSource(config(embedded, group), [topic], began={f"{topic}/1": 5}), state).read(23)

    skipped = [*((0, offset) for offset in range(2)), *((1, offset) for offset in range(5))]
    assert in_order(got) == [r for r in in_order(written) if (r.partition, r.offset) not in skipped]


def test_offsets_are_committed_one_snapshot_late(any_broker, new_topic, worker) -> None:
    topic = new_topic(any_broker, 2, **FOR_EVER)
    fill(any_broker, topic, 2, 5)
    group = uuid4().hex
    looker = Consumer({"bootstrap.servers": any_broker.address, "group.id": group})

    def committed() -> list[int]:
        return [part.offset for part in looker.committed([TopicPartition(topic, 0), TopicPartition(topic, 1)], 10)]

    reader = worker(KafkaSource(config(any_broker, group), [topic]))
    reader.read(10)
    reader.snapshots()
    reader.turn()
    assert committed() == [-1001, -1001]
    reader.snapshots()
    wait_until(lambda: committed() == [5, 5])
    looker.close()


def test_a_topic_that_came_later_is_read_from_its_beginning(embedded, new_topic, worker) -> None:
    old = new_topic(embedded, 2, "old")
    fill(embedded, old, 2, 3)
    first = worker(KafkaSource(config(embedded), [old]))
    first.read(6)
    states = first.snapshots()
    new = new_topic(embedded, 40, "new")
    written = fill(embedded, new, 40, 2)

    assert in_order(worker(KafkaSource(config(embedded), [old, new]), states).read(80)) == in_order(written)


def test_a_topic_that_comes_back_goes_on_where_it_was(embedded, new_topic, worker) -> None:
    gone, stays = new_topic(embedded, 2, "gone"), new_topic(embedded, 2, "stays")
    written = fill(embedded, gone, 2, 3) + fill(embedded, stays, 2, 3)
    first = worker(KafkaSource(config(embedded), [gone, stays]))
    first.read(12)
    second = worker(KafkaSource(config(embedded), [stays]), first.snapshots())
    more = fill(embedded, gone, 2, 3)
    third = worker(KafkaSource(config(embedded), [gone, stays]), second.snapshots())

    assert len(third.read(6)) == 6
    assert {(record.topic, record.offset) for record in third.records} == {(gone, 3), (gone, 4), (gone, 5)}
    assert len(written) + len(more) == 18


def test_a_missing_topic_is_told_with_the_command_that_makes_it(any_broker, new_topic, topic_name) -> None:
    there, absent = new_topic(any_broker, **FOR_EVER), topic_name("absent")

    with pytest.raises(SourceError, match=rf"^topics {absent}: do not exist; .*`fraud topics`"):
        Worker(KafkaSource(config(any_broker), [there, absent]))

    assert absent not in AdminClient({"bootstrap.servers": any_broker.address}).list_topics(timeout=5).topics


@pytest.mark.kafka
def test_an_offset_below_retention_is_an_error_that_says_what_to_do(kafka, new_topic, worker) -> None:
    topic = new_topic(kafka, **FOR_EVER)
    fill(kafka, topic, 1, 10)
    admin = AdminClient({"bootstrap.servers": kafka.address})
    for future in admin.delete_records([TopicPartition(topic, 0, 6)]).values():
        future.result()
    state = {f"lane-{lane_of(topic, 0):02}": at({f"{topic}/0": 3})}

    reader = worker(KafkaSource(config(kafka), [topic]), state)
    with pytest.raises(SourceError, match=rf"^{topic}/0: the offset .* retention.*new recovery store"):
        reader.read(1)
    assert reader.records == []


@pytest.mark.kafka
def test_a_topic_whose_oldest_records_are_gone_is_read_from_what_is_left(kafka, new_topic, worker) -> None:
    topic = new_topic(kafka, **FOR_EVER)
    fill(kafka, topic, 1, 10)
    admin = AdminClient({"bootstrap.servers": kafka.address})
    for future in admin.delete_records([TopicPartition(topic, 0, 6)]).values():
        future.result()

    assert [record.offset for record in worker(KafkaSource(config(kafka), [topic])).read(4)] == [6, 7, 8, 9]


def skip_to(to: int) -> Callable[[str, int, Callable[[], int]], list[Record]]:
    """What `Quarantine.skip` gives, for partition 1 of any topic."""

    def skip(topic: str, partition: int, position: Callable[[], int]) -> list[Record]:
        begin = position() if partition == 1 else to
        return [Record(topic, partition, offset, -1, None, None) for offset in range(begin, to)]

    return skip


@pytest.mark.parametrize("before", [None, 0, 4, 7])
def test_what_stands_for_skipped_offsets_comes_before_the_records_behind_them(
    before: int | None, embedded, new_topic, worker
) -> None:
    topic = new_topic(embedded, 2)
    written = fill(embedded, topic, 2, 10)
    lane = f"lane-{lane_of(topic, 1):02}"
    states = None if before is None else {lane: at({f"{topic}/1": before})}
    begin = before or 0
    expected = [Record(topic, 1, offset, -1, None, None) for offset in range(begin, 7)]
    expected += [record for record in written if record.partition == 0 or record.offset >= max(begin, 7)]

    got = worker(KafkaSource(config(embedded), [topic], skip=skip_to(7)), states).read(len(expected))

    assert in_order(got) == in_order(expected)
    offsets = [record.offset for record in got if record.partition == 1]
    assert offsets == sorted(offsets)


def test_a_snapshot_before_they_were_taken_does_not_pass_them_over(embedded, new_topic, worker) -> None:
    topic = new_topic(embedded, 2)
    fill(embedded, topic, 2, 10)
    lane = f"lane-{lane_of(topic, 1):02}"
    reading = worker(KafkaSource(config(embedded), [topic], skip=skip_to(7)), {lane: at({f"{topic}/1": 4})})

    assert reading.snapshots()[lane]["offsets"] == {f"{topic}/1": 4}
    reading.read(10 + 3)
    assert reading.snapshots()[lane]["offsets"][f"{topic}/1"] >= 7


def test_all_lanes_end_when_told_to_stop_and_keep_what_was_not_taken(embedded, new_topic, worker) -> None:
    topic = new_topic(embedded, 4)
    fill(embedded, topic, 4, 10)
    stopped = threading.Event()
    reader = worker(KafkaSource(config(embedded), [topic], stop=stopped.is_set))
    reader.read(1)
    before = reader.snapshots()
    stopped.set()

    for lane in reader.lanes.values():
        with pytest.raises(StopIteration):
            lane.next_batch()
    assert reader.snapshots() == before
    assert sum(sum(state["offsets"].values()) for state in before.values()) == len(reader.records)


# --- one consumer a worker -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", ["one", "one+another"])
def test_the_lanes_of_a_worker_share_a_client_and_those_of_another_have_another(
    workers: str, embedded, new_topic
) -> None:
    topic = new_topic(embedded, 8)
    clients: list[Consumer] = []

    def client(options: dict[str, Any]) -> Consumer:
        clients.append(Consumer(options))
        return clients[-1]

    written = fill(embedded, topic, 8, 5)
    got: list[Record] = []
    source = KafkaSource(config(embedded), [topic], stop=lambda: len(got) >= len(written), client=client)
    flow = Dataflow("f")
    op.output("out", op.input("in", flow, source), TestingSink(got))
    ENTRIES[workers](flow)

    assert in_order(got) == in_order(written)
    assert len(clients) == len(workers.split("+"))
    for each in clients:
        with pytest.raises(RuntimeError, match="closed"):
            each.consume(1, 0)


ENTRIES = {"one": run_main, "one+another": lambda flow: cluster_main(flow, [], 0, worker_count_per_proc=2)}


class FakeClient:
    """A consumer that gives what a test says, and counts how often it is asked."""

    def __init__(self, partitions: dict[str, int], *turns: list[Any]) -> None:
        self.partitions = partitions
        self.turns = list(turns)
        self.polls = 0
        self.closed = 0
        self.assigned: dict[tuple[str, int], int] = {}
        self.committed_offsets: list[dict[str, int]] = []
        self.group: dict[int, int] = {}
        self.on_commit: Callable[..., None] | None = None

    def __call__(self, options: dict[str, Any]) -> Self:
        """Stand in for the class as well."""
        self.on_commit = options["on_commit"]
        return self

    def list_topics(self, topic: str | None = None, timeout: float = -1) -> Any:
        class Topic:
            error = None

            def __init__(self, count: int) -> None:
                self.partitions = dict.fromkeys(range(count))

        class Cluster:
            topics: ClassVar = {name: Topic(count) for name, count in self.partitions.items()}

        return Cluster

    def committed(self, partitions: list[TopicPartition], timeout: float = -1) -> list[TopicPartition]:
        return [
            TopicPartition(part.topic, part.partition, self.group.get(part.partition, -1001)) for part in partitions
        ]

    def incremental_assign(self, partitions: list[TopicPartition]) -> None:
        for part in partitions:
            assert (part.topic, part.partition) not in self.assigned
            self.assigned[part.topic, part.partition] = part.offset

    def consume(self, num_messages: int = 1, timeout: float = -1) -> list[Any]:
        assert timeout == 0
        self.polls += 1
        return self.turns.pop(0) if self.turns else []

    def commit(self, *, offsets: list[TopicPartition]) -> None:
        self.committed_offsets.append({f"{part.topic}/{part.partition}": part.offset for part in offsets})

    def close(self) -> None:
        self.closed += 1


class FakeMessage:
    def __init__(self, topic: str, partition: int, offset: int, error: KafkaError | None = None) -> None:
        self._place = topic, partition, offset
        self._error = error

    def error(self) -> KafkaError | None:
        return self._error

    def topic(self) -> str:
        return self._place[0]

    def partition(self) -> int:
        return self._place[1]

    def offset(self) -> int:
        return self._place[2]

    def timestamp(self) -> tuple[int, int]:
        return 0, 77  # 0: nobody said when

    def key(self) -> None:
        return None

    value = headers = key


def test_lanes_without_partitions_sleep_and_ask_nobody(worker) -> None:
    client = FakeClient({"t": 3})
    reader = worker(KafkaSource({}, ["t"], client=client))
    busy = {f"lane-{lane_of('t', partition):02}" for partition in range(3)}

    awake = {name for name, lane in reader.lanes.items() if lane.next_awake() is None}
    sleeping = [lane for name, lane in reader.lanes.items() if name not in awake]

    assert awake == busy | {next(iter(reader.lanes))}  # and one that asks for all
    assert all(list(lane.next_batch()) == [] for lane in sleeping)
    assert all(lane.next_awake() > datetime.now(UTC) for lane in sleeping)
    assert client.polls == 0


def test_one_lane_asks_for_all(worker) -> None:
    client = FakeClient({"t": 3})
    reader = worker(KafkaSource({}, ["t"], client=client))

    reader.turn()

    assert client.polls == 1


def test_a_snapshot_never_runs_ahead_of_what_was_taken(worker) -> None:
    client = FakeClient({"t": 2}, [FakeMessage("t", 1, 10), FakeMessage("t", 0, 5), FakeMessage("t", 1, 12)])
    reader = worker(KafkaSource({}, ["t"], client=client))
    names = [f"lane-{lane_of('t', partition):02}" for partition in range(2)]
    lanes = [reader.lanes[name] for name in names]
    assert list(next(iter(reader.lanes.values())).next_batch()) == []  # asks for all

    taken = {lanes[0]: [record.offset for record in lanes[0].next_batch()]}
    other = lanes[1]

    assert other.snapshot() == at({})  # its records wait
    taken[other] = [record.offset for record in other.next_batch()]
    assert [taken[lane] for lane in lanes] == [[5], [10, 12]]
    assert [lane.snapshot() for lane in lanes] == [at({"t/0": 6}), at({"t/1": 13})]


def test_a_record_without_a_timestamp_has_a_negative_one(worker) -> None:
    client = FakeClient({"t": 1}, [FakeMessage("t", 0, 0)])

    (record,) = worker(KafkaSource({}, ["t"], client=client)).read(1)

    assert record == Record("t", 0, 0, -1, None, None, None)


def test_only_news_are_committed(worker) -> None:
    client = FakeClient({"t": 2}, [FakeMessage("t", 0, 5)], [FakeMessage("t", 0, 6)])
    states = {f"lane-{lane_of('t', 1):02}": at({"t/1": 100, "gone/9": 3})}
    reader = worker(KafkaSource({}, ["t"], client=client), states)
    for _ in range(4):
        reader.turn()
        reader.snapshots()

    assert [offsets for offsets in client.committed_offsets if "t/0" in offsets] == [{"t/0": 6}, {"t/0": 7}]
    assert client.assigned == {("t", 0): -2, ("t", 1): 100}


def test_where_a_start_goes_on_is_committed_though_nothing_new_comes(worker) -> None:
    client = FakeClient({"t": 1})
    states = {f"lane-{lane_of('t', 0):02}": at({"t/0": 100, "gone/9": 3})}
    reader = worker(KafkaSource({}, ["t"], client=client), states)
    for _ in range(3):
        reader.turn()
        reader.snapshots()

    # Who was there before may have been killed between this snapshot and the commit of its offsets.
    assert client.committed_offsets == [{"t/0": 100}]


def test_what_the_group_did_not_take_is_told_again(worker) -> None:
    client = FakeClient({"t": 2})
    states = {f"lane-{lane_of('t', number):02}": at({f"t/{number}": 100 + number}) for number in range(2)}
    reader = worker(KafkaSource({}, ["t"], client=client), states)
    for _ in range(3):
        reader.snapshots()
    assert in_any_order(client.committed_offsets) == [{"t/0": 100}, {"t/1": 101}]

    refused = SimpleNamespace(topic="t", partition=1, error=KafkaError(KafkaError.NOT_COORDINATOR))
    client.on_commit(None, [TopicPartition("t", 0, 100), refused])
    for _ in range(3):
        reader.snapshots()

    assert client.committed_offsets[2:] == [{"t/1": 101}]


def test_a_commit_that_failed_as_a_whole_is_told_again(worker) -> None:
    client = FakeClient({"t": 1})
    reader = worker(KafkaSource({}, ["t"], client=client), {f"lane-{lane_of('t', 0):02}": at({"t/0": 100})})
    reader.snapshots()
    reader.snapshots()

    client.on_commit(KafkaError(KafkaError._TRANSPORT), [TopicPartition("t", 0, 100)])
    reader.snapshots()
    reader.snapshots()

    assert client.committed_offsets == [{"t/0": 100}] * 2


def test_a_partition_that_stands_still_is_not_forgotten_by_the_group(worker, monkeypatch) -> None:
    now = [1000.0]
    monkeypatch.setattr(module, "monotonic", lambda: now[0])
    client = FakeClient({"t": 1})
    reader = worker(KafkaSource({}, ["t"], client=client), {f"lane-{lane_of('t', 0):02}": at({"t/0": 100})})
    reader.snapshots()
    reader.snapshots()
    for hours in (0.5, 0.9, 1.1, 1.9, 2.2):
        now[0] = 1000.0 + 3600 * hours
        reader.snapshots()

    assert client.committed_offsets == [{"t/0": 100}] * 3


# --- brokers that lag behind ----------------------------------------------------------------------------------------


class Behind(FakeClient):
    """A consumer whose broker leaves out the youngest partitions at first."""

    def __init__(self, partitions: int, told: int, times: int) -> None:
        super().__init__({"t": told})
        self.later, self.left = partitions, times

    def list_topics(self, topic: str | None = None, timeout: float = -1) -> Any:
        if self.left == 0:
            self.partitions["t"] = self.later
        self.left -= 1
        return super().list_topics(topic, timeout)


class Grows:
    """What a running dataflow is told."""

    def __init__(self) -> None:
        self.partitions = {"t": 2}
        self.ends: dict[str, int] = {}

    def refresh(self) -> None:
        pass


class Found:
    """Tails in which something was found."""

    def __init__(self, found: dict[str, list[int]]) -> None:
        self.ends: dict[str, int] = {}
        self._found = found

    def bounds(self, known: dict[str, int] | None) -> dict[str, int]:
        return dict(known or {})

    def read(self, bounds: dict[str, int]) -> None:
        pass

    def origins(self) -> list[str]:
        return list(self._found)

    def answers(self, partitions: dict[str, int]) -> dict[str, list[int]]:
        return {address: self._found.get(address, []) for address in partitions}


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_RETRY_SECONDS", 0.001)
    monkeypatch.setattr(module, "CLUSTER_SECONDS", 0.2)


@pytest.mark.usefixtures("patient")
def test_a_partition_of_the_snapshot_is_waited_for_and_read_on_where_it_was(worker) -> None:
    client = Behind(3, 2, times=4)
    worker(KafkaSource({}, ["t"], client=client, began={}), {f"lane-{lane_of('t', 2):02}": at({"t/2": 70})})

    assert client.assigned["t", 2] == 70


@pytest.mark.usefixtures("patient")
def test_a_partition_of_the_snapshot_that_is_never_told_of_again_is_missed(worker) -> None:
    states = {f"lane-{lane_of('t', 2):02}": at({"t/2": 70})}

    with pytest.raises(SourceError, match=r"^t/2: was read before"):
        worker(KafkaSource({}, ["t"], client=Behind(3, 2, times=-1), began={}), states)


@pytest.mark.usefixtures("patient")
def test_a_partition_without_a_snapshot_that_has_answers_is_waited_for_and_marked(worker) -> None:
    client, answered = Behind(3, 2, times=4), Answered()
    worker(KafkaSource({}, ["t"], client=client, began={}, tails=Found({"t/2": [0, 1]}), answered=answered))

    assert client.assigned["t", 2] == -2
    assert answered.is_answered("t", 2, 0)


@pytest.mark.usefixtures("patient")
def test_an_answer_to_a_partition_that_there_never_was_keeps_nobody_from_reading(worker) -> None:
    client = Behind(2, 2, times=-1)
    worker(KafkaSource({}, ["t"], client=client, began={}, tails=Found({"t/7": [0], "other/9": [1]})))

    assert set(client.assigned) == {("t", 0), ("t", 1)}


@pytest.mark.parametrize(
    ("began", "expected"),
    [({"t/2": 30}, 30), ({}, -2), (None, 50)],
    ids=["where the deployment began", "at its beginning", "where the group is"],
)
def test_a_partition_that_is_told_of_late_begins_as_at_the_start(began, expected: int, worker) -> None:
    client, told = FakeClient({"t": 2}), Grows()
    client.group = {2: 50}
    reader = worker(KafkaSource({}, ["t"], client=client, began=began, cluster=lambda: told))

    told.partitions = {"t": 3}
    reader.turn()

    assert client.assigned["t", 2] == expected


def test_the_client_is_closed_with_the_last_lane() -> None:
    client = FakeClient({"t": 2})
    lanes = list(Worker(KafkaSource({}, ["t"], client=client)).lanes.values())

    for lane in lanes[:-1]:
        lane.close()
    assert client.closed == 0
    lanes[-1].close()
    assert client.closed == 1


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (KafkaError(KafkaError._AUTO_OFFSET_RESET), "retention"),
        (KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART), "does not exist any more"),
        (KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED), "t/0: "),
        (KafkaError(KafkaError._BAD_MSG), "t/0: "),
        (KafkaError(KafkaError._FATAL, fatal=True), "t/0: "),
    ],
)
def test_what_reading_cannot_go_on_after_is_raised(error: KafkaError, told: str, worker) -> None:
    client = FakeClient({"t": 1}, [FakeMessage("t", 0, 4), FakeMessage("t", 0, 5, error)])

    with pytest.raises(SourceError, match=told):
        worker(KafkaSource({}, ["t"], client=client)).read(1)


@pytest.mark.parametrize(
    "code",
    [KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN, KafkaError._TIMED_OUT, KafkaError._RESOLVE],
)
def test_what_the_client_recovers_from_holds_nothing_up(code: int, worker) -> None:
    client = FakeClient({"t": 1}, [FakeMessage("t", 0, 4, KafkaError(code)), FakeMessage("t", 0, 5)])

    assert [record.offset for record in worker(KafkaSource({}, ["t"], client=client)).read(1)] == [5]


# --- what is on disk -------------------------------------------------------------------------------------------------


def test_the_lanes_of_partitions_are_those_in_the_stores_of_our_users() -> None:
    places = [("clicks", 0), ("clicks", 31), ("clicks", 32), ("transactions", 5), ("Ünicode", 0), ("a/b", 1)]

    assert LANES == 32
    assert [lane_of(*place) for place in places] == [1, 0, 1, 17, 7, 29]
    assert KafkaSource({}, []).list_parts() == [f"lane-{number:02}" for number in range(32)]


def test_headers_that_the_client_cannot_give_stop_nobody(embedded, new_topic, worker, write_with_header) -> None:
    topic = new_topic(embedded, 1)
    write_with_header(topic, b"name", 100)
    write_with_header(topic, b"\xff\xfe", 100)

    records = worker(KafkaSource(config(embedded), [topic])).read(200)

    assert [record.headers for record in records] == [[("name", b"value")]] * 100 + [None] * 100
