"""Runs Bytewax with a bug in it: `python -m proofs.planting BUG ARGUMENT…`. Does a proof find what is not there?"""

import runpy
import sys
from collections.abc import Callable
from random import Random
from typing import Any, Final

from sinks import kafka as sinks_kafka
from sinks.transactions import TransactionalOutbox
from sources import kafka as sources_kafka
from sources.answered import Answered


def _no_resume_filter() -> None:
    """What was answered before a crash is answered again."""

    def never(*_: object) -> bool:
        return False

    Answered.is_answered = never  # type: ignore[method-assign,assignment]


def _no_commit_before_a_snapshot() -> None:
    """A snapshot does not wait for what was written before it."""

    def nothing(_: object) -> None:
        pass

    sinks_kafka.Lane.snapshot = nothing  # type: ignore[method-assign,assignment]


def _deaf_to_a_full_queue() -> None:
    """A batch now and then does not reach the client."""
    write, rng = sinks_kafka.Outbox.write, Random()

    def deaf(outbox: sinks_kafka.Outbox, topic: str, messages: list[dict[str, Any]]) -> None:
        write(outbox, topic, messages if rng.random() < 0.99 else messages[:-1])

    sinks_kafka.Outbox.write = deaf  # type: ignore[method-assign,assignment]
    assert issubclass(TransactionalOutbox, sinks_kafka.Outbox)  # which calls the one above


def _reads_from_the_clock() -> None:
    """A verdict differs from run to run."""
    write, rng = sinks_kafka.Outbox.write, Random()

    def other(outbox: sinks_kafka.Outbox, topic: str, messages: list[dict[str, Any]]) -> None:
        if rng.random() < 0.01:
            messages[-1]["value"] = messages[-1]["value"].replace(b'"score":', b'"score":1')
        write(outbox, topic, messages)

    sinks_kafka.Outbox.write = other  # type: ignore[method-assign,assignment]


def _snapshot_ahead() -> None:
    """A lane's snapshot tells an offset further than it is."""
    snapshot = sources_kafka.Lane.snapshot

    def ahead(lane: sources_kafka.Lane) -> sources_kafka.LaneState:
        state = snapshot(lane)
        return {**state, "offsets": {address: offset + 1 for address, offset in state["offsets"].items()}}

    sources_kafka.Lane.snapshot = ahead  # type: ignore[method-assign,assignment]


BUGS: Final[dict[str, Callable[[], None]]] = {
    "no resume filter": _no_resume_filter,
    "no commit before a snapshot": _no_commit_before_a_snapshot,
    "deaf to a full queue": _deaf_to_a_full_queue,
    "another score": _reads_from_the_clock,
    "snapshot ahead": _snapshot_ahead,
}
"""By what they are called on the command line of `proofs.kills`."""


def main() -> None:
    """Plant the bug and become `python -m bytewax.run`."""
    _, bug, *arguments = sys.argv
    BUGS[bug]()
    sys.argv = ["bytewax.run", *arguments]
    runpy.run_module("bytewax.run", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
