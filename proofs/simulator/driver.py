"""Bytewax in pure Python, one activation at a time, for the dataflow that really runs.

A `Dataflow` is taken apart into Bytewax's core operators, and these are played for several workers: sources are asked,
items wait in queues, keys and parts belong to workers, an epoch ends everywhere before the next begins anywhere, and
the recovery store is as far as its slowest worker. Which activation comes next is drawn from a seeded generator, so is
every batch size. What crosses to another worker is pickled, and so is every snapshot.
"""

import pickle
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from random import Random
from typing import Any, Final
from zlib import crc32

from bytewax.dataflow import Dataflow
from bytewax.inputs import DynamicSource, FixedPartitionedSource
from bytewax.operators import StatefulBatchLogic
from bytewax.outputs import FixedPartitionedSink

from proofs.simulator.clock import EPOCH_MS, Clock

_COOLDOWN_MS: Final = 5  # after an empty batch; Bytewax waits 1, which only costs time here
_NEVER: Final = 2**60


@dataclass(frozen=True, slots=True)
class Step:
    """A core operator.

    Attributes:
        number: Its place among the steps.
        name: Its step id.
        kind: Bytewax's name for it.
        operator: Bytewax's description of it.
        inputs: The streams it takes.
        above: The steps whose items can come to it.
        keeps: Whether it takes snapshots when an epoch ends.
    """

    number: int
    name: str
    kind: str
    operator: Any
    inputs: tuple[str, ...]
    above: tuple[int, ...]
    keeps: bool


class Plan:
    """A dataflow taken apart.

    Attributes:
        steps: The core operators, each behind those it takes items from.
        readers: Which steps take a stream.
    """

    def __init__(self, flow: Dataflow) -> None:
        self.steps: list[Step] = []
        self.readers: dict[str, list[int]] = {}
        self._makers: dict[str, int] = {}
        self._take(flow.substeps)

    def named(self, name: str) -> Step:
        """The step with an id."""
        return next(step for step in self.steps if step.name == name)

    def _take(self, operators: Sequence[Any]) -> None:
        for operator in operators:
            if operator.substeps:
                self._take(operator.substeps)
                continue
            number = len(self.steps)
            kind = type(operator).__name__
            if kind not in _RUN and kind not in {"input", "output"}:
                msg = f"{operator.step_id}: expected an operator that the simulator can play, got {kind}"
                raise TypeError(msg)
            inputs: tuple[str, ...] = ()
            if kind == "merge":
                inputs = tuple(operator.ups.stream_ids.values())
            elif kind != "input":
                inputs = (operator.up.stream_id,)
            above = {self._makers[stream] for stream in inputs}
            for step in list(above):
                above.update(self.steps[step].above)
            keeps = kind == "stateful_batch" or (kind == "output" and isinstance(operator.sink, FixedPartitionedSink))
            self.steps.append(Step(number, operator.step_id, kind, operator, inputs, tuple(sorted(above)), keeps))
            for stream in inputs:
                self.readers.setdefault(stream, []).append(number)
            for port in ("down", "trues", "falses"):
                if hasattr(operator, port):
                    self._makers[getattr(operator, port).stream_id] = number

    @cached_property
    def keepers(self) -> list[Step]:
        """The steps that take snapshots when an epoch ends."""
        return [step for step in self.steps if step.keeps]


class Store:
    """A recovery store: snapshots by step, key and epoch, and how far each worker has written."""

    def __init__(self) -> None:
        self._snapshots: dict[tuple[str, str], list[tuple[int, bytes]]] = {}
        self._frontiers: dict[int, int] = {0: 1}

    @property
    def epoch(self) -> int:
        """The epoch to resume from: all before it are whole."""
        return min(self._frontiers.values())

    def resume(self, workers: int) -> dict[str, dict[str, Any]]:
        """The state to resume from, by step and key; what is younger is forgotten."""
        epoch = self.epoch
        self._frontiers = dict.fromkeys(range(workers), epoch)
        found: dict[str, dict[str, Any]] = {}
        for (step, key), kept in self._snapshots.items():
            while kept and kept[-1][0] >= epoch:
                kept.pop()
            if kept:
                state = pickle.loads(kept[-1][1])
                if state is not _GONE:
                    found.setdefault(step, {})[key] = state
        return found

    def keep(self, step: str, key: str, epoch: int, state: Any) -> None:
        """Write a snapshot."""
        self._snapshots.setdefault((step, key), []).append((epoch, pickle.dumps(state)))

    def advance(self, worker: int, epoch: int) -> None:
        """A worker says that all before an epoch is written."""
        self._frontiers[worker] = epoch


def _gone() -> "_Gone":
    return _GONE


class _Gone:
    """The snapshot of a key that is discarded."""

    def __reduce__(self) -> tuple[Callable[[], "_Gone"], tuple[()]]:
        return _gone, ()


_GONE: Final = _Gone()


@dataclass(slots=True)
class _Part:
    """A part of a source, or a source's one part on a worker."""

    step: Step
    name: str | None
    part: Any
    started: int
    awake: int
    closed: bool = False
    ended: bool = False


@dataclass(slots=True)
class Worker:
    """One worker: its parts, its keys, and what waits to be worked on.

    Attributes:
        index: Its number in the cluster.
        alive: Whether it runs.
        parts: Of its sources.
        queues: Batches that wait, by step.
        logics: Its keys and sink parts, by step.
        awoken: Those that had something to do in this epoch, by step.
        closed: The steps that have ended this epoch.
        behind: Whether the end of the last epoch is still to be written.
        due: When the next of its parts is to be asked, ms; None: see for yourself.
    """

    index: int
    alive: bool = True
    parts: list[_Part] = field(default_factory=list)
    queues: list[deque[list[Any]]] = field(default_factory=list)
    logics: dict[int, dict[str, Any]] = field(default_factory=dict)
    awoken: dict[int, set[str]] = field(default_factory=dict)
    closed: set[int] = field(default_factory=set)
    behind: bool = False
    due: int | None = None


Bindings = Mapping[str, Any]
"""The sources and sinks of a process, by step id."""


class Run:
    """One execution of a dataflow: some workers, from their start until they end or are killed.

    Attributes:
        workers: All of them.
        current: The number of the worker that is active.
        epoch: The epoch that is under way.
        started: Whether all is built.
        done: Whether all sources have ended and everything is written.
    """

    def __init__(
        self,
        plan: Plan,
        store: Store,
        random: Random,
        clock: Clock,
        *,
        processes: int,
        threads: int,
        interval_ms: int,
    ) -> None:
        """Build nothing yet.

        Args:
            plan: What to run.
            store: Where to resume from.
            random: Decides what is next.
            clock: The time.
            processes: How many processes.
            threads: Workers in each.
            interval_ms: How long an epoch lasts.
        """
        self._plan = plan
        self._store = store
        self._random = random
        self._clock = clock
        self._threads = threads
        self._interval = interval_ms
        self.workers = [Worker(index) for index in range(processes * threads)]
        self.current = 0
        self.epoch = store.epoch
        self.started = False
        self.done = False
        self._reading = 0  # parts that have not ended this epoch
        self._broken = False  # a worker is gone: no epoch ends any more
        self._states: dict[str, dict[str, Any]] = {}
        self._homes: dict[tuple[int, str], int] = {}
        self._sinks: dict[tuple[int, int], FixedPartitionedSink[Any, Any]] = {}
        self._sink_parts: dict[int, list[str]] = {}

    def start(self, bindings: Sequence[Bindings]) -> None:
        """Build every part of the sources, and the keys that the store has.

        Args:
            bindings: The sources and sinks of each process.
        """
        self._states = self._store.resume(len(self.workers))
        for worker in self.workers:
            worker.queues = [deque() for _ in self._plan.steps]
            worker.logics = {step.number: {} for step in self._plan.keepers}
            worker.awoken = {step.number: set() for step in self._plan.keepers}
        for step in self._plan.steps:
            if step.kind in {"input", "output"}:
                mine = [bindings[worker.index // self._threads][step.name] for worker in self.workers]
            if step.kind == "input":
                self._build_source(step, mine)
            elif step.kind == "output":
                for worker, sink in zip(self.workers, mine, strict=True):
                    self._sinks[worker.index, step.number] = sink
                self._sink_parts[step.number] = mine[0].list_parts()
                self._share_out(step, self._sink_parts[step.number])
            elif step.kind == "stateful_batch":
                for key, state in self._states.get(step.name, {}).items():
                    worker = self.workers[self._home(step, key)]
                    self.current = worker.index
                    worker.logics[step.number][key] = step.operator.builder(state)
        self.started = True

    def _build_source(self, step: Step, sources: Sequence[Any]) -> None:
        if isinstance(step.operator.source, FixedPartitionedSource):
            names = sources[0].list_parts()
            self._share_out(step, names)
            states = self._states.get(step.name, {})
            for name in names:
                index = self._homes[step.number, name]
                self.current = index
                part = sources[index].build_part(step.name, name, states.get(name))
                self._add(step, index, name, part)
        else:
            assert isinstance(step.operator.source, DynamicSource)
            for worker, source in zip(self.workers, sources, strict=True):
                self.current = worker.index
                part = source.build(step.name, worker.index, len(self.workers))
                self._add(step, worker.index, None, part)

    def _add(self, step: Step, worker: int, name: str | None, part: Any) -> None:
        awake = part.next_awake()
        at = self._clock.now if awake is None else _ms(awake)
        self.workers[worker].parts.append(_Part(step, name, part, self._clock.now, at))
        self._reading += 1

    def _share_out(self, step: Step, names: Sequence[str]) -> None:
        """Parts go to the workers in turn."""
        shift = self._random.randrange(len(self.workers))
        for place, name in enumerate(names):
            self._homes[step.number, name] = (place + shift) % len(self.workers)

    def _home(self, step: Step, key: str) -> int:
        if step.kind == "output":
            return self._homes[step.number, key]
        return crc32(key.encode()) % len(self.workers)

    def lose(self, workers: Sequence[int]) -> None:
        """Some workers end without a goodbye; the others do not know it yet."""
        self._broken = self._broken or bool(workers)
        for index in workers:
            self.workers[index].alive = False
            for queue in self.workers[index].queues:
                queue.clear()

    def detach(self) -> None:
        """Write to the recovery store no more: another run has it."""
        self._store = Store()

    # ---- running

    def turn(self) -> bool:
        """Have one worker do one thing; gives whether there was anything to do."""
        workers = self.workers
        first = int(self._random.random() * len(workers))
        for shift in range(len(workers)):
            worker = workers[(first + shift) % len(workers)]
            if worker.alive and (choices := self._choices(worker)):
                act, what = choices[int(self._random.random() * len(choices))]  # five times as fast as `choice`
                self.current = worker.index
                act(worker, what)
                return True
        return not self._reading and self._next_epoch()

    def _choices(self, worker: Worker) -> list[tuple[Callable[[Worker, Any], None], Any]]:
        """What a worker can do now."""
        choices: list[tuple[Callable[[Worker, Any], None], Any]] = []
        if worker.behind:
            choices.append((self._write_frontier, None))
        for number, queue in enumerate(worker.queues):
            if queue:
                choices.append((self._work, self._plan.steps[number]))
        if not self._reading and not self._broken:
            choices += [(self._close, step) for step in self._plan.keepers if self._can_close(worker, step)]
        elif self._due(worker) <= self._clock.now:
            choices.append((self._ask, None))
        return choices

    def wakes(self) -> int | None:
        """When a part wants to be asked again, ms."""
        times = [due for worker in self.workers if worker.alive and (due := self._due(worker)) < _NEVER]
        return min(times, default=None)

    def _due(self, worker: Worker) -> int:
        """When the next part of a worker is to be asked, or its epoch to be ended, ms."""
        if worker.due is None:
            worker.due = min(
                (min(part.started + self._interval, part.awake) for part in worker.parts if not part.closed),
                default=_NEVER,
            )
        return worker.due

    def _ask(self, worker: Worker, _: None) -> None:
        """Ask the parts of a worker that are awake, as an activation of its sources does."""
        clock = self._clock
        worker.due = None
        for part in worker.parts:
            if part.closed:
                continue
            if part.awake <= clock.now:
                try:
                    items = list(part.part.next_batch())
                except StopIteration:
                    part.ended = True
                    self._end_epoch(part)
                    part.part.close()
                    continue
                if items:
                    self._emit(worker, part.step.operator.down.stream_id, items)
                awake = part.part.next_awake()
                part.awake = clock.now + (not items) * _COOLDOWN_MS if awake is None else _ms(awake)
            if clock.now - part.started >= self._interval:
                self._end_epoch(part)

    def _end_epoch(self, part: _Part) -> None:
        if part.name is not None:
            self._store.keep(part.step.name, part.name, self.epoch, part.part.snapshot())
        part.closed = True
        self._reading -= 1

    def _work(self, worker: Worker, step: Step) -> None:
        """Have a step work on what waits: on one batch, or on all of them."""
        queue = worker.queues[step.number]
        items = queue.popleft()
        if step.kind in {"stateful_batch", "output"}:
            while queue and self._random.random() < 0.5:
                items = items + queue.popleft()
        if step.kind == "output":
            self._write(worker, step, items)
        elif step.kind == "stateful_batch":
            self._update(worker, step, items)
        else:
            for port, out in _RUN[step.kind](step.operator, items):
                if out:
                    self._emit(worker, getattr(step.operator, port).stream_id, out)

    def _update(self, worker: Worker, step: Step, items: list[tuple[str, Any]]) -> None:
        logics = worker.logics[step.number]
        for key, values in sorted(_grouped(items).items()):
            logic = logics.get(key)
            if logic is None:
                logic = logics[key] = step.operator.builder(None)
            out, discard = logic.on_batch(values)
            worker.awoken[step.number].add(key)
            self._emitted(worker, step, key, out, discard=discard)

    def _emitted(self, worker: Worker, step: Step, key: str, out: Any, *, discard: bool) -> None:
        if discard:
            del worker.logics[step.number][key]
        pairs = [(key, item) for item in out]
        if pairs:
            self._emit(worker, step.operator.down.stream_id, pairs)

    def _write(self, worker: Worker, step: Step, items: list[tuple[str, Any]]) -> None:
        parts = worker.logics[step.number]
        for name, values in sorted(_grouped(items).items()):
            part = parts.get(name)
            if part is None:
                state = self._states.get(step.name, {}).get(name)
                part = parts[name] = self._sinks[worker.index, step.number].build_part(step.name, name, state)
            worker.awoken[step.number].add(name)
            part.write_batch(values)

    def _emit(self, worker: Worker, stream: str, items: list[Any]) -> None:
        for number in self._plan.readers.get(stream, ()):
            step = self._plan.steps[number]
            if step.kind not in {"stateful_batch", "output"}:
                worker.queues[number].append(items)
                continue
            if step.kind == "output":
                names = self._sink_parts[number]
                sink = self._sinks[worker.index, number]
                items = [(names[sink.part_fn(key) % len(names)], value) for key, value in items]
            there: dict[int, list[Any]] = {}
            for item in items:
                there.setdefault(self._home(step, item[0]), []).append(item)
            for index, some in there.items():
                other = self.workers[index]
                if index // self._threads != worker.index // self._threads:
                    some = pickle.loads(pickle.dumps(some))  # noqa: PLW2901  as Bytewax does between processes
                if other.alive:
                    other.queues[number].append(some)

    # ---- the end of an epoch

    def _can_close(self, worker: Worker, step: Step) -> bool:
        """Whether nothing can come to a step any more in this epoch."""
        if step.number in worker.closed:
            return False
        for other in self.workers:
            queues, closed = other.queues, other.closed
            if queues[step.number]:
                return False
            for above in step.above:
                if queues[above] or (above in other.logics and above not in closed):
                    return False
        return True

    def _close(self, worker: Worker, step: Step) -> None:
        if worker.behind:
            self._write_frontier(worker, None)
        logics = worker.logics[step.number]
        awoken = worker.awoken[step.number]
        ending = all(part.ended for other in self.workers for part in other.parts)
        if ending and step.kind == "stateful_batch":
            for key, logic in sorted(logics.items()):
                assert isinstance(logic, StatefulBatchLogic)
                awoken.add(key)
                out, discard = logic.on_eof()
                self._emitted(worker, step, key, out, discard=discard)
        for key in sorted(awoken):
            state = logics[key].snapshot() if key in logics else _GONE
            self._store.keep(step.name, key, self.epoch, state)
        awoken.clear()
        worker.closed.add(step.number)
        if ending and step.kind == "output":
            for _, part in sorted(logics.items()):
                part.close()

    def _next_epoch(self) -> bool:
        if self.done or self._broken:
            return False
        self.epoch += 1
        ending = all(part.ended for worker in self.workers for part in worker.parts)
        for worker in self.workers:
            worker.closed.clear()
            worker.behind = True
            worker.due = None
            for part in worker.parts:
                part.closed = part.ended
                part.started = self._clock.now
                self._reading += not part.ended
        if ending:
            for worker in self.workers:
                self._write_frontier(worker, None)
            self.done = True
        return True

    def _write_frontier(self, worker: Worker, _: None) -> None:
        worker.behind = False
        self._store.advance(worker.index, self.epoch)


def _branch(operator: Any, items: list[Any]) -> list[tuple[str, list[Any]]]:
    sides: tuple[list[Any], list[Any]] = [], []
    for item in items:
        sides[not operator.predicate(item)].append(item)
    return [("trues", sides[0]), ("falses", sides[1])]


def _flat_map_batch(operator: Any, items: list[Any]) -> list[tuple[str, list[Any]]]:
    return [("down", list(operator.mapper(items)))]


def _merge(operator: Any, items: list[Any]) -> list[tuple[str, list[Any]]]:  # noqa: ARG001
    return [("down", items)]


_RUN: Final[dict[str, Callable[[Any, list[Any]], list[tuple[str, list[Any]]]]]] = {
    "branch": _branch,
    "flat_map_batch": _flat_map_batch,
    "merge": _merge,
    "stateful_batch": _merge,  # never asked: see `Run._update`
}


def _grouped(items: list[tuple[str, Any]]) -> dict[str, list[Any]]:
    groups: dict[str, list[Any]] = {}
    for key, value in items:
        groups.setdefault(key, []).append(value)
    return groups


def _ms(at: datetime) -> int:
    """A time of the simulation, ms."""
    return round(at.timestamp() * 1000) - EPOCH_MS
