"""Tries an edited pack on some events, and says what it would change. Runs in a process of its own, within limits."""

import asyncio
import os
import resource
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from detection.errors import PackError
from detection.loading import parse
from detection.pack import Pack
from detection.program import Engine
from detection.records import DeadLetter, Record

SECONDS: Final = 60
"""How long a trial may take."""

_CPU_SECONDS: Final = 60
_MEMORY: Final = 2 * 2**30
_EVICT_EVERY: Final = 1_000
_SHOWN: Final = 100
_LONGEST_ERROR: Final = 5_000
_NO_EVENT: Final = "not read"
_DEAD: Final = "dead letter"


class TrialError(Exception):
    """A trial that came to no end, or a pack that cannot be used."""


class Task(msgspec.Struct, frozen=True):
    """What to try.

    Attributes:
        before: The texts of the pack that runs, by file name.
        after: Those of the one to try.
        topics: Topics by the name of their setting.
        records: The events, in order.
    """

    before: dict[str, str]
    after: dict[str, str]
    topics: dict[str, str]
    records: list[Record]


class _Hit(msgspec.Struct):
    id: str


class _Judged(msgspec.Struct):
    decision: str
    rules: list[_Hit]


class _Value(msgspec.Struct):
    verdict: _Judged


_value: Final = msgspec.json.Decoder(_Value).decode
_task: Final = msgspec.msgpack.Decoder(Task).decode


class _Side:
    """One of the two packs, at work."""

    def __init__(self, pack: Pack) -> None:
        self._engine = Engine(pack)
        self._topics = frozenset(pack.topics_in)
        self.decisions: Counter[str] = Counter()
        self.rules: Counter[str] = Counter({rule.name: 0 for event in pack.events for rule in event.rules})

    def judge(self, record: Record) -> tuple[str, frozenset[str]]:
        """What becomes of a record, and which rules fire."""
        decision, rules = _NO_EVENT, frozenset[str]()
        if record.topic in self._topics:
            answer = self._engine.judge(record)
            if isinstance(answer, DeadLetter):
                decision = _DEAD
            else:
                judged = _value(answer.value).verdict
                decision, rules = judged.decision, frozenset(hit.id for hit in judged.rules)
        self.decisions[decision] += 1
        self.rules.update(rules)
        return decision, rules

    def evict(self) -> None:
        """Keep no more than the dataflow would."""
        self._engine.evict()

    def unknowns(self) -> dict[str, int]:
        """At how many events the condition of each rule was unknown."""
        judges = self._engine.program.judges
        return {name: found.unknowns for judge in judges for name, found in judge.counts.rules.items()}


def compare(before: Pack, after: Pack, records: Sequence[Record]) -> dict[str, Any]:
    """What another pack would make of these events. Both begin with empty windows."""
    sides = (_Side(before), _Side(after))
    changed = 0
    shown: list[dict[str, Any]] = []
    for number, record in enumerate(records, 1):
        (old, old_rules), (new, new_rules) = (side.judge(record) for side in sides)
        if old != new or old_rules != new_rules:
            changed += 1
            if len(shown) < _SHOWN:
                more, fewer = sorted(new_rules - old_rules), sorted(old_rules - new_rules)
                shown.append({"origin": record.origin, "before": old, "after": new, "more": more, "fewer": fewer})
        if number % _EVICT_EVERY == 0:
            for side in sides:
                side.evict()
    old_side, new_side = sides
    unknowns = [side.unknowns() for side in sides]
    return {
        "events": len(records),
        "changed": changed,
        "decisions": {
            name: [old_side.decisions[name], new_side.decisions[name]]
            for name in sorted(old_side.decisions.keys() | new_side.decisions.keys())
        },
        "rules": {
            name: [old_side.rules.get(name), new_side.rules.get(name)]
            for name in sorted(old_side.rules.keys() | new_side.rules.keys())
        },
        "unknowns": {
            name: [side.get(name) for side in unknowns] for name in sorted(unknowns[0].keys() | unknowns[1].keys())
        },
        "shown": shown,
    }


async def run_trial(
    before: Mapping[str, str], after: Mapping[str, str], topics: Mapping[str, str], records: Sequence[Record]
) -> dict[str, Any]:
    """Compare two packs in a process of its own, which has no more than so much time and memory, and no secret.

    Raises:
        TrialError: The pack cannot be used, or takes too long.
    """
    task = Task(dict(before), dict(after), dict(topics), list(records))
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-P",
        "-m",
        __name__,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env={name: value for name, value in os.environ.items() if name in {"PATH", "PYTHONPATH", "LANG"}},
    )
    try:
        out, _ = await asyncio.wait_for(process.communicate(msgspec.msgpack.encode(task)), SECONDS)
    except TimeoutError:
        msg = f"the trial took more than {SECONDS} s"
        raise TrialError(msg) from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode != 0:
        msg = "the trial came to no end: the pack takes too much time or memory"
        raise TrialError(msg)
    told: dict[str, Any] = msgspec.json.decode(out)
    if "error" in told:
        raise TrialError(told["error"])
    return told


def main() -> None:
    """Do the task on standard input, and tell on standard output."""
    resource.setrlimit(resource.RLIMIT_CPU, (_CPU_SECONDS, _CPU_SECONDS))
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    task = _task(sys.stdin.buffer.read())
    try:
        told = compare(parse(task.before, task.topics), parse(task.after, task.topics), task.records)
    except PackError as error:
        told = {"error": str(error)[:_LONGEST_ERROR]}
    sys.stdout.buffer.write(msgspec.json.encode(told))


if __name__ == "__main__":
    main()
