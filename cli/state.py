"""`fraud state`."""

import time
from dataclasses import asdict
from pathlib import Path

import msgspec

from cli.terminal import clean, stdout
from dataflows.store.state import State, state_of


def state(*, recovery_dir: Path = Path("recovery"), json: bool = False) -> int:
    """Show what a recovery store holds. Changes nothing, and needs no broker.

    Args:
        recovery_dir: The recovery store.
        json: One JSON object instead of text.
    """
    console = stdout()
    found = state_of(recovery_dir)
    age = None if found.taken is None else max(0.0, round(time.time() - found.taken.timestamp(), 3))
    if json:
        console.print(msgspec.json.encode({**asdict(found), "age_seconds": age}).decode())
        return 0
    for line in _lines(found, age):
        console.print(clean(line))
    return 0


def _lines(found: State, age: float | None) -> list[str]:
    told = found.deployment
    whose = (
        f"deployment {told['application']}, Kafka cluster {told['cluster']}, pack {told['pack'][:12]}" if told else ""
    )
    lines = [f"store      {found.folder}: {found.parts} parts, {_size(found.bytes)}, {found.starts} starts"]
    lines += [f"of         {whose}, at most {told['workers']} workers"] if told else ["of         nobody yet"]
    if found.taken is None:
        return [*lines, "snapshot   none yet"]
    lines += [f"snapshot   epoch {found.epoch}, {found.taken:%Y-%m-%d %H:%M:%S} UTC, {age:,.0f} s ago"]
    if found.tombstones:
        lines.append(f"tombstones {found.tombstones:,} (deleted at the next start)")
    for step, groups in found.steps.items():
        lines.append(f"step       {step}: {groups.groups} key groups, {_size(groups.bytes)}")
        lines += [f"  log      {name}: {log.keys:,} keys in {log.groups} groups" for name, log in groups.logs.items()]
    return lines + [f"offset     {place} {offset:,}" for place, offset in found.offsets.items()]


def _size(number: int) -> str:
    return f"{number / 1e6:,.1f} MB" if number >= 100_000 else f"{number / 1e3:,.1f} kB"  # noqa: PLR2004
