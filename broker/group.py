"""How far the consumer group has come."""

import time
from collections.abc import Iterable, Mapping
from typing import Any, Final

from confluent_kafka import Consumer, KafkaException, TopicPartition

from broker.errors import BrokerError, error_in

_PATIENCE_SECONDS: Final = 10.0
_RETRY_SECONDS: Final = 0.2


def committed(config: Mapping[str, Any], partitions: Iterable[tuple[str, int]]) -> dict[str, int]:
    """The committed offsets of the group by `topic/partition`; a partition without one is missing.

    A young cluster that still looks for the group's coordinator is asked again.

    Args:
        config: librdkafka's configuration, see `broker.config.consumer_config`.
        partitions: Topics and partition numbers.

    Raises:
        BrokerError: It does not tell for 10 s.
    """
    wanted = [TopicPartition(topic, number) for topic, number in partitions]
    if not wanted:
        return {}
    consumer = Consumer(dict(config))
    deadline = time.monotonic() + _PATIENCE_SECONDS
    try:
        while True:
            try:
                found = consumer.committed(wanted, timeout=_PATIENCE_SECONDS)
                error = next((part.error for part in found if part.error is not None), None)
            except KafkaException as exception:
                found, error = [], error_in(exception)
            if error is None:
                return {f"{part.topic}/{part.partition}": part.offset for part in found if part.offset >= 0}
            if time.monotonic() > deadline:
                msg = f"{config['bootstrap.servers']}: does not tell the offsets of the group: {error.str()}"
                raise BrokerError(msg)
            time.sleep(_RETRY_SECONDS)
    finally:
        consumer.close()
