"""Play schedules: `python -m proofs.simulator --schedules 3000 --seed 1`, or with a bug in each: `--planted`."""

import os
import sys
from argparse import ArgumentParser
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from functools import cache, partial
from typing import Final

from proofs.simulator.bugs import BUGS, planted
from proofs.simulator.schedule import CLICKS, JOINED, Delivery, Outcome, Scenario, Schedule, silence

_CHUNK: Final = 25
_PLANTED_SEEDS: Final = 1_000
_SHOWN: Final = 5


@cache
def scenarios() -> tuple[Scenario, ...]:
    """The packs, made ready once a process."""
    silence()
    return Scenario(CLICKS), Scenario(JOINED)


def play(seed: int, delivery: Delivery = "exactly_once", *, old_brokers: bool = False) -> Outcome:
    """Play the schedule of a seed."""
    return Schedule(scenarios(), seed, delivery, old_brokers=old_brokers).play()


def main() -> int:
    """Play schedules and count; the exit code is 1 when something was violated."""
    parser = ArgumentParser(prog="python -m proofs.simulator", description=__doc__)
    parser.add_argument("--schedules", type=int, default=3000, help="how many [%(default)s]")
    parser.add_argument("--seed", type=int, default=1, help="of the first; each next one has the next [%(default)s]")
    parser.add_argument("--delivery", choices=["exactly_once", "at_least_once"], default="exactly_once")
    parser.add_argument(
        "--old-brokers", action="store_true", help="that append what comes too late, as before Kafka 3.7"
    )
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1, help="to play in [%(default)s]")
    parser.add_argument("--planted", action="store_true", help=f"plant {len(BUGS)} bugs, one after the other, instead")
    parser.add_argument("--trace", action="store_true", help="say what happened in each schedule")
    arguments = parser.parse_args()
    seeds = range(arguments.seed, arguments.seed + arguments.schedules)
    with ProcessPoolExecutor(arguments.processes) as pool:
        if arguments.planted:
            return report_planted(zip(BUGS, pool.map(catch, BUGS), strict=True))
        one = partial(play, delivery=arguments.delivery, old_brokers=arguments.old_brokers)
        outcomes = pool.map(one, seeds, chunksize=_CHUNK)
        return report(outcomes, trace=arguments.trace)


def catch(name: str, first: int = 1, seeds: int = _PLANTED_SEEDS) -> Outcome | None:
    """Plant a bug and play until it shows; None when it does not."""
    silence()
    with planted(name):
        packs = Scenario(CLICKS), Scenario(JOINED)
        for seed in range(first, first + seeds):
            outcome = Schedule(packs, seed).play()
            if outcome.violations:
                return outcome
    return None


def report_planted(found: Iterable[tuple[str, Outcome | None]]) -> int:
    """Print which bugs were caught; gives the exit code."""
    caught = 0
    for name, outcome in found:
        caught += outcome is not None
        how = "NOT CAUGHT" if outcome is None else f"caught by seed {outcome.seed}: {outcome.violations[0]:.100}"
        print(f"{name}: {how}", flush=True)
    print(f"caught {caught} of {len(BUGS)}")
    return 0 if caught == len(BUGS) else 1


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
