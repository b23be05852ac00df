"""Reading topics from their beginning without a group: joining one takes seconds on the embedded broker."""

import time
from collections.abc import Callable, Iterable

from confluent_kafka import OFFSET_BEGINNING, Consumer, Message, TopicPartition

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
        f"ends with what is not committed: {_ends(broker, topics)}"
    )
    return messages


def _ends(broker: Broker, topics: Iterable[str]) -> dict[str, int]:
    consumer = Consumer(
        {"bootstrap.servers": broker.address, "group.id": "nobody", "isolation.level": "read_uncommitted"}
    )
    known = consumer.list_topics(timeout=10).topics
    parts = [TopicPartition(name, number) for name in topics for number in known[name].partitions]
    found = {f"{part.topic}/{part.partition}": consumer.get_watermark_offsets(part, timeout=10)[1] for part in parts}
    consumer.close()
    return {place: end for place, end in found.items() if end}
