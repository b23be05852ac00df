"""Play schedules: `python -m proofs.simulator --schedules 3000 --seed 1`."""

import os
import sys
from argparse import ArgumentParser
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from itertools import repeat
from typing import Final

from proofs.simulator.schedule import CLICKS, JOINED, Delivery, Outcome, Scenario, Schedule, silence

_CHUNK: Final = 25
_SHOWN: Final = 5


@cache
def scenarios() -> tuple[Scenario, ...]:
    """The packs, made ready once a process."""
    silence()
    return Scenario(CLICKS), Scenario(JOINED)


def play(seed: int, delivery: Delivery = "exactly_once") -> Outcome:
    """Play the schedule of a seed."""
    return Schedule(scenarios(), seed, delivery).play()


def main() -> int:
    """Play schedules and count; the exit code is 1 when something was violated."""
    parser = ArgumentParser(prog="python -m proofs.simulator", description=__doc__)
    parser.add_argument("--schedules", type=int, default=3000, help="how many [%(default)s]")
    parser.add_argument("--seed", type=int, default=1, help="of the first; each next one has the next [%(default)s]")
    parser.add_argument("--delivery", choices=["exactly_once", "at_least_once"], default="exactly_once")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1, help="to play in [%(default)s]")
    parser.add_argument("--trace", action="store_true", help="say what happened in each schedule")
    arguments = parser.parse_args()
    seeds = range(arguments.seed, arguments.seed + arguments.schedules)
    with ProcessPoolExecutor(arguments.processes) as pool:
        outcomes = pool.map(play, seeds, repeat(arguments.delivery), chunksize=_CHUNK)
        return report(outcomes, trace=arguments.trace)


def report(outcomes: Iterable[Outcome], *, trace: bool) -> int:
    """Print what was found; gives the exit code."""
    schedules = records = violated = 0
    faults: Counter[str] = Counter()
    kinds: Counter[str] = Counter()
    for outcome in outcomes:
        schedules += 1
        records += outcome.records
        faults.update(outcome.faults)
        if outcome.violations:
            violated += 1
            kinds.update({violation.partition(":")[0] for violation in outcome.violations})
        if trace or (outcome.violations and violated <= _SHOWN):
            print(f"seed {outcome.seed}:", *outcome.trace, *outcome.violations, sep="\n  ", flush=True)
    print(", ".join(f"{kind} {count}" for kind, count in sorted(faults.items())), f"in {records} records")
    if kinds:
        print("violated:", ", ".join(f"{kind} in {count} schedules" for kind, count in sorted(kinds.items())))
    print(f"schedules {schedules}, faults {faults.total()}, violations {violated}")
    return 1 if violated else 0


if __name__ == "__main__":
    sys.exit(main())
