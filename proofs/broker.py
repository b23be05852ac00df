"""Faults of the broker and of the network before it, under load, on a real Kafka.

    python -m proofs.broker                       # small: some of each
    python -m proofs.broker --size middle --state broker.json
    python -m proofs.broker --only freeze cut     # these kinds alone

- kill: SIGKILL of the broker, back after up to 3 s.
- freeze: the broker is stopped (SIGSTOP) while verdicts are on their way, the dataflow is killed, another one starts,
  and the broker wakes: what the killed one had sent is written late.
- cut: all connections, through a proxy: reset in the middle, answers lost though the request went through, half-open.
- move: three brokers; the leader of a partition is killed, or leadership goes back to where it belongs.
- too-large, deleted, revoked, full: what a broker refuses. The dataflow stops with one error and acknowledges nothing,
  and goes on exactly when the cause is gone.
"""

import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from random import Random
from time import monotonic, sleep
from typing import Any, Final

from confluent_kafka import KafkaException
from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ResourcePatternType,
    ResourceType,
)

from broker.logs import logs_to_stderr
from proofs.cluster import Cluster, Keeper
from proofs.deployment import Deployment, Feed, Meter, wait_until_done
from proofs.journal import Journal, Result, folder_of, parser, result
from proofs.nodes import PASSWORD, USER, Kafka, Leaders
from proofs.proxy import Cut, Proxy

_SIZES: Final = {
    "small": {"kill": 2, "freeze": 3, "cut": 8, "move": 2, "too-large": 1, "deleted": 1, "revoked": 1, "full": 1},
    "middle": {"kill": 20, "freeze": 30, "cut": 100, "move": 20, "too-large": 1, "deleted": 1, "revoked": 1, "full": 1},
    "full": {"kill": 100, "freeze": 200, "cut": 500, "move": 100}
    | dict.fromkeys(("too-large", "deleted", "revoked", "full"), 10),
}
_ROUND: Final = {"kill": 10, "freeze": 10, "cut": 25, "move": 10}
"""Faults of a kind in one round; of the others one."""

_RATE: Final = 1_500.0  # records a second
_BACK_SECONDS: Final = 90.0
_STOPS_SECONDS: Final = 120.0
_CUTS_TRIED: Final = 5
_CUTS: Final[tuple[Cut, ...]] = ("reset", "no answer", "half-open")


@dataclass(frozen=True)
class Round:
    """Some faults of one kind, on a Kafka of their own."""

    number: int
    kind: str
    faults: int


@dataclass
class Scene:
    """What a fault may touch.

    Attributes:
        kafka: The broker.
        deployment: What runs on it.
        cluster: Its processes.
        meter: How far it is.
        feed: Its records.
        rng: For all that is left to chance.
        since: Where to begin to count, by input partition.
        problems: What was not as it has to be.
        notes: What is worth knowing.
        until_counted: What has to be there until the dataflow has stopped.
    """

    kafka: Kafka
    deployment: Deployment
    cluster: Cluster
    meter: Meter
    feed: Feed
    rng: Random
    since: dict[str, int] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    notes: dict[str, Any] = field(default_factory=dict)
    until_counted: ExitStack = field(default_factory=ExitStack)

    def __post_init__(self) -> None:
        """Make a client that may do everything."""
        self.admin = AdminClient({"bootstrap.servers": self.kafka.address, "log_level": 0})


def rounds(size: str, only: list[str]) -> Iterator[Round]:
    """What a size consists of."""
    number = 0
    for kind, faults in _SIZES[size].items():
        for begin in range(0, faults, _ROUND.get(kind, 1)):
            if not only or kind in only:
                yield Round(number, kind, min(_ROUND.get(kind, 1), faults - begin))
            number += 1


def run(folder: Path, spec: Round, seed: int) -> Result:
    """Do one round, and count."""
    began = monotonic()
    with (
        _disk(spec.kind) as data,
        Kafka(nodes=3 if spec.kind == "move" else 1, secured=spec.kind == "revoked", data=data) as kafka,
    ):
        deployment = Deployment(folder, kafka.address, f"broker-{seed}-{spec.number}")
        deployment.create()
        meter = Meter(deployment)
        rng = Random(f"{seed}-{spec.number}")
        cluster = Cluster(deployment, snapshot_seconds=rng.choice((1, 2)))
        feed = Feed(deployment, rng.getrandbits(32), _RATE)
        scene = Scene(kafka, deployment, cluster, meter, feed, rng)
        try:
            took_effect = _KINDS[spec.kind](scene, spec.faults)
            scene.feed.finish()
            if not wait_until_done(meter):
                scene.problems.append(f"stood still with {meter.behind():,} to go: {cluster.errors()[-1:]}")
            codes = cluster.stop()
            if any(codes):
                scene.problems.append(f"expected exit code 0 when told to stop, got {codes}: {cluster.errors()[-1:]}")
        finally:
            cluster.kill()
            scene.until_counted.close()
            scene.feed.finish()
            meter.close()
        return result(
            deployment.count(since=scene.since),
            deployment.expected(scene.since),
            round=spec.number,
            kind=spec.kind,
            injected=spec.faults,
            took_effect=took_effect,
            problems=scene.problems,
            notes={**scene.notes, "seconds": round(monotonic() - began)},
        )


@contextmanager
def _disk(kind: str) -> Iterator[Path | None]:
    """A disk that can be filled, where one is needed."""
    if kind != "full":
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="fraud-disk-") as folder:
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256m", "tmpfs", folder], check=True)
        try:
            data = Path(folder) / "data"
            data.mkdir()
            yield data
        finally:
            subprocess.run(["umount", "--lazy", folder], check=True)


def _kill(scene: Scene, faults: int) -> int:
    keeper = Keeper(scene.cluster, 1)
    hits = 0
    for _ in range(faults):
        judging = _goes_on(scene)
        sleep(scene.rng.uniform(0.0, 1.5))
        scene.kafka.kill()
        sleep(scene.rng.uniform(0.0, 3.0))
        scene.kafka.revive()
        back = _goes_on(scene)
        hits += judging and back
    keeper.end()
    scene.notes["restarts"] = keeper.restarts
    return hits


def _freeze(scene: Scene, faults: int) -> int:
    hits = restarts = 0
    scene.cluster.start()
    for _ in range(faults):
        judging = _goes_on(scene)
        scene.feed.burst(10_000)  # more than is judged at once: some is on its way when the broker stops
        sleep(scene.rng.uniform(0.0, 0.15))
        scene.kafka.pause()
        sleep(scene.rng.uniform(0.05, 1.0))
        scene.cluster.kill()
        scene.cluster.start()
        sleep(scene.rng.uniform(0.5, 5.0))
        scene.kafka.resume()
        keeper = Keeper(scene.cluster, 1, start=False)  # it waits for a broker, but not for ever
        hits += judging and _goes_on(scene)
        keeper.end()
        restarts += keeper.restarts
    scene.notes["restarts"] = restarts
    return hits


def _cut(scene: Scene, faults: int) -> int:
    hits = 0
    proxy = scene.until_counted.enter_context(Proxy(scene.kafka.proxy, scene.kafka.proxied))
    scene.cluster.environment["KAFKA_BROKER_URL"] = f"127.0.0.1:{scene.kafka.proxy}"
    keeper = Keeper(scene.cluster, 1)
    for number in range(faults):
        hits += _cuts_something(scene, proxy, _CUTS[number % len(_CUTS)])
    if not _goes_on(scene):
        scene.problems.append("expected verdicts after the last cut, got none")
    keeper.end()
    scene.notes["restarts"] = keeper.restarts
    return hits


def _cuts_something(scene: Scene, proxy: Proxy, how: Cut) -> bool:
    """Cut, and again if nobody said anything meanwhile: that was no fault."""
    for _ in range(_CUTS_TRIED):
        scene.meter.grows(_BACK_SECONDS)
        sleep(scene.rng.uniform(0.0, 1.0))
        if proxy.cut(how, scene.rng.uniform(0.02, 1.0)):
            return True
    return False


def _move(scene: Scene, faults: int) -> int:
    pack, settings = scene.deployment.pack, scene.deployment.settings
    topics = [scene.deployment.clicks, scene.deployment.payments, *pack.topics_out, settings.dead_letter_topic]
    leaders = Leaders(scene.kafka.address, topics)
    keeper = Keeper(scene.cluster, 1)
    hits = 0
    for number in range(faults):
        judging = _goes_on(scene)
        before = leaders.now()
        if number % 2:
            leaders.elect_preferred()
            sleep(1.0)
            moved = _moved(leaders, before)
        else:
            node = scene.rng.choice([leader for leader in before.values() if leader >= 0])
            scene.kafka.kill(node)
            sleep(scene.rng.uniform(0.5, 4.0))
            moved = _eventually(partial(_moved, leaders, before))
            scene.kafka.revive(node)
            if not _eventually(lambda: leaders.in_sync() > 2):
                scene.problems.append(f"node {node} did not catch up")
        hits += judging and moved and _goes_on(scene)
    keeper.end()
    scene.notes["restarts"] = keeper.restarts
    return hits


def _moved(leaders: Leaders, before: dict[tuple[str, int], int]) -> bool:
    return leaders.now() != before


def _too_large(scene: Scene, _: int) -> int:
    def limit(size: int) -> None:
        entry = ConfigEntry("max.message.bytes", str(size), incremental_operation=AlterConfigOpType.SET)
        topic = ConfigResource(
            ConfigResource.Type.TOPIC, scene.deployment.settings.legit_topic, incremental_configs=[entry]
        )
        for future in scene.admin.incremental_alter_configs([topic]).values():
            future.result()

    return _refused(scene, lambda: limit(200), lambda: limit(2_097_152))


def _deleted(scene: Scene, _: int) -> int:
    def delete() -> None:
        # What it held is gone with it: only later records can be held against the promise.
        scene.feed.finish()
        wait_until_done(scene.meter)
        scene.since.update(scene.meter.ends())
        scene.admin.delete_topics([topic])[topic].result()
        sleep(1.0)
        scene.feed = Feed(scene.deployment, scene.rng.getrandbits(32), _RATE)

    topic = scene.deployment.settings.legit_topic
    return _refused(scene, delete, scene.deployment.create)


def _revoked(scene: Scene, _: int) -> int:
    def acl(kind: ResourceType, name: str, permission: AclPermissionType, operation: AclOperation) -> AclBinding:
        return AclBinding(kind, name, ResourcePatternType.LITERAL, f"User:{USER}", "*", operation, permission)

    admin = scene.admin
    topic = scene.deployment.settings.legit_topic
    kinds = (ResourceType.TOPIC, ResourceType.GROUP, ResourceType.TRANSACTIONAL_ID, ResourceType.BROKER)
    names = {ResourceType.BROKER: "kafka-cluster"}
    allowed = [acl(kind, names.get(kind, "*"), AclPermissionType.ALLOW, AclOperation.ALL) for kind in kinds]
    denied = acl(ResourceType.TOPIC, topic, AclPermissionType.DENY, AclOperation.WRITE)
    for future in admin.create_acls(allowed).values():
        future.result()
    scene.cluster.environment.update(
        KAFKA_BROKER_URL=scene.kafka.secured,
        KAFKA_SECURITY_PROTOCOL="SASL_PLAINTEXT",
        KAFKA_SASL_MECHANISM="PLAIN",
        KAFKA_SASL_USERNAME=USER,
        KAFKA_SASL_PASSWORD=PASSWORD,
    )

    def revoke() -> None:
        admin.create_acls([denied])[denied].result()

    def grant() -> None:
        bad = AclBindingFilter(
            denied.restype,
            denied.name,
            denied.resource_pattern_type,
            denied.principal,
            denied.host,
            denied.operation,
            denied.permission_type,
        )
        admin.delete_acls([bad])[bad].result()

    return _refused(scene, revoke, grant)


def _full(scene: Scene, _: int) -> int:
    """The broker halts when its disk is full; the dataflow waits for it, and says so after five minutes."""
    keeper = Keeper(scene.cluster, 1)
    hit = scene.meter.grows(_BACK_SECONDS)
    filler = scene.kafka.data / "filler"
    with filler.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(65_536))
        except OSError:
            pass
    halted = _eventually(scene.kafka.has_ended, seconds=60)
    if not halted:
        scene.problems.append("expected the broker to halt, got one that goes on")
    sleep(5.0)
    filler.unlink()
    scene.kafka.restart()
    if not _goes_on(scene):
        scene.problems.append("expected verdicts when there is room again, got none")
    keeper.end()
    scene.notes["restarts"] = keeper.restarts
    return int(hit and halted)


def _refused(scene: Scene, refuse: Callable[[], None], mend: Callable[[], None]) -> int:
    """Have the broker refuse, see the dataflow stop and acknowledge nothing, mend it, and have it go on."""
    scene.cluster.start()
    if not scene.meter.grows(_BACK_SECONDS):
        scene.problems.append(f"expected verdicts at first, got {scene.cluster.errors()[-1:]}")
        return 0
    refuse()
    began = monotonic()
    stopped = scene.cluster.wait(_STOPS_SECONDS)
    if not stopped:
        scene.problems.append(f"expected it to stop within {_STOPS_SECONDS:g} s")
    scene.notes["stopped after s"] = round(monotonic() - began, 1)
    codes = scene.cluster.codes()
    errors = scene.cluster.errors()
    if not all(codes):
        scene.problems.append(f"expected an exit code that is not 0, got {codes}")
    if len(errors) != 1:
        scene.problems.append(f"expected one line of error, got {len(errors)}: {errors}")
    scene.notes["said"] = "; ".join(errors)
    mend()
    if lost := scene.deployment.count(since=scene.since).lost:
        scene.problems.append(f"{lost:,} records were acknowledged and not answered")
    scene.cluster.start()
    if not _goes_on(scene):
        scene.problems.append(f"expected verdicts when it is mended, got none: {scene.cluster.errors()[-1:]}")
    return int(stopped)


def _goes_on(scene: Scene) -> bool:
    return scene.meter.goes_on(_BACK_SECONDS)


def _eventually(condition: Callable[[], bool], seconds: float = 30.0) -> bool:
    deadline = monotonic() + seconds
    while monotonic() < deadline:
        try:
            if condition():
                return True
        except KafkaException:  # the broker is away
            pass
        sleep(0.1)
    return False


_KINDS: Final[dict[str, Callable[[Scene, int], int]]] = {
    "kill": _kill,
    "freeze": _freeze,
    "cut": _cut,
    "move": _move,
    "too-large": _too_large,
    "deleted": _deleted,
    "revoked": _revoked,
    "full": _full,
}


def main() -> int:
    """Run what is not done yet."""
    options = parser(__doc__ or "")
    options.add_argument("--only", nargs="+", choices=list(_KINDS), default=[], help="these kinds of faults alone")
    given = options.parse_args()
    logs_to_stderr()
    journal = Journal("broker", {"size": given.size, "seed": given.seed, "only": given.only}, given.state)
    with folder_of(given.keep) as folder:
        for spec in rounds(given.size, given.only):
            if not journal.has(spec.number):
                journal.add(run(folder / f"round-{spec.number}", spec, given.seed))
    return journal.close()


if __name__ == "__main__":
    sys.exit(main())
