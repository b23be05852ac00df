"""Topics from their beginning to their end, for work on what is stored."""

from collections.abc import Iterator, Sequence
from typing import Final

from confluent_kafka import OFFSET_BEGINNING, KafkaError

from broker.whole import open_consumer, raise_lasting
from detection.records import Record
from detection.settings import Settings

_BATCH: Final = 5_000


def read_stored(settings: Settings, topics: Sequence[str]) -> Iterator[Record]:
    """The records that are there, partition by partition in their order, whatever between partitions.

    Raises:
        BrokerError: No broker answers, or a topic is missing.
    """
    consumer = open_consumer(settings, list(topics), OFFSET_BEGINNING, {"enable.partition.eof": True})
    left = {(part.topic, part.partition) for part in consumer.assignment()}
    try:
        while left:
            for message in consumer.consume(_BATCH, 0.2):
                error = message.error()
                topic, partition = str(message.topic()), int(message.partition() or 0)
                if error is not None and error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001  (its public name)
                    left.discard((topic, partition))
                    continue
                raise_lasting(message)
                if error is None:
                    kind, stamp = message.timestamp()
                    stamp = stamp if kind else -1  # as live: nobody said
                    yield Record(topic, partition, int(message.offset() or 0), stamp, message.key(), message.value())
    finally:
        consumer.close()
