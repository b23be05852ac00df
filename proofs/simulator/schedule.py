"""One schedule: a seed decides the records, the workers, the faults and when they come, and every order of events.

The code that runs is the real one: source, decoder, key groups, join, judge, resume filter, fence and sinks, wired by
`dataflows.fraud.build`. In the end an independent reader of the fake log counts the answers: each input record has one,
and it is the one of `detection.program.Engine`.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final, Literal, Self, TypeAlias

import msgspec
import structlog
from confluent_kafka import KafkaException

import sinks.kafka
import sinks.transactions
import sources.kafka
from broker.errors import BrokerError
from dataflows.decoding import DecodingSource
from dataflows.fraud import build, unchanged
from dataflows.sinks import Sinks
from detection.loading import parse
from detection.program import Engine
from detection.records import DeadLetter, Record
from detection.sealed import unseal
from proofs.simulator.clients import Machine
from proofs.simulator.clock import EPOCH_MS, Clock
from proofs.simulator.cluster import Cluster, Entry, Marker, Payload, Place
from proofs.simulator.driver import Bindings, Plan, Run, Store
from sinks.kafka import DeliveryError, KafkaSink, Outboxes, PerWorker
from sinks.transactions import Commits, TransactionalOutboxes, fence
from sources.answered import Answered, Tails
from sources.kafka import KafkaSource
from sources.reading import SourceError

Delivery: TypeAlias = Literal["exactly_once", "at_least_once"]

Answer: TypeAlias = tuple[str, bytes | None]
"""Topic and value."""

APPLICATION: Final = "app"
DEAD: Final = "dead"

_SOURCE: Final = "fraud.decode.source"

CLICKS: Final = """
lateness = "1m"

[event.click]
topic = "clicks"
time = "at?"
fields = { session = "str", url = "str" }
block_topic = "clicks.fraud"
review_topic = "clicks.review"
accept_topic = "clicks.legit"

[feature.clicks]
on = "click"
key = ["session", "url"]
fn = "count"
window = "10s"

[rule.burst]
on = "click"
when = "clicks >= 3"
reason = "{clicks} clicks on {url}"
score = 90
outcome = "block"
"""

JOINED: Final = (
    CLICKS
    + """
[feature.on_url]
on = "click"
key = ["url"]
fn = "count"
window = "5s"

[rule.crowd]
on = "click"
when = "on_url >= 6"
reason = "{on_url} on {url}"
score = 40
outcome = "review"
"""
)
"""With two keyed steps, and so with a join."""

_MOST_TURNS: Final = 20_000
_MOST_STARTS: Final = 60
_CALM_MS: Final = 150_000
_DIGEST_MS: Final = 60
_LANES: Final = 6  # of 32: empty lanes take time and find nothing


class Killed(BaseException):
    """The process ends here, whatever it was about to do."""


class Scenario:
    """A pack made ready to be run many times.

    Attributes:
        plans: The dataflow, by the promise of its sinks.
        oracle: What the answers must be.
    """

    def __init__(self, text: str) -> None:
        self.pack = parse({"pack.toml": text})
        self.outputs = [*self.pack.topics_out, DEAD]
        self.plans: dict[Delivery, Plan] = {}
        source = KafkaSource({}, self.pack.topics_in)
        outboxes = TransactionalOutboxes({})
        sink, dead = KafkaSink(outboxes), KafkaSink(outboxes, DEAD)
        for delivery, commits in (("exactly_once", Commits(outboxes, bool)), ("at_least_once", None)):
            flow = build(self.pack, source, Sinks(sink, sink, sink, dead, commits), unchanged, Answered())
            self.plans[delivery] = Plan(flow)  # type: ignore[index]
        self.oracle = Engine(self.pack)
        self._fresh = self.oracle.snapshot()

    def decoding(self, delivery: Delivery, source: KafkaSource, answered: Answered) -> DecodingSource:
        """The decoding source of one process, for the program that the dataflow was made of."""
        template = self.plans[delivery].named(_SOURCE).operator.source
        return DecodingSource(source, template._program, answered)  # noqa: SLF001  build() makes it

    def answers(self, records: Sequence[Record]) -> dict[str, Answer]:
        """Topic and value of the answer to each record, by origin."""
        self.oracle.restore(self._fresh)
        found: dict[str, Answer] = {}
        for record in records:
            verdict = self.oracle.judge(record)
            if isinstance(verdict, DeadLetter):
                found[record.origin] = DEAD, record.value
            else:
                found[record.origin] = verdict.topic, verdict.value
        return found


@dataclass(slots=True)
class Outcome:
    """How a schedule ended.

    Attributes:
        seed: What it is replayed by.
        records: How many records were written.
        faults: How many were injected and took effect, by kind.
        violations: What must not be, each in one line.
        trace: What happened when.
    """

    seed: int
    records: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    violations: list[str] = field(default_factory=list)
    trace: list[str] = field(default_factory=list)


class SerialPool:
    """A pool that has no threads: what it is given is done at once."""

    def __init__(self, _: int) -> None:
        """Take any size."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def map(self, function: Callable[[Any], Any], items: Iterable[Any]) -> list[Any]:
        """Call the function for each."""
        return [function(item) for item in items]


class Schedule:
    """A schedule, from its seed."""

    def __init__(
        self,
        scenarios: Sequence[Scenario],
        seed: int,
        delivery: Delivery = "exactly_once",
        *,
        old_brokers: bool = False,
    ) -> None:
        """Draw what will happen.

        Args:
            scenarios: The pack with one keyed step, and the one with two.
            seed: Decides everything.
            delivery: What the sinks promise.
            old_brokers: Whether brokers append what comes too late, as before Kafka 3.7.
        """
        self.random = Random(seed)
        self.delivery = delivery
        self.outcome = Outcome(seed)
        self.clock = Clock()
        self.cluster = Cluster(self.random, self.clock, reject_stragglers=not old_brokers)
        self.store = Store()
        joined = self.random.random() < 0.15
        self.scenario = scenarios[joined]
        for topic in self.scenario.pack.topics_in:
            self.cluster.create_topic(topic, 1 if joined else self.random.randint(1, 3))
        for topic in self.scenario.outputs:
            self.cluster.create_topic(topic, self.random.randint(1, 2))
        self._fixed_partitions = joined
        self._length = self.random.randint(300, 1500)
        self._interval = self.random.choice([20, 60, 150, 400])
        self._config: dict[str, Any] = {"delivery.report.only.error": True}
        if self.random.random() < 0.15:
            self._config["queue.buffering.max.messages"] = self.random.randint(1, 4)
        self._look_seconds = self.random.choice([0.02, 0.1, 1.0])
        self._first: dict[str, int] | None = None
        self._most_workers = 0
        self._machines: list[Machine] = []
        self._answered: list[Answered] = []
        self._run: Run | None = None
        self._kill_at = -1
        self._turns = 0
        self._read_at = 0
        self._stop = False
        self._plan_records()
        self._plan_faults()

    def play(self) -> Outcome:
        """Run it to its end, and count."""
        try:
            with self._simulated():
                self._live()
                self.clock.advance(_CALM_MS)  # markers follow a commit, and so may what was late
        except Exception as error:  # noqa: BLE001  whatever it is, it must not be
            self._violate(f"{type(error).__name__}: {error}")
        self._count()
        self.outcome.faults.update(self.cluster.faults)
        return self.outcome

    # ---- what will happen

    def _plan_records(self) -> None:
        topic = self.scenario.pack.topics_in[0]
        for _ in range(self.random.randint(5, 20)):
            at = self.random.randint(0, max(1, self._length - 100))
            self.clock.after(at, lambda: self._write(topic))

    def _write(self, topic: str) -> None:
        """Somebody writes a few records, all of one partition."""
        random = self.random
        number = random.randrange(len(self.cluster.topics[topic]))
        payloads: list[Payload] = []
        for _ in range(random.randint(1, 5)):
            key = f"{number}-{random.randrange(2)}"
            now = EPOCH_MS + self.clock.now
            value: dict[str, Any] = {"session": key, "url": f"/{random.randrange(2)}"}
            if random.random() < 0.3:
                value["at"] = now - random.choice([0, 500, 9_999, 30_000, 120_000])
            raw = b"{" if random.random() < 0.07 else json.dumps(value).encode()
            payloads.append((key.encode(), raw, None))
        self.outcome.records += len(payloads)
        self.cluster.write((topic, number), payloads)
        if random.random() < 0.2:
            self._write_aborted((topic, number), payloads)
        self._tell(f"{len(payloads)} records to {topic}/{number}")

    def _write_aborted(self, place: Place, payloads: list[Payload]) -> None:
        """An upstream transaction that is taken back: offsets that nobody gets."""
        log = self.cluster.partition(place).log
        log += [Entry(payload, EPOCH_MS, -2, aborted=True) for payload in payloads[:2]]
        log.append(Entry((None, None, None), EPOCH_MS, -2, Marker.ABORT))

    def _plan_faults(self) -> None:
        kinds = [self._freeze, self._move, self._cut, self._cut, self._kill, self._kill, self._kill_soon]
        kinds += [self._stop_all, self._expire]
        if not self._fixed_partitions:
            kinds.append(self._grow_input)
        kinds.append(self._grow_output)
        for _ in range(self.random.randint(10, 22)):
            kind = self.random.choice(kinds)
            self.clock.after(self.random.randint(0, self._length), kind)

    def _freeze(self) -> None:
        ms = self.random.choice([20, 100, 700])
        self._tell(f"the brokers freeze for {ms} ms")
        self.cluster.freeze(ms)

    def _move(self) -> None:
        topic = self.random.choice(list(self.cluster.topics))
        place = topic, self.random.randrange(len(self.cluster.topics[topic]))
        self._tell(f"the leader of {place[0]}/{place[1]} moves")
        self.cluster.move(place, self.random.choice([10, 60, 300]))

    def _cut(self) -> None:
        alive = [machine for machine in self._machines if machine.alive]
        if alive and self.random.choice(alive).cut():
            self._tell("connections are cut")
            self.cluster.count_fault("cut")

    def _kill(self) -> None:
        """Here and now, in whatever call it is."""
        if self._run is not None:
            raise Killed

    def _kill_soon(self) -> None:
        """Between two activations."""
        self._kill_at = self._turns + self.random.randint(0, 40)

    def _stop_all(self) -> None:
        self._stop = True

    def _expire(self) -> None:
        if self.cluster.expire():
            self._tell("the coordinator takes a transaction back")

    def _grow_input(self) -> None:
        topic = self.scenario.pack.topics_in[0]
        if len(self.cluster.topics[topic]) < 5:
            self._tell(f"{topic} grows")
            self.cluster.add_partitions(topic, 1)

    def _grow_output(self) -> None:
        topic = self.random.choice(self.scenario.outputs)
        if len(self.cluster.topics[topic]) < 4:
            self._tell(f"{topic} grows")
            self.cluster.add_partitions(topic, 1)

    # ---- starts and ends

    def _live(self) -> None:
        """Start again and again, until the faults are over and everything is read."""
        for _ in range(_MOST_STARTS):
            try:
                if self._execute():
                    return
                self._end("stopped")
            except Killed:
                self._tell("killed")
                self.cluster.count_fault("kill")
                self._end("killed")
            except (BrokerError, DeliveryError, SourceError, KafkaException, SystemError) as error:
                self._tell(f"gave up: {error}")
                self.cluster.count_fault("gave up")
                self._end("gave up")
            self.clock.advance(self.random.choice([0, 0, 10, 200]))
        self._violate(f"{_MOST_STARTS} starts did not suffice")

    def _execute(self) -> bool:
        """One execution; gives whether it was the last one."""
        processes, threads = self.random.choice([(1, 1), (1, 1), (2, 1), (3, 1), (1, 2), (2, 2)])
        self._stop = False
        self._kill_at = -1
        self._read_at = self.clock.now
        self._machines = [Machine(self.cluster) for _ in range(processes)]
        self._answered = []
        run = Run(
            self.scenario.plans[self.delivery],
            self.store,
            self.random,
            self.clock,
            processes=processes,
            threads=threads,
            interval_ms=self._interval,
        )
        self._run = run
        self._tell(f"start of {processes} x {threads} workers at epoch {run.epoch}")
        self._most_workers = self.fence_up_to(processes * threads)
        gone = [*range(processes * threads, self._most_workers)]
        starting = []
        for rank, machine in enumerate(self._machines):
            own = [*range(rank * threads, (rank + 1) * threads)]
            self.clock.advance(self.random.choice([0, 0, 10, 200]))  # none of them waits for another one yet
            starting.append(self._process(machine, run, own, gone))
        run.start(starting)
        self._tell("running")
        calm = self._length + _CALM_MS
        while not run.done:
            self._turns += 1
            if self._turns == self._kill_at:
                raise Killed
            if self._turns > _MOST_TURNS or self.clock.now > calm:
                self._violate("it does not come to an end")
                return True
            if run.turn():
                if self.random.random() < 0.2:
                    self.clock.advance(1)
            else:
                self._idle(run)
            if not self._stop and self._is_over():
                self._tell("all is read: stop")
                self._stop = True
        self._expect_nothing_to_replay()
        return self.clock.now > self._length and self._is_stored()

    def _is_over(self) -> bool:
        """Whether all is read and a while has gone by."""
        if self._turns % 8 or self.clock.now <= self._length:
            return False
        read: set[Place] = set().union(*(machine.finished() for machine in self._machines))
        if not all(
            (topic, number) in read
            for topic in self.scenario.pack.topics_in
            for number in range(len(self.cluster.topics[topic]))
        ):
            self._read_at = self.clock.now
        return self.clock.now > self._read_at + _DIGEST_MS

    def _expect_nothing_to_replay(self) -> None:
        """After a graceful stop the recovery store is behind every answer, unless older ones were still to come."""
        if any(self._answered):
            return
        offsets = self._stored()
        for origin in self._answers():
            address, _, offset = origin.rpartition("/")
            if int(offset) >= offsets.get(address, 0):
                self._violate(f"replayed: {origin} is answered, and read again after a graceful stop")

    def _stored(self) -> dict[str, int]:
        """The next offsets in the recovery store, by `topic/partition`."""
        offsets: dict[str, int] = {}
        for state in self.store.resume(1).get(_SOURCE, {}).values():
            offsets |= msgspec.msgpack.decode(unseal(state))["source"]["offsets"]
        return offsets

    def _is_stored(self) -> bool:
        """Whether the recovery store is behind the last record."""
        offsets = self._stored()
        return all(record.offset < offsets.get(f"{record.topic}/{record.partition}", 0) for record in self._records())

    def _idle(self, run: Run) -> None:
        times = [at for at in (run.wakes(), self.clock.happens_next()) if at is not None]
        self.clock.advance(max(1, min(times, default=0) - self.clock.now))

    def _process(self, machine: Machine, run: Run, own: list[int], gone: list[int]) -> Bindings:
        """What `dataflows.start` does in each process before Bytewax connects them.

        Args:
            machine: Where the process runs.
            run: The execution that it belongs to.
            own: The numbers of its workers.
            gone: Those of workers that there are no more.
        """

        def worker() -> int:
            return run.current

        def stop() -> bool:
            return self._stop and self._run is run

        consumer = {
            "group.id": APPLICATION,
            "auto.offset.reset": "error",
            "isolation.level": "read_committed",
            "enable.partition.eof": False,
        }
        outputs = self.scenario.outputs
        if self._first is None:
            self._first = machine.ends(outputs)
        fenced: dict[int, Any] = {}
        if self.delivery == "exactly_once":
            fenced = fence(self._config, APPLICATION, [*own, *gone], machine.producer)
        tails = Tails(consumer, lambda: machine.ends(outputs), self._first, client=machine.consumer)
        answered = Answered()
        self._answered.append(answered)
        topics = [*self.scenario.pack.topics_in, *outputs]
        source = KafkaSource(
            consumer,
            self.scenario.pack.topics_in,
            stop=stop,
            tails=tails,
            answered=answered,
            cluster=lambda: machine.watch(topics),
            client=machine.consumer,
            worker=worker,
            began={},
        )
        bindings: dict[str, Any] = {}
        if self.delivery == "exactly_once":
            transactional = TransactionalOutboxes(
                {number: fenced[number] for number in own}, worker, lambda: self.clock.now / 1000
            )
            outboxes: PerWorker = transactional
            bindings["fraud.commits"] = Commits(transactional, stop)
        else:
            outboxes = Outboxes(self._config, machine.producer, worker)
        sink = KafkaSink(outboxes)
        bindings[_SOURCE] = self.scenario.decoding(self.delivery, source, answered)
        bindings["fraud.dead_letters_out.sink"] = KafkaSink(outboxes, DEAD)
        for name in ("fraud_out", "review_out", "legit_out"):
            bindings[f"fraud.{name}.sink"] = sink
        return bindings

    def fence_up_to(self, workers: int) -> int:
        """The most workers there ever were, as `dataflows.store.deployment` remembers."""
        return max(self._most_workers, workers)

    def _end(self, how: str) -> None:
        """The processes of an execution are gone, or linger on as zombies."""
        run, machines = self._run, self._machines
        self._run = None
        self._machines = []
        if run is None:
            return
        if how != "stopped" and run.started and self.random.random() < 0.3:
            self._linger(run, machines)
            return
        for machine in machines:
            self._kill_machine(machine)

    def _kill_machine(self, machine: Machine) -> None:
        late = self.random.choice([0, 0, 5, 300, 1500])
        if machine.kill(lambda: self.random.randint(0, late)):
            self.cluster.count_fault("late request")
            self._tell("some of what it had sent still arrives")

    def _linger(self, run: Run, machines: list[Machine]) -> None:
        """Some processes go on for a while and do not know that others took over."""
        self.cluster.count_fault("zombie")
        run.detach()
        threads = len(run.workers) // len(machines)
        dead = self.random.sample(range(len(machines)), self.random.randint(0, len(machines) - 1))
        for number in dead:
            run.lose(range(number * threads, (number + 1) * threads))
            self._kill_machine(machines[number])
        left = [machine for machine in machines if machine.alive]
        self._tell(f"{len(left)} processes linger on")
        turns = self.random.randint(1, 60)
        busy = False

        def go_on() -> None:
            nonlocal turns, busy
            if busy:  # it waits in a call
                return
            busy = True
            try:
                run.turn()
            except (DeliveryError, SourceError, KafkaException, SystemError) as error:
                self._tell(f"a zombie gave up: {error}")
                turns = 0
            finally:
                busy = False
            turns -= 1
            if turns > 0 and not run.done:
                self.clock.after(self.random.choice([0, 1, 5, 40]), go_on)
            else:
                self._tell("the zombies are gone")
                for machine in left:
                    self._kill_machine(machine)

        self.clock.after(self.random.choice([0, 5, 100]), go_on)

    # ---- the count

    def _count(self) -> None:
        """What an independent reader says."""
        for topic in self.scenario.outputs:
            for number, partition in enumerate(self.cluster.topics[topic]):
                if partition.open:
                    self._violate(f"hanging: a transaction in {topic}/{number} is open for ever")
        found = self._answers()
        for origin, answer in self.scenario.answers(self._records()).items():
            answers = found.pop(origin, [])
            if len(answers) != 1:
                what = "doubled" if answers else "lost"
                self._violate(f"{what}: {origin} has {len(answers)} answers, expected 1")
            if any(given != answer for given in answers):
                self._violate(f"wrong: {origin} has {answers[0]}, expected {answer}")
        for origin in found:
            self._violate(f"foreign: {origin}")

    def _answers(self) -> dict[str, list[Answer]]:
        """Topic and value of all that a `read_committed` reader gets from the outputs, by the record it answers."""
        found: dict[str, list[Answer]] = {}
        for topic in self.scenario.outputs:
            for place, offset, (_, value, headers) in self.cluster.committed(topic):
                told = dict(headers or ()).get("fraud.origin")
                try:
                    origin = told.decode() if told else json.loads(value or b"")["verdict"]["origin"]
                except (ValueError, KeyError):
                    origin = f"no answer at {place[0]}/{place[1]}/{offset}"
                found.setdefault(origin, []).append((topic, value))
        return found

    def _records(self) -> list[Record]:
        return [
            Record(place[0], place[1], offset, entry.timestamp, *entry.payload)
            for topic in self.scenario.pack.topics_in
            for number, partition in enumerate(self.cluster.topics[topic])
            for place in [(topic, number)]
            for offset, entry in enumerate(partition.log)
            if entry.marker is None and not entry.aborted
        ]

    def _violate(self, what: str) -> None:
        self.outcome.violations.append(what)

    def _tell(self, what: str) -> None:
        self.outcome.trace.append(f"{self.clock.now:>6} ms  {what}")

    @contextmanager
    def _simulated(self) -> Iterator[None]:
        """The real code in simulated time, in one thread, and with fewer lanes."""
        changed = [
            (sources.kafka, "LANES", _LANES),
            (sources.kafka, "_LOOK_SECONDS", self._look_seconds),
            (sinks.transactions, "ThreadPoolExecutor", SerialPool),
        ]
        before = [getattr(module, name) for module, name, _ in changed]
        with self.clock.installed("broker", "sources", "sinks", "dataflows"):
            for module, name, value in changed:
                setattr(module, name, value)
            try:
                yield
            finally:
                for (module, name, _), value in zip(changed, before, strict=True):
                    setattr(module, name, value)


def silence() -> None:
    """Have the real code log nothing: a crash is no news here."""
    structlog.configure(processors=[_drop], cache_logger_on_first_use=False)


def _drop(*_: Any) -> Any:
    raise structlog.DropEvent
