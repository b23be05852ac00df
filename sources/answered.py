"""The resume filter: which records already have their answer.

A lane's snapshot holds, beside its next offsets, a lower bound of where each output partition ended before any later
record was judged. After a crash, what stands behind these bounds answers records that will be read again: they are
marked here, take their place in the windows, and are dropped before the branch. So replay doubles no answer.
"""

from array import array
from collections.abc import Callable, Iterable, Mapping
from threading import Lock
from time import monotonic
from typing import Any, Final

import msgspec
import structlog
from confluent_kafka import Consumer, KafkaError, TopicPartition

from broker.client import ConsumerClient, Message
from broker.errors import BrokerError
from sources.reading import CLUSTER_SECONDS, SourceError, complain, headers_of

PATIENCE: Final = 60.0
"""How long nothing new may come from the tail of an output before the start is given up, s."""

_BATCH: Final = 2_500
_POLL_SECONDS: Final = 0.01
"""A look takes so long when fewer records than a batch are left: the last one of each start does."""

_log = structlog.get_logger(__name__)


class _Answer(msgspec.Struct, gc=False):
    origin: str


class _Verdict(msgspec.Struct, gc=False):
    verdict: _Answer


_decode = msgspec.json.Decoder(_Verdict).decode


def origin_of(value: bytes | None, headers: Iterable[tuple[str, bytes | None]] | None) -> str | None:
    """The record that a verdict or a dead letter answers, None if it is neither.

    >>> origin_of(b'{"amount":1,"verdict":{"origin":"transactions/0/7"}}', None)
    'transactions/0/7'
    """
    for name, told in headers or ():
        if name == "fraud.origin" and told is not None:
            return told.decode("utf-8", "replace")
    if value is None:
        return None
    try:
        return _decode(value).verdict.origin
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


class Answered:
    """Marks on the records that will be read again and have their answer.

    Marks of a partition are taken by the one lane that reads it; so threads do not meet here.
    """

    def __init__(self) -> None:
        """Without a mark."""
        self._marks: dict[tuple[str, int], set[int]] = {}
        self._last: dict[tuple[str, int], int] = {}

    def __bool__(self) -> bool:
        """Whether a mark is left."""
        return bool(self._marks)

    def mark(self, topic: str, partition: int, offsets: Iterable[int]) -> None:
        """Mark records of a partition; none does nothing."""
        marks = set(offsets)
        if marks:
            self._marks[topic, partition] = marks
            self._last[topic, partition] = max(marks)

    def is_answered(self, topic: str, partition: int, offset: int) -> bool:
        """Whether the next record of a partition has its answer. A mark behind the record goes."""
        marks = self._marks.get((topic, partition))
        if marks is None:
            return False
        if offset >= self._last[topic, partition]:
            del self._marks[topic, partition]
        return offset in marks

    def is_pending(self, topic: str, partition: int) -> bool:
        """Whether marks of a partition are left."""
        return (topic, partition) in self._marks


class Tails:
    """The tails of the output topics: reads each at most once, from the lowest bound that a lane asks for.

    One for a process; its worker threads ask one after the other.

    The first question asks where the outputs end. Bytewax connects all processes before a worker builds its parts, so
    by then each of them has fenced, and nobody of an earlier start can write any more.
    """

    def __init__(
        self,
        config: Mapping[str, Any],
        ends: Callable[[], Mapping[str, int]],
        first: Mapping[str, int] | None,
        *,
        client: Callable[[dict[str, Any]], ConsumerClient] = Consumer,
    ) -> None:
        """Open nothing yet.

        Args:
            config: librdkafka's configuration, see `broker.config.consumer_config`.
            ends: Tells where each partition of each topic that ever was an output ends, or raises `BrokerError`.
            first: Where they ended when this deployment first started: the bounds of a lane without a snapshot. A
                partition that is not among them is younger, and read from its beginning. None: this is the first start.
            client: Makes the Kafka client.
        """
        self._config = {**config, "enable.partition.eof": True, "isolation.level": "read_committed"}
        self._ends = ends
        self._ended: dict[str, int] | None = None
        self._first = None if first is None else dict(first)
        self._client = client
        self._read: dict[str, int] = {}
        self._found: dict[str, array[int]] = {}
        self._lock = Lock()

    @property
    def ends(self) -> Mapping[str, int]:
        """Where each output partition ended when nobody of an earlier start could write any more.

        Raises:
            SourceError: The cluster does not tell.
        """
        with self._lock:
            return self._all_ends()

    def _all_ends(self) -> dict[str, int]:
        if self._ended is None:
            try:
                self._ended = dict(self._ends())
            except BrokerError as error:
                raise SourceError(str(error)) from None
        return self._ended

    def bounds(self, known: Mapping[str, int] | None) -> dict[str, int]:
        """The bounds of a lane: those of its snapshot; of topics new since then, their first ends.

        Raises:
            SourceError: The cluster does not tell of any ends.
        """
        first = self.ends if self._first is None else self._first
        return {**first, **(known or {})}

    def read(self, bounds: Mapping[str, int]) -> None:
        """Read what is behind the bounds and was not read yet.

        Args:
            bounds: The least offset to look from, by output partition, `topic/partition`.

        Raises:
            SourceError: A tail cannot be read to its end.
        """
        with self._lock:
            self._read_from(bounds)

    def origins(self) -> list[str]:
        """The input partitions, `topic/partition`, of which some record has an answer in what was read."""
        with self._lock:
            return list(self._found)

    def answers(self, partitions: Mapping[str, int]) -> dict[str, list[int]]:
        """The records that have an answer in what was read.

        Args:
            partitions: The next offset to be judged, by input partition, `topic/partition`.
        """
        with self._lock:
            return {
                address: [offset for offset in self._found.get(address, ()) if offset >= start]
                for address, start in partitions.items()
            }

    def _read_from(self, bounds: Mapping[str, int]) -> None:
        """Read what lies between the bounds and what has been read already."""
        ends = self._all_ends()
        topics = {address.rpartition("/")[0] for address in ends}
        missing = sorted(place for place in bounds.keys() - ends.keys() if place.rpartition("/")[0] in topics)
        if missing:  # what was answered there would be answered again
            msg = (
                f"{', '.join(missing)}: was written to before, and the cluster does not tell of it any more: does a "
                "broker lag behind? If the topic was made anew, start with a new recovery store and APPLICATION_ID"
            )
            raise SourceError(msg)
        wanted = {}
        for address, end in ends.items():
            start, stop = bounds.get(address, 0), self._read.get(address, end)
            # A bound behind the end: the topic was made anew.
            if start < stop or (start > end and address not in self._read):
                wanted[address] = (start, stop)
        if not wanted:
            return
        consumer = self._client(dict(self._config))
        try:
            stops = self._assign(consumer, wanted)
            self._read_to(consumer, stops)
        finally:
            consumer.close()
        self._read.update({address: start for address, (start, _) in wanted.items()})

    def _assign(self, consumer: ConsumerClient, wanted: Mapping[str, tuple[int, int]]) -> dict[str, int]:
        """Begin at the bounds; gives where to stop."""
        parts, stops = [], {}
        for address, (start, stop) in sorted(wanted.items()):
            topic, _, number = address.rpartition("/")
            part = TopicPartition(topic, int(number))
            offsets = consumer.get_watermark_offsets(part, timeout=CLUSTER_SECONDS)
            if offsets is None:
                msg = f"{address}: the broker does not tell where it begins"
                raise SourceError(msg)
            low, _ = offsets  # the other one stops at any open transaction
            if start < low and start < stop:
                _log.warning(
                    "answers since the last snapshot were deleted: records may be answered twice; lengthen retention",
                    place=address,
                    deleted=min(low, stop) - start,
                )
            part.offset = max(start, low) if start <= stop else low
            if part.offset < stop:
                parts.append(part)
                stops[address] = stop
        consumer.assign(parts)
        return stops

    def _read_to(self, consumer: ConsumerClient, stops: dict[str, int]) -> None:
        number = 0
        deadline = monotonic() + PATIENCE
        while stops:
            messages = consumer.consume(_BATCH, _POLL_SECONDS)
            for message in messages:
                address = f"{message.topic()}/{message.partition()}"
                stop = stops.get(address)
                error = message.error()
                if error is not None and error.code() != KafkaError._PARTITION_EOF:  # noqa: SLF001  (its public name)
                    complain(message)
                    continue
                offset = message.offset()
                assert offset is not None
                # The end of a partition has an offset too, the next one: there is none at a transaction's marker.
                if stop is not None and offset + (error is None) >= stop:
                    del stops[address]
                if error is None and stop is not None and offset < stop:
                    number += 1
                    self._remember(message)
            if messages:
                deadline = monotonic() + PATIENCE
            elif monotonic() > deadline:
                msg = (
                    f"{', '.join(sorted(stops))}: what was written there before cannot be read to its end within "
                    f"{PATIENCE:g} s; does another producer hold a transaction open?"
                )
                raise SourceError(msg)
        _log.info("the newest answers are read", records=number)

    def _remember(self, message: Message) -> None:
        origin = origin_of(message.value(), headers_of(message))
        if origin is None:
            return
        address, _, offset = origin.rpartition("/")
        if offset.isdecimal() and len(offset) <= 18:  # noqa: PLR2004  fits 64 bits, whoever wrote it
            self._found.setdefault(address, array("q")).append(int(offset))
