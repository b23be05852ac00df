"""The newest records of topics in which more comes than anybody can look at."""

from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

from confluent_kafka import Consumer, KafkaException, Message, TopicPartition

Place = tuple[str, int]
"""A topic and a partition."""

_ROOM: Final = 2
"""Behind a gap one part of so many of what a look may read: the rest is room for what comes meanwhile."""

CONFIG: Final[dict[str, Any]] = {
    "auto.offset.reset": "latest",
    # What is fetched and then left out has cost all the same.
    "queued.min.messages": 500,
    "queued.max.messages.kbytes": 4_096,
    "fetch.message.max.bytes": 131_072,
}


class Sampled:
    """Reads so many records a look at the most. Where more have come, it goes on with the newest and counts the others.

    The count is by offsets: where transactions end there is one without a record, so it may be a little too high.

    Attributes:
        parts: What it reads.
    """

    def __init__(self, consumer: Consumer, starts: Sequence[TopicPartition], most: int) -> None:
        """Assign the partitions.

        Args:
            consumer: A consumer with `CONFIG`, to be used by nobody else; closed by whoever made it.
            starts: The partitions, each with the offset to begin at.
            most: How many records to read in a look.
        """
        self.parts = list(starts)
        self._consumer = consumer
        self._most = most
        self._next: dict[Place, int] = {(part.topic, part.partition): part.offset for part in starts}
        consumer.assign(self.parts)

    def add(self, part: TopicPartition) -> None:
        """Read a partition that its topic has gained, from its beginning."""
        self.parts.append(part)
        self._next[part.topic, part.partition] = 0
        self._consumer.incremental_assign([part])

    def read(self) -> tuple[list[Message], Counter[str]]:
        """What is there, without waiting, and how many records are left out by topic."""
        messages: list[Message] = self._consumer.consume(self._most, 0.001) if self._next else []
        for message in messages:
            if message.error() is None:
                self._next[str(message.topic()), message.partition() or 0] = (message.offset() or 0) + 1
        return messages, self._skip()

    def _skip(self) -> Counter[str]:
        left_out: Counter[str] = Counter()
        waiting = {place: self._end(place) - position for place, position in self._next.items()}
        if sum(waiting.values()) <= self._most:
            return left_out
        share = max(self._most // len(waiting) // _ROOM, 1)
        for (topic, number), records in waiting.items():
            gap = records - share
            if gap <= 0:
                continue
            newest = self._next[topic, number] + gap
            try:
                self._consumer.seek(TopicPartition(topic, number, newest))
            except KafkaException:  # it is not there yet, or not any more: the next look knows
                continue
            left_out[topic] += gap
            self._next[topic, number] = newest
        return left_out

    def _end(self, place: Place) -> int:
        """Where a partition ends, as far as the client has heard."""
        known = self._consumer.get_watermark_offsets(TopicPartition(*place), cached=True)
        return max(known[1] if known else 0, self._next[place])
