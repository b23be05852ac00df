"""Proofs on a real Kafka of ends that are not kills, as small as they get."""

from pathlib import Path

import pytest

from proofs import broker, zombies
from proofs.cluster import Supervised
from proofs.deployment import Deployment, Feed, Meter
from tests.conftest import Broker, wait_until
from tests.proofs.conftest import told

pytestmark = pytest.mark.kafka


@pytest.mark.parametrize("kind", ["move", "too-large"])
def test_a_leader_that_moves_and_a_broker_that_refuses_are_exact(kind: str, seed: int, tmp_path: Path) -> None:
    done = broker.run(tmp_path, broker.Round(0, kind, 1), seed)

    assert done.holds, told(done)
    assert (done.content, done.took_effect) == ("equal", 1), told(done)


@pytest.mark.parametrize(("number", "processes"), [(0, "2 processes"), (10, "one process")])
def test_a_frozen_dataflow_that_wakes_beside_its_successor_writes_nothing_that_counts(
    number: int, processes: str, seed: int, kafka: Broker, tmp_path: Path
) -> None:
    done = zombies.run(kafka.address, tmp_path, number, zombies=1, seed=seed, timed=False)
    assert done.kind == processes

    assert done.holds, told(done)
    assert (done.content, done.took_effect) == ("equal", 1), told(done)


def test_a_graceful_stop_of_two_processes_tells_the_group_all_that_was_judged(
    seed: int, kafka: Broker, tmp_path: Path
) -> None:
    """With no snapshot before the last one: only the stop can have told it."""
    deployment = Deployment(tmp_path, kafka.address, f"stop-{seed}")
    deployment.create()
    meter = Meter(deployment)
    dataflow = Supervised(deployment, 2, snapshot_seconds=3600)
    Feed(deployment, seed, 2_000.0).finish(4_000)
    wait_until(lambda: deployment.count().pending == 0)

    assert meter.behind() > 0
    assert dataflow.stop() == 0
    assert meter.behind() == 0
    meter.close()
