"""The simulator finds what is wrong, and finds nothing else."""

import subprocess
import sys
from collections import Counter
from functools import partial

import pytest

from proofs.simulator.__main__ import play
from proofs.simulator.cluster import Cluster
from proofs.simulator.schedule import Outcome
from sources.kafka import Lane, LaneState


def kinds(outcomes: list[Outcome]) -> Counter[str]:
    return Counter(kind for o in outcomes for kind in {violation.partition(":")[0] for violation in o.violations})


def test_each_record_has_one_answer_and_the_right_one_whatever_happens() -> None:
    outcomes = [play(seed) for seed in range(150)]

    assert [(o.seed, o.violations) for o in outcomes if o.violations] == []
    faults = sum((o.faults for o in outcomes), Counter())
    assert faults.total() > 10 * len(outcomes)
    assert {kind for kind in faults if faults[kind] > 10} == {
        "cut",
        "freeze",
        "gave up",
        "ghost request",
        "kill",
        "late request",
        "leader move",
        "partitions added",
        "stale metadata",
        "transaction expired",
        "zombie",
    }


def test_without_the_fence_answers_come_twice_and_none_is_lost() -> None:
    found = kinds([play(seed, "at_least_once") for seed in range(60)])

    # What a zombie answers behind the back of its successor is read again after that one's stop.
    assert set(found) <= {"doubled", "replayed"}
    assert found["doubled"] > 5


def test_brokers_that_write_a_batch_again_are_noticed(monkeypatch) -> None:
    broken = partial(Cluster, forget_sequences=True)
    monkeypatch.setattr("proofs.simulator.schedule.Cluster", broken)

    assert set(kinds([play(seed) for seed in range(60)])) == {"doubled"}


def test_a_graceful_stop_that_forgets_the_newest_offsets_is_noticed(monkeypatch) -> None:
    take = Lane.snapshot

    def snapshot(lane: Lane) -> LaneState:
        state = take(lane)
        return {**state, "offsets": {address: max(0, offset - 1) for address, offset in state["offsets"].items()}}

    monkeypatch.setattr(Lane, "snapshot", snapshot)

    assert "replayed" in kinds([play(seed) for seed in range(10)])


def test_a_schedule_is_replayed_by_its_seed() -> None:
    for seed in range(20):
        assert play(seed) == play(seed)


def test_the_command_counts_and_fails_when_something_is_violated() -> None:
    command = [sys.executable, "-m", "proofs.simulator", "--schedules", "20", "--seed", "7", "--processes", "1"]
    good = subprocess.run(command, capture_output=True, text=True, check=False)
    bad = subprocess.run([*command, "--delivery", "at_least_once"], capture_output=True, text=True, check=False)

    assert good.returncode == 0
    last = good.stdout.splitlines()[-1].split()
    assert last[:2] == ["schedules", "20,"]
    assert last[-2:] == ["violations", "0"]
    assert bad.returncode == 1
    assert "doubled: clicks/" in bad.stdout
    assert "ms  killed" in bad.stdout


@pytest.mark.parametrize("delivery", ["exactly_once", "at_least_once"])
def test_without_a_fault_there_is_no_violation_either_way(delivery, monkeypatch) -> None:
    monkeypatch.setattr("proofs.simulator.schedule.Schedule._plan_faults", lambda schedule: None)

    assert kinds([play(seed, delivery) for seed in range(30)]) == Counter()
