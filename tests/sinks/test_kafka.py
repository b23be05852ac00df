import json
import os
import socket
from collections import Counter, defaultdict
from collections.abc import Callable
from itertools import chain
from typing import Any
from uuid import uuid4

import bytewax.operators as op
import pytest
from bytewax.dataflow import Dataflow
from bytewax.testing import TestingSource, cluster_main, run_main
from confluent_kafka import KafkaError, KafkaException, Producer

from broker.apache import ApacheKafka
from broker.config import producer_config
from detection.records import DeadLetter, Headers, Record, Verdict
from detection.settings import Settings
from sinks.kafka import LANES, DeliveryError, KafkaSink, Outbox, Outboxes, write
from tests.reading import read_all

TIME = 1_767_225_600_000


def config(address: str, **more: Any) -> dict[str, Any]:
    return {**producer_config(Settings(kafka_broker_url=address, application_id=uuid4().hex)), **more}


def verdict(topic: str, number: int, key: bytes | None = b"k", lane: int = 0) -> Verdict:
    return Verdict(
        blocked=False, decision="accept", topic=topic, key=key, value=b'{"n":%d,"lane":%d}' % (number, lane), lane=lane
    )


def two_threads(flow: Dataflow) -> None:
    cluster_main(flow, [], 0, worker_count_per_proc=2)


def send(items: list[Any], sink: KafkaSink, entry: Callable[[Dataflow], None] = run_main, batch: int = 50) -> None:
    flow = Dataflow("f")
    write("out", op.input("in", flow, TestingSource(items, batch)), sink)
    entry(flow)


@pytest.mark.parametrize("entry", [run_main, two_threads])
def test_all_that_was_written_is_in_its_topic_once_when_the_dataflow_ends(any_broker, new_topic, entry) -> None:
    topics = [new_topic(any_broker, 4, f"t{number}") for number in range(3)]
    items = [verdict(topics[n % 3], n, b"key-%d" % (n % 50), lane=n % 128) for n in range(3_000)]

    send(items, KafkaSink(Outboxes(config(any_broker.address))), entry)

    got = read_all(any_broker, topics, len(items))
    assert sorted((m.topic(), m.key(), m.value()) for m in got) == sorted((v.topic, v.key, v.value) for v in items)


@pytest.mark.parametrize("entry", [run_main, two_threads])
def test_the_order_of_a_lane_is_kept_within_a_partition(embedded, new_topic, entry) -> None:
    topic = new_topic(embedded, 2)
    items = [verdict(topic, n, b"lane-%d" % (n % 20), lane=n % 20) for n in range(2_000)]

    send(items, KafkaSink(Outboxes(config(embedded.address))), entry, batch=33)

    numbers = defaultdict(list)
    for message in read_all(embedded, [topic], len(items)):
        numbers[message.key()].append(json.loads(message.value())["n"])
    assert len(numbers) == 20
    assert all(found == sorted(found) for found in numbers.values())


# From the tests of Kafka's own client.
JAVA = {
    b"21": -973932308,
    b"foobar": -790332482,
    b"a-little-bit-long-string": -985981536,
    b"a-little-bit-longer-string": -1486304829,
    b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
    b"abc": 479470107,
}


def test_a_key_goes_to_the_partition_that_java_chooses(any_broker, new_topic) -> None:
    topic = new_topic(any_broker, 7)

    send([verdict(topic, 1, key) for key in JAVA], KafkaSink(Outboxes(config(any_broker.address))))

    places = {message.key(): message.partition() for message in read_all(any_broker, [topic], len(JAVA))}
    assert places == {key: (hashed & 0x7FFFFFFF) % 7 for key, hashed in JAVA.items()}


def test_no_key_and_an_empty_key_stay_what_they_are(any_broker, new_topic) -> None:
    topic = new_topic(any_broker, 3)

    send([verdict(topic, 1, None), verdict(topic, 2, b"")], KafkaSink(Outboxes(config(any_broker.address))))

    keys = {json.loads(message.value())["n"]: message.key() for message in read_all(any_broker, [topic], 2)}
    assert keys == {1: None, 2: b""}


def test_a_dead_letter_keeps_its_bytes_key_and_headers_and_says_why(any_broker, new_topic) -> None:
    topic = new_topic(any_broker)
    records = [
        Record("in", 3, 7, TIME, b"\x00k", b"\xff{rubbish", [("a", b"1"), ("a", None), ("fraud.error", b"older")]),
        Record("in", 3, 8, -1, None, None),
        Record("in", 3, 9, TIME, b"", b""),
    ]

    send(
        [DeadLetter(record, f"e\udc80{record.offset}") for record in records],
        KafkaSink(Outboxes(config(any_broker.address)), topic),
    )

    got = read_all(any_broker, [topic], 3)
    assert [(m.key(), m.value()) for m in got] == [(record.key, record.value) for record in records]
    assert [m.headers() for m in got] == [
        [
            *(record.headers or []),
            ("fraud.error", b"e\\udc80%d" % record.offset),
            ("fraud.origin", b"in/3/%d" % record.offset),
            ("fraud.time", b"%d" % record.timestamp),
        ]
        for record in records
    ]


def test_a_small_queue_loses_nothing_and_keeps_the_order(embedded, new_topic) -> None:
    topic, dead = new_topic(embedded, 1, "t"), new_topic(embedded, 1, "dead")
    client = config(embedded.address, **{"queue.buffering.max.messages": 40})
    outboxes = Outboxes(client)
    outbox = outboxes.mine()
    for first in range(0, 400, 50):
        outbox.write(topic, [{"key": b"k", "value": b"%d" % n} for n in range(first, first + 50)])
        for n in range(first, first + 50):
            outbox.write_one(dead, None, b"%d" % n, [])
    outbox.confirm()

    for name in (topic, dead):
        assert [int(m.value()) for m in read_all(embedded, [name], 400)] == list(range(400))


def test_workers_do_not_share_a_producer_and_the_sinks_of_a_worker_do(embedded, new_topic) -> None:
    made: list[Producer] = []

    def client(options: dict[str, Any]) -> Producer:
        made.append(Producer(options))
        return made[-1]

    outboxes = Outboxes(config(embedded.address), client)
    sink = KafkaSink(outboxes)
    flow = Dataflow("f")
    topic = new_topic(embedded)
    items = op.input("in", flow, TestingSource([verdict(topic, n, lane=n) for n in range(16)]))
    for name in ("one", "two", "three"):
        write(name, items, sink)
    two_threads(flow)

    assert len(made) == 2


# --- when the broker does not do what it should ----------------------------------------------------------------------


class FakeProducer:
    """A producer whose queue and answers a test controls.

    Attributes:
        queue: What is not confirmed.
        done: What is, in the order of confirmation.
        room: How much the queue takes.
        answers: Whether anything is ever confirmed.
        refuses: Values that are refused at once.
        fails: Values whose delivery fails.
    """

    def __init__(self) -> None:
        self.queue: list[tuple[str, bytes | None, bytes | None, Any]] = []
        self.done: list[bytes | None] = []
        self.room = 1_000
        self.answers = True
        self.refuses: set[bytes] = set()
        self.fails: set[bytes] = set()
        self.flushes = 0
        self.longest = 0

    def produce(self, topic, value=None, key=None, *, on_delivery=None, headers: Headers | None = None) -> None:
        if value in self.refuses:
            raise KafkaException(KafkaError(KafkaError.MSG_SIZE_TOO_LARGE))
        if len(self.queue) >= self.room:
            raise BufferError
        self.queue.append((topic, key, value, on_delivery))
        self.longest = max(self.longest, len(self.queue))

    def produce_batch(self, topic, messages, *, on_delivery=None) -> int:
        full = False
        fitted = 0
        for message in messages:
            if message["value"] in self.refuses:
                message["_error"] = KafkaError(KafkaError.MSG_SIZE_TOO_LARGE)
                continue
            full = full or len(self.queue) >= self.room
            if full:
                message["_error"] = KafkaError(KafkaError._QUEUE_FULL)
                continue
            self.produce(topic, message["value"], message["key"], on_delivery=on_delivery)
            fitted += 1
        return fitted

    def __len__(self) -> int:
        return len(self.queue)

    def poll(self, timeout: float = -1) -> int:
        return self._confirm(3)

    def flush(self, timeout: float = -1) -> int:
        self.flushes += 1
        self._confirm(len(self.queue))
        return len(self.queue)

    def _confirm(self, most: int) -> int:
        if not self.answers:
            return 0
        taken, self.queue = self.queue[:most], self.queue[most:]
        for topic, _, value, on_delivery in taken:
            if value in self.fails:
                on_delivery(KafkaError(KafkaError._MSG_TIMED_OUT), _Message(topic))
            else:
                self.done.append(value)
        return len(taken)

    def list_topics(self, topic=None, timeout: float = -1) -> Any:
        raise NotImplementedError


class _Message:
    def __init__(self, topic: str) -> None:
        self._topic = topic

    def topic(self) -> str:
        return self._topic


@pytest.fixture
def client() -> FakeProducer:
    return FakeProducer()


@pytest.fixture
def lane(client: FakeProducer):
    return KafkaSink(Outboxes({}, lambda _: client), "dead").build_part("s", "lane-00", None)


def batch(*values: bytes) -> tuple[str, list[dict[str, Any]]]:
    return "t", [{"key": None, "value": value} for value in values]


def letter(value: bytes) -> DeadLetter:
    return DeadLetter(Record("in", 0, 0, 0, None, value), "e")


def numbers(count: int) -> list[bytes]:
    return [b"%d" % number for number in range(count)]


def test_a_snapshot_returns_when_all_is_confirmed(client, lane) -> None:
    lane.write_batch([batch(*numbers(20)), letter(b"x")])
    assert client.queue

    lane.snapshot()

    assert client.done == [*numbers(20), b"x"]


@pytest.mark.parametrize("item", [batch(b"ok", b"bad"), letter(b"bad")], ids=["verdict", "dead letter"])
def test_a_failed_delivery_fails_this_snapshot_and_every_later_one(client, lane, item) -> None:
    client.fails = {b"bad"}
    lane.write_batch([batch(*numbers(10)), item])

    for step in (lane.snapshot, lane.snapshot, lane.close):
        with pytest.raises(DeliveryError, match="could not be delivered"):
            step()


def test_a_failed_delivery_is_told_at_the_next_batch_already(client, lane) -> None:
    client.fails = {b"bad"}
    lane.write_batch([batch(*numbers(5), b"bad")])  # the client has not heard yet

    with pytest.raises(DeliveryError, match=r"^t: a record could not be delivered"):
        lane.write_batch([batch(b"next")])


@pytest.mark.parametrize("item", [batch(b"ok", b"big", b"more"), letter(b"big")], ids=["verdict", "dead letter"])
def test_a_record_that_is_refused_is_an_error_that_names_its_topic(client, lane, item) -> None:
    client.refuses = {b"big"}

    with pytest.raises(DeliveryError, match=r"^(t|dead): a record is refused: .*too large"):
        lane.write_batch([item])


def test_a_record_that_is_refused_behind_a_full_queue_is_an_error(client, lane) -> None:
    client.refuses = {b"big"}
    client.room = 2

    with pytest.raises(DeliveryError, match="refused"):
        lane.write_batch([batch(b"1", b"2", b"3", b"big")])


@pytest.mark.parametrize("room", [1, 2, 7])
def test_a_full_queue_loses_nothing_and_keeps_the_order(client, lane, room: int) -> None:
    client.room = room
    values = numbers(50)
    lane.write_batch([batch(*values[:20]), letter(b"20"), letter(b"21"), batch(*values[22:])])
    lane.snapshot()

    assert client.done == values


def test_messages_come_out_of_a_full_queue_as_they_went_in(client, lane) -> None:
    client.room = 1
    topic, messages = batch(*numbers(5))
    lane.write_batch([(topic, messages)])

    assert messages == [{"key": None, "value": value} for value in numbers(5)]


def test_a_silent_broker_fails_the_snapshot(client, lane, monkeypatch) -> None:
    monkeypatch.setattr("sinks.kafka.PATIENCE", 0.0)
    client.answers = False
    lane.write_batch([batch(*numbers(3))])

    with pytest.raises(DeliveryError, match=r"^3 records: no delivery was confirmed for 0 s; is the broker there"):
        lane.snapshot()


@pytest.mark.parametrize("item", [batch(b"1", b"2"), letter(b"2")], ids=["verdict", "dead letter"])
def test_patience_ends_with_a_full_queue_too(client, lane, item, monkeypatch) -> None:
    monkeypatch.setattr("sinks.kafka.PATIENCE", 0.0)
    client.answers = False
    client.room = 1
    lane.write_batch([batch(b"0")])

    with pytest.raises(DeliveryError, match="no delivery was confirmed"):
        lane.write_batch([item])


def test_a_slow_broker_is_waited_for_as_long_as_it_confirms_anything(client, lane, monkeypatch) -> None:
    clock = chain(range(0, 10_000, 200))  # 200 s go by between two looks at the clock
    monkeypatch.setattr("sinks.kafka.monotonic", lambda: next(clock))
    client.flush = lambda timeout=-1: (client._confirm(1), len(client.queue))[1]
    lane.write_batch([batch(*numbers(10))])

    lane.snapshot()

    assert client.done == numbers(10)


def test_no_more_records_than_a_limit_are_in_flight(client, lane, monkeypatch) -> None:
    monkeypatch.setattr("sinks.kafka.IN_FLIGHT", 20)
    values = numbers(200)
    for first in range(0, 200, 10):
        lane.write_batch([batch(*values[first : first + 10])])
    lane.snapshot()

    assert client.longest <= 30
    assert client.done == values


def test_a_broker_that_is_down_fails_the_snapshot(monkeypatch) -> None:
    monkeypatch.setattr("sinks.kafka.PATIENCE", 0.0)
    with socket.socket() as taken:  # bound, but nobody listens
        taken.bind(("127.0.0.1", 0))
        client = config(f"127.0.0.1:{taken.getsockname()[1]}")
        lane = KafkaSink(Outboxes(client)).build_part("s", "lane-00", None)
        lane.write_batch([batch(b"x")])

        with pytest.raises(DeliveryError, match=r"^1 records: no delivery was confirmed"):
            lane.snapshot()
        # What is left would hold up the end of the process.
        lane._outbox._client.purge()


def test_a_record_too_large_for_the_client_is_an_error(embedded, new_topic) -> None:
    outbox = Outboxes(config(embedded.address, **{"message.max.bytes": 1_000_000})).mine()
    topic = new_topic(embedded)

    with pytest.raises(DeliveryError, match=f"^{topic}: a record is refused"):
        outbox.write(topic, [{"key": None, "value": b"x" * 2_000_000}])
    with pytest.raises(DeliveryError, match=f"^{topic}: a record is refused"):
        outbox.write_one(topic, None, b"x" * 2_000_000, [])


@pytest.mark.kafka
def test_a_record_too_large_for_the_topic_fails_the_snapshot(kafka, new_topic) -> None:
    topic = new_topic(kafka, max_message_bytes="1000")
    outbox: Outbox = Outboxes(config(kafka.address)).mine()
    outbox.write(topic, [{"key": None, "value": os.urandom(3_000)}])

    with pytest.raises(DeliveryError, match=f"^{topic}: a record could not be delivered"):
        outbox.confirm()


@pytest.mark.kafka
def test_what_is_confirmed_across_a_killed_broker_is_there_exactly_once(new_topic) -> None:
    with ApacheKafka() as broker:
        topic = new_topic(broker, 3)
        lane = KafkaSink(Outboxes(config(broker.address))).build_part("s", "lane-00", None)
        written = 0

        def some() -> None:
            nonlocal written
            for _ in range(20):
                lane.write_batch(
                    [(topic, [{"key": b"%d" % n, "value": b"%d" % n} for n in range(written, written + 100)])]
                )
                written += 100

        some()
        broker.kill()
        some()
        broker.restart()
        some()
        lane.snapshot()

        counted = Counter(int(m.value()) for m in read_all(broker, [topic], written, extra_seconds=0.5))
    assert counted == dict.fromkeys(range(written), 1)


# --- what is on disk -------------------------------------------------------------------------------------------------


def test_the_lanes_are_those_in_the_stores_of_our_users() -> None:
    sink = KafkaSink(Outboxes({}))

    assert LANES == 8
    assert sink.list_parts() == [f"lane-0{number}" for number in range(8)]
    assert [sink.part_fn(str(number)) for number in range(8)] == list(range(8))
