"""Reading inputs and outputs to count answers: no dataflow, no group joined, nothing written.

Which unanswered records are lost and which are only on their way is told by the group's committed offsets: a dataflow
commits them one snapshot late, so the answers to what lies before them are in the topics. So they are read first, and
the outputs afterwards.
"""

from collections.abc import Callable, Iterable, Mapping
from time import monotonic, sleep
from typing import Final, Self, TypeAlias

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from broker.client import ConsumerClient
from broker.config import consumer_config
from broker.errors import MOVING, BrokerError, error_in
from broker.topics import preflight
from detection.ledger import Ledger, Report, origin_of
from detection.settings import Settings
from sources.reading import headers_of

SETTLE: Final = 30.0
"""How long what is on its way may take to be answered, s: two snapshots of 10 s, and what a restart takes."""

_BATCH: Final = 5_000
_PATIENCE: Final = 30.0
_ANSWER_SECONDS: Final = 10.0

Place: TypeAlias = tuple[str, int]
"""A topic and a partition."""


class StartError(ValueError):
    """A place to begin at that there is not."""


def audit(
    settings: Settings,
    inputs: Iterable[str],
    outputs: Iterable[str],
    *,
    since: Mapping[str, int] | None = None,
    settle: float = SETTLE,
) -> Report:
    """Count what became of the records of the input topics that are there now.

    Args:
        settings: Which cluster, which group, and the topic of the dead letters.
        inputs: Topics of records.
        outputs: Topics of verdicts.
        since: Where to begin, by `topic/partition` of an input; without one at the oldest record that is there.
        settle: How long to wait for answers to what is pending, s.

    Raises:
        BrokerError: The broker cannot be read, or a topic is missing.
        StartError: `since` names what is no partition of an input topic.
    """
    try:
        with _Auditor(settings, inputs, outputs) as auditor:
            return auditor.run(dict(since or {}), settle)
    except KafkaException as exception:
        msg = f"{settings.kafka_broker_url}: {error_in(exception).str()}"
        raise BrokerError(msg) from None


class _Auditor:
    """One audit."""

    def __init__(self, settings: Settings, inputs: Iterable[str], outputs: Iterable[str]) -> None:
        inputs, outputs = tuple(inputs), (*outputs, settings.dead_letter_topic)
        partitions = preflight(settings, [*inputs, *outputs])
        self._inputs = [(topic, number) for topic in inputs for number in range(partitions[topic])]
        self._outputs = [(topic, number) for topic in dict.fromkeys(outputs) for number in range(partitions[topic])]
        self._dead_letters = settings.dead_letter_topic
        config = {
            **consumer_config(settings),
            "auto.offset.reset": "earliest",  # what is deleted while we read is no error here
            "enable.partition.eof": True,
            # Little at once: what is fetched grows tenfold when its batches are unpacked.
            "fetch.message.max.bytes": 262_144,
            "fetch.max.bytes": 4_194_304,
            "queued.min.messages": 20_000,
            "queued.max.messages.kbytes": 16_384,
        }
        self._records = Consumer(config)
        self._answers = Consumer(config)
        # An end behind an open transaction is one that no `read_committed` reader is told of.
        self._ends = Consumer({**config, "isolation.level": "read_uncommitted"})

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for consumer in (self._records, self._answers, self._ends):
            consumer.close()

    def run(self, since: Mapping[str, int], settle: float) -> Report:
        for address in since.keys() - set(map(_address, self._inputs)):
            msg = f"{address}: expected a partition of an input topic"
            raise StartError(msg)
        ranges = {}
        for place in self._inputs:
            first, end = bounds(self._records, place)
            ranges[place] = (min(max(first, since.get(_address(place), first)), end), end)
        self._ledger = Ledger({_address(place): span for place, span in ranges.items()})
        reading = _Reading(self._records, {place: first for place, (first, _) in ranges.items()})
        # These ends are those of a `read_committed` reader, so nothing can hide what is before them.
        reading.read({place: end for place, (_, end) in ranges.items()}, self._take_record, _PATIENCE)
        self._records.unassign()
        outputs = {place: bounds(self._ends, place) for place in self._outputs}
        reading = _Reading(self._answers, {place: first for place, (first, _) in outputs.items()})
        cut = [_address(place) for place, (first, _) in outputs.items() if first > 0]
        deadline = monotonic() + settle
        while True:
            committed = self._committed()
            ends = {place: bounds(self._ends, place)[1] for place in self._outputs}
            held_back = reading.read(ends, self._take_answer, max(deadline - monotonic(), 1.0))
            self._ledger.settle({_address(place): bounds(self._ends, place)[1] for place in self._inputs})
            report = self._ledger.report(committed, [_address(place) for place in held_back], cut)
            if not report.pending or monotonic() >= deadline:
                return report
            sleep(0.5)

    def _take_record(self, address: str, message: Message) -> None:
        self._ledger.accounts[address].record(message.offset() or 0)

    def _take_answer(self, address: str, message: Message) -> None:
        key, value, error = message.key(), message.value(), None
        if message.topic() == self._dead_letters:
            origin, error = _dead_letter(message)
        else:
            origin = origin_of(value)
        self._ledger.answer(address, message.offset() or 0, origin, key=key, value=value, error=error)

    def _committed(self) -> dict[str, int]:
        parts = [TopicPartition(*place) for place in self._inputs]
        found = self._records.committed(parts, timeout=_ANSWER_SECONDS)
        return {_address((part.topic, part.partition)): part.offset for part in found if part.offset >= 0}


class _Reading:
    """A consumer on its way through some partitions."""

    def __init__(self, consumer: Consumer, starts: Mapping[Place, int]) -> None:
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
            elif now - since > _PATIENCE:
                told = ", ".join(map(_address, behind[:3]))
                msg = f"{told}: nothing came for {_PATIENCE:.0f} s, at offset {self._next[behind[0]]}"
                raise BrokerError(msg)
        return behind

    def _hand_over(self, messages: list[Message], take: Callable[[str, Message], None]) -> None:
        place, address = ("", -1), ""
        for message in messages:
            topic, partition = str(message.topic()), message.partition()
            if topic != place[0] or partition != place[1]:
                place = (topic, -1 if partition is None else partition)
                address = _address(place)
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
    deadline = monotonic() + _ANSWER_SECONDS
    while True:
        try:
            found = consumer.get_watermark_offsets(TopicPartition(*place), timeout=_ANSWER_SECONDS)
        except KafkaException as exception:
            if error_in(exception).code() not in MOVING or monotonic() > deadline:
                raise
            sleep(0.1)
        else:
            if found is None:
                msg = f"{_address(place)}: expected its first and last offset within {_ANSWER_SECONDS:.0f} s, got none"
                raise BrokerError(msg)
            first, end = found
            return first, end


def _address(place: Place) -> str:
    return f"{place[0]}/{place[1]}"


def _dead_letter(message: Message) -> tuple[str | None, bytes | None]:
    """The origin and the reason of a dead letter; nothing of what somebody else wrote there."""
    headers = dict(headers_of(message) or ())
    origin, error = headers.get("fraud.origin"), headers.get("fraud.error")
    return origin.decode("utf-8", "replace") if isinstance(origin, bytes) else None, error
