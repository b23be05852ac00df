"""How long from a kill to the first new verdict, at 5,000 events/s with a snapshot every 10 s, and with a million keys.

    python -m proofs.recovery                   # small: 3 kills, and 2 with 100,000 keys
    python -m proofs.recovery --size middle     # 20 kills, and 5 with 1,000,000 keys

The next start comes at once after the kill. A verdict is new if its record had none before the kill, as a
`read_committed` reader sees it; it is caught up when a record that came after the kill has its own.
"""

import statistics
import sys
from pathlib import Path
from random import Random
from time import monotonic, sleep
from typing import Final

from broker.apache import ApacheKafka
from broker.logs import logs_to_stderr
from proofs.cluster import Cluster
from proofs.deployment import Deployment, Feed, Meter, wait_until_done
from proofs.journal import Journal, Result, folder_of, parser, result
from proofs.tail import Tail
from proofs.traffic import Keys, Traffic

_SIZES: Final = {
    "small": {0: 3, 100_000: 2},
    "middle": {0: 20, 1_000_000: 5},
    "full": {0: 100, 1_000_000: 20},
}
"""Kills, by the number of live keys; 0: as many as the traffic has."""

_GOALS: Final = {False: (3.0, 8.0), True: (15.0, 15.0)}
"""p50 and p99, s; with many keys and without."""

_RATE: Final = 5_000
_SNAPSHOT_SECONDS: Final = 10
_PATIENCE: Final = 120.0
_KEY_STEP: Final = 40  # us: a million keys within 40 s, less than the pack keeps


def run(address: str, folder: Path, *, keys: int, kills: int, rate: int, seed: int, timed: bool = True) -> Result:
    """Kill so often, and count; unless `timed`, how long it took is only told."""
    began = monotonic()
    rng = Random(f"{seed}-{keys}")
    deployment = Deployment(folder, address, f"recovery-{seed}-{keys}")
    deployment.create()
    meter = Meter(deployment)
    cluster = Cluster(deployment, snapshot_seconds=_SNAPSHOT_SECONDS)
    traffic = Keys(keys) if keys else Traffic(seed)
    feed = Feed(deployment, seed, rate, traffic=traffic, step=_KEY_STEP if keys else 200)
    firsts: list[float] = []
    fresh: list[float] = []
    problems = []
    tail = Tail(deployment)
    try:
        feed.burst(keys)
        cluster.start()
        for _ in range(kills):
            if not _is_level(tail, meter, rate):
                problems.append(f"did not keep up with {rate:,} events/s: {cluster.errors()[-1:]}")
                break
            sleep(rng.uniform(1.0, _SNAPSHOT_SECONDS))
            cluster.kill()
            killed = monotonic()
            answered, ends = dict(tail.newest), meter.ends()
            cluster.start()
            for times, marks in ((firsts, {a: place + 1 for a, place in answered.items()}), (fresh, ends)):
                if (seen := tail.first_beyond(marks, _PATIENCE)) is None:
                    problems.append(f"no new verdict within {_PATIENCE:g} s: {cluster.errors()[-1:]}")
                    break
                times.append(seen - killed)
        feed.finish()
        if not wait_until_done(meter):
            problems.append(f"stood still with {meter.behind():,} to go: {cluster.errors()[-1:]}")
        cluster.stop()
    finally:
        cluster.kill()
        feed.finish()
        tail.close()
        meter.close()
    for name, share, goal in zip(("p50", "p99"), (0.5, 0.99), _GOALS[bool(keys)], strict=True):
        if timed and firsts and quantile(firsts, share) > goal:
            problems.append(f"expected {name} of at most {goal:g} s, got {quantile(firsts, share):.1f}")
    notes = {
        f"{name} {share:g}": f"{quantile(times, share):.2f} s"
        for name, times in (("first new", firsts), ("caught up", fresh))
        for share in (0.5, 0.99)
        if times
    }
    return result(
        deployment.count(),
        None,
        round=keys,
        kind=f"{keys:,} keys" if keys else f"{rate:,} events/s",
        injected=kills,
        took_effect=len(firsts),
        problems=problems,
        notes={**notes, "seconds": round(monotonic() - began)},
    )


def quantile(times: list[float], share: float) -> float:
    """The time that so large a share does not exceed."""
    if len(times) == 1:
        return times[0]
    return statistics.quantiles(times, n=100, method="inclusive")[round(share * 100) - 1]


def _is_level(tail: Tail, meter: Meter, rate: int) -> bool:
    """Wait until answers are less than a second behind the records."""
    deadline = monotonic() + _PATIENCE
    while monotonic() < deadline:
        ends = meter.ends()
        behind = sum(end - 1 - tail.newest.get(address, -1) for address, end in ends.items() if end)
        if tail.newest and behind < rate:
            return True
        sleep(0.1)
    return False


def main() -> int:
    """Run what is not done yet."""
    options = parser(__doc__ or "")
    options.add_argument("--rate", type=int, default=_RATE, help="events a second")
    given = options.parse_args()
    logs_to_stderr()
    journal = Journal("recovery", {"size": given.size, "seed": given.seed, "rate": given.rate}, given.state)
    todo = {keys: kills for keys, kills in _SIZES[given.size].items() if not journal.has(keys)}
    if todo:
        with folder_of(given.keep) as folder, ApacheKafka() as kafka:
            for keys, kills in todo.items():
                place = folder / f"keys-{keys}"
                journal.add(run(kafka.address, place, keys=keys, kills=kills, rate=given.rate, seed=given.seed))
    return journal.close()


if __name__ == "__main__":
    sys.exit(main())
