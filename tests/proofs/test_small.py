"""The proofs on a real Kafka, as small as they get: the commands do more of the same."""

from collections.abc import Sequence
from pathlib import Path
from uuid import uuid4

import pytest

from proofs import broker, kills, same
from proofs.journal import Result
from tests.conftest import Broker

pytestmark = pytest.mark.kafka


@pytest.fixture
def seed() -> int:
    """One of its own: topics are named by it."""
    return int(uuid4().hex[:8], 16)


def told(done: Result) -> str:
    return f"{done}"


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
    spec = kills.Round(0, [kills.RANDOM] * 2, 1, 4_000)
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
