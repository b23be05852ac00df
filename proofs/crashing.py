"""Runs Bytewax so that the N-th call of a named method kills the process: `python -m proofs.crashing POINT N …`.

The product knows nothing of it: the method is looked up by its name, and wrapped before the dataflow is built.
"""

import importlib
import os
import runpy
import signal
import sys
from dataclasses import dataclass
from functools import wraps
from typing import Any, Final, Literal


@dataclass(frozen=True)
class Point:
    """A moment at which a process may die.

    Attributes:
        module: Where the method is,
        name: its qualified name,
        when: and whether the process dies before the call or after it.
        calls: Which call, at most: so many come about within a few seconds.
        stop: The moment comes only while the process stops: it is told to.
    """

    module: str
    name: str
    when: Literal["before", "after"]
    calls: int = 1
    stop: bool = False


POINTS: Final = {
    "after a poll": Point("sources.kafka", "Reader.poll", "after", 2_000),
    "after a produce": Point("sinks.kafka", "Outbox.write", "after", 400),
    "before a commit": Point("sinks.transactions", "TransactionalOutbox.confirm", "before", 60),
    "after a commit": Point("sinks.transactions", "TransactionalOutbox.confirm", "after", 60),
    "before a sink's snapshot": Point("sinks.kafka", "Lane.snapshot", "before", 64),
    "after a sink's snapshot": Point("sinks.kafka", "Lane.snapshot", "after", 64),
    "between lanes of one snapshot": Point("dataflows.decoding", "_Lane.snapshot", "after", 31),
    "while the tails are read": Point("sources.answered", "Tails._remember", "after", 20),
    "before the group's commit": Point("sources.kafka", "Reader.commit", "before", 4),
    "while it stops": Point(
        "sources.kafka", "Lane.close", "before", 10, stop=True
    ),  # of three processes, each has so many
    "after fencing": Point("sinks.transactions", "fence", "after"),
    "while it restores": Point("sources.kafka", "Reader.lane", "after", 10),
}


def arm(point: Point, call: int) -> None:
    """Have this process kill itself at the n-th call.

    Raises:
        AttributeError: There is no such method any more.
    """
    owner: Any = importlib.import_module(point.module)
    *path, name = point.name.split(".")
    for part in path:
        owner = getattr(owner, part)
    method = getattr(owner, name)
    calls = 0

    @wraps(method)
    def counted(*arguments: Any, **named: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == call and point.when == "before":
            _die()
        result = method(*arguments, **named)
        if calls == call:
            _die()
        return result

    setattr(owner, name, counted)


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def main() -> None:
    """Arm the point and become `python -m bytewax.run`."""
    _, point, call, *arguments = sys.argv
    arm(POINTS[point], int(call))
    sys.argv = ["bytewax.run", *arguments]
    runpy.run_module("bytewax.run", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
