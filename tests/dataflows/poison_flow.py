"""The dataflow with a crash planted into one of its stages: `python -m bytewax.run tests.dataflows.poison_flow`.

`POISON` names stage and way, such as `rules:raise`. The record to crash on has `POISON` in its value.
"""

import ctypes
import os
import signal
from collections.abc import Callable
from typing import Any

from bytewax.dataflow import Dataflow

from dataflows import fraud, start
from detection.pack import Pack
from detection.program import Program

STAGE, WAY = os.environ["POISON"].split(":")


def crash() -> None:
    match WAY:
        case "raise":
            msg = "planted"
            raise RuntimeError(msg)
        case "SIGKILL":
            os.kill(os.getpid(), signal.SIGKILL)
        case "SIGSEGV":
            ctypes.string_at(0)  # a real fault: the signal sent by `kill` could hit another thread, later


def poisoned(work: Callable[[Any], Any], raw: Callable[[Any], bytes | None]) -> Callable[[Any], Any]:
    def one(item: Any) -> Any:
        if b"POISON" in (raw(item) or b""):
            crash()
        return work(item)

    return one


def poisoned_step(work: Callable[..., Any]) -> Callable[..., Any]:
    def run(events: Any, *rest: Any) -> Any:
        for e in events:
            if b"POISON" in e.raw:
                work(events, *rest)  # so that the state is spoilt
                crash()
        return work(events, *rest)

    return run


class Poisoned(Program):
    def __init__(self, pack: Pack) -> None:
        super().__init__(pack)
        match STAGE:
            case "decode":
                for codec in self.codecs.values():
                    codec.decode = poisoned(codec.decode, lambda record: record.value)
            case "features":
                for step in self.steps:
                    step.run = poisoned_step(step.run)
            case "rules":
                for judge in self.judges:
                    judge.judge = poisoned(judge.judge, lambda event: event.raw)


def flow() -> Dataflow:
    fraud.Program = Poisoned  # type: ignore[misc]
    return start.start(fraud.build)
