"""Kills: `kill -9` at random moments and at named points, with one process and with three, under load.

    python -m proofs.kills                       # small: 8 random kills and each point once
    python -m proofs.kills --size middle --state kills.json    # 200 and 12 x 10, 2,000,000 records
    python -m proofs.kills --size full --state kills.json      # 1,000 and 12 x 50, 10,000,000 records
    python -m proofs.kills --bug "no resume filter"            # has to find it, see proofs.planting

A kill at a random moment took effect if the dataflow had judged something since its start and records were on their
way; one in eight is aimed at the start itself, and counted when it came before the first verdict.
"""

import signal
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from time import monotonic, sleep
from typing import Final

from broker.apache import ApacheKafka
from broker.logs import logs_to_stderr
from proofs.cluster import Cluster
from proofs.crashing import POINTS
from proofs.deployment import Deployment, Feed, Meter, wait_until_done
from proofs.journal import Journal, Result, folder_of, parser, result
from proofs.planting import BUGS

RANDOM: Final = "at random"
_SIZES: Final = {"small": (8, 1, 60_000), "middle": (200, 10, 2_000_000), "full": (1_000, 50, 10_000_000)}
"""Random kills, kills at each point, records of all rounds together."""

_ROUND: Final = 20  # injections
_FIRST_VERDICT_SECONDS: Final = 60.0
_POINT_SECONDS: Final = 60.0
_AT_START: Final = 1 / 8


@dataclass(frozen=True)
class Round:
    """Some kills on topics of their own.

    Attributes:
        number: Which.
        kinds: What is injected, one after the other.
        processes: How many processes the dataflow has.
        records: How many records are sent at least.
    """

    number: int
    kinds: Sequence[str]
    processes: int
    records: int


def rounds(size: str, seed: int, bug: str = "") -> Iterator[Round]:
    """What a size consists of; the same seed gives the same."""
    random, each, records = _SIZES[size]
    kinds = [RANDOM] * random
    if not bug:
        kinds += list(POINTS) * each
    Random(seed).shuffle(kinds)
    chunks = [kinds[begin : begin + _ROUND] for begin in range(0, len(kinds), _ROUND)]
    if len(chunks) == 1:  # both numbers of processes, also in the smallest size
        chunks = [kinds[: len(kinds) // 2], kinds[len(kinds) // 2 :]]
    for number, chunk in enumerate(chunks):
        yield Round(number, chunk, (1, 3)[number % 2], records * len(chunk) // len(kinds))


def run(address: str, folder: Path, spec: Round, seed: int, bug: str = "") -> Result:
    """Do one round, and count."""
    rng = Random(f"{seed}-{spec.number}")
    began = monotonic()
    deployment = Deployment(folder, address, f"kills-{seed}-{spec.number}")
    deployment.create()
    meter = Meter(deployment)
    cluster = Cluster(deployment, snapshot_seconds=rng.choice((1, 2, 5)), bug=bug)
    feed = Feed(deployment, rng.getrandbits(32), spec.records / (5.0 * len(spec.kinds)))
    effects: Counter[str] = Counter()
    problems = []
    try:
        for kind in spec.kinds:
            if kind == RANDOM:
                effects[kind] += _kill_at_random(cluster, meter, spec.processes, rng)
            else:
                effects[kind] += _kill_at(kind, cluster, meter, spec.processes, rng)
        cluster.start(spec.processes)
        feed.finish(spec.records)
        if not wait_until_done(meter):
            problems.append(f"stood still with {meter.behind():,} records to go: {cluster.errors()[-1:]}")
        codes = cluster.stop()
        if any(codes):
            problems.append(f"expected exit code 0 when told to stop, got {codes}: {cluster.errors()[-1:]}")
    finally:
        cluster.kill()
        feed.finish()
        meter.close()
    missed = [f"{kind} {spec.kinds.count(kind) - hit}" for kind, hit in effects.items() if hit < spec.kinds.count(kind)]
    return result(
        deployment.count(),
        deployment.expected(),
        round=spec.number,
        kind=f"{spec.processes} process{'es' if spec.processes > 1 else ''}",
        injected=len(spec.kinds),
        took_effect=effects.total(),
        problems=problems,
        notes={"seconds": round(monotonic() - began), **({"missed": ", ".join(missed)} if missed else {})},
    )


def _kill_at_random(cluster: Cluster, meter: Meter, processes: int, rng: Random) -> bool:
    """Start, kill some time later; whether that hit something."""
    before = meter.written()
    cluster.start(processes)
    if rng.random() < _AT_START:
        sleep(rng.uniform(0.0, 2.5))
        hit = cluster.is_running()
    else:
        hit = _first_verdict(cluster, meter, before)
        sleep(rng.uniform(0.0, 3.0))
        hit = hit and cluster.is_running()
    everybody = processes == 1 or rng.random() < 1 / 3
    cluster.kill(None if everybody else [rng.randrange(processes)], peers_end=rng.random() < 1 / 2)
    return hit


def _kill_at(kind: str, cluster: Cluster, meter: Meter, processes: int, rng: Random) -> bool:
    """Start so that a process kills itself at a point; whether it came there."""
    point = POINTS[kind]
    rank = rng.randrange(processes)
    before = meter.written()
    cluster.start(processes, crash=(rank, kind, rng.randint(1, point.calls)))
    if point.stop and _first_verdict(cluster, meter, before):
        sleep(rng.uniform(0.0, 1.0))
        cluster.signal(signal.SIGTERM)
    deadline = monotonic() + _POINT_SECONDS
    while cluster.codes()[rank] is None and monotonic() < deadline:
        sleep(0.02)
    hit = cluster.codes()[rank] == -signal.SIGKILL
    cluster.kill([rank], peers_end=rng.random() < 1 / 2)
    return hit


def _first_verdict(cluster: Cluster, meter: Meter, before: int) -> bool:
    """Wait until something is written; False if the processes end before."""
    deadline = monotonic() + _FIRST_VERDICT_SECONDS
    while meter.written() <= before:
        if not cluster.is_running() or monotonic() > deadline:
            return False
        sleep(0.05)
    return True


def main() -> int:
    """Run what is not done yet."""
    options = parser(__doc__ or "")
    options.add_argument("--bug", choices=BUGS, default="", help="plant one: is it found?")
    given = options.parse_args()
    logs_to_stderr()
    arguments = {"size": given.size, "seed": given.seed, "bug": given.bug}
    journal = Journal("kills", arguments, given.state)
    todo = [spec for spec in rounds(given.size, given.seed, given.bug) if not journal.has(spec.number)]
    if todo:
        with folder_of(given.keep) as folder, ApacheKafka() as kafka:
            for spec in todo:
                place = folder / f"round-{spec.number}"
                journal.add(run(kafka.address, place, spec, given.seed, given.bug))
    return journal.close()


if __name__ == "__main__":
    sys.exit(main())
