"""What the simulator's Bytewax promises, asked of the real one as well."""

import random
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import bytewax.operators as op
import pytest
from bytewax.dataflow import Dataflow
from bytewax.inputs import DynamicSource, FixedPartitionedSource, StatefulSourcePartition, StatelessSourcePartition
from bytewax.operators import StatefulBatchLogic
from bytewax.outputs import FixedPartitionedSink, StatefulSinkPartition
from bytewax.recovery import RecoveryConfig, init_db_dir
from bytewax.testing import cluster_main, run_main

from proofs.simulator.clock import Clock
from proofs.simulator.driver import Plan, Run, Store

PARTS = 3
NUMBERS = 12
KEYS = 4

Log = list[tuple[Any, ...]]


class CrashError(RuntimeError):
    pass


class World:
    """A dataflow that notes each call, and crashes at one of them if it is told to."""

    def __init__(self, crash_at: int | None = None) -> None:
        self.log: Log = []
        self.crash_at = crash_at
        self.crashed = False

    def note(self, *what: Any) -> None:
        if self.crashed:  # Bytewax closes what it can, which a kill would not
            return
        if self.crash_at is not None and len(self.log) >= self.crash_at:
            self.crashed = True
            raise CrashError
        self.log.append(what)

    def flow(self) -> Dataflow:
        flow = Dataflow("flow")
        numbers = op.input("numbers", flow, Numbers(self))
        keyed = op.key_on("key", numbers, lambda number: str(number % KEYS))
        sums = op.stateful_batch("sum", keyed, lambda resume: Sum(self, resume))
        op.output("out", sums, Sink(self))
        op.input("ticks", flow, Ticks(self))
        return flow

    def notes(self, kind: str) -> list[tuple[Any, ...]]:
        return [what[1:] for what in self.log if what[0] == kind]


class Numbers(FixedPartitionedSource):
    def __init__(self, world: World) -> None:
        self.world = world

    def list_parts(self) -> list[str]:
        return [f"part-{number}" for number in range(PARTS)]

    def build_part(self, step_id: str, for_part: str, resume_state: int | None) -> "Part":
        self.world.note("resume", for_part, resume_state)
        return Part(self.world, for_part, resume_state or 0)


class Part(StatefulSourcePartition):
    """Gives each number once in each part."""

    def __init__(self, world: World, name: str, at: int) -> None:
        self.world, self.name, self.at = world, name, at

    def next_batch(self) -> list[int]:
        if self.at == NUMBERS:
            raise StopIteration
        self.world.note("read", self.name, self.at)
        self.at += 1
        return [self.at - 1]

    def snapshot(self) -> int:
        self.world.note("source snapshot", self.name, self.at)
        return self.at

    def close(self) -> None:
        self.world.note("source close", self.name)


class Sum(StatefulBatchLogic):
    def __init__(self, world: World, resume: int | None) -> None:
        self.world, self.sum = world, resume or 0

    def on_batch(self, values: list[int]) -> tuple[list[int], bool]:
        out = []
        for value in values:
            self.sum += 1 + value
            out.append(self.sum)
        self.world.note("sum", self.sum)
        return out, StatefulBatchLogic.RETAIN

    def snapshot(self) -> int:
        self.world.note("sum snapshot", self.sum)
        return self.sum


class Sink(FixedPartitionedSink):
    def __init__(self, world: World) -> None:
        self.world = world

    def list_parts(self) -> list[str]:
        return ["even", "odd"]

    def part_fn(self, item_key: str) -> int:
        return int(item_key)

    def build_part(self, step_id: str, for_part: str, resume_state: Any) -> "Writer":
        return Writer(self.world, for_part)


class Writer(StatefulSinkPartition):
    def __init__(self, world: World, name: str) -> None:
        self.world, self.name = world, name

    def write_batch(self, values: list[int]) -> None:
        self.world.note("write", self.name, list(values))

    def snapshot(self) -> None:
        self.world.note("sink snapshot", self.name)

    def close(self) -> None:
        self.world.note("sink close", self.name)


class Ticks(DynamicSource):
    def __init__(self, world: World) -> None:
        self.world = world

    def build(self, step_id: str, worker_index: int, worker_count: int) -> "Tick":
        self.world.note("ticks", worker_index, worker_count)
        return Tick()


class Tick(StatelessSourcePartition):
    def next_batch(self) -> list[Any]:
        raise StopIteration


Execute = Callable[[World, int], bool]
"""Runs a world with some workers from the last snapshot; gives whether it came to its end."""


@pytest.fixture(params=["bytewax", *range(5)])
def execute(request: pytest.FixtureRequest, tmp_path: Path) -> Execute:
    if request.param == "bytewax":
        init_db_dir(tmp_path, 1)
        recovery = RecoveryConfig(str(tmp_path), timedelta(0))

        def real(world: World, workers: int) -> bool:
            try:
                if workers == 1:
                    run_main(world.flow(), epoch_interval=timedelta(0), recovery_config=recovery)
                else:
                    cluster_main(
                        world.flow(),
                        [],
                        0,
                        epoch_interval=timedelta(0),
                        recovery_config=recovery,
                        worker_count_per_proc=workers,
                    )
            except BaseException:  # a panic of Rust's is no Exception
                if not world.crashed:
                    raise
                return False
            return True

        return real

    store, seeded = Store(), random.Random(request.param)

    def simulated(world: World, workers: int) -> bool:
        clock = Clock()
        plan = Plan(world.flow())
        ends = {step.name: vars(step.operator).get("source") or vars(step.operator).get("sink") for step in plan.steps}
        run = Run(plan, store, seeded, clock, processes=1, threads=workers, interval_ms=0)
        try:
            run.start([ends])
            while not run.done:
                if not run.turn():
                    clock.advance(1)
        except CrashError:
            return False
        return True

    return simulated


def totals() -> list[int]:
    """The last sum of each key."""
    return sorted(PARTS * sum(1 + number for number in range(NUMBERS) if number % KEYS == key) for key in range(KEYS))


def last_sums(worlds: list[World]) -> list[int]:
    written = {value for world in worlds for _, values in world.notes("write") for value in values}
    return sorted(total for total in totals() if total in written)


@pytest.mark.parametrize("workers", [1, 2])
def test_each_item_goes_its_way_once(execute, workers) -> None:
    world = World()

    assert execute(world, workers)

    assert sorted(world.notes("read")) == [(f"part-{p}", n) for p in range(PARTS) for n in range(NUMBERS)]
    assert sum(len(values) for _, values in world.notes("write")) == PARTS * NUMBERS
    assert last_sums([world]) == totals()
    assert sorted(world.notes("ticks")) == [(worker, workers) for worker in range(workers)]
    assert sorted(world.notes("source close")) == [(f"part-{p}",) for p in range(PARTS)]
    assert sorted(world.notes("sink close")) == [("even",), ("odd",)]


def test_an_epoch_is_snapshotted_at_its_sinks_before_the_next_one_is_read(execute) -> None:
    world = World()
    execute(world, 1)

    epoch: set[str] = set()  # parts of the source that have ended it
    written: set[str] = set()  # parts of the sink with something that is not snapshotted
    for kind, name, *_ in world.log:
        if kind == "read" and name in epoch:  # the next epoch
            assert not written
            epoch.clear()
        elif kind == "source snapshot":
            epoch.add(name)
        elif kind == "write":
            written.add(name)
        elif kind == "sink snapshot":
            written.discard(name)
    assert not written


def test_a_source_is_snapshotted_at_the_end_of_each_epoch_and_of_all(execute) -> None:
    world = World()
    execute(world, 1)

    for part in range(PARTS):
        taken = [at for name, at in world.notes("source snapshot") if name == f"part-{part}"]
        assert taken == sorted(taken)
        assert taken[-1] == NUMBERS
        assert set(range(1, NUMBERS)) <= set(taken)


def test_who_has_had_nothing_is_not_snapshotted(execute) -> None:
    world = World()
    execute(world, 1)

    last_write, snapshots = {"even": 0, "odd": 0}, {"even": 0, "odd": 0}
    for kind, name, *_ in world.log[: -len(last_write) * 3]:  # but at the end of all
        if kind == "write":
            last_write[name] += 1
        if kind == "sink snapshot":
            snapshots[name] += 1
    assert all(snapshots[name] <= last_write[name] for name in snapshots)


@pytest.mark.parametrize("crash_at", range(8, 160, 7))
def test_after_a_crash_anywhere_the_state_is_whole_and_nothing_is_lost(execute, crash_at) -> None:
    worlds = [World(crash_at), World(crash_at + 11), World()]
    for world in worlds:
        if execute(world, 1):
            break

    assert last_sums(worlds) == totals()
    assert max(value for world in worlds for _, values in world.notes("write") for value in values) == max(totals())


def test_a_resume_goes_on_from_what_was_snapshotted(execute) -> None:
    crashed = World(100)
    execute(crashed, 1)
    resumed = World()
    assert execute(resumed, 1)

    taken = {(name, at) for name, at in crashed.notes("source snapshot")} | {(f"part-{p}", None) for p in range(PARTS)}
    assert {(name, at) for name, at in resumed.notes("resume")} <= taken
    assert len(resumed.notes("resume")) == PARTS


@pytest.mark.parametrize(("before", "after"), [(1, 2), (2, 1), (2, 3)])
def test_the_state_goes_along_to_another_number_of_workers(execute, before, after) -> None:
    if before > 1:
        first = World()
        assert execute(first, before)
        again = World()
        assert execute(again, after)
        assert again.notes("read") == []
        assert sorted(again.notes("resume")) == [(f"part-{p}", NUMBERS) for p in range(PARTS)]
        return
    worlds = [World(60), World()]
    execute(worlds[0], before)
    assert execute(worlds[1], after)
    assert last_sums(worlds) == totals()
