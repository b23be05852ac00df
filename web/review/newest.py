"""The newest events of the input topics, read once."""

import time
from collections.abc import Sequence
from heapq import merge
from typing import Final

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Message, TopicPartition

from broker.errors import BrokerError, error_in
from broker.whole import open_consumer, raise_lasting
from detection.records import Record
from detection.settings import Settings

EVENTS: Final = 10_000
_SECONDS: Final = 20.0
_ANSWER_SECONDS: Final = 2.0
_BYTES: Final = 64 * 2**20
_CONFIG: Final = {"enable.partition.eof": True, "queued.max.messages.kbytes": 16_384}


def newest(settings: Settings, topics: Sequence[str], most: int = EVENTS) -> list[Record]:
    """The newest records of each partition, so many in all, by the time they were written.

    Raises:
        BrokerError: They cannot be read in time, or are too large to be kept.
    """
    consumer = open_consumer(settings, topics, OFFSET_BEGINNING, _CONFIG)
    try:
        found = _read(consumer, most)
    except KafkaException as error:
        raise BrokerError(error_in(error).str()) from None
    finally:
        consumer.close()
    return list(merge(*found, key=lambda record: record.timestamp))


def _read(consumer: Consumer, most: int) -> list[list[Record]]:
    parts = consumer.assignment()
    consumer.assign([_tail(consumer, part, most // len(parts)) for part in parts])
    found: dict[tuple[str, int], list[Record]] = {(part.topic, part.partition): [] for part in parts}
    waiting, held, deadline = set(found), 0, time.monotonic() + _SECONDS
    while waiting:
        for message in consumer.consume(1_000, 0.1):
            place = (str(message.topic()), message.partition() or 0)
            error = message.error()
            if error is None and place in waiting:  # else it came meanwhile
                record = _record(message)
                found[place].append(record)
                held += len(record.value or b"") + len(record.key or b"")
            elif error is not None and error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001  (public: see broker.errors)
                waiting.discard(place)
            elif error is not None:
                raise_lasting(message)
        if time.monotonic() > deadline or held > _BYTES:
            msg = f"the newest events: expected them within {_SECONDS:g} s and {_BYTES:,} bytes"
            raise BrokerError(msg)
    return list(found.values())


def _record(message: Message) -> Record:
    key, value = message.key(), message.value()
    return Record(
        str(message.topic()),
        message.partition() or 0,
        message.offset() or 0,
        message.timestamp()[1],
        key.encode() if isinstance(key, str) else key,
        value.encode() if isinstance(value, str) else value,
    )


def _tail(consumer: Consumer, part: TopicPartition, most: int) -> TopicPartition:
    ends = consumer.get_watermark_offsets(part, timeout=_ANSWER_SECONDS)
    if not ends:  # the stubs do not know of a time-out
        msg = f"{part.topic}/{part.partition}: does not tell its end"  # type: ignore[unreachable]
        raise BrokerError(msg)
    low, high = ends
    return TopicPartition(part.topic, part.partition, max(low, high - max(most, 1)))
