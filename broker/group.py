"""How far the consumer group has come."""

from collections.abc import Iterable, Mapping
from time import monotonic, sleep
from typing import Any, Final

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from broker.client import ConsumerClient
from broker.errors import BrokerError, error_in

_PATIENCE_SECONDS: Final = 10.0
_RETRY_SECONDS: Final = 0.2
_COMMIT_SECONDS: Final = 3.0
"""A stop does not wait longer."""
_UNANSWERED: Final = KafkaError(KafkaError._TIMED_OUT)  # noqa: SLF001  (its public name)


def committed(config: Mapping[str, Any], partitions: Iterable[tuple[str, int]]) -> dict[str, int]:
    """The committed offsets of the group by `topic/partition`; a partition without one is missing.

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
    try:
        return committed_to(consumer, wanted)
    except KafkaException as exception:
        reason = error_in(exception).str()
        msg = f"{config['bootstrap.servers']}: does not tell the offsets of the group: {reason}"
        raise BrokerError(msg) from None
    finally:
        consumer.close()


def committed_to(consumer: ConsumerClient, partitions: list[TopicPartition]) -> dict[str, int]:
    """The same, asked through a consumer of the group.

    A young cluster that still looks for the group's coordinator is asked again.

    Raises:
        KafkaException: It does not tell for 10 s.
    """
    deadline = monotonic() + _PATIENCE_SECONDS
    while True:
        try:
            found = consumer.committed(partitions, timeout=_PATIENCE_SECONDS)
            error = next((part.error for part in found if part.error is not None), None)
        except KafkaException as exception:
            found, error = [], error_in(exception)
        if error is None:
            return {f"{part.topic}/{part.partition}": part.offset for part in found if part.offset >= 0}
        if monotonic() > deadline:
            raise KafkaException(error)
        sleep(_RETRY_SECONDS)


def commit(config: Mapping[str, Any], offsets: Mapping[str, int]) -> None:
    """Commit offsets to the group, where it is not as far yet: others may have told it of a newer snapshot.

    Args:
        config: librdkafka's configuration, see `broker.config.consumer_config`.
        offsets: The next offset to read, by `topic/partition`.

    Raises:
        BrokerError: The broker has not confirmed them within 3 s.
        KafkaException: The configuration is refused.
    """
    if not offsets:
        return
    places = [address.rpartition("/") for address in offsets]
    wanted = [
        TopicPartition(topic, int(number), offset)
        for (topic, _, number), offset in zip(places, offsets.values(), strict=True)
    ]
    answers: list[KafkaError | None] = []

    def on_commit(error: KafkaError | None, parts: list[TopicPartition]) -> None:
        answers.append(error or next((part.error for part in parts if part.error is not None), None))

    consumer = Consumer({**config, "on_commit": on_commit})
    deadline = monotonic() + _COMMIT_SECONDS
    reason = _UNANSWERED.str()
    try:
        while (left := deadline - monotonic()) > 0:
            try:
                # Closing waits 45 s for a commit that has no answer: none is sent before the broker has answered.
                known = consumer.committed(
                    [TopicPartition(part.topic, part.partition) for part in wanted], timeout=left
                )
            except KafkaException as exception:
                reason = error_in(exception).str()
                sleep(_RETRY_SECONDS)
                continue
            ahead = [part for part, group in zip(wanted, known, strict=True) if part.offset > group.offset]
            if not ahead:
                return
            answers.clear()
            consumer.commit(offsets=ahead, asynchronous=True)
            while not answers and monotonic() < deadline:
                consumer.poll(0.05)
            for error in answers:
                if error is None:
                    return
                reason = error.str()
            sleep(_RETRY_SECONDS)
    finally:
        consumer.close()
    msg = f"{config['bootstrap.servers']}: does not take the offsets of the group: {reason}"
    raise BrokerError(msg)
