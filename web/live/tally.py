"""What is counted of the records that pass: totals, and a bucket for each of the last seconds."""

from collections import Counter, OrderedDict, deque
from typing import Any, Final

import msgspec

from web.live.records import Shown

SECONDS: Final = 900
"""How far back the plots go."""

_RATE_SECONDS: Final = 3
_MOST_RULES: Final = 200
_MOST_LATENCIES: Final = 2_000
_MOST_WAITING: Final = 10_000
_REST: Final = "(others)"


class Bucket(msgspec.Struct):
    """One second.

    Attributes:
        at: Its beginning, seconds since the epoch.
        words: Records by FRAUD, REVIEW and so on.
        rules: Hits by rule.
        p50: Latency in ms that half of the verdicts had at most; None without any.
        p99: And 99 of 100.
        lag: Records that the dataflow has not answered, at its end; None if it is not known.
    """

    at: int
    words: dict[str, int] = {}
    rules: dict[str, int] = {}
    p50: int | None = None
    p99: int | None = None
    lag: int | None = None


class Tally:
    """Counts. Reads no clock: whoever calls brings the time.

    Memory is bounded: the seconds kept, the rules told apart, and the verdicts whose events may still be told of.

    Attributes:
        words: Records by FRAUD, REVIEW and so on, since the start.
        rules: Hits by rule, since the start.
    """

    def __init__(self) -> None:
        self.words: Counter[str] = Counter()
        self.rules: Counter[str] = Counter()
        self._buckets: deque[Bucket] = deque(maxlen=SECONDS)
        self._latencies: list[int] = []
        self._answered: OrderedDict[str, int] = OrderedDict()  # a dict looks for its oldest among the gone

    def take_event(self, origin: str, at: int) -> None:
        """Note when an event was sent, ms since the epoch, whose verdict was taken before; any other counts nowhere."""
        answered = self._answered.pop(origin, None)
        if answered is not None and at >= 0 and len(self._latencies) < _MOST_LATENCIES:
            self._latencies.append(max(answered - at, 0))

    def take(self, record: Shown, second: int) -> None:
        """Count a record that was read in this second since the epoch."""
        bucket = self._bucket(second)
        self.words[record.word] += 1
        bucket.words[record.word] = bucket.words.get(record.word, 0) + 1
        for told in record.rules:
            rule = told if told in self.rules or len(self.rules) < _MOST_RULES else _REST
            self.rules[rule] += 1
            bucket.rules[rule] = bucket.rules.get(rule, 0) + 1
        self._answered[record.origin] = record.at
        if len(self._answered) > _MOST_WAITING:
            self._answered.popitem(last=False)

    def leave_out(self, word: str, number: int, second: int) -> None:
        """Count records that nobody has read: what rules they hit is not known."""
        bucket = self._bucket(second)
        self.words[word] += number
        bucket.words[word] = bucket.words.get(word, 0) + number

    def tick(self, second: int, lag: int | None) -> None:
        """Let the time go on, also when nothing comes."""
        self._bucket(second).lag = lag

    def rate(self) -> float:
        """Records a second, over the last whole seconds."""
        whole = list(self._buckets)[-_RATE_SECONDS - 1 : -1]
        return sum(sum(bucket.words.values()) for bucket in whole) / len(whole) if whole else 0.0

    def newest(self, seconds: int) -> list[dict[str, Any]]:
        """The last seconds for the plots, the oldest first; the one that runs is the last."""
        running = self._bucket(self._buckets[-1].at) if self._buckets else None
        if running is not None:
            running.p50, running.p99 = self._share(0.5), self._share(0.99)
        start = max(len(self._buckets) - seconds, 0)
        return [msgspec.structs.asdict(self._buckets[place]) for place in range(start, len(self._buckets))]

    def latency(self) -> tuple[int | None, int | None]:
        """The latency in ms of half of the verdicts and of 99 of 100, in the newest second that has any."""
        for bucket in reversed(self._buckets):
            if bucket.p50 is not None:
                return bucket.p50, bucket.p99
        return None, None

    def lag(self) -> int | None:
        """Records without an answer, in the newest second in which somebody told."""
        return next((bucket.lag for bucket in reversed(self._buckets) if bucket.lag is not None), None)

    def _bucket(self, second: int) -> Bucket:
        """The bucket of a second; a clock that was set back goes on in the newest one."""
        if not self._buckets:
            self._buckets.append(Bucket(second))
        newest = self._buckets[-1]
        if second > newest.at:
            newest.p50, newest.p99 = self._share(0.5), self._share(0.99)
            self._latencies.clear()
            for passed in range(max(newest.at + 1, second - SECONDS + 1), second + 1):
                self._buckets.append(Bucket(passed))
        return self._buckets[-1]

    def _share(self, share: float) -> int | None:
        ordered = sorted(self._latencies)
        return ordered[min(int(share * len(ordered)), len(ordered) - 1)] if ordered else None
