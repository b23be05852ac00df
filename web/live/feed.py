"""Reads the verdicts in a thread of its own, and goes on trying while the broker is away."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any, Final

from confluent_kafka import OFFSET_END, Consumer, KafkaException, Message, TopicPartition
from typing_extensions import override

from broker.whole import open_consumer, raise_lasting
from detection.pack import Pack
from detection.settings import Settings
from sources.verdicts import DEAD, WORDS, OtherError, parse_origin
from web.following import ANSWER_SECONDS, Following, Growth
from web.live import frames
from web.live import sampled as sampling
from web.live import sent as sending
from web.live.buffer import Buffer
from web.live.links import Links
from web.live.records import Shown, read_record
from web.live.sampled import Place, Sampled
from web.live.sent import sent
from web.live.tally import Tally
from web.live.veil import Veil

_LOOK_SECONDS: Final = 0.1
_MOST_MARKED: Final = 1_000
"""Of frauds, reviews and dead letters that are read in a look."""

_MOST_ACCEPTED: Final = 200
_EVENTS_SECONDS: Final = 0.5
_SILENT_SECONDS: Final = 7.0
"""Ends are asked for each second; without an answer for so long the broker is away."""

_CONNECTING: Final = "looking for the broker"
_NONE: Final[Mapping[str, int]] = MappingProxyType({})


class Feed(Following):
    """What the pages show: the newest records, the counts, and whether the broker is there.

    Its own thread reads; any other may ask. Of many records it reads the newest: first of all frauds, reviews and dead
    letters. The others are counted by their offsets.

    Attributes:
        veil: Masks what is personal.
        links: Finds other entities.
    """

    def __init__(self, settings: Settings, pack: Pack) -> None:
        """Open nothing yet."""
        super().__init__(settings, name="feed", warning="the page waits for its broker", problem=_CONNECTING)
        self.veil = Veil(pack)
        self.links = Links(pack)
        self._inputs = pack.topics_in
        self._words = {settings.dead_letter_topic: DEAD}
        for decision in ("accept", "review", "block"):  # where one topic is for several, it is for the gravest
            self._words |= {event.topics[decision]: WORDS[decision] for event in pack.events}
        self._lock = threading.Lock()
        self._buffer = Buffer()
        self._tally = Tally()
        self._sample = frames.Sample()
        self._since = time.time_ns() // 1_000_000
        self._read = 0
        self._frames = 0
        self._places: frozenset[str] = frozenset()
        self._answered: dict[str, int] = {}
        self._judged: dict[Place, int] = {}
        self._unheard: dict[Place, int] = {}

    def frame(self) -> frames.Frame:
        """The next frame, with what came since the last one."""
        with self._lock:
            self._frames += 1
            return frames.frame(self._frames, self._tally, self._sample, self._status(), self.veil)

    def first(self, *, plain: bool) -> bytes:
        """A frame for somebody who has none yet.

        Args:
            plain: Whether they may see what is personal.
        """
        with self._lock:
            return frames.first(self._frames, self._tally, self._buffer, self._status(), self.veil, plain=plain)

    def get(self, number: int) -> Shown | None:
        """A record by its number, if it is still kept."""
        return self._kept().get(number)

    def find(self, wanted: Callable[[Shown], bool], most: int) -> list[Shown]:
        """The newest records that are wanted, the newest first. Takes its time: not for an event loop."""
        return self._kept().find(wanted, most)

    def _kept(self) -> Buffer:
        with self._lock:
            return self._buffer.copy()

    def kept(self) -> list[Shown]:
        """All records that are kept, the newest first: for work that may take a while."""
        with self._lock:
            return list(self._buffer)

    @property
    def since(self) -> int:
        """Since when it counts, ms since the epoch."""
        return self._since

    def hits(self) -> dict[str, int]:
        """Hits by rule since then."""
        with self._lock:
            return dict(self._tally.rules)

    def take(self, messages: Sequence[Message], left_out: Mapping[str, int] = _NONE) -> None:
        """Count what was read and what was left out of each topic, and keep the newest.

        Raises:
            BrokerError: A topic is gone.
        """
        second = int(time.time())
        read: list[Shown] = []
        try:
            for message in messages:
                raise_lasting(message)
                if message.error() is None:
                    self._read += 1
                    read.append(read_record(message, self._settings.dead_letter_topic, self._read))
        finally:
            with self._lock:  # others wait for it
                for record in read:
                    self._take(record, second)
                for topic, number in left_out.items():
                    self._tally.leave_out(self._words[topic], number, second)
                    self._sample.leave_out(number)

    def _take(self, record: Shown, second: int) -> None:
        self._buffer.add(record)
        self._sample.add(record)
        self._tally.take(record, second)
        try:
            place, offset = parse_origin(record.origin)
        except OtherError:
            return
        if place in self._places:  # any other could be made up, and so many without end
            self._answered[place] = max(self._answered.get(place, 0), offset + 1)
            topic, _, number = place.rpartition("/")
            known = self._judged.get((topic, int(number)), offset)
            self._judged[topic, int(number)] = min(known, offset)

    def _take_events(self, consumer: Consumer) -> None:
        """Find out how late the verdicts are that came since the last time."""
        starts, self._judged = {**self._unheard, **self._judged}, {}
        found, self._unheard = sent(consumer, starts) if starts else ([], {})
        with self._lock:
            for origin, at in found:
                self._tally.take_event(origin, at)

    def _status(self) -> dict[str, Any]:
        return {"at": time.time_ns() // 1_000_000, "problem": self._problem}

    @override
    def _follow(self) -> None:
        accepted = [topic for topic, word in self._words.items() if word == WORDS["accept"]]
        marked = [topic for topic in self._words if topic not in accepted]
        with (
            self._sampled(marked, _MOST_MARKED) as first,
            self._sampled(accepted, _MOST_ACCEPTED) as rest,
            self._consumer(self._inputs, sending.CONFIG) as events,
        ):
            readers = {**dict.fromkeys(marked, first), **dict.fromkeys(accepted, rest)}
            inputs = events.assignment()
            events.unassign()
            growth = Growth(self._settings, [*first.parts, *rest.parts, *inputs], self._inputs)
            self._places = frozenset(f"{part.topic}/{part.partition}" for part in inputs)
            self._begin_at_committed(events, inputs)
            self._problem, answers, heard, looked = "", 0, time.monotonic(), 0.0
            while not self._stop.wait(_LOOK_SECONDS):
                found = [sampled.read() for sampled in (first, rest)]
                messages = [message for read, _ in found for message in read]
                messages.sort(key=lambda message: message.timestamp()[1])  # as if they were of one topic
                self.take(messages, sum((left_out for _, left_out in found), Counter()))
                now = time.monotonic()
                if now - looked >= _EVENTS_SECONDS:
                    looked = now
                    self._take_events(events)
                if growth.look():
                    self._follow_too(readers, growth.take())
                    with self._lock:
                        self._tally.tick(int(time.time()), self._lag(growth.ends))
                if messages or growth.answers != answers:
                    answers, heard = growth.answers, now
                    self._away.clear()
                gone = self._away.is_set() or now - heard > _SILENT_SECONDS
                self._problem = self._nobody if gone else ""

    @contextmanager
    def _consumer(self, topics: Sequence[str], config: Mapping[str, Any]) -> Iterator[Consumer]:
        consumer = open_consumer(self._settings, topics, OFFSET_END, {**config, "error_cb": self._hear})
        try:
            yield consumer
        finally:
            consumer.close()

    @contextmanager
    def _sampled(self, topics: Sequence[str], most: int) -> Iterator[Sampled]:
        """Some of the outputs, from their ends on."""
        with self._consumer(topics, sampling.CONFIG) as consumer:
            yield Sampled(consumer, [self._at_its_end(consumer, part) for part in consumer.assignment()], most)

    def _at_its_end(self, consumer: Consumer, part: TopicPartition) -> TopicPartition:
        """Where a partition ends now: the client would look later, and miss what came until then."""
        return TopicPartition(part.topic, part.partition, self._ends(consumer, part)[1])

    def _follow_too(self, readers: Mapping[str, Sampled], new: list[TopicPartition]) -> None:
        """Read partitions that topics have gained. Nothing that is in one was answered before."""
        for part in new:
            if part.topic in readers:
                readers[part.topic].add(part)
        inputs = {f"{part.topic}/{part.partition}" for part in new if part.topic in self._inputs}
        self._places |= inputs
        for place in inputs:
            self._answered.setdefault(place, 0)

    def _begin_at_committed(self, consumer: Consumer, inputs: list[TopicPartition]) -> None:
        """Until a partition has its first verdict, the dataflow is as far as its group."""
        try:
            found = consumer.committed(inputs, timeout=ANSWER_SECONDS)
        except KafkaException:  # a young cluster that looks for the coordinator: the verdicts will tell
            return
        for part in found:
            if part.error is None and part.offset >= 0:
                self._answered.setdefault(f"{part.topic}/{part.partition}", part.offset)

    def _lag(self, ends: Mapping[str, int]) -> int | None:
        known = ends.keys() & self._answered.keys()
        return sum(max(ends[place] - self._answered[place], 0) for place in known) if known else None
