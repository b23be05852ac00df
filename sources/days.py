"""Reading what the report of a day counts: verdicts and dead letters by the time they were written, and all labels.

No group, nothing written; committed records only.
"""

from collections.abc import Callable, Mapping
from typing import Final

import msgspec
from confluent_kafka import Consumer, KafkaException, Message, TopicPartition

from broker.cluster import places
from broker.errors import BrokerError, error_in
from broker.topics import look
from detection.codec import FAR_FUTURE
from detection.errors import UndecodableError
from detection.kinds import MICROS, Kind
from detection.labels import Labels, read_label
from detection.pack import Pack
from detection.program import Program
from detection.records import Decision
from detection.reporting.days import Days
from detection.reporting.tally import OTHER_EVENT, Counted, Seen
from detection.settings import Settings
from sources.reading import headers_of
from sources.through import ANSWER_SECONDS, PATIENCE, Place, Reading, bounds, reading_config
from sources.verdicts import OtherError, event_of, topic_of

WRITTEN_LATER: Final = 24 * 3_600 * MICROS
"""How long after the end of a day its verdicts may be written, us: after an outage, or because they came late."""


class _Hit(msgspec.Struct):
    id: str
    shadow: bool = False


class _Judged(msgspec.Struct):
    decision: Decision
    origin: str
    rules: list[_Hit]
    score: int = 0
    late: bool = False


class _Answer(msgspec.Struct):
    verdict: _Judged


_answer: Final = msgspec.json.Decoder(_Answer).decode


class VerdictReader:
    """Makes what a report needs of the records of the topics of verdicts."""

    def __init__(self, program: Program, labels: Labels) -> None:
        """Read verdicts of these packs; labels tell of their events."""
        self._codecs = program.codecs
        self._labels = labels
        self._money = {
            topic: [
                (field.name, f"f_{field.name}", f"f_{field.currency}" if field.currency else None)
                for field in codec.event.fields
                if field.kind is Kind.MONEY and not field.derived
            ]
            for topic, codec in program.codecs.items()
        }

    def read(self, value: bytes | None, timestamp: int) -> tuple[int, Seen]:
        """The event time (us) and what is counted of a verdict that was written then (ms).

        Raises:
            OtherError: It is none.
        """
        try:
            verdict = _answer(value or b"").verdict
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            msg = f"no verdict: {error}"
            raise OtherError(msg) from None
        declared, event = event_of(self._codecs, verdict.origin, timestamp, None, value)
        money: list[tuple[str, str | None, int]] = []
        if declared is not None and event is not None and verdict.decision == "block":
            for field, member, currency in self._money[declared.topic]:
                amount = getattr(event, member)
                if amount is not None:
                    money.append((field, getattr(event, currency) if currency else None, amount))
        return timestamp * 1_000 if event is None else event.time, Seen(
            event=OTHER_EVENT if declared is None else declared.name,
            decision=verdict.decision,
            late=verdict.late,
            score=verdict.score,
            hits=tuple((hit.id, hit.shadow) for hit in verdict.rules),
            money=tuple(money),
            fraud=self._labels.get(verdict.origin),
        )


def count(settings: Settings, pack: Pack, days: Days) -> Counted:
    """Count the verdicts and dead letters of some days.

    Verdicts are found by the time they were written: from an hour before the first day, since an event may be so far
    ahead of its record, until a day after the last.

    Raises:
        BrokerError: The broker cannot be read, or a topic of verdicts is missing.
    """
    counted = Counted()
    try:
        needed = list(dict.fromkeys([*pack.topics_out, settings.dead_letter_topic]))
        known = look(settings, needed).partitions
        topics = {topic: known[topic] for topic in needed}
        consumer = Consumer(reading_config(settings))
        try:
            labels = Labels()
            if settings.labels_topic in known:
                _read_labels(consumer, places({settings.labels_topic: known[settings.labels_topic]}), labels)
                counted.labels = len(labels)
            reader = VerdictReader(Program(pack), labels)
            _read(consumer, topics, settings.dead_letter_topic, days, (counted, reader))
        finally:
            consumer.close()
    except KafkaException as exception:
        msg = f"{settings.kafka_broker_url}: {error_in(exception).str()}"
        raise BrokerError(msg) from None
    return counted


def _read_labels(consumer: Consumer, partitions: list[Place], labels: Labels) -> None:
    def take(_address: str, message: Message) -> None:
        try:
            origin, fraud = read_label(_bytes(message.key()), _bytes(message.value()))
        except UndecodableError:  # what is no label says nothing of any event
            return
        offset, partition, (_, at) = message.offset() or 0, message.partition() or 0, message.timestamp()
        labels.add(origin, fraud=fraud, partition=partition, offset=offset, at=at)

    spans = {place: bounds(consumer, place) for place in partitions}
    _through(consumer, spans, take)


def _read(
    consumer: Consumer, topics: Mapping[str, int], dead: str, days: Days, into: tuple[Counted, VerdictReader]
) -> None:
    counted, reader = into

    def take(_address: str, message: Message) -> None:
        _, timestamp = message.timestamp()
        if message.topic() == dead:
            _take_dead(message, timestamp, days, counted)
            return
        try:
            at, seen = reader.read(_bytes(message.value()), timestamp)
        except OtherError:
            if days.number(timestamp * 1_000) == 0:
                counted.others += 1
            return
        number = days.number(at)
        if number is not None:
            counted.add(number, seen)

    partitions = places(topics)
    first = _offsets(consumer, partitions, (days.start - FAR_FUTURE) // 1_000)
    last = _offsets(consumer, partitions, (days.end + WRITTEN_LATER) // 1_000)
    spans = {}
    for place in partitions:
        begin, end = bounds(consumer, place)
        end = min(last.get(place, end), end)
        spans[place] = (min(max(first.get(place, end), begin), end), end)
    _through(consumer, spans, take)


def _take_dead(message: Message, timestamp: int, days: Days, counted: Counted) -> None:
    """By the time of its record, if that had one."""
    headers = dict(headers_of(message) or ())
    origin, time = _bytes(headers.get("fraud.origin")), _bytes(headers.get("fraud.time")) or b""
    at = int(time) if time.isdigit() and len(time) < 19 else timestamp  # noqa: PLR2004  64 bits
    number = days.number(at * 1_000)
    if number is not None:
        counted.add_dead(number, topic_of((origin or b"(unknown)").decode("utf-8", "backslashreplace")))


def _offsets(consumer: Consumer, partitions: list[Place], at: int) -> dict[Place, int]:
    """The first offset written at a time (ms) or later, by partition; one that has none is missing."""
    asked = [TopicPartition(topic, number, max(at, 0)) for topic, number in partitions]
    found = consumer.offsets_for_times(asked, timeout=ANSWER_SECONDS) if asked else []
    error = next((part.error for part in found if part.error is not None), None)
    if error is not None:
        raise KafkaException(error)
    return {(part.topic, part.partition): part.offset for part in found if part.offset >= 0}


def _through(consumer: Consumer, spans: Mapping[Place, tuple[int, int]], take: Callable[[str, Message], None]) -> None:
    """Hand over what is in the spans, and nothing behind them."""
    spans = {place: span for place, span in spans.items() if span[0] < span[1]}

    def within(address: str, message: Message) -> None:
        if (message.offset() or 0) < spans[str(message.topic()), message.partition() or 0][1]:
            take(address, message)

    reading = Reading(consumer, {place: first for place, (first, _) in spans.items()})
    reading.read({place: end for place, (_, end) in spans.items()}, within, PATIENCE)
    consumer.unassign()


def _bytes(value: bytes | str | None) -> bytes | None:
    return value.encode() if isinstance(value, str) else value
