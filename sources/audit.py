"""Reading inputs and outputs to count answers: no dataflow, no group joined, nothing written.

Which unanswered records are lost and which are only on their way is told by the group's committed offsets: a dataflow
commits them one snapshot late, so the answers to what lies before them are in the topics. So they are read first, and
the outputs afterwards.
"""

from collections.abc import Iterable, Mapping
from time import monotonic, sleep
from typing import Final, Self

from confluent_kafka import Consumer, KafkaException, Message, TopicPartition

from broker.errors import BrokerError, error_in
from broker.topics import preflight
from detection.ledger import Ledger, Report, origin_of
from detection.settings import Settings
from sources.reading import headers_of
from sources.through import ANSWER_SECONDS, PATIENCE, Reading, address_of, bounds, reading_config

SETTLE: Final = 30.0
"""How long what is on its way may take to be answered, s: two snapshots of 10 s, and what a restart takes."""


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
        config = reading_config(settings)
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
        for address in since.keys() - set(map(address_of, self._inputs)):
            msg = f"{address}: expected a partition of an input topic"
            raise StartError(msg)
        ranges = {}
        for place in self._inputs:
            first, end = bounds(self._records, place)
            ranges[place] = (min(max(first, since.get(address_of(place), first)), end), end)
        self._ledger = Ledger({address_of(place): span for place, span in ranges.items()})
        reading = Reading(self._records, {place: first for place, (first, _) in ranges.items()})
        # These ends are those of a `read_committed` reader, so nothing can hide what is before them.
        reading.read({place: end for place, (_, end) in ranges.items()}, self._take_record, PATIENCE)
        self._records.unassign()
        outputs = {place: bounds(self._ends, place) for place in self._outputs}
        reading = Reading(self._answers, {place: first for place, (first, _) in outputs.items()})
        cut = [address_of(place) for place, (first, _) in outputs.items() if first > 0]
        deadline = monotonic() + settle
        while True:
            committed = self._committed()
            ends = {place: bounds(self._ends, place)[1] for place in self._outputs}
            held_back = reading.read(ends, self._take_answer, max(deadline - monotonic(), 1.0))
            self._ledger.settle({address_of(place): bounds(self._ends, place)[1] for place in self._inputs})
            report = self._ledger.report(committed, [address_of(place) for place in held_back], cut)
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
        found = self._records.committed(parts, timeout=ANSWER_SECONDS)
        return {address_of((part.topic, part.partition)): part.offset for part in found if part.offset >= 0}


def _dead_letter(message: Message) -> tuple[str | None, bytes | None]:
    """The origin and the reason of a dead letter; nothing of what somebody else wrote there."""
    headers = dict(headers_of(message) or ())
    origin, error = headers.get("fraud.origin"), headers.get("fraud.error")
    return origin.decode("utf-8", "replace") if isinstance(origin, bytes) else None, error
