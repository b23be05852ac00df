"""Brokers for the tests, and the plainest of clients to look at them with."""

import ctypes
import os
import time
from collections.abc import Callable, Iterable, Iterator
from ctypes import c_int, c_ssize_t, c_void_p
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from uuid import uuid4

import confluent_kafka
import pytest
import structlog
from confluent_kafka import Consumer, Message, Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic
from hypothesis import HealthCheck, settings

from broker.apache import ApacheKafka
from broker.embedded import EmbeddedBroker

TOPIC, VALUE, FLAGS, HEADERS, END, COPY = (c_int(number) for number in (1, 4, 7, 10, 0, 2))
"""RD_KAFKA_VTYPE_… and RD_KAFKA_MSG_F_COPY of rdkafka.h."""

Record = bytes | tuple[bytes | None, bytes | None]  # a value, or a key and a value


LONGEST = (
    "detection/expressions/test_against_cel.py",
    "proofs/test_small.py",
    "proofs/test_small_loads.py",
    "proofs/test_small_ends.py",
    "dataflows/test_start.py",
    "detection/test_features.py",
    "cli/test_run_store.py",
    "detection/test_second_opinion.py",
    "dataflows/test_alerting.py",
    "dataflows/store/test_poison.py",
    "broker/test_apache.py",
    "dataflows/test_recovery.py",
    "detection/test_warming.py",
    "dataflows/test_tls_and_logins.py",
    "dataflows/test_bombs.py",
    "cli/test_run.py",
    "sources/test_audit.py",
    "test_contract.py",
    "docs/test_readme_on_kafka.py",
    "broker/test_topics.py",
    "proofs/simulator/test_bugs.py",
)
"""The files that take longest come first, so that in the end no process has a long one left while the others are done."""

# Other tests, and whatever else this machine does, take their share of its time.
settings.register_profile("shared machine", settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("shared machine")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    places = {Path(__file__).parent / name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path, len(places)))


class Broker(Protocol):
    address: str


@dataclass
class SomebodysKafka:
    """The broker TEST_KAFKA_BROKER names."""

    address: str


@pytest.fixture(autouse=True)
def own_log() -> Iterator[None]:
    """What a test sets up for the log ends with it: commands that are called in this process turn it to stderr."""
    structlog.reset_defaults()
    yield
    structlog.reset_defaults()


@pytest.fixture(scope="session")
def embedded() -> Iterator[EmbeddedBroker]:
    with EmbeddedBroker() as broker:
        yield broker


@pytest.fixture(scope="session")
def kafka() -> Iterator[Broker]:
    """A real Apache Kafka, started once a run. Where it cannot start, its tests fail: they are not skipped."""
    if address := os.environ.get("TEST_KAFKA_BROKER"):
        yield SomebodysKafka(address)
        return
    with ApacheKafka() as broker:
        yield broker


@pytest.fixture(params=["embedded", pytest.param("kafka", marks=pytest.mark.kafka)])
def any_broker(request: pytest.FixtureRequest) -> Broker:
    """Runs a test twice: on the embedded broker and on a real Kafka."""
    broker: Broker = request.getfixturevalue(request.param)
    return broker


@pytest.fixture
def topic_name(request: pytest.FixtureRequest) -> Callable[..., str]:
    """Names no other test uses, with the beginning of this test's name in them."""

    def name(suffix: str = "t") -> str:
        return f"{request.node.originalname[:60]}.{uuid4().hex[:12]}.{suffix}"

    return name


@pytest.fixture
def new_topic(topic_name: Callable[..., str]) -> Callable[..., str]:
    """Makes a topic of its own on any broker: `new_topic(broker, partitions=4)` returns its name."""

    def create(broker: Broker, partitions: int = 1, suffix: str = "t", **config: str) -> str:
        name = topic_name(suffix)
        if isinstance(broker, EmbeddedBroker):
            broker.create_topic(name, partitions)
        else:
            admin = AdminClient({"bootstrap.servers": broker.address})
            topic = NewTopic(
                name, num_partitions=partitions, config={k.replace("_", "."): v for k, v in config.items()}
            )
            admin.create_topics([topic])[name].result()
            wait_until(lambda: name in admin.list_topics(timeout=5).topics)
        return name

    return create


@pytest.fixture
def produce() -> Callable[..., None]:
    """Writes records and waits until they are there: `produce(broker, topic, [value, (key, value)], partition=0)`."""

    def write(broker: Broker, topic: str, records: Iterable[Record], *, partition: int = -1) -> None:
        refused = []
        producer = Producer(
            {"bootstrap.servers": broker.address, "partitioner": "murmur2_random", "delivery.report.only.error": True}
        )
        for record in records:
            key, value = record if isinstance(record, tuple) else (None, record)
            while True:
                try:
                    producer.produce(
                        topic, value, key, partition, on_delivery=lambda error, _message: refused.append(error)
                    )
                    break
                except BufferError:
                    producer.poll(0.1)
        left = producer.flush(30)
        assert not left
        assert not refused

    return write


@pytest.fixture
def consume_all() -> Callable[..., list[Message]]:
    """Reads `n` committed records from the beginning: `consume_all(broker, [topic], n)`; fails when fewer come.

    With `extra_seconds` it goes on reading so long, and returns also what should not be there.
    """

    def read(
        broker: Broker, topics: Iterable[str], n: int, timeout: float = 90, *, extra_seconds: float = 0
    ) -> list[Message]:
        consumer = Consumer(
            {
                "bootstrap.servers": broker.address,
                "group.id": uuid4().hex,
                "enable.auto.commit": False,
                "auto.offset.reset": "earliest",
                "isolation.level": "read_committed",
                "allow.auto.create.topics": False,
            }
        )
        consumer.subscribe(list(topics))
        messages: list[Message] = []
        deadline = time.monotonic() + timeout
        while len(messages) < n and time.monotonic() < deadline:
            messages += consumer.consume(10_000, 0.2)
        deadline = time.monotonic() + extra_seconds
        while time.monotonic() < deadline:
            messages += consumer.consume(10_000, 0.2)
        consumer.close()
        errors = [str(message.error()) for message in messages if message.error()]
        assert not errors
        assert len(messages) >= n, f"expected {n} records in {list(topics)} within {timeout} s, got {len(messages)}"
        return messages

    return read


def wait_until(condition: Callable[[], bool], seconds: float = 90) -> None:
    """Wait for what another process does."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"expected it within {seconds} s"
        time.sleep(0.02)


@pytest.fixture
def write_with_header(embedded: EmbeddedBroker) -> Iterator[Callable[[str, bytes, int], None]]:
    """Writes records whose one header has this name, whatever its bytes: with librdkafka, for Python's client cannot."""
    (path,) = Path(confluent_kafka.__file__).parents[1].glob("confluent_kafka.libs/librdkafka*")
    library = ctypes.CDLL(str(path))
    for function in (library.rd_kafka_conf_new, library.rd_kafka_new, library.rd_kafka_headers_new):
        function.restype = c_void_p
    error = ctypes.create_string_buffer(512)
    config = c_void_p(library.rd_kafka_conf_new())
    library.rd_kafka_conf_set(config, b"bootstrap.servers", embedded.address.encode(), error, 512)
    producer = c_void_p(library.rd_kafka_new(0, config, error, 512))

    def write(topic: str, name: bytes, count: int) -> None:
        for _ in range(count):
            headers = c_void_p(library.rd_kafka_headers_new(1))
            library.rd_kafka_header_add(headers, name, c_ssize_t(len(name)), b"value", c_ssize_t(5))
            arguments = (TOPIC, topic.encode(), VALUE, b"x", ctypes.c_size_t(1), FLAGS, COPY, HEADERS, headers, END)
            assert library.rd_kafka_producev(producer, *arguments) == 0
        assert library.rd_kafka_flush(producer, 30_000) == 0

    yield write
    library.rd_kafka_destroy(producer)
