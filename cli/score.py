"""What the demo counts: every event, its verdict, how long it took, and whether the verdict is what the label says."""

import time
from collections import Counter, deque
from dataclasses import dataclass, field
from typing import Final

from sources.verdicts import parse_origin, read_verdict, text_of, topic_of

_SLOWEST_MS: Final = 60_000
_MOST_WAITING: Final = 500_000
_SHOWN: Final = 8
_RATE_SECONDS: Final = 3.0


@dataclass(frozen=True, slots=True)
class Fraud:
    """A blocked event, to be shown.

    Attributes:
        at: When its verdict was written, ms since the epoch.
        topic: Where it came from.
        key: Its key.
        reasons: Why.
    """

    at: int
    topic: str
    key: str
    reasons: str


class Answered:
    """Which offsets of one partition have their answer. All below `floor` have; memory is what lies above it."""

    def __init__(self) -> None:
        self._floor = 0
        self._above: set[int] = set()

    def add(self, offset: int) -> bool:
        """Note an answer, and tell whether it is the first."""
        if offset < self._floor or offset in self._above:
            return False
        self._above.add(offset)
        if len(self._above) > _MOST_WAITING:
            self._floor = min(self._above)  # what was not answered until now is not going to be
        while self._floor in self._above:
            self._above.remove(self._floor)
            self._floor += 1
        return True


@dataclass(slots=True)
class Score:
    """The counts so far. An event and its verdict come from different topics, so either may be read first.

    Attributes:
        events: Events read from the input topics.
        verdicts: By decision.
        by_topic: Verdicts by the topic they were written to.
        rules: Hits by rule, those of shadow rules too.
        dead_letters: Events that could not be judged.
        others: Records of output topics that somebody else has written.
        doubled: Answers to events that had one.
        frauds: The newest.
        right: Blocked, and labelled a fraud.
        wrong: Blocked, but labelled legit.
        overlooked: Not blocked, but labelled a fraud.
    """

    events: int = 0
    verdicts: Counter[str] = field(default_factory=Counter)
    by_topic: Counter[str] = field(default_factory=Counter)
    rules: Counter[str] = field(default_factory=Counter)
    dead_letters: int = 0
    others: int = 0
    doubled: int = 0
    frauds: deque[Fraud] = field(default_factory=lambda: deque(maxlen=_SHOWN))
    right: int = 0
    wrong: int = 0
    overlooked: int = 0
    _waiting: dict[str, tuple[int, bool]] = field(default_factory=dict)
    _early: dict[str, tuple[int, bool | None]] = field(default_factory=dict)
    _given_up: int = 0
    _answered: dict[str, Answered] = field(default_factory=dict)
    _measured_from: int = 0
    _latencies: Counter[int] = field(default_factory=Counter)
    _rates: deque[tuple[float, int]] = field(default_factory=deque)

    def measure_from(self, at: int) -> None:
        """Measure the latency of events sent from `at` on, ms since the epoch: those before it waited for a start."""
        self._measured_from = at
        self.rate()

    def take_event(self, origin: str, at: int, *, fraud: bool) -> None:
        """Count an event of an input topic.

        Args:
            origin: `topic/partition/offset`.
            at: The record's timestamp, ms since the epoch.
            fraud: Its label.
        """
        self.events += 1
        answer = self._early.pop(origin, None)
        if answer is not None:
            self._match(at, *answer, fraud=fraud)
            return
        self._waiting[origin] = (at, fraud)
        if len(self._waiting) > _MOST_WAITING:
            del self._waiting[next(iter(self._waiting))]
            self._given_up += 1

    def take_verdict(self, topic: str, key: bytes | str | None, value: bytes, at: int) -> None:
        """Count a record of an output topic, written at `at`, ms since the epoch.

        Raises:
            OtherError: It is no verdict; nothing was counted.
        """
        answer = read_verdict(value)
        verdict = answer.verdict
        place = parse_origin(verdict.origin)
        self.verdicts[verdict.decision] += 1
        self.by_topic[topic] += 1
        self.rules.update(hit.id for hit in verdict.rules)
        if answer.fraudulent:
            self.frauds.append(Fraud(at, topic_of(verdict.origin), text_of(key), "; ".join(answer.reason)))
        self._take_answer(verdict.origin, place, at, blocked=answer.fraudulent)

    def take_dead_letter(self, origin: str, at: int) -> None:
        """Count a record of the dead letter topic, written at `at`, ms since the epoch.

        Raises:
            OtherError: It is no dead letter; nothing was counted.
        """
        place = parse_origin(origin)
        self.dead_letters += 1
        self._take_answer(origin, place, at, blocked=None)

    def _take_answer(self, origin: str, place: tuple[str, int], at: int, *, blocked: bool | None) -> None:
        partition, offset = place
        if not self._answered.setdefault(partition, Answered()).add(offset):
            self.doubled += 1
            return
        event = self._waiting.pop(origin, None)
        if event is None:
            self._early[origin] = (at, blocked)
        else:
            self._match(event[0], at, blocked, fraud=event[1])

    def _match(self, begun: int, at: int, blocked: bool | None, *, fraud: bool) -> None:  # noqa: FBT001
        if begun >= self._measured_from:
            self._latencies[min(max(at - begun, 0), _SLOWEST_MS)] += 1
        if blocked is not None:
            self.right += blocked and fraud
            self.wrong += blocked and not fraud
            self.overlooked += fraud and not blocked

    @property
    def missing(self) -> int:
        """How many of the events read have no answer yet."""
        return len(self._waiting) + self._given_up

    @property
    def precision(self) -> float | None:
        """Which share of the blocked events is labelled a fraud; None before the first one."""
        blocked = self.right + self.wrong
        return self.right / blocked if blocked else None

    @property
    def recall(self) -> float | None:
        """Which share of the events labelled a fraud was blocked; None before the first one."""
        frauds = self.right + self.overlooked
        return self.right / frauds if frauds else None

    def latency_ms(self, share: float) -> int | None:
        """What `share` of the verdicts were not slower than, by the timestamps of the two records; None without any."""
        left = share * self._latencies.total()
        for latency in sorted(self._latencies):
            left -= self._latencies[latency]
            if left <= 0:
                return latency
        return None

    def rate(self) -> float:
        """Events a second, over the last few seconds."""
        now = time.monotonic()
        self._rates.append((now, self.events))
        while len(self._rates) > 2 and now - self._rates[1][0] > _RATE_SECONDS:  # noqa: PLR2004  (two make a rate)
            self._rates.popleft()
        then, events = self._rates[0]
        return (self.events - events) / (now - then) if now > then else 0.0
