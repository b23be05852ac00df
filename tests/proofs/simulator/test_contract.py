"""What the simulator's Kafka promises, asked of a real Apache Kafka as well: so the fake is held to the truth."""

import random
import time
from collections.abc import Callable, Iterator
from typing import Any, Protocol
from uuid import uuid4

import pytest
from confluent_kafka import (
    OFFSET_BEGINNING,
    OFFSET_END,
    OFFSET_INVALID,
    Consumer,
    KafkaError,
    KafkaException,
    Producer,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient, NewPartitions

from broker.client import ConsumerClient, TransactionalProducerClient
from proofs.simulator.clients import Machine
from proofs.simulator.cluster import Cluster

EOF = KafkaError._PARTITION_EOF


class Stage(Protocol):
    """A broker to make topics and clients on."""

    def topic(self, partitions: int = 1) -> str: ...
    def grow(self, topic: str, partitions: int) -> None: ...
    def producer(self, **config: Any) -> TransactionalProducerClient: ...
    def consumer(self, **config: Any) -> ConsumerClient: ...
    def wait(self, seconds: float) -> None: ...


class Fake:
    def __init__(self, seed: int) -> None:
        self.cluster = Cluster(random.Random(seed))
        self.machine = Machine(self.cluster)
        self.producers = []

    def topic(self, partitions: int = 1) -> str:
        name = uuid4().hex
        self.cluster.create_topic(name, partitions)
        return name

    def grow(self, topic: str, partitions: int) -> None:
        self.cluster.add_partitions(topic, partitions - len(self.cluster.topics[topic]))

    def producer(self, **config: Any) -> TransactionalProducerClient:
        return self.machine.producer(named(config))

    def consumer(self, **config: Any) -> ConsumerClient:
        return self.machine.consumer({"group.id": "g", "auto.offset.reset": "error", **named(config)})

    def wait(self, seconds: float) -> None:
        self.cluster.clock.advance(round(seconds * 1000))


class Real:
    def __init__(self, address: str, new_topic: Callable[..., str]) -> None:
        self.address = address
        self.new_topic = new_topic
        self.consumers: list[Consumer] = []

    def topic(self, partitions: int = 1) -> str:
        return self.new_topic(self, partitions)

    def grow(self, topic: str, partitions: int) -> None:
        admin = AdminClient({"bootstrap.servers": self.address})
        admin.create_partitions([NewPartitions(topic, partitions)])[topic].result()

    def producer(self, **config: Any) -> TransactionalProducerClient:
        return Producer(
            {
                "bootstrap.servers": self.address,
                "enable.idempotence": True,
                "linger.ms": 5,
                "log_level": 0,
                **named(config),
            }
        )

    def consumer(self, **config: Any) -> ConsumerClient:
        consumer = Consumer(
            {
                "bootstrap.servers": self.address,
                "group.id": uuid4().hex,
                "auto.offset.reset": "error",
                "enable.auto.commit": False,
                "enable.auto.offset.store": False,
                "fetch.wait.max.ms": 10,
                "log_level": 0,
                **named(config),
            }
        )
        self.consumers.append(consumer)
        return consumer

    def wait(self, seconds: float) -> None:
        time.sleep(min(seconds, 1.0))

    def close(self) -> None:
        for consumer in self.consumers:
            consumer.close()


def named(config: dict[str, Any]) -> dict[str, Any]:
    return {name.replace("_", "."): value for name, value in config.items()}


@pytest.fixture(params=[*range(5), pytest.param("kafka", marks=pytest.mark.kafka)])
def stage(request: pytest.FixtureRequest, new_topic: Callable[..., str]) -> Iterator[Stage]:
    if request.param != "kafka":
        yield Fake(request.param)
        return
    real = Real(request.getfixturevalue("kafka").address, new_topic)
    yield real
    real.close()


def parts(topic: str, count: int = 1, offset: int = OFFSET_BEGINNING) -> list[TopicPartition]:
    return [TopicPartition(topic, number, offset) for number in range(count)]


def read(stage: Stage, topic: str, count: int = 1, offset: int = OFFSET_BEGINNING, **config: Any) -> list[Any]:
    """What a reader gets up to the ends it is told, as (value, offset)."""
    consumer = stage.consumer(enable_partition_eof=True, **config)
    consumer.assign(parts(topic, count, offset))
    got, ended = [], set()
    for _ in range(100):
        for message in consumer.consume(100, 0.2):
            if message.error() is None:
                got.append((message.value(), message.offset()))
            elif message.error().code() == EOF:
                ended.add(message.partition())
            else:
                raise KafkaException(message.error())
        if len(ended) == count:
            return got
    pytest.fail(f"expected {count} ends, got {ended}; read {got}")


def values(stage: Stage, topic: str, count: int = 1, **config: Any) -> list[bytes]:
    return sorted(value for value, _ in read(stage, topic, count, **config))


def soon(condition: Callable[[], bool], stage: Stage) -> None:
    """A commit's markers follow its answer."""
    for _ in range(50):
        if condition():
            return
        stage.wait(0.1)
    pytest.fail("expected it soon")


def transactional(stage: Stage, name: str | None = None) -> TransactionalProducerClient:
    producer = stage.producer(transactional_id=name or uuid4().hex)
    producer.init_transactions(30)
    return producer


def test_what_is_flushed_is_there_in_the_order_of_its_key(stage) -> None:
    topic = stage.topic(3)
    producer = stage.producer()
    for number in range(30):
        producer.produce(topic, b"%02d" % number, b"key-%d" % (number % 5), headers=[("h", b"\xff"), ("n", None)])

    assert producer.flush(30) == 0

    consumer = stage.consumer()
    consumer.assign(parts(topic, 3))
    got: dict[bytes, list[bytes]] = {}
    for _ in range(100):
        for message in consumer.consume(10, 0.2):
            assert message.error() is None
            assert message.headers() == [("h", b"\xff"), ("n", None)]
            got.setdefault(message.key(), []).append(message.value())
        if sum(map(len, got.values())) == 30:
            break
    assert got == {b"key-%d" % key: [b"%02d" % number for number in range(key, 30, 5)] for key in range(5)}


def test_a_confirmed_record_is_reported_and_counted_until_then(stage) -> None:
    topic = stage.topic()
    producer = stage.producer()
    reported = []
    producer.produce(topic, b"x", on_delivery=lambda error, message: reported.append((error, message.topic())))
    assert len(producer) == 1

    assert producer.flush(30) == 0

    assert reported == [(None, topic)]
    assert len(producer) == 0


def test_a_full_queue_refuses_one_by_one_and_marks_those_of_a_batch(stage) -> None:
    topic = stage.topic()
    producer = stage.producer(queue_buffering_max_messages=3, linger_ms=500)
    messages = [{"key": b"k", "value": b"%d" % number} for number in range(5)]

    assert producer.produce_batch(topic, messages) == 3
    assert [message["_error"].code() for message in messages if "_error" in message] == [KafkaError._QUEUE_FULL] * 2
    with pytest.raises(BufferError):
        producer.produce(topic, b"x")
    assert producer.flush(30) == 0
    assert values(stage, topic) == [b"0", b"1", b"2"]


def test_a_transaction_is_seen_when_it_is_committed_and_at_once_by_who_reads_uncommitted(stage) -> None:
    topic = stage.topic(2)
    producer = transactional(stage)
    producer.begin_transaction()
    for number in range(6):
        producer.produce(topic, b"%d" % number, b"key-%d" % number)
    assert producer.flush(30) == 0

    everything = [b"%d" % number for number in range(6)]
    assert values(stage, topic, 2) == []
    assert values(stage, topic, 2, isolation_level="read_uncommitted") == everything

    producer.commit_transaction(30)
    soon(lambda: values(stage, topic, 2) == everything, stage)


def test_an_aborted_transaction_is_never_seen(stage) -> None:
    topic = stage.topic()
    producer = transactional(stage)
    producer.begin_transaction()
    producer.produce(topic, b"aborted")
    assert producer.flush(30) == 0
    producer.abort_transaction(30)
    producer.begin_transaction()
    producer.produce(topic, b"kept")
    producer.commit_transaction(30)

    soon(lambda: values(stage, topic) == [b"kept"], stage)
    assert values(stage, topic, isolation_level="read_uncommitted") == [b"aborted", b"kept"]


def test_markers_take_offsets(stage) -> None:
    topic = stage.topic()
    producer = transactional(stage)
    for number in range(3):
        producer.begin_transaction()
        producer.produce(topic, b"%d" % number)
        producer.commit_transaction(30)

    soon(lambda: len(values(stage, topic)) == 3, stage)
    assert read(stage, topic) == [(b"0", 0), (b"1", 2), (b"2", 4)]
    assert stage.consumer().get_watermark_offsets(parts(topic)[0], 10) == (0, 6)


def test_the_end_of_a_partition_is_the_last_stable_offset_for_who_reads_committed(stage) -> None:
    topic = stage.topic()
    one, other = transactional(stage), transactional(stage)
    one.begin_transaction()
    one.produce(topic, b"open")
    assert one.flush(30) == 0
    other.begin_transaction()
    other.produce(topic, b"behind it")
    other.commit_transaction(30)
    stage.wait(0.5)

    committed, uncommitted = stage.consumer(), stage.consumer(isolation_level="read_uncommitted")
    assert read(stage, topic) == []
    assert committed.get_watermark_offsets(parts(topic)[0], 10) == (0, 0)
    assert uncommitted.get_watermark_offsets(parts(topic)[0], 10) == (0, 3)

    one.commit_transaction(30)
    soon(lambda: committed.get_watermark_offsets(parts(topic)[0], 10) == (0, 4), stage)
    assert read(stage, topic) == [(b"open", 0), (b"behind it", 1)]


def test_an_end_is_told_once_and_again_after_more_has_come(stage) -> None:
    topic = stage.topic()
    producer = stage.producer()
    consumer = stage.consumer(enable_partition_eof=True)
    consumer.assign(parts(topic))

    def events() -> list[Any]:
        found = []
        for _ in range(5):
            found += [m.value() if m.error() is None else m.error().code() for m in consumer.consume(10, 0.2)]
        return found

    assert events() == [EOF]
    assert events() == []
    producer.produce(topic, b"x")
    producer.flush(30)
    assert events() == [b"x", EOF]


def test_a_second_producer_of_the_same_id_takes_back_what_the_first_has_open(stage) -> None:
    topic, name = stage.topic(), uuid4().hex
    first = transactional(stage, name)
    first.begin_transaction()
    first.produce(topic, b"taken back")
    assert first.flush(30) == 0

    second = transactional(stage, name)

    uncommitted = stage.consumer(isolation_level="read_uncommitted")
    low, high = uncommitted.get_watermark_offsets(parts(topic)[0], 10)
    assert (low, high) == (0, 2)  # the record and the marker: nothing is open any more when it has the id
    assert stage.consumer().get_watermark_offsets(parts(topic)[0], 10) == (0, 2)
    second.begin_transaction()
    second.produce(topic, b"kept")
    second.commit_transaction(30)
    soon(lambda: values(stage, topic) == [b"kept"], stage)


def test_what_was_committed_before_a_second_producer_came_is_kept(stage) -> None:
    topic, name = stage.topic(), uuid4().hex
    first = transactional(stage, name)
    first.begin_transaction()
    first.produce(topic, b"kept")
    first.commit_transaction(30)

    transactional(stage, name)

    assert values(stage, topic) == [b"kept"]


def test_a_fenced_producer_cannot_commit_and_nothing_of_it_becomes_visible(stage) -> None:
    topic, name = stage.topic(), uuid4().hex
    first = transactional(stage, name)
    first.begin_transaction()
    first.produce(topic, b"before")
    assert first.flush(30) == 0
    transactional(stage, name)

    with pytest.raises(KafkaException) as raised:
        first.commit_transaction(30)

    assert raised.value.args[0].code() == KafkaError._FENCED
    assert raised.value.args[0].fatal()
    stage.wait(0.5)
    assert values(stage, topic) == []


@pytest.mark.parametrize("also", [False, True], ids=["the same partition", "another partition"])
def test_a_fenced_producer_cannot_produce(stage, also) -> None:
    topic, name = stage.topic(2), uuid4().hex
    first = transactional(stage, name)
    first.begin_transaction()
    first.produce(topic, b"before", b"key-0")
    assert first.flush(30) == 0
    transactional(stage, name)
    reported = []
    for key in (b"key-0", b"key-1", b"key-2", b"key-3") if also else (b"key-0",):
        first.produce(topic, b"after", key, on_delivery=lambda error, _: reported.append(error))

    with pytest.raises((KafkaException, SystemError)):  # the latter where a report is called with the former set
        first.flush(30)
    assert first.flush(30) == 0  # it is told once

    assert all(error is not None for error in reported)
    with pytest.raises(KafkaException) as raised:
        first.commit_transaction(30)
    assert raised.value.args[0].fatal()
    with pytest.raises(KafkaException):
        first.produce(topic, b"later", b"key-0")
    assert b"after" not in values(stage, topic, 2, isolation_level="read_uncommitted")
    assert values(stage, topic, 2) == []


def test_a_fenced_producer_hears_of_it_at_the_next_poll_and_then_of_its_records(stage) -> None:
    topic, name = stage.topic(), uuid4().hex
    first = transactional(stage, name)
    first.begin_transaction()
    first.produce(topic, b"before")
    assert first.flush(30) == 0
    transactional(stage, name)
    reported = []
    first.produce(topic, b"after", on_delivery=lambda error, _: reported.append(error.code()))
    stage.wait(1)

    with pytest.raises(KafkaException) as raised:
        first.poll(0)

    assert raised.value.args[0].code() == KafkaError._FENCED
    assert reported == []
    assert first.poll(0) == 1
    assert reported == [KafkaError.INVALID_PRODUCER_EPOCH]


def test_who_was_fenced_and_asks_nothing_hears_nothing(stage) -> None:
    name = uuid4().hex
    first = transactional(stage, name)
    first.begin_transaction()
    transactional(stage, name)
    stage.wait(0.5)

    assert first.poll(0) == 0
    assert first.flush(10) == 0
    first.commit_transaction(10)  # nothing was in it


def test_after_an_error_that_is_fatal_a_batch_is_refused_record_by_record(stage) -> None:
    topic, name = stage.topic(), uuid4().hex
    first = transactional(stage, name)
    first.begin_transaction()
    first.produce(topic, b"x")
    first.flush(30)
    transactional(stage, name)
    with pytest.raises(KafkaException):
        first.commit_transaction(30)
    messages = [{"key": b"k", "value": b"v"}]

    assert first.produce_batch(topic, messages) == 0

    assert messages[0]["_error"].code() == KafkaError._FATAL


def test_a_transaction_without_records_commits_and_writes_nothing(stage) -> None:
    topic = stage.topic()
    producer = transactional(stage)
    producer.begin_transaction()
    producer.commit_transaction(30)

    assert stage.consumer().get_watermark_offsets(parts(topic)[0], 10) == (0, 0)


def test_calls_out_of_turn_are_errors_of_state(stage) -> None:
    topic = stage.topic()
    producer = transactional(stage)
    for call in (producer.commit_transaction, lambda: producer.produce(topic, b"x")):
        with pytest.raises(KafkaException) as raised:
            call()
        assert raised.value.args[0].code() == KafkaError._STATE
    producer.begin_transaction()
    with pytest.raises(KafkaException) as raised:
        producer.begin_transaction()
    assert raised.value.args[0].code() == KafkaError._STATE


def test_a_group_has_the_offsets_it_committed(stage) -> None:
    topic, group = stage.topic(2), uuid4().hex
    consumer = stage.consumer(group_id=group)
    assert [part.offset for part in consumer.committed(parts(topic, 2), 30)] == [OFFSET_INVALID] * 2

    consumer.commit(offsets=[TopicPartition(topic, 1, 7)], asynchronous=False)

    again = stage.consumer(group_id=group)
    assert [part.offset for part in again.committed(parts(topic, 2), 30)] == [OFFSET_INVALID, 7]


def test_partitions_are_assigned_one_after_the_other_and_read_on_from_where_each_is(stage) -> None:
    topic = stage.topic(2)
    producer = stage.producer()
    for number in range(4):
        producer.produce(topic, b"%d" % number, b"key-0")
        producer.produce(topic, b"%d" % number, b"key-1")
    producer.flush(30)
    consumer = stage.consumer()
    counts = [consumer.get_watermark_offsets(part, 10)[1] for part in parts(topic, 2)]

    got = []
    for part in parts(topic, 2):
        consumer.incremental_assign([TopicPartition(topic, part.partition, min(1, counts[part.partition]))])
        for _ in range(10):
            got += [(m.partition(), m.offset()) for m in consumer.consume(10, 0.2)]

    assert sorted(got) == [(number, offset) for number in range(2) for offset in range(1, counts[number])]
    assert got == sorted(got)


def test_who_reads_from_the_end_gets_what_comes_then(stage) -> None:
    topic = stage.topic()
    producer = stage.producer()
    producer.produce(topic, b"before")
    producer.flush(30)
    consumer = stage.consumer(enable_partition_eof=True)
    consumer.assign(parts(topic, 1, OFFSET_END))
    while not consumer.consume(1, 0.2):
        pass  # told that it is at the end
    producer.produce(topic, b"after")
    producer.flush(30)

    got: list[bytes | None] = []
    while not got:
        got = [message.value() for message in consumer.consume(1, 0.2)]
    assert got == [b"after"]


def test_an_offset_that_is_not_there_is_an_error(stage) -> None:
    topic = stage.topic()
    consumer = stage.consumer()
    consumer.assign(parts(topic, 1, 5))

    codes: list[int] = []
    while not codes:
        codes = [message.error().code() for message in consumer.consume(1, 0.2)]
    assert codes == [KafkaError._AUTO_OFFSET_RESET]


def test_a_topic_grows_and_who_asks_sees_it(stage) -> None:
    topic = stage.topic(1)
    consumer = stage.consumer()
    stage.grow(topic, 3)

    soon(lambda: len(consumer.list_topics(topic, 10).topics[topic].partitions) == 3, stage)
    missing = consumer.list_topics("no.such.topic", 10).topics["no.such.topic"]
    assert missing.error.code() == KafkaError.UNKNOWN_TOPIC_OR_PART
