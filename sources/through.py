"""Reading partitions from one offset to another, without a group."""

from collections.abc import Callable, Mapping
from time import monotonic, sleep
from typing import Any, Final, TypeAlias

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from broker.client import ConsumerClient
from broker.config import consumer_config
from broker.errors import MOVING, BrokerError, error_in
from detection.settings import Settings

PATIENCE: Final = 30.0
"""How long nothing may come, s."""

ANSWER_SECONDS: Final = 10.0
"""How long the cluster may take to tell something, s."""

_BATCH: Final = 5_000

Place: TypeAlias = tuple[str, int]
"""A topic and a partition."""


def reading_config(settings: Settings) -> dict[str, Any]:
    """Of a consumer for `Reading`."""
    return {
        **consumer_config(settings),
        "auto.offset.reset": "earliest",  # what is deleted while we read is no error here
        "enable.partition.eof": True,
        # Little at once: what is fetched grows tenfold when its batches are unpacked.
        "fetch.message.max.bytes": 262_144,
        "fetch.max.bytes": 4_194_304,
        "queued.min.messages": 20_000,
        "queued.max.messages.kbytes": 16_384,
    }


class Reading:
    """A consumer on its way through some partitions."""

    def __init__(self, consumer: Consumer, starts: Mapping[Place, int]) -> None:
        """Assign the partitions, each from its offset on."""
        self._consumer = consumer
        self._next = dict(starts)
        self._at_end: dict[Place, int] = {}  # where the client said so: it does that once for each offset
        consumer.assign([TopicPartition(topic, number, start) for (topic, number), start in starts.items()])

    def read(
        self, goals: Mapping[Place, int], take: Callable[[str, Message], None], held_back_seconds: float
    ) -> list[Place]:
        """Read until each partition is at its goal or beyond.

        Args:
            goals: The offsets to reach.
            take: Gets each record with its `topic/partition`.
            held_back_seconds: How long to wait where an open transaction hides the rest.

        Returns:
            The partitions whose goal an open transaction still hides.

        Raises:
            BrokerError: Nothing comes any more, or a partition cannot be read.
        """
        behind = [place for place in goals if self._next[place] < goals[place]]
        began = since = monotonic()
        while behind:
            messages = self._consumer.consume(_BATCH, 0.2)
            now = monotonic()
            if messages:
                since = now
            self._hand_over(messages, take)
            behind = [place for place in behind if self._next[place] < goals[place]]
            if all(self._at_end.get(place) == self._next[place] for place in behind):
                if now - began >= held_back_seconds:
                    break
            elif now - since > PATIENCE:
                told = ", ".join(map(address_of, behind[:3]))
                msg = f"{told}: nothing came for {PATIENCE:.0f} s, at offset {self._next[behind[0]]}"
                raise BrokerError(msg)
        return behind

    def _hand_over(self, messages: list[Message], take: Callable[[str, Message], None]) -> None:
        place, address = ("", -1), ""
        for message in messages:
            topic, partition = str(message.topic()), message.partition()
            if topic != place[0] or partition != place[1]:
                place = (topic, -1 if partition is None else partition)
                address = address_of(place)
            error, offset = message.error(), message.offset()
            if error is None:
                take(address, message)
                self._next[place] = (offset or 0) + 1
            elif error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001  (confluent_kafka names its own codes so)
                self._next[place] = self._at_end[place] = max(self._next[place], offset or 0)
            elif error.fatal() or error.code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
                msg = f"{address}: {error.str()}"
                raise BrokerError(msg)


def bounds(consumer: ConsumerClient, place: Place) -> tuple[int, int]:
    """The first offset of a partition and the one after its last; asked again while it is looking for a leader.

    Raises:
        BrokerError: It does not tell in time.
        KafkaException: It cannot be told.
    """
    deadline = monotonic() + ANSWER_SECONDS
    while True:
        try:
            found = consumer.get_watermark_offsets(TopicPartition(*place), timeout=ANSWER_SECONDS)
        except KafkaException as exception:
            if error_in(exception).code() not in MOVING or monotonic() > deadline:
                raise
            sleep(0.1)
        else:
            if found is None:
                msg = f"{address_of(place)}: expected its first and last offset within {ANSWER_SECONDS:.0f} s, got none"
                raise BrokerError(msg)
            first, end = found
            return first, end


def address_of(place: Place) -> str:
    """A partition as `topic/partition`."""
    return f"{place[0]}/{place[1]}"
