"""What a recovery store holds, for people. Read without Bytewax, also while a dataflow works with the store."""

import sqlite3
from collections import Counter
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec

from dataflows.decoding import read_snapshot
from dataflows.store.deployment import Deployment, StoreError
from dataflows.store.opening import GROUP_STEP, SOURCE_STEP, Contents, opened, read, unpickled
from detection.errors import StateError
from detection.sealed import unseal


@dataclass(kw_only=True, slots=True)
class LogState:
    """The histories of one log, in all key groups.

    Attributes:
        keys: How many keys it holds.
        groups: How many key groups hold any.
    """

    keys: int = 0
    groups: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class StepState:
    """The key groups of one step.

    Attributes:
        groups: How many there are.
        bytes: What their snapshots take.
        logs: By name of the log.
    """

    groups: int
    bytes: int
    logs: dict[str, LogState]


@dataclass(frozen=True, kw_only=True, slots=True)
class State:
    """A recovery store.

    Attributes:
        folder: Where it is.
        deployment: What `deployment.json` says.
        parts: How many files Bytewax keeps.
        bytes: What all files take, with their logs.
        starts: How often a dataflow was started with it.
        epoch: The newest epoch that is whole; None before the first.
        taken: When its snapshot was written, UTC.
        tombstones: Rows of keys that are gone.
        steps: The key groups, by name of the step.
        offsets: The next offset to read, by `topic/partition`.
    """

    folder: str
    deployment: dict[str, Any]
    parts: int
    bytes: int
    starts: int
    epoch: int | None
    taken: datetime | None
    tombstones: int
    steps: dict[str, StepState]
    offsets: dict[str, int]


class _Log(msgspec.Struct):
    count: int = 0
    keys: dict[str, msgspec.Raw] = msgspec.field(default_factory=dict)  # of releases before


class _Group(msgspec.Struct):
    step: str
    logs: dict[str, _Log]


_decode_group = msgspec.msgpack.Decoder(_Group).decode


def state_of(folder: Path) -> State:
    """Look into a recovery store.

    Raises:
        StoreError: It cannot be read.
    """
    contents = read(folder)
    sizes: Counter[str] = Counter()
    groups: Counter[str] = Counter()
    logs: dict[str, dict[str, LogState]] = {}
    offsets: dict[str, int] = {}
    tombstones = 0
    taken = None
    for path, step, key, written, change in _newest(contents):
        taken = max(taken or written, written)
        if change is None:
            tombstones += 1
            continue
        try:
            if step == GROUP_STEP:
                state = unpickled(change)
                group = _decode_group(unseal(state))
                sizes[group.step] += len(state)
                groups[group.step] += 1
                for name, log in group.logs.items():
                    found = logs.setdefault(group.step, {}).setdefault(name, LogState())
                    count = log.count + len(log.keys)
                    found.keys += count
                    found.groups += count > 0
            elif step == SOURCE_STEP:
                offsets |= _offsets(key, change)
        except (StateError, ValueError, LookupError) as error:
            msg = f"{path}: the state of {step}, {key}: {error}"
            raise StoreError(msg) from None
    return State(
        folder=str(folder),
        deployment=Deployment(folder).told(),
        parts=len(contents.parts),
        bytes=sum(_size(path) for path in folder.glob("part-*")),
        starts=len({execution for part in contents.parts for execution, _, _ in part.executions}),
        epoch=None if contents.empty or contents.epoch is None else contents.epoch - 1,
        taken=None if taken is None or contents.empty else datetime.fromisoformat(f"{taken}+00:00"),
        tombstones=tombstones,
        steps={
            step: StepState(groups=groups[step], bytes=sizes[step], logs=dict(sorted(logs.get(step, {}).items())))
            for step in sorted(groups)
        },
        offsets=dict(sorted(offsets.items(), key=_by_partition)),
    )


def offsets_of(folder: Path) -> dict[str, int]:
    """The next offset to read by `topic/partition`, as of the newest whole epoch; empty before the first.

    Raises:
        StoreError: It cannot be read.
    """
    contents = read(folder)
    if contents.empty or contents.epoch is None:
        return {}
    offsets: dict[str, int] = {}
    for path, step, key, _, change in _newest(contents, SOURCE_STEP):
        if change is not None:
            try:
                offsets |= _offsets(key, change)
            except (StateError, ValueError, LookupError) as error:
                msg = f"{path}: the state of {step}, {key}: {error}"
                raise StoreError(msg) from None
    return offsets


def _offsets(key: str, change: bytes) -> dict[str, int]:
    source = read_snapshot(key, unpickled(change))["source"]
    return source["offsets"] if isinstance(source, dict) else {}


def _newest(contents: Contents, step: str = "") -> Any:
    """Of each key the newest snapshot of a whole epoch: file, step, key, when it was written, and its pickle.

    Args:
        contents: Of the store.
        step: Of this step alone; of all if empty.
    """
    for part in contents.parts:
        try:
            with closing(opened(part.path)) as db:
                for row in db.execute(_NEWEST, (contents.epoch, step)):
                    yield (part.path, *row)
        except sqlite3.Error as error:
            msg = f"{part.path}: cannot be read: {error}"
            raise StoreError(msg) from None


# While a dataflow goes on, the snapshot of the epoch we saw may be gone already: then the next one does.
_NEWEST = """
SELECT step_id, state_key, created_at, ser_change FROM snaps JOIN (
    SELECT step_id, state_key, coalesce(max(iif(snap_epoch < ?, snap_epoch, NULL)), min(snap_epoch)) AS snap_epoch
    FROM snaps WHERE ? IN (step_id, '') GROUP BY step_id, state_key
) USING (step_id, state_key, snap_epoch)
"""


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:  # a log that was folded into its file just now
        return 0


def _by_partition(item: tuple[str, int]) -> tuple[str, int]:
    topic, _, partition = item[0].rpartition("/")
    return topic, int(partition)
