"""Reading topics from their beginning without a group: joining one takes seconds on the embedded broker."""

import time
from collections.abc import Callable, Iterable

from confluent_kafka import OFFSET_BEGINNING, Consumer, Message, TopicPartition

from broker.cluster import ends_now, places
from broker.topics import preflight
from detection.settings import Settings
from tests.conftest import Broker


def read_all(
    broker: Broker,
    topics: Iterable[str],
    number: int,
    *,
    seconds: float = 90,
    extra_seconds: float = 0.1,
    until: Callable[[list[Message]], bool] | None = None,
) -> list[Message]:
    """Read so many records, or until they suffice, and what comes within the extra time: fails when fewer come."""
    consumer = Consumer(
        {
            "bootstrap.servers": broker.address,
            "group.id": "nobody",
            "enable.auto.commit": False,
            "fetch.wait.max.ms": 10,
        }
    )
    known = consumer.list_topics(timeout=10).topics
    consumer.assign(
        [TopicPartition(name, part, OFFSET_BEGINNING) for name in topics for part in known[name].partitions]
    )
    messages: list[Message] = []
    enough = until or (lambda found: len(found) >= number)
    deadline = time.monotonic() + seconds
    while not enough(messages) and time.monotonic() < deadline:
        messages += consumer.consume(10_000, 0.1)
    deadline = time.monotonic() + extra_seconds
    while time.monotonic() < deadline:
        messages += consumer.consume(10_000, 0.05)
    consumer.close()
    assert not [str(message.error()) for message in messages if message.error()]
    assert enough(messages), (
        f"expected {number} records in {list(topics)} within {seconds:g} s, got {len(messages)}; "
        f"where the topics end, with what is not committed: {_ends(broker, topics)}"
    )
    return messages


def _ends(broker: Broker, topics: Iterable[str]) -> dict[str, int]:
    settings = Settings(kafka_broker_url=broker.address)
    ends = ends_now(settings, places(preflight(settings, topics)))
    return {place: end for place, end in ends.items() if end}
