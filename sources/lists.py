"""Lists whose members a compacted topic says: read to its end before the first event is judged, and on from there.

Bytewax has no broadcast, so each process reads all of them by itself; its worker threads share what it read.
"""

from collections.abc import Callable, Mapping
from threading import Lock
from time import monotonic
from typing import Any, Final

import structlog
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, TopicPartition

from broker.client import ConsumerClient, Message
from detection.lists import Lists
from detection.privacy import hide
from sources.reading import SourceError, complain, count_partitions

_BATCH: Final = 2_500
_PATIENCE_SECONDS: Final = 30.0

_log = structlog.get_logger(__name__)


class KafkaLists:
    """Keeps lists as their topics say.

    Call it before events are judged: the first call reads the topics to their end, the others take what has come
    since and never wait.
    """

    def __init__(
        self,
        config: Mapping[str, Any],
        topics: Mapping[str, str],
        *,
        client: Callable[[dict[str, Any]], ConsumerClient] = Consumer,
    ) -> None:
        """Open nothing yet.

        Args:
            config: librdkafka's configuration, see `broker.config.consumer_config`.
            topics: The list that each topic is for; each topic must exist.
            client: Makes the Kafka client.
        """
        # What is compacted away while we read is no error here: what replaced it stands further on.
        self._config = {**config, "auto.offset.reset": "earliest", "enable.partition.eof": True}
        self._topics = dict(topics)
        self._client = client
        self._consumer: ConsumerClient | None = None
        self._lock = Lock()

    def __call__(self, lists: Lists) -> None:
        """Bring the lists up to date.

        Raises:
            SourceError: The topics cannot be read.
        """
        if not self._topics:
            return
        if self._consumer is None:
            with self._lock:  # the other workers wait until the lists are whole
                if self._consumer is None:
                    self._consumer = self._read_all(lists)
        elif self._lock.acquire(blocking=False):  # else another worker is at it
            try:
                self._take(self._consumer.consume(_BATCH, 0.0), lists)
            finally:
                self._lock.release()

    def _read_all(self, lists: Lists) -> ConsumerClient:
        consumer = self._client(dict(self._config))
        parts = {
            (topic, number)
            for topic, count in count_partitions(consumer, self._topics).items()
            for number in range(count)
        }
        consumer.assign([TopicPartition(topic, number, OFFSET_BEGINNING) for topic, number in sorted(parts)])
        deadline = monotonic() + _PATIENCE_SECONDS
        while parts:
            messages = consumer.consume(_BATCH, 0.2)
            parts -= self._take(messages, lists)
            if messages:
                deadline = monotonic() + _PATIENCE_SECONDS
            elif monotonic() > deadline:
                topics = ", ".join(sorted({topic for topic, _ in parts}))
                msg = f"{topics}: the lists there cannot be read to their end: nothing came for {_PATIENCE_SECONDS:g} s"
                raise SourceError(msg)
        sizes = {name: len(lists.entries[name]) for name in self._topics.values()}
        _log.info("lists are read", **sizes)
        return consumer

    def _take(self, messages: Any, lists: Lists) -> set[tuple[str, int]]:
        """Put what came on the lists; gives the partitions that end here."""
        ended = set()
        for message in messages:
            topic, partition = str(message.topic()), int(message.partition() or 0)
            error = message.error()
            if error is not None and error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001  (its public name)
                ended.add((topic, partition))
            elif error is not None:
                complain(message)
            else:
                self._put(message, topic, lists)
        return ended

    def _put(self, message: Message, topic: str, lists: Lists) -> None:
        name = self._topics[topic]
        try:
            lists.put(name, message.key(), message.value())
        except ValueError as error:
            lists.refused[name] += 1
            place = f"{topic}/{message.partition()}/{message.offset()}"
            member = (message.key() or b"").decode("utf-8", "replace")  # may be a person: its place tells which it is
            _log.warning("a record of a list cannot be used", list=name, place=place, error=hide(str(error), [member]))
