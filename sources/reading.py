"""What every reader of Kafka topics needs: what cannot be read is told in one line, what passes is waited for."""

from collections.abc import Iterable
from operator import methodcaller
from typing import Any, Final

import structlog
from confluent_kafka import KafkaError

from broker.client import ConsumerClient, Message

CLUSTER_SECONDS: Final = 10.0
"""How long the cluster may take to tell something, s."""

_headers = methodcaller("headers")

_log = structlog.get_logger(__name__)


class SourceError(RuntimeError):
    """Records cannot be read on; the message says what to do. Logged as well, as one line."""

    def __init__(self, message: str) -> None:
        _log.error(message)
        super().__init__(message)


def headers_of(message: Message) -> Any:
    """The headers of a record, None if it has none or the client cannot give them: a name is no UTF-8 then.

    To be asked for once: after it has failed on a name, the client's next answer has a null pointer in its place.

    For such a name the client sets an error and returns a value all the same, which a call that CPython has specialised
    does not look at: the error would come up somewhere else. This way of calling looks.
    """
    try:
        return _headers(message)
    except SystemError:
        return None


def count_partitions(client: ConsumerClient, topics: Iterable[str]) -> dict[str, int]:
    """How many partitions each of the topics has.

    Raises:
        SourceError: Some do not exist.
    """
    known = client.list_topics(timeout=CLUSTER_SECONDS).topics
    missing = [topic for topic in topics if topic not in known or known[topic].error is not None]
    if missing:
        msg = f"topics {', '.join(missing)}: do not exist; create what is missing with `fraud topics`"
        raise SourceError(msg)
    return {topic: len(known[topic].partitions) for topic in topics}


def complain(message: Message) -> None:
    """Raise what reading cannot go on after; the client itself recovers from the rest."""
    error = message.error()
    assert error is not None
    place = f"{message.topic()}/{message.partition()}"
    if error.code() == KafkaError._AUTO_OFFSET_RESET:  # noqa: SLF001  (confluent_kafka names its own codes so)
        msg = (
            f"{place}: the offset to go on from is not in the topic ({error.str()}): records were deleted before they "
            "were read, or the topic was made anew. Lengthen its retention; to go on with what is there, start with a "
            "new recovery store and APPLICATION_ID"
        )
        raise SourceError(msg)
    if error.code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
        msg = f"{place}: does not exist any more; create what is missing with `fraud topics`"
        raise SourceError(msg)
    if error.code() == KafkaError._BAD_COMPRESSION:  # noqa: SLF001
        msg = (
            f"{place}: {error.str()}: the batch is damaged, or inflates too far. If it is to be read, set "
            "KAFKA_RECEIVE_MESSAGE_MAX_BYTES to more than three times its size (by default 100000000); if not, leave "
            "it out with `fraud skip`. Against more of them, set compression.type=uncompressed on the topic"
        )
        raise SourceError(msg)
    if error.fatal() or not (error.retriable() or error.code() in _PASSING):
        msg = f"{place}: {error.str()}"
        raise SourceError(msg)
    _log.warning("reading is held up", place=place, error=error.str())


_PASSING: Final = frozenset(
    {
        KafkaError._ALL_BROKERS_DOWN,  # noqa: SLF001
        KafkaError._TRANSPORT,  # noqa: SLF001
        KafkaError._RESOLVE,  # noqa: SLF001
        KafkaError._TIMED_OUT,  # noqa: SLF001
        KafkaError.NOT_LEADER_FOR_PARTITION,
        KafkaError.LEADER_NOT_AVAILABLE,
        KafkaError.NOT_COORDINATOR,
        KafkaError.COORDINATOR_NOT_AVAILABLE,
        KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
    }
)
