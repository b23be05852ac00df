"""Planted bugs: each takes away one thing that exactness rests on, and the simulator has to notice.

A bug is a small change of the real classes while schedules are played. That each is caught says that the schedules go
where it matters; none of them is in the product.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from confluent_kafka import OFFSET_END, TopicPartition

import proofs.simulator.schedule
import sinks.transactions
import sources.kafka
from dataflows.decoding import _Lane as DecodingLane
from detection.records import DeadLetter
from proofs.simulator.schedule import Schedule
from sinks.kafka import DeliveryError, Outbox
from sinks.kafka import Lane as SinkLane
from sinks.transactions import TransactionalOutbox, TransactionalOutboxes, transactional_id
from sources.answered import Answered, Tails
from sources.kafka import KafkaSource, Reader
from sources.kafka import Lane as SourceLane
from sources.reading import count_partitions

Patch = Callable[[Any, str, Any], None]
"""Sets an attribute of a class or module until the bug is taken out."""

BUGS: Final[dict[str, Callable[[Patch], None]]] = {}
"""By what is wrong."""


def _bug(name: str) -> Callable[[Callable[[Patch], None]], Callable[[Patch], None]]:
    def add(plant: Callable[[Patch], None]) -> Callable[[Patch], None]:
        BUGS[name] = plant
        return plant

    return add


@contextmanager
def planted(name: str) -> Iterator[None]:
    """Have a bug in the product meanwhile."""
    before: list[tuple[Any, str, Any]] = []

    def patch(owner: Any, attribute: str, value: Any) -> None:
        before.append((owner, attribute, getattr(owner, attribute)))
        setattr(owner, attribute, value)

    BUGS[name](patch)
    try:
        yield
    finally:
        for owner, attribute, value in reversed(before):
            setattr(owner, attribute, value)


def _anew(producer: Any, *, transactional: bool = True) -> Any:
    """Another producer like this one, on the same machine."""
    config = {name: value for name, value in producer._config.items() if transactional or name != "transactional.id"}
    return type(producer)(producer._machine, config)


# ---- the sinks


@_bug("no flush before the snapshot")
def _(patch: Patch) -> None:
    patch(SinkLane, "snapshot", lambda _: None)


@_bug("the snapshot before the confirmation: a lane confirms what the epoch before has written")
def _(patch: Patch) -> None:
    confirm = SinkLane.snapshot
    written: set[int] = set()

    def snapshot(self: SinkLane) -> None:
        if id(self) in written:
            confirm(self)
        written.add(id(self))

    patch(SinkLane, "snapshot", snapshot)


@_bug("_error of produce_batch is ignored")
def _(patch: Patch) -> None:
    patch(Outbox, "_retry", lambda *_: None)


@_bug("the error of a commit is swallowed")
def _(patch: Patch) -> None:
    confirm = TransactionalOutbox.confirm

    def swallow(self: TransactionalOutbox) -> None:
        try:
            confirm(self)
        except DeliveryError:
            self._open = False

    patch(TransactionalOutbox, "confirm", swallow)


@_bug("a producer that was fenced is made anew and goes on")
def _(patch: Patch) -> None:
    confirm, make = TransactionalOutbox.confirm, TransactionalOutboxes.open

    def make_with_a_spare(self: TransactionalOutboxes, number: int) -> TransactionalOutbox:
        fenced = self._fenced[number]
        outbox = make(self, number)
        outbox.spare = lambda: _anew(fenced)  # type: ignore[attr-defined]
        return outbox

    def go_on(self: TransactionalOutbox) -> None:
        try:
            confirm(self)
        except DeliveryError:
            self._client = self._transactions = self.spare()  # type: ignore[attr-defined]
            self._transactions.init_transactions()
            self._open = False

    patch(TransactionalOutboxes, "open", make_with_a_spare)
    patch(TransactionalOutbox, "confirm", go_on)


@_bug("two producers of one worker: the sinks have one beside that of the ticks")
def _(patch: Patch) -> None:
    made: dict[int, Outbox] = {}
    find = TransactionalOutboxes.mine

    def mine(self: TransactionalOutboxes) -> Outbox:
        if id(self) not in made:
            made[id(self)] = Outbox(_anew(find(self)._transactions, transactional=False))
        return made[id(self)]

    patch(TransactionalOutboxes, "mine", mine)


# ---- the fence


@_bug("the fence is left out")
def _(patch: Patch) -> None:
    begin = TransactionalOutbox._begin
    unnamed: set[int] = set()

    def make(config: Any, application: str, workers: list[int], client: Any) -> dict[int, Any]:
        made = {
            number: client({**config, "transactional.id": transactional_id(application, number)}) for number in workers
        }
        unnamed.update(id(producer) for producer in made.values())
        return made

    def name_and_begin(self: TransactionalOutbox) -> None:
        if id(self._transactions) in unnamed:
            unnamed.remove(id(self._transactions))
            self._transactions.init_transactions()
        begin(self)

    patch(proofs.simulator.schedule, "fence", make)
    patch(TransactionalOutbox, "_begin", name_and_begin)


@_bug("the tails' ends are read before the fence")
def _(patch: Patch) -> None:
    shut_out, make = sinks.transactions.fence, Tails.__init__
    ends: dict[str, int] = {}

    def look_and_fence(config: Any, application: str, workers: list[int], client: Any) -> dict[int, Any]:
        machine = client.__self__
        ends.clear()
        ends.update(machine.ends(list(machine.cluster.topics)))
        return shut_out(config, application, workers, client)

    def make_with_these(
        self: Tails, config: Any, now: Callable[[], Mapping[str, int]], *more: Any, **named: Any
    ) -> None:
        looked = dict(ends)
        make(self, config, lambda: {place: looked.get(place, end) for place, end in now().items()}, *more, **named)

    patch(proofs.simulator.schedule, "fence", look_and_fence)
    patch(Tails, "__init__", make_with_these)


@_bug("ids of workers that are gone are forgotten")
def _(patch: Patch) -> None:
    patch(Schedule, "fence_up_to", lambda _, workers: workers)


# ---- the resume filter


@_bug("the tail is read from one too far")
def _(patch: Patch) -> None:
    read = Tails._read_from

    def off_by_one(self: Tails, bounds: Mapping[str, int]) -> None:
        read(self, {address: bounds.get(address, 0) + 1 for address in self._all_ends()})

    patch(Tails, "_read_from", off_by_one)


@_bug("the filter goes by key instead of origin")
def _(patch: Patch) -> None:
    remember, make = Tails._remember, Tails.__init__
    keys: set[bytes] = set()

    def forget_and_make(self: Tails, *arguments: Any, **named: Any) -> None:
        keys.clear()
        make(self, *arguments, **named)

    def remember_key(self: Tails, message: Any) -> None:
        remember(self, message)
        keys.add(message.key())

    def told(_: DecodingLane, items: list[Any]) -> list[Any]:
        for item in items:
            if not isinstance(item, DeadLetter):
                item.answered = item.key in keys
        return items

    patch(Tails, "__init__", forget_and_make)
    patch(Tails, "_remember", remember_key)
    patch(DecodingLane, "_told", told)


@_bug("the bounds are taken after the epoch, not before it")
def _(patch: Patch) -> None:
    take = SourceLane.snapshot
    older: dict[int, dict[str, int]] = {}

    def snapshot(self: SourceLane) -> Any:
        state = take(self)
        offsets = older.get(id(self), state["offsets"])
        older[id(self)] = state["offsets"]
        return {"offsets": offsets, "bounds": {**self._reader.bounds()}}

    patch(SourceLane, "snapshot", snapshot)


@_bug("a lane's state is stale: its offsets are those of the snapshot before")
def _(patch: Patch) -> None:
    take = SourceLane.snapshot
    older: dict[int, Any] = {}

    def snapshot(self: SourceLane) -> Any:
        state = take(self)
        stale = older.get(id(self), state)
        older[id(self)] = state
        return stale

    patch(SourceLane, "snapshot", snapshot)


@_bug("the tails are read uncommitted")
def _(patch: Patch) -> None:
    make = Tails.__init__

    def make_dirty(self: Tails, *arguments: Any, **named: Any) -> None:
        make(self, *arguments, **named)
        self._config["isolation.level"] = "read_uncommitted"

    patch(Tails, "__init__", make_dirty)


@_bug("a new output partition is not looked at")
def _(patch: Patch) -> None:
    read = Tails._read_from

    def read_known(self: Tails, bounds: Mapping[str, int]) -> None:
        self._ended = {address: end for address, end in self._all_ends().items() if address in (self._first or ())}
        read(self, bounds)

    patch(Tails, "_read_from", read_known)


@_bug("answered events do not take their place in the windows")
def _(patch: Patch) -> None:
    tell = DecodingLane._told

    def told(self: DecodingLane, items: list[Any]) -> list[Any]:
        return [item for item in tell(self, items) if isinstance(item, DeadLetter) or not item.answered]

    patch(DecodingLane, "_told", told)


@_bug("what is answered in one partition is dropped in another")
def _(patch: Patch) -> None:
    look = Answered.is_answered

    def anywhere(self: Answered, topic: str, partition: int, offset: int) -> bool:
        marked = any(offset in marks for marks in self._marks.values())
        return look(self, topic, partition, offset) or marked

    patch(Answered, "is_answered", anywhere)


@_bug("dead letters are not filtered")
def _(patch: Patch) -> None:
    tell = DecodingLane._told

    def told(self: DecodingLane, items: list[Any]) -> list[Any]:
        return [*tell(self, items), *(item for item in items if isinstance(item, DeadLetter))]

    patch(DecodingLane, "_told", told)


# ---- the source


@_bug("the group's offsets are committed early, and believed")
def _(patch: Patch) -> None:
    make, take = KafkaSource.__init__, SourceLane.snapshot

    def make_believing(self: KafkaSource, *arguments: Any, **named: Any) -> None:
        make(self, *arguments, **{**named, "began": None})

    def snapshot(self: SourceLane) -> Any:
        self._snapshot = dict(self.offsets)
        return take(self)

    patch(KafkaSource, "__init__", make_believing)
    patch(SourceLane, "snapshot", snapshot)


@_bug("auto.offset.reset=latest: where there is no offset, reading begins at the end")
def _(patch: Patch) -> None:
    patch(sources.kafka, "OFFSET_BEGINNING", OFFSET_END)


@_bug("a partition that a broker leaves out at the start is not waited for")
def _(patch: Patch) -> None:
    def not_waited_for(self: Reader, number: int, _: Mapping[str, int]) -> list[TopicPartition]:
        if self._partitions is None:
            self._partitions = count_partitions(self._client, self._topics)
        places = ((topic, partition) for topic, count in self._partitions.items() for partition in range(count))
        return [TopicPartition(*place) for place in places if sources.kafka.lane_of(*place) == number]

    patch(Reader, "_partitions_of", not_waited_for)
