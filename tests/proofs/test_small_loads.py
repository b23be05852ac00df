"""Proofs of loads on a real Kafka, as small as they get."""

from pathlib import Path

import pytest

from proofs import flood, recovery, soak
from tests.conftest import Broker
from tests.proofs.conftest import told

pytestmark = pytest.mark.kafka


def test_a_kill_under_load_is_recovered_from(seed: int, kafka: Broker, tmp_path: Path) -> None:
    done = recovery.run(kafka.address, tmp_path, keys=20_000, kills=1, rate=1_000, seed=seed, timed=False)

    assert done.holds, told(done)
    assert done.took_effect == 1
    assert done.records > 20_000


def test_floods_of_keys_and_of_one_window_leave_nothing_unanswered(seed: int, kafka: Broker, tmp_path: Path) -> None:
    done = flood.run(kafka.address, tmp_path, seconds=2.0, rate=2_000, seed=seed, timed=False)

    assert done.holds, told(done)
    assert done.records > 6 * 2 * 2_000


def test_a_soak_tells_what_it_saw_and_is_exact(seed: int, kafka: Broker, tmp_path: Path) -> None:
    done = soak.run(kafka.address, tmp_path, minutes=0.5, rate=1_000, processes=1, seed=seed)

    assert (done.lost, done.doubled, done.foreign) == (0, 0, 0), told(done)
    assert done.records > 20_000
    assert done.notes["memory"].endswith("MB/h"), told(done)
