"""What all sources and all sinks promise, held against each of them, with a line for a new one in `SOURCES` or `SINKS`."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

import bytewax.operators as op
import pytest
from bytewax.dataflow import Dataflow
from bytewax.inputs import FixedPartitionedSource
from bytewax.outputs import Sink
from bytewax.testing import TestingSink, TestingSource, cluster_main, run_main
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

from broker.apache import ApacheKafka
from broker.config import consumer_config, producer_config
from broker.embedded import EmbeddedBroker
from dataflows.decoding import DecodingSource
from detection.loading import parse
from detection.program import Program
from detection.records import DeadLetter, Record, Verdict
from detection.settings import Settings
from sinks.kafka import KafkaSink, Outboxes, write
from sources.kafka import KafkaSource
from tests.conftest import wait_until
from tests.dataflows.examples import START, WIDE, traffic
from tests.reading import read_all

# --- sources ---------------------------------------------------------------------------------------------------------


Broker = EmbeddedBroker | ApacheKafka


def settings(broker: Broker) -> Settings:
    return Settings(kafka_broker_url=broker.address, application_id=uuid4().hex)


def create(broker: Broker, topic: str, partitions: int) -> None:
    if isinstance(broker, EmbeddedBroker):
        broker.create_topic(topic, partitions)
        return
    admin = AdminClient({"bootstrap.servers": broker.address})
    # The records of these tests are years old.
    admin.create_topics([NewTopic(topic, partitions, config={"retention.ms": "-1"})])[topic].result()
    wait_until(lambda: topic in admin.list_topics(timeout=5).topics)


def from_a_list(broker: Broker, topics: dict[str, int], records: list[Record]) -> Callable[[], Any]:
    return lambda: TestingSource(records, 7)


def from_kafka(broker: Broker, topics: dict[str, int], records: list[Record]) -> Callable[[], Any]:
    producer = Producer({"bootstrap.servers": broker.address})
    for topic, partitions in topics.items():
        create(broker, topic, partitions)
    for record in records:
        headers = record.headers
        producer.produce(
            record.topic, record.value, record.key, record.partition, timestamp=record.timestamp, headers=headers
        )
    assert not producer.flush(30)
    return lambda: KafkaSource(consumer_config(settings(broker)), list(topics))


SOURCES = {"list": from_a_list, "kafka": from_kafka}
PLACES = [
    ("list", "embedded"),
    ("kafka", "embedded"),
    pytest.param(("kafka", "kafka"), marks=pytest.mark.kafka),
]
"""A kind of source or sink, and the fixture with its broker."""


class Reading:
    """All parts of a decoding source, built from states, read on by turns."""

    def __init__(
        self, source: FixedPartitionedSource[Record, Any], program: Program, states: dict[str, Any] | None = None
    ) -> None:
        decoding = DecodingSource(source, program)
        self._parts = {name: decoding.build_part("s", name, (states or {}).get(name)) for name in decoding.list_parts()}
        self.items: list[Any] = []

    def read(self, number: int) -> None:
        """Read on until there are so many items, a part at a time."""

        def enough() -> bool:
            before = -1
            while before < len(self.items) < number:
                before = len(self.items)
                for part in self._parts.values():
                    if len(self.items) < number:
                        self.items += part.next_batch()
            return len(self.items) >= number

        wait_until(enough)

    def stop(self) -> dict[str, Any]:
        """End, and give the states."""
        states = {name: part.snapshot() for name, part in self._parts.items()}
        for part in self._parts.values():
            part.close()
        return states


class Given:
    """Records in topics of their own, and a source of them."""

    def __init__(self, kind: str, broker: Broker) -> None:
        names = {name: f"{name}-{uuid4().hex}" for name in ("payments", "logins", "pings")}
        text = WIDE
        for name, topic in names.items():
            text = text.replace(f'topic = "{name}"', f'topic = "{topic}"')
        self.program = Program(parse({"wide.toml": text}))
        self.records = []
        offsets: dict[tuple[str, int], int] = {}
        for record in traffic(300):
            place = (names[record.topic], record.partition)
            offsets[place] = offsets.get(place, -1) + 1
            self.records.append(
                Record(*place, offsets[place], record.timestamp, record.key, record.value, record.headers)
            )
        self._source = SOURCES[kind](broker, dict.fromkeys(names.values(), 3), self.records)

    def open(self, states: dict[str, Any] | None = None) -> Reading:
        return Reading(self._source(), self.program, states)


@pytest.fixture(scope="module", params=PLACES, ids=str)
def given(request: pytest.FixtureRequest) -> Given:
    kind, broker = request.param
    return Given(kind, request.getfixturevalue(broker))


def seen(items: Iterable[Any]) -> dict[str, list[tuple[Any, ...]]]:
    """What matters of each item, by event type or topic and partition, in the order in which it came."""
    found: dict[str, list[tuple[Any, ...]]] = {}
    for item in items:
        if isinstance(item, DeadLetter):
            record = item.record
            place = f"dead {record.topic}/{record.partition}"
            what: tuple[Any, ...] = (record.offset, record, item.error)
        else:
            place = f"{type(item).__name__} {item.partition}"
            what = (item.offset, item.raw, item.key, item.time, item.watermark)
        found.setdefault(place, []).append(what)
    return found


def test_every_record_comes_once_and_whole_and_each_partition_in_its_order(given: Given) -> None:
    whole = Reading(TestingSource(given.records, 1000), given.program)
    whole.read(300)
    reading = given.open()
    reading.read(300)
    reading.stop()

    assert len(reading.items) == 300
    assert seen(reading.items) == seen(whole.items)


@pytest.mark.parametrize("cuts", [[0], [1], [150], [299], [300], [50, 51, 200]])
def test_a_resume_goes_on_with_the_next_record_and_the_same_watermarks(cuts: list[int], given: Given) -> None:
    undisturbed = given.open()
    undisturbed.read(300)
    undisturbed.stop()
    items: list[Any] = []
    states = None
    for cut in [*cuts, 300]:
        reading = given.open(states)
        reading.read(max(cut - len(items), 0))
        items += reading.items
        states = reading.stop()

    assert len(items) == 300
    assert seen(items) == seen(undisturbed.items)


def test_a_part_that_read_nothing_goes_on_where_it_was(given: Given) -> None:
    reading = given.open()
    reading.read(100)
    states = reading.stop()

    assert given.open(states).stop() == states


# --- sinks -----------------------------------------------------------------------------------------------------------


@contextmanager
def to_a_list(broker: Broker, topic: str) -> Iterator[tuple[Sink[Any], Callable[[int], list[bytes]]]]:
    found: list[Any] = []
    yield (
        TestingSink(found),
        lambda _: [item.record.value if isinstance(item, DeadLetter) else item.value for item in found],
    )


@contextmanager
def to_kafka(broker: Broker, topic: str) -> Iterator[tuple[Sink[Any], Callable[[int], list[bytes]]]]:
    create(broker, topic, 1)
    sink = KafkaSink(Outboxes(producer_config(settings(broker))), topic)
    yield sink, lambda number: [message.value() for message in read_all(broker, [topic], number)]


SINKS = {"list": to_a_list, "kafka": to_kafka}
ENTRIES = {"one worker": run_main, "two threads": lambda flow: cluster_main(flow, [], 0, worker_count_per_proc=2)}


@pytest.mark.parametrize("entry", ENTRIES)
@pytest.mark.parametrize("kind", ["verdicts", "dead letters"])
@pytest.mark.parametrize("place", PLACES, ids=str)
def test_what_is_written_is_there_once_and_in_the_order_of_its_lane(
    place: tuple[str, str], kind: str, entry: str, request: pytest.FixtureRequest
) -> None:
    to, broker = place
    topic = uuid4().hex
    items: list[Any] = [
        Verdict(blocked=False, decision="accept", topic=topic, key=None, value=b"%d" % n, lane=n % 3)
        if kind == "verdicts"
        else DeadLetter(Record("in", n % 3, n, START, None, b"%d" % n), "e")
        for n in range(500)
    ]
    with SINKS[to](request.getfixturevalue(broker), topic) as (sink, written):
        flow = Dataflow("f")
        write("out", op.input("in", flow, TestingSource(items, 9)), sink)
        ENTRIES[entry](flow)
        found = [int(value) for value in written(500)]

    assert len(found) == 500
    for lane in range(3):
        assert [n for n in found if n % 3 == lane] == list(range(lane, 500, 3))
