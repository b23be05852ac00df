"""Reading whole topics, for a person rather than for the dataflow: no group, no state."""

from collections.abc import Mapping, Sequence
from typing import Any

from confluent_kafka import Consumer, KafkaError, Message, TopicPartition

from broker.config import consumer_config
from broker.errors import BrokerError
from broker.topics import preflight
from detection.settings import Settings


def open_consumer(
    settings: Settings, topics: Sequence[str], start: int, config: Mapping[str, Any] | None = None
) -> Consumer:
    """A consumer of all partitions of some topics.

    Args:
        settings: Which cluster.
        topics: What to read; each must exist.
        start: Where to begin: `OFFSET_BEGINNING` or `OFFSET_END`.
        config: More of librdkafka's configuration.

    Raises:
        BrokerError: Nobody answers, or a topic is missing.
    """
    partitions = preflight(settings, topics)
    # What is deleted while we read is no error here. No offset is ever committed, so the group stays as it is.
    consumer = Consumer({**consumer_config(settings), "auto.offset.reset": "earliest", **(config or {})})
    consumer.assign(
        [TopicPartition(topic, number, start) for topic, count in partitions.items() for number in range(count)]
    )
    return consumer


def raise_lasting(message: Message) -> None:
    """The client gets over a broker that is away, and says so in the log; but a topic that is gone stays so."""
    error = message.error()
    if error is not None and (error.fatal() or error.code() == KafkaError.UNKNOWN_TOPIC_OR_PART):
        msg = f"{message.topic()}/{message.partition()}: {error.str()}"
        raise BrokerError(msg)
