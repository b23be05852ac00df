"""A flood of records, on the embedded broker and on a real Kafka."""

from collections.abc import Callable
from time import monotonic, sleep

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from tests.conftest import Broker
from web.live.sampled import CONFIG, Sampled

MOST = 100


class Flood:
    """A topic, and what is read of it."""

    def __init__(self, broker: Broker, topic: str, partitions: int) -> None:
        self.topic = topic
        self._producer = Producer({"bootstrap.servers": broker.address, "linger.ms": 0})
        self._consumer = Consumer({"bootstrap.servers": broker.address, "group.id": topic, **CONFIG})
        starts = [TopicPartition(topic, number, 0) for number in range(partitions)]
        self.sampled = Sampled(self._consumer, starts, MOST)
        self.values: list[bytes] = []
        self.left_out = 0

    def send(self, first: int, count: int, partition: int = 0) -> None:
        for number in range(first, first + count):
            self._producer.produce(self.topic, b"%d" % number, partition=partition)
        assert self._producer.flush(30) == 0

    def look(self) -> list[bytes]:
        messages, left_out = self.sampled.read()
        values = [message.value() for message in messages if message.error() is None]
        self.values += values
        self.left_out += left_out[self.topic]
        return values

    def look_until(self, total: int) -> None:
        """Until so many are read or left out."""
        deadline = monotonic() + 30
        while len(self.values) + self.left_out < total and monotonic() < deadline:
            self.look()
            sleep(0.02)

    def close(self) -> None:
        self._consumer.close()


@pytest.fixture
def flood(any_broker: Broker, new_topic: Callable[..., str]):
    made: list[Flood] = []

    def make(partitions: int = 1) -> Flood:
        made.append(Flood(any_broker, new_topic(any_broker, partitions, "flood"), partitions))
        return made[-1]

    yield make
    for one in made:
        one.close()


def test_of_a_flood_few_are_read_the_newest_among_them_and_all_are_counted(flood: Callable[..., Flood]) -> None:
    one = flood()
    one.send(0, 20_000)

    one.look_until(20_000)

    assert len(one.values) + one.left_out == 20_000
    assert len(one.values) < 5_000
    assert one.values[-1] == b"19999"
    assert one.values == sorted(set(one.values), key=int)


def test_no_look_reads_more_than_it_may(flood: Callable[..., Flood]) -> None:
    one = flood()
    one.send(0, 5_000)

    looks = [len(one.look()) for _ in range(50)]

    assert max(looks) <= MOST


def test_a_burst_in_one_partition_of_many_is_read_whole(flood: Callable[..., Flood]) -> None:
    one = flood(partitions=30)
    one.send(0, MOST, partition=7)

    one.look_until(MOST)

    assert one.left_out == 0
    assert one.values == [b"%d" % number for number in range(MOST)]


def test_after_a_flood_all_that_comes_is_read_again(flood: Callable[..., Flood]) -> None:
    one = flood(partitions=2)
    one.send(0, 10_000)
    one.look_until(10_000)
    read = len(one.values)

    one.send(10_000, 50, partition=1)
    one.look_until(10_050)

    assert [int(value) for value in one.values[read:]] == list(range(10_000, 10_050))
