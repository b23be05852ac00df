"""A model: actions in any order against a real Kafka and real processes, and after each wait for the rest a count.

    python -m proofs.model                       # small: 60 steps
    python -m proofs.model --size middle --state model.json    # 300
    python -m proofs.model --size full --state model.json      # 2,000

Hypothesis chooses the actions of a round and what they are done with; which ones is decided by the seed. Real processes
take their own time, so what a fault hits is not. Each round has topics of its own. An action is a burst of records, a
fault, a rescale, a partition more, another pack, or `catch_up`: wait until all is judged, and count. Each record must
have one answer then, and that of a click must be what the naive oracle says with the pack that the verdict names, which
must be one of those in force meanwhile; a verdict that calls a feature `warming` need not be what the oracle says.

A fault took effect if the dataflow ran and records were on their way, or the broker did not answer and it ran.
"""

import signal
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from random import Random
from time import monotonic, sleep, time_ns
from typing import ClassVar, Final, Literal, NamedTuple, TypeAlias, get_args

import msgspec
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewPartitions  # type: ignore[attr-defined]
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test

from broker.apache import ApacheKafka
from broker.config import consumer_config, producer_config
from broker.logs import logs_to_stderr
from detection.ledger import Report, origin_of
from detection.loading import load
from proofs.cluster import Cluster
from proofs.deployment import PARTITIONS, Answer, Deployment, Meter, answers
from proofs.journal import Journal, Result, folder_of, parser
from proofs.planting import BUGS
from proofs.traffic import RUBBISH_VALUES, Kind, Traffic
from simulation.traffic import SECOND
from sources.reading import headers_of

Disorder: TypeAlias = Literal["in order", "out of order", "doubled", "very late", "rubbish"]
Packs: TypeAlias = Literal["shipped", "a rule more", "a feature more"]

_SIZES: Final = {"small": (5, 12), "middle": (20, 15), "full": (100, 20)}
"""Rounds, and the steps of each."""

FAULTS: Final = frozenset({"crash", "freeze", "freeze_broker", "rescale", "add_partition", "change_pack", "stop"})
KINDS: Final = FAULTS | {"produce", "start", "thaw", "thaw_broker", "catch_up"}

_STEP: Final = 5_000  # us of event time from record to record: a burst or two fill the windows
_MOST_PARTITIONS: Final = 6
_VERDICT_SECONDS: Final = 30.0
_STALL_SECONDS: Final = 120.0
_UP_SECONDS: Final = 10.0
_LISTENS_SECONDS: Final = 60.0

_MORE: Final[Mapping[Packs, str]] = {
    "shipped": "",
    "a rule more": """
[rule.second_click]
on = "click"
when = "clicks_on_url == 2"
reason = "A second click on {url}"
score = 10
outcome = "review"
""",
    "a feature more": """
[feature.clicks_of_session]
on = "click"
key = ["session_id"]
fn = "count"
window = "20s"

[rule.busy_session]
on = "click"
when = "clicks_of_session >= 4"
reason = "{clicks_of_session} clicks in 20 s"
score = 20
outcome = "review"
""",
}


class _Verdict(msgspec.Struct):
    pack: str
    warming: list[str] = []


class _Judged(msgspec.Struct):
    verdict: _Verdict


_judged: Final = msgspec.json.Decoder(_Judged).decode


class World:
    """A broker, a dataflow, and what was done to them.

    Attributes:
        processes: How many the dataflow is to have; 0: none.
        frozen: Whether some of them are.
        broker_frozen: Whether the broker is.
        partitions: How many the topics of the inputs have.
        took_effect: How many faults did.
        ended_by_itself: How often the dataflow did, and had to be started again.
        checks: How often all was counted.
        compared: How many answers were compared with the oracle's,
        warming: and how many were not, because a feature was warming.
        differs: Whether one was another.
        report: The last count.
        done: What was done, in words.
        problems: What was not as it has to be.
    """

    def __init__(self, kafka: ApacheKafka, folder: Path, name: str, chance: Random, bug: str = "") -> None:
        """Make topics and start one process; a bug is one of `proofs.planting`."""
        self._kafka = kafka
        self._deployment = Deployment(folder, kafka.address, name)
        self._deployment.create()
        self._text = (folder / "clicks.toml").read_text()
        self._cluster = Cluster(self._deployment, snapshot_seconds=chance.choice((1, 2)), bug=bug)
        self._meter = Meter(self._deployment)
        self._admin = AdminClient({"bootstrap.servers": kafka.address, "log_level": 0})
        self._chance = chance
        self._at = time_ns() // 1_000
        self._begin_stream()
        self._packs = {self._deployment.pack.hash: self._deployment.pack}
        self._pack_now = self._deployment.pack.hash
        self._in_force = {self._pack_now}
        self._checked: dict[str, int] = {}
        self._excused = False
        self.partitions: dict[Kind, int] = dict.fromkeys(get_args(Kind), PARTITIONS)
        self.frozen = self.broker_frozen = self.differs = False
        self.took_effect = self.ended_by_itself = self.checks = self.warming = self.compared = 0
        self.report: Report | None = None
        self.done: list[str] = []
        self.problems: list[str] = []
        self.processes = 1
        self._cluster.start()

    def act(self, action: "Action") -> None:
        """Do something, unless something went wrong before."""
        if self.problems:
            return
        self.done.append(f"{action.kind} {action.told}".rstrip())
        self._restart_if_ended()
        self.took_effect += bool(action.do(self))

    def finish(self) -> None:
        """Wait until all is judged, stop, and count once more."""
        for do in (self.catch_up, self.stop, self._check):
            if not self.problems:
                do()

    def produce(self, records: int, disorder: Disorder) -> None:
        """Send records, without waiting until they are there."""
        for _ in range(records):
            self._at += _STEP
            at = self._at
            if disorder == "out of order":
                at -= self._chance.randrange(300 * SECOND)
            elif disorder == "very late":
                at -= 2 * 3600 * SECOND
            for kind, key, value in self._traffic.next(at):
                if disorder == "rubbish":
                    key, value = b"rubbish-%d" % self._chance.randrange(16), self._chance.choice(RUBBISH_VALUES)  # noqa: PLW2901
                for _ in range(2 if disorder == "doubled" else 1):
                    self._producer.produce(self._topic(kind), value, key)
            self._producer.poll(0)

    def start(self, processes: int) -> None:
        """Start so many."""
        self.processes = processes
        self._excused = self.broker_frozen  # nothing has befallen these
        self._cluster.start(processes)

    def crash(self, *, everybody: bool, after: float) -> bool:
        """`kill -9`."""
        sleep(after)
        hit = self._is_hit()
        self._cluster.kill(
            None if everybody else [self._chance.randrange(self.processes)], peers_end=self._chance.random() < 1 / 2
        )
        self.processes, self.frozen = 0, False
        return hit

    def freeze(self, *, everybody: bool, after: float) -> bool:
        """SIGSTOP."""
        sleep(after)
        hit = self._is_hit()
        self._cluster.signal(signal.SIGSTOP, None if everybody else [self._chance.randrange(self.processes)])
        self.frozen = self._excused = True
        return hit

    def thaw(self) -> None:
        """SIGCONT."""
        self._cluster.signal(signal.SIGCONT)
        self.frozen = False

    def freeze_broker(self, after: float) -> bool:
        """SIGSTOP of the broker."""
        sleep(after)
        hit = self._is_hit()
        self._kafka.pause()
        self.broker_frozen = self._excused = True
        return hit

    def thaw_broker(self) -> None:
        """SIGCONT of the broker."""
        self._kafka.resume()
        self.broker_frozen = False

    def stop(self) -> bool:
        """SIGTERM, once it is up."""
        hit = self._is_hit()
        if hit:
            self._meter.grows(_VERDICT_SECONDS)
        else:
            # Who is told before it listens just ends, and its peers wait for it in vain.
            self._cluster.catches(signal.SIGTERM, _LISTENS_SECONDS)
            sleep(max(0.0, self._cluster.started + _UP_SECONDS - monotonic()))
        self._restart_if_ended()
        if any(codes := self._cluster.stop()) and not self._excused:
            self.problems.append(f"expected exit code 0 when told to stop, got {codes}: {self._cluster.errors()[-1:]}")
        self.processes = 0
        return hit

    def rescale(self, processes: int, *, kill: bool) -> bool:
        """Go on with so many."""
        hit = self._end(kill=kill)
        self.start(processes)
        return hit

    def change_pack(self, packs: Packs, *, kill: bool) -> bool:
        """Go on with another pack."""
        processes = self.processes
        hit = self._end(kill=kill)
        (self._deployment.folder / "clicks.toml").write_text(self._text + _MORE[packs])
        names = [self._deployment.folder / f"{name}.toml" for name in ("clicks", "payments")]
        pack = load(names, self._deployment.settings.topics)
        self._packs[pack.hash] = pack
        self._in_force.add(pack.hash)
        self._pack_now = pack.hash
        self.start(processes)
        return hit

    def add_partition(self, kind: Kind) -> bool:
        """One more; the clicks from then on are those of other sessions, since keys change their partition with it."""
        hit = self._is_hit()
        topic, count = self._topic(kind), self.partitions[kind] + 1
        self._flush()
        self._admin.create_partitions([NewPartitions(topic, count)])[topic].result()
        while len(self._admin.list_topics(topic, timeout=10).topics[topic].partitions) < count:
            sleep(0.1)
        self.partitions[kind] = count
        self._meter.close()
        self._meter = Meter(self._deployment)
        self._begin_stream()
        return hit

    def catch_up(self) -> None:
        """Wait until all is judged, and count."""
        if self.broker_frozen:
            self.thaw_broker()
        if self.frozen:
            self.thaw()
        self._flush()
        if not self.processes:
            self.start(1)
        left, since = -1, monotonic()
        while left:
            self._restart_if_ended()
            now_left = self._behind()
            if now_left != left:
                left, since = now_left, monotonic()
            if monotonic() - since > _STALL_SECONDS:
                self.problems.append(f"stood still with {left:,} to go: {self._cluster.errors()[-1:]}")
                return
            sleep(0.2)
        self._check()

    def close(self) -> None:
        """End all that was started."""
        if self.broker_frozen:
            self.thaw_broker()
        self._cluster.kill()
        self._meter.close()

    def _check(self) -> None:
        self.checks += 1
        self.report = report = self._deployment.count()
        if report.lost or report.pending or report.doubled or report.foreign or report.held_back:
            self.problems.append(f"not exact: {report.examples}, held back {report.held_back}")
        found = dict(_answered(self._deployment, self._checked))
        clicks = self._deployment.clicks
        for number in range(self.partitions["clicks"]):
            address, records = f"{clicks}/{number}", list(self._deployment.records(clicks, number))
            begin = self._checked.get(address, 0)
            oracles = {name: list(answers(pack, records)) for name, pack in self._packs.items()}
            for place, record in enumerate(records):
                if record.offset < begin or (answer := found.get(record.origin)) is None:
                    continue
                if problem := self._differs(answer, {name: said[place] for name, said in oracles.items()}):
                    self.differs = True
                    self.problems.append(f"{record.origin}: {problem}")
                    return
            self._checked[address] = len(records)
        self._in_force = {self._pack_now}
        self._excused = self.frozen or self.broker_frozen

    def _differs(self, answer: Answer, oracles: Mapping[str, Answer]) -> str:
        """What is wrong with an answer."""
        self.compared += 1
        if answer.error is not None:
            pack = self._pack_now  # a dead letter names none, and does not depend on it
        else:
            verdict = _judged(answer.value or b"").verdict
            pack = verdict.pack
            if pack not in self._in_force:
                return f"expected a verdict of {', '.join(sorted(self._in_force))}, got one of {pack}"
            if verdict.warming:
                self.warming += 1
                return ""
        expected = oracles[pack]
        return "" if answer == expected else f"expected {expected}, got {answer}"

    def _end(self, *, kill: bool) -> bool:
        if kill or self.frozen or self.broker_frozen:
            return self.crash(everybody=True, after=0.0)
        return self.stop()

    def _is_hit(self) -> bool:
        return self._cluster.is_running() and (self.broker_frozen or self._behind() > 0)

    def _behind(self) -> int:
        """How many records the group has not committed; asked again while the broker is young, or has just woken."""
        deadline = monotonic() + _STALL_SECONDS
        while True:
            try:
                return self._meter.behind()
            except KafkaException:
                if monotonic() > deadline:
                    raise
                sleep(0.2)

    def _restart_if_ended(self) -> None:
        """Start again what has ended by itself: it may when it or the broker was frozen, else not."""
        if not self.processes or self._cluster.is_running():
            return
        self.ended_by_itself += 1
        if not self._excused:
            self.problems.append(f"ended by itself, {self._cluster.codes()}: {self._cluster.errors()[-1:]}")
        self._cluster.kill(peers_end=True)
        self.frozen = False
        self.start(self.processes)

    def _begin_stream(self) -> None:
        self._traffic = Traffic(self._chance.getrandbits(32))
        self._producer = Producer({**producer_config(self._deployment.settings), "client.id": "model"})

    def _flush(self) -> None:
        while self._producer.flush(1.0):
            pass

    def _topic(self, kind: Kind) -> str:
        return self._deployment.clicks if kind == "clicks" else self._deployment.payments


def _answered(deployment: Deployment, since: Mapping[str, int]) -> Iterator[tuple[str, Answer]]:
    """The answers to records from some offsets on, by their origins, as a `read_committed` reader sees them."""
    dead_letters = deployment.settings.dead_letter_topic
    for message in _read(deployment):
        error = None
        origin = origin_of(message.value())
        if message.topic() == dead_letters:
            headers = dict(headers_of(message) or ())
            origin, error = (headers["fraud.origin"] or b"").decode(), headers["fraud.error"]
        address, _, offset = (origin or "/-1").rpartition("/")
        if origin is not None and int(offset) >= since.get(address, 0):
            yield origin, Answer(message.key(), message.value(), error)


def _read(deployment: Deployment) -> Iterator[Message]:
    """All records of the outputs."""
    config = {**consumer_config(deployment.settings), "auto.offset.reset": "earliest", "enable.partition.eof": True}
    consumer = Consumer(config)
    try:
        topics = [*dict.fromkeys(deployment.pack.topics_out), deployment.settings.dead_letter_topic]
        open_parts = {(topic, number) for topic in topics for number in range(deployment.partitions(topic))}
        consumer.assign([TopicPartition(topic, number, 0) for topic, number in open_parts])
        while open_parts:
            for message in consumer.consume(10_000, 0.2):
                error = message.error()
                if error is None:
                    yield message
                elif error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001  (confluent_kafka names its own codes so)
                    open_parts.discard((str(message.topic()), message.partition() or 0))
                else:
                    raise KafkaException(error)
    finally:
        consumer.close()


class Action(NamedTuple):
    """Something to do.

    Attributes:
        kind: What, as it is counted.
        told: With what, in words.
        do: Does it; gives whether a fault took effect.
    """

    kind: str
    told: str
    do: Callable[[World], bool | None]


_RECORDS: Final = st.integers(0, 3_000)
_AFTER: Final = st.floats(0.0, 2.0)
_PROCESSES: Final = st.integers(1, 3)


class Plan(RuleBasedStateMachine):
    """Which actions can follow which; faults come with a burst that is on its way.

    Attributes:
        actions: What is to be done.
    """

    made: ClassVar[list[list[Action]]] = []

    def __init__(self) -> None:
        super().__init__()
        self.actions: list[Action] = []
        self.made.append(self.actions)
        self.runs, self.frozen, self.broker_frozen = True, False, False
        self.partitions = dict.fromkeys(get_args(Kind), PARTITIONS)

    @rule(records=st.integers(1, 3_000), disorder=st.sampled_from(get_args(Disorder)))
    def produce(self, records: int, disorder: Disorder) -> None:
        """A burst."""
        self._plan("produce", lambda world: world.produce(records, disorder), records, disorder)

    @precondition(lambda self: not self.runs)
    @rule(processes=_PROCESSES)
    def start(self, processes: int) -> None:
        """Start some processes."""
        self.runs = True
        self._plan("start", lambda world: world.start(processes), processes)

    @precondition(lambda self: self.runs)
    @rule(records=_RECORDS, after=_AFTER)
    def crash_all(self, records: int, after: float) -> None:
        """`kill -9` of all."""
        self.runs = self.frozen = False
        self._disturb("crash", records, lambda world: world.crash(everybody=True, after=after), "all", after)

    @precondition(lambda self: self.runs)
    @rule(records=_RECORDS, after=_AFTER)
    def crash_one(self, records: int, after: float) -> None:
        """`kill -9` of one, after which the others end."""
        self.runs = self.frozen = False
        self._disturb("crash", records, lambda world: world.crash(everybody=False, after=after), "one", after)

    @precondition(lambda self: self.runs and not self.frozen)
    @rule(records=_RECORDS, everybody=st.booleans(), after=_AFTER)
    def freeze(self, records: int, *, everybody: bool, after: float) -> None:
        """SIGSTOP."""
        self.frozen = True
        self._disturb("freeze", records, lambda world: world.freeze(everybody=everybody, after=after), everybody, after)

    @precondition(lambda self: self.frozen)
    @rule()
    def thaw(self) -> None:
        """SIGCONT."""
        self.frozen = False
        self._plan("thaw", World.thaw)

    @precondition(lambda self: not self.broker_frozen)
    @rule(records=_RECORDS, after=_AFTER)
    def freeze_broker(self, records: int, after: float) -> None:
        """SIGSTOP of the broker."""
        self.broker_frozen = True
        self._disturb("freeze_broker", records, lambda world: world.freeze_broker(after), after)

    @precondition(lambda self: self.broker_frozen)
    @rule()
    def thaw_broker(self) -> None:
        """SIGCONT of the broker."""
        self.broker_frozen = False
        self._plan("thaw_broker", World.thaw_broker)

    @precondition(lambda self: self.runs and not self.frozen and not self.broker_frozen)
    @rule(records=_RECORDS)
    def stop(self, records: int) -> None:
        """SIGTERM."""
        self.runs = False
        self._disturb("stop", records, World.stop)

    @precondition(lambda self: self.runs)
    @rule(records=_RECORDS, processes=_PROCESSES, kill=st.booleans())
    def rescale(self, records: int, processes: int, *, kill: bool) -> None:
        """Another number of processes."""
        self.frozen = False
        self._disturb("rescale", records, lambda world: world.rescale(processes, kill=kill), processes, kill)

    @precondition(lambda self: self.runs)
    @rule(records=_RECORDS, packs=st.sampled_from(get_args(Packs)), kill=st.booleans())
    def change_pack(self, records: int, packs: Packs, *, kill: bool) -> None:
        """Another pack."""
        self.frozen = False
        self._disturb("change_pack", records, lambda world: world.change_pack(packs, kill=kill), packs, kill)

    @precondition(lambda self: not self.broker_frozen and min(self.partitions.values()) < _MOST_PARTITIONS)
    @rule(records=_RECORDS, data=st.data())
    def add_partition(self, records: int, data: st.DataObject) -> None:
        """A partition more."""
        kind = data.draw(st.sampled_from([kind for kind, count in self.partitions.items() if count < _MOST_PARTITIONS]))
        self.partitions[kind] += 1
        self._disturb("add_partition", records, lambda world: world.add_partition(kind), kind)

    @rule()
    def catch_up(self) -> None:
        """Wait, and count."""
        self.runs, self.frozen, self.broker_frozen = True, False, False
        self._plan("catch_up", World.catch_up)

    def _disturb(self, kind: str, records: int, do: Callable[[World], bool | None], *told: object) -> None:
        def disturb(world: World) -> bool | None:
            world.produce(records, "in order")
            return do(world)

        self._plan(kind, disturb, records, *told)

    def _plan(self, kind: str, do: Callable[[World], bool | None], *told: object) -> None:
        words = " ".join(f"{word:.2f}" if isinstance(word, float) else str(word) for word in told)
        self.actions.append(Action(kind, words, do))


def plan(steps: int, chance: str) -> list[Action]:
    """So many actions; the same `chance`, the same ones."""
    made = settings(
        max_examples=2,
        stateful_step_count=steps,
        phases=[Phase.generate],
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    Plan.made.clear()
    run_state_machine_as_test(seed(chance)(Plan), settings=made)
    return Plan.made[-1]  # the first example is always the simplest: the first action over and over


def run(kafka: ApacheKafka, folder: Path, number: int, actions: Sequence[Action], *, of: int, bug: str = "") -> Result:
    """Do one round, and count."""
    began = monotonic()
    world = World(kafka, folder, f"model-{of}-{number}", Random(f"{of}-{number}"), bug)
    try:
        for action in actions:
            world.act(action)
        world.finish()
    finally:
        world.close()
    report = world.report
    kinds = Counter(action.kind for action in actions)
    problems = [f"{problem}; seed {of}-{number}, after: {'; '.join(world.done)}" for problem in world.problems]
    return Result(
        round=number,
        kind=f"{len(world.done)} steps",
        injected=sum(count for kind, count in kinds.items() if kind in FAULTS),
        took_effect=world.took_effect,
        records=report.records if report else 0,
        lost=report.lost + report.pending if report else 0,
        doubled=report.doubled if report else 0,
        foreign=report.foreign if report else 0,
        content="differs" if world.differs else "equal" if world.compared else "not compared",
        problems=problems,
        notes={
            **dict(sorted(kinds.items())),
            "checks": world.checks,
            "compared": world.compared,
            "warming": world.warming,
            "ended by itself": world.ended_by_itself,
            "seconds": round(monotonic() - began),
        },
    )


def main() -> int:
    """Run what is not done yet."""
    options = parser(__doc__ or "")
    options.add_argument("--bug", choices=BUGS, default="", help="plant one: is it found?")
    given = options.parse_args()
    logs_to_stderr()
    journal = Journal("model", {"size": given.size, "seed": given.seed, "bug": given.bug}, given.state)
    rounds, steps = _SIZES[given.size]
    todo = [number for number in range(rounds) if not journal.has(number)]
    print(f"model: seed {given.seed}, {rounds} rounds of {steps} steps")
    if todo:
        with folder_of(given.keep) as folder, ApacheKafka() as kafka:
            for number in todo:
                actions = plan(steps, f"{given.seed}-{number}")
                place = folder / f"round-{number}"
                journal.add(run(kafka, place, number, actions, of=given.seed, bug=given.bug))
    kinds = Counter[str]()
    for done in journal.results:
        kinds.update({kind: count for kind, count in done.notes.items() if kind in KINDS})
    by_kind = ", ".join(f"{kind} {count}" for kind, count in kinds.most_common())
    print(f"model: steps {kinds.total():,}: {by_kind}; faults injected {sum(kinds[kind] for kind in FAULTS):,}")
    return journal.close()


if __name__ == "__main__":
    sys.exit(main())
