"""Reads topics in a thread of its own, from where it is told to, and goes on trying while the broker is away."""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Message, TopicPartition
from typing_extensions import override

from broker.topics import TopicSpec, create_missing
from broker.whole import open_consumer, raise_lasting
from detection.settings import Settings
from web.following import ANSWER_SECONDS, Following, Growth

_BATCH: Final = 1_000
_WAIT_SECONDS: Final = 0.1
_READING: Final = "reading what there is"

_CONFIG: Final = {
    "queued.max.messages.kbytes": 16_384,
    "queued.min.messages": 20_000,
    "enable.partition.eof": True,  # tells when all is read that there was
}


class Follower(Following):
    """Gives each record of some topics to whoever takes them.

    Attributes:
        older: Whether there was more in the topics than it began with.
    """

    def __init__(
        self,
        settings: Settings,
        topics: Sequence[str],
        take: Callable[[Message], None],
        *,
        tail: int | None = None,
        create: Mapping[str, TopicSpec] | None = None,
    ) -> None:
        """Open nothing yet.

        Args:
            settings: Which cluster.
            topics: What to read.
            take: Called with each record, in the order of its partition.
            tail: How many records before the end of a partition to begin; None: with the oldest.
            create: Topics to make if they are missing.
        """
        super().__init__(settings, name="review", warning="the review page waits for its topics", problem=_READING)
        self.older = False
        self._topics = topics
        self._take = take
        self._tail = tail
        self._create = create or {}
        self._next: dict[tuple[str, int], int] = {}

    @override
    def _follow(self) -> None:
        if self._create:
            create_missing(self._settings, self._create)
        consumer = open_consumer(self._settings, self._topics, OFFSET_BEGINNING, {**_CONFIG, "error_cb": self._hear})
        try:
            parts = consumer.assignment()
            consumer.assign([self._place(consumer, part) for part in parts])
            waiting = {(part.topic, part.partition) for part in parts}
            growth = Growth(self._settings, parts)
            while not self._stop.is_set():
                for message in consumer.consume(_BATCH, _WAIT_SECONDS):
                    place = (str(message.topic()), message.partition() or 0)
                    error = message.error()
                    if error is None:
                        self._take(message)
                        self._next[place] = (message.offset() or 0) + 1
                    elif error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001
                        waiting.discard(place)
                    else:
                        raise_lasting(message)
                if growth.look() and (new := growth.take()):
                    consumer.incremental_assign(new)
                    waiting |= {(part.topic, part.partition) for part in new}
                if self._away.is_set() and self._answers(consumer, parts[0]):
                    self._away.clear()
                gone = self._nobody if self._away.is_set() else ""
                self._problem = gone or (_READING if waiting else "")
        finally:
            consumer.close()

    def _place(self, consumer: Consumer, part: TopicPartition) -> TopicPartition:
        """Where to go on in a partition, or to begin."""
        low, high = self._ends(consumer, part)
        known = self._next.get((part.topic, part.partition))
        if known is not None and low <= known <= high:
            return TopicPartition(part.topic, part.partition, known)
        begin = low if self._tail is None else max(low, high - self._tail)
        self.older = self.older or begin > low
        return TopicPartition(part.topic, part.partition, begin)

    @staticmethod
    def _answers(consumer: Consumer, part: TopicPartition) -> bool:
        """Whether the broker is back: nothing else says so while nothing new comes."""
        try:
            return consumer.get_watermark_offsets(part, timeout=ANSWER_SECONDS) is not None
        except KafkaException:
            return False
