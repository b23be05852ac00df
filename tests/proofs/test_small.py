"""The proofs on a real Kafka, as small as they get: the commands do more of the same."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from broker.apache import ApacheKafka
from proofs import backlog, broker, kills, model, same
from proofs.nodes import Kafka
from tests.conftest import Broker
from tests.proofs.conftest import told

pytestmark = pytest.mark.kafka


@pytest.mark.parametrize(
    ("processes", "kinds"),
    [
        (1, [kills.RANDOM, "after a commit", "while the tails are read", "between lanes of one snapshot"]),
        (3, [kills.RANDOM, "before a commit", "while it stops", kills.RANDOM]),
    ],
    ids=["one process", "three processes"],
)
def test_kills_at_random_and_at_points_are_exact(
    processes: int, kinds: Sequence[str], seed: int, kafka: Broker, tmp_path: Path
) -> None:
    done = kills.run(kafka.address, tmp_path, kills.Round(0, kinds, processes, 8_000), seed)

    assert done.holds, told(done)
    assert done.content == "equal"
    assert done.records >= 8_000
    assert done.took_effect > len(kinds) // 2, told(done)


def test_a_bug_is_found(seed: int, kafka: Broker, tmp_path: Path) -> None:
    # Not every kill comes between verdicts and their snapshot.
    spec = kills.Round(0, [kills.RANDOM] * 5, 1, 6_000)
    done = kills.run(kafka.address, tmp_path, spec, seed, "no resume filter")

    assert done.doubled, told(done)


@pytest.mark.parametrize(("kind", "faults"), [("kill", 1), ("freeze", 1), ("cut", 3)])
def test_faults_of_broker_and_network_are_exact(kind: str, faults: int, seed: int, tmp_path: Path) -> None:
    done = broker.run(tmp_path, broker.Round(0, kind, faults), seed)

    assert done.holds, told(done)
    assert done.content == "equal"
    assert done.took_effect == faults, told(done)


@pytest.mark.parametrize("kind", ["clock", "rescale"])
def test_verdicts_are_the_same_byte_for_byte(kind: str, seed: int, kafka: Broker, tmp_path: Path) -> None:
    done = same.run(kafka.address, tmp_path, 0, kind=kind, records=8_000, downtime=2.0, seed=seed)

    assert done.holds, told(done)
    assert done.content == "equal"
    assert done.took_effect == done.injected, told(done)


def do(kind: str, act: Callable[[model.World], bool | None]) -> model.Action:
    return model.Action(kind, "", act)


def test_actions_in_any_order_are_exact(seed: int, tmp_path: Path) -> None:
    actions = [
        do("produce", lambda world: world.produce(2_000, "out of order")),
        do("crash", lambda world: world.crash(everybody=True, after=3.0)),
        do("produce", lambda world: world.produce(200, "rubbish")),
        do("start", lambda world: world.start(2)),
        do("freeze_broker", lambda world: world.freeze_broker(4.0)),
        do("produce", lambda world: world.produce(500, "doubled")),
        do("thaw_broker", model.World.thaw_broker),
        do("add_partition", lambda world: world.add_partition("clicks")),
        do("catch_up", model.World.catch_up),
        do("produce", lambda world: world.produce(500, "very late")),
        do("change_pack", lambda world: world.change_pack("a feature more", kill=True)),
        do("freeze", lambda world: world.freeze(everybody=False, after=2.0)),
        do("catch_up", model.World.catch_up),
        do("produce", lambda world: world.produce(3_000, "in order")),
        do("change_pack", lambda world: world.change_pack("shipped", kill=False)),
    ]
    with ApacheKafka() as kafka:
        done = model.run(kafka, tmp_path, 0, actions, of=seed)

    assert done.holds, told(done)
    assert (done.content, done.notes["checks"]) == ("equal", 4)
    assert done.injected == 6
    assert done.took_effect >= 3, told(done)
    assert 0 < done.notes["warming"] < done.notes["compared"] / 2, told(done)


def test_a_model_tells_the_actions_by_which_it_found_a_bug(seed: int, tmp_path: Path) -> None:
    burst = do("produce", lambda world: world.produce(500, "in order"))
    actions = [burst, do("stop", model.World.stop), burst, do("start", lambda world: world.start(1))]
    with ApacheKafka() as kafka:
        done = model.run(kafka, tmp_path, 0, actions, of=seed, bug="snapshot ahead")

    assert done.lost, told(done)
    assert any("after: produce; stop; produce; start" in problem for problem in done.problems), told(done)


def test_a_backlog_behind_a_slow_line_needs_bounded_memory(seed: int, tmp_path: Path) -> None:
    with Kafka() as kafka:
        done = backlog.run(kafka, tmp_path, 0, backlog.ROUNDS[1], records=200_000, processes=1, seed=seed)

    assert done.holds, told(done)
    assert done.records == 200_000
