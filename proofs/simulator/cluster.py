"""A fake Kafka: logs, transactions and their markers, fencing, group offsets, and everything that can be slow or fail.

It is a broker as a client can tell it: what the contract tests hold it to, they hold a real Apache Kafka to as well.
Every delay is drawn from a seeded generator; time is a simulated clock. The faults are methods: `freeze`, `move`,
`cut`, `kill`, `add_partitions`. Clients are made by a `Machine`, see `proofs.simulator.clients`.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum, auto
from functools import partial
from random import Random
from typing import Any, Final, TypeAlias

from confluent_kafka import KafkaError

from proofs.simulator.clock import EPOCH_MS, Clock

Place: TypeAlias = tuple[str, int]
"""A topic and the number of a partition."""

Headers: TypeAlias = list[tuple[str, bytes | None]] | None

Payload: TypeAlias = tuple[bytes | None, bytes | None, Headers]
"""Key, value and headers."""

_MARKER_MS: Final = 2
_LONGEST_MS: Final = 60_000  # transaction.timeout.ms
_BEHIND: Final = 0.5
"""How many answers come from a broker that lags behind."""

_QUICK: Final = 0.85
_MIDDLING: Final = 0.97
_GHOSTS: Final = 0.3
_NO_CONNECTION: Final = -1


class Marker(Enum):
    """How a transaction ended, as the log says it: such an entry takes an offset and no reader gets it."""

    COMMIT = auto()
    ABORT = auto()


@dataclass(slots=True)
class Entry:
    """One offset of a partition.

    Attributes:
        payload: What was written; of a marker, nothing.
        timestamp: When it was appended, ms since the epoch.
        producer: The id of the producer.
        marker: What ended a transaction here, None for a record.
        aborted: Whether its transaction was taken back.
    """

    payload: Payload
    timestamp: int
    producer: int
    marker: Marker | None = None
    aborted: bool = False


@dataclass(slots=True)
class Partition:
    """A log and what the broker remembers of its producers.

    Attributes:
        log: Every offset, from 0.
        start: The first offset that is not deleted.
        open: The first offset of each transaction that has not ended, by producer id.
        epochs: The newest epoch seen, by producer id.
        sequences: The newest batch, by producer id and epoch.
        away_until: When it has a leader again, ms.
    """

    log: list[Entry] = field(default_factory=list)
    start: int = 0
    open: dict[int, int] = field(default_factory=dict)
    epochs: dict[int, int] = field(default_factory=dict)
    sequences: dict[tuple[int, int], int] = field(default_factory=dict)
    away_until: int = 0

    @property
    def end(self) -> int:
        """The high watermark."""
        return len(self.log)

    @property
    def stable(self) -> int:
        """The last stable offset: no transaction before it is open."""
        return min(self.open.values(), default=len(self.log))


class State(Enum):
    """Where the transaction of a transactional id stands."""

    NONE = auto()
    ONGOING = auto()
    ENDING = auto()
    COMMITTED = auto()
    ABORTED = auto()


@dataclass(slots=True)
class Transactional:
    """What the coordinator knows of a transactional id.

    Attributes:
        producer: The id of its producer.
        epoch: The newest epoch.
        state: Where its transaction stands.
        places: The partitions in the transaction.
        count: Tells its transactions apart.
    """

    producer: int
    epoch: int = -1
    state: State = State.NONE
    places: set[Place] = field(default_factory=set)
    count: int = 0


@dataclass(frozen=True, slots=True)
class Batch:
    """A produce request for one partition.

    Attributes:
        producer: The producer's id.
        epoch: Its epoch.
        sequence: Counts the batches of this producer and epoch for this partition.
        transactional_id: Whose transaction it belongs to, None for a producer that has none.
        payloads: The records.
    """

    producer: int
    epoch: int
    sequence: int
    transactional_id: str | None
    payloads: list[Payload]


class Cluster:
    """The brokers, their topics and coordinators.

    Args:
        random: Decides every delay.
        clock: The time; a new one if none is given.
        reject_stragglers: Whether a produce request outside of its producer's transaction is refused, as brokers do
            since 3.7 (KIP-890, part 1). Older ones append it.
        forget_sequences: A broker bug to inject: a batch that is sent again is written again.

    Attributes:
        topics: The partitions of each.
        offsets: Each group's committed offsets.
        faults: How many were injected, by kind.
    """

    def __init__(
        self,
        random: Random,
        clock: Clock | None = None,
        *,
        reject_stragglers: bool = True,
        forget_sequences: bool = False,
    ) -> None:
        self.random = random
        self.clock = clock or Clock()
        self.topics: dict[str, list[Partition]] = {}
        self.offsets: dict[str, dict[Place, int]] = {}
        self.faults: dict[str, int] = {}
        self.frozen_until = 0
        self._grown: dict[str, tuple[int, int]] = {}
        self._reject_stragglers = reject_stragglers
        self._forget_sequences = forget_sequences
        self._transactional: dict[str, Transactional] = {}
        self._producers = 0

    def partition(self, place: Place) -> Partition:
        """The partition at a place.

        Raises:
            KeyError: There is none.
        """
        topic, number = place
        partitions = self.topics[topic]
        if number >= len(partitions):
            raise KeyError(place)
        return partitions[number]

    def create_topic(self, name: str, partitions: int) -> None:
        """Make an empty topic."""
        self.topics[name] = [Partition() for _ in range(partitions)]

    def write(self, place: Place, payloads: Iterable[Payload], timestamp: int | None = None) -> None:
        """Append records at once, as somebody else's producer would have."""
        at = EPOCH_MS + self.clock.now if timestamp is None else timestamp
        self.partition(place).log.extend(Entry(payload, at, -1) for payload in payloads)

    def committed(self, topic: str) -> list[tuple[Place, int, Payload]]:
        """What a `read_committed` reader gets in the end: place, offset and payload of each record."""
        return [
            ((topic, number), offset, entry.payload)
            for number, partition in enumerate(self.topics[topic])
            for offset, entry in enumerate(partition.log[: partition.stable])
            if entry.marker is None and not entry.aborted
        ]

    def delay(self) -> int:
        """How long a message to or from a broker is on its way, ms."""
        chance = self.random.random()
        if chance < _QUICK:
            return 1
        return self.random.randint(2, 10) if chance < _MIDDLING else self.random.randint(10, 120)

    def held(self, place: Place | None) -> int:
        """How long requests have to wait until a broker serves them, ms: 0, except in a fault."""
        until = self.frozen_until
        if place is not None:
            until = max(until, self.partition(place).away_until)
        return max(0, until - self.clock.now)

    # ---- faults

    def freeze(self, ms: int) -> None:
        """All brokers stand still: what arrives is served afterwards."""
        self._count("freeze")
        self.frozen_until = max(self.frozen_until, self.clock.now + ms)
        self.clock.after(ms, _nothing)

    def move(self, place: Place, ms: int) -> None:
        """The leader of a partition goes; another takes over after a while."""
        self._count("leader move")
        self.partition(place).away_until = self.clock.now + ms
        self.clock.after(ms, _nothing)

    def expire(self) -> bool:
        """The coordinator takes an open transaction back, as it does with those that last too long; if there is one."""
        ongoing = [known for known in self._transactional.values() if known.state is State.ONGOING]
        if not ongoing:
            return False
        self._count("transaction expired")
        self._take_back(self.random.choice(ongoing))
        return True

    def add_partitions(self, topic: str, count: int) -> None:
        """A topic grows, and some brokers do not tell so for a while."""
        self._count("partitions added")
        self._grown[topic] = len(self.topics[topic]), self.clock.now + self.random.choice([0, 300, 3_000])
        self.topics[topic] += [Partition() for _ in range(count)]

    def partitions_told(self, topic: str) -> int:
        """How many partitions a topic has, as some broker says."""
        before, until = self._grown.get(topic, (0, 0))
        if self.clock.now < until and self.random.random() < _BEHIND:
            self._count("stale metadata")
            return before
        return len(self.topics.get(topic, ()))

    def count_fault(self, kind: str) -> None:
        """Say that a fault was injected elsewhere."""
        self._count(kind)

    # ---- requests, at the moment the broker serves them; they give an error code, None for done

    def new_producer(self, transactional_id: str | None) -> tuple[int, int] | int:
        """Give a producer id and epoch, and so fence what had the id before; or an error code."""
        if transactional_id is None:
            self._producers += 1
            return self._producers, 0
        known = self._transactional.get(transactional_id)
        if known is None:
            self._producers += 1
            known = self._transactional[transactional_id] = Transactional(self._producers)
        if known.state is State.ONGOING:
            self._take_back(known)
        if known.state is State.ENDING:
            return int(KafkaError.CONCURRENT_TRANSACTIONS)
        known.epoch += 1
        known.state = State.NONE
        return known.producer, known.epoch

    def add_to_transaction(self, transactional_id: str, epoch: int, place: Place) -> int | None:
        """A partition takes part in the transaction, which so begins if there is none."""
        known = self._transactional[transactional_id]
        if epoch != known.epoch:
            return int(KafkaError.INVALID_PRODUCER_EPOCH)
        if known.state is State.ENDING:
            return int(KafkaError.CONCURRENT_TRANSACTIONS)
        if known.state is not State.ONGOING:
            known.state = State.ONGOING
            known.places = set()
            known.count += 1
            self.clock.after(_LONGEST_MS, partial(self._time_out, known, known.count))
        known.places.add(place)
        return None

    def append(self, place: Place, batch: Batch) -> int | None:
        """Write a batch, once, if its producer may."""
        partition = self.partition(place)
        if partition.epochs.get(batch.producer, -1) > batch.epoch:
            return int(KafkaError.INVALID_PRODUCER_EPOCH)
        newest = partition.sequences.get((batch.producer, batch.epoch), -1)
        if batch.sequence <= newest and not self._forget_sequences:
            return None
        if batch.sequence > newest + 1:
            return int(KafkaError.OUT_OF_ORDER_SEQUENCE_NUMBER)
        if batch.transactional_id is not None:
            known = self._transactional[batch.transactional_id]
            if self._reject_stragglers:
                if batch.epoch != known.epoch:
                    return int(KafkaError.INVALID_PRODUCER_EPOCH)
                if known.state is not State.ONGOING or place not in known.places:
                    return int(KafkaError.INVALID_TXN_STATE)
            partition.open.setdefault(batch.producer, partition.end)
        partition.epochs[batch.producer] = batch.epoch
        partition.sequences[batch.producer, batch.epoch] = batch.sequence
        at = EPOCH_MS + self.clock.now
        partition.log += [Entry(payload, at, batch.producer) for payload in batch.payloads]
        return None

    def end_transaction(self, transactional_id: str, epoch: int, marker: Marker) -> int | None:
        """Decide the fate of the transaction; the markers follow."""
        known = self._transactional[transactional_id]
        if epoch != known.epoch:
            return int(KafkaError.INVALID_PRODUCER_EPOCH)
        if known.state is State.ENDING:
            return int(KafkaError.CONCURRENT_TRANSACTIONS)
        if known.state is State.ONGOING:
            self._end(known, marker)
            return None
        done = State.COMMITTED if marker is Marker.COMMIT else State.ABORTED
        return None if known.state is done else int(KafkaError.INVALID_TXN_STATE)

    def commit_offsets(self, group: str, offsets: Mapping[Place, int]) -> None:
        """Remember how far a group is."""
        self.offsets.setdefault(group, {}).update(offsets)

    def _time_out(self, known: Transactional, count: int) -> None:
        if known.state is State.ONGOING and known.count == count:
            self._take_back(known)

    def _take_back(self, known: Transactional) -> None:
        """Abort, and fence whoever holds it open."""
        known.epoch += 1
        self._end(known, Marker.ABORT)

    def _end(self, known: Transactional, marker: Marker) -> None:
        known.state = State.ENDING
        left = set(known.places)
        epoch = known.epoch

        def mark(place: Place) -> None:
            if held := self.held(place):
                self.clock.after(held, partial(mark, place))
                return
            partition = self.partition(place)
            first = partition.open.pop(known.producer, None)
            if first is not None and marker is Marker.ABORT:
                for entry in partition.log[first:]:
                    if entry.producer == known.producer and entry.marker is None:
                        entry.aborted = True
            partition.epochs[known.producer] = max(epoch, partition.epochs.get(known.producer, -1))
            partition.log.append(Entry((None, None, None), EPOCH_MS + self.clock.now, known.producer, marker))
            left.discard(place)
            if not left:
                known.state = State.COMMITTED if marker is Marker.COMMIT else State.ABORTED

        for place in sorted(known.places):
            self.clock.after(self.delay() + _MARKER_MS, partial(mark, place))

    def _count(self, kind: str) -> None:
        self.faults[kind] = self.faults.get(kind, 0) + 1


class Request:
    """One on its way.

    Attributes:
        serve: What the broker does.
        answered: What the client does with the answer.
        late: Whether it arrives although its connection is gone.
    """

    __slots__ = ("answered", "late", "serve")

    def __init__(self, serve: Callable[[], Any], answered: Callable[[Any], None]) -> None:
        self.serve = serve
        self.answered = answered
        self.late = False


class Pipe:
    """The connection of a client to the leader of a partition, or to a coordinator: in order, both ways.

    When it is cut, a prefix of what is on its way still arrives, no answer does, and a client that lives sends again
    what was not answered. What a broker has received it serves, whoever is gone.
    """

    def __init__(self, cluster: Cluster, place: Place | None, *, alive: bool = True) -> None:
        self._cluster = cluster
        self._clock = cluster.clock
        self._place = place
        self._unanswered: list[Request] = []
        self._on_the_way: list[Request] = []
        self._received: list[tuple[Request, int]] = []
        self._waiting = False
        self._connection = 0
        self._arrives = 0
        self._answers = 0
        self._alive = alive

    def ask(self, serve: Callable[[], Any], answered: Callable[[Any], None]) -> None:
        """Send a request, if the client is there."""
        if not self._alive:
            return
        request = Request(serve, answered)
        self._unanswered.append(request)
        self._send(request)

    def cut(self) -> bool:
        """Lose the connection; gives whether anything was on its way.

        A request can arrive once more, long after it was sent again and answered (KAFKA-17754).
        """
        hit = bool(self._unanswered)
        if self._on_the_way and self._cluster.random.random() < _GHOSTS:
            request = self._cluster.random.choice(self._on_the_way)
            self._cluster.count_fault("ghost request")
            self._clock.after(self._cluster.random.randint(10, 300), partial(self._haunt, request))
        self._lose()
        resend = max(self._arrives, self._clock.now + self._cluster.random.randint(5, 60)) + 1
        connection = self._connection
        self._clock.after(resend - self._clock.now, lambda: self._reconnect(connection))
        return hit

    def kill(self, late_ms: int) -> bool:
        """The client is gone: what still arrives may come late; gives whether anything will."""
        self._alive = False
        arriving = self._lose()
        for request in arriving:
            request.late = False  # its place in the old schedule is taken by a new one
        for request in arriving:
            late = Request(request.serve, request.answered)
            late.late = True
            self._on_the_way.append(late)
            self._schedule(late, late_ms)
        return bool(arriving)

    def _lose(self) -> list[Request]:
        """Cut, and choose what arrives all the same."""
        self._connection += 1
        self._answers = 0
        arriving = self._on_the_way[: self._cluster.random.randint(0, len(self._on_the_way))]
        for request in arriving:
            request.late = True
        self._on_the_way = list(arriving) if self._alive else []
        return arriving

    def _reconnect(self, connection: int) -> None:
        if self._alive and connection == self._connection:
            for request in self._unanswered:
                self._send(request)

    def _send(self, request: Request) -> None:
        request.late = False
        self._on_the_way.append(request)
        self._schedule(request, self._cluster.delay())

    def _schedule(self, request: Request, ms: int) -> None:
        self._arrives = max(self._arrives, self._clock.now + ms)
        connection = self._connection
        self._clock.after(self._arrives - self._clock.now, partial(self._arrive, request, connection))

    def _arrive(self, request: Request, connection: int) -> None:
        if connection != self._connection and not request.late:
            return
        if request in self._on_the_way:
            self._on_the_way.remove(request)
        self._received.append((request, connection))
        self._serve()

    def _serve(self) -> None:
        while self._received:
            if held := self._cluster.held(self._place):
                if not self._waiting:
                    self._waiting = True
                    self._clock.after(held, self._go_on)
                return
            request, connection = self._received.pop(0)
            answer = request.serve()
            if connection == self._connection:
                self._answers = max(self._answers, self._clock.now + self._cluster.delay())
                self._clock.after(self._answers - self._clock.now, partial(self._answer, request, answer, connection))

    def _haunt(self, request: Request) -> None:
        """A request arrives once more, on a connection that is gone."""
        self._received.append((request, _NO_CONNECTION))
        self._serve()

    def _go_on(self) -> None:
        self._waiting = False
        self._serve()

    def _answer(self, request: Request, answer: Any, connection: int) -> None:
        if self._alive and connection == self._connection and request in self._unanswered:
            self._unanswered.remove(request)
            request.answered(answer)


def _nothing() -> None:
    """Happens when a fault ends, so that those who wait look again."""
