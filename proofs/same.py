"""The same verdicts, byte for byte, whatever happens to the dataflow: downtime, a wrong clock, more processes or fewer.

    python -m proofs.same                       # small: 10 s of downtime
    python -m proofs.same --size middle         # ten minutes

Each round sends clicks and payments, some of them out of order by up to five minutes, doubled, or two hours late, to a
dataflow that is disturbed. Then another one reads the same records undisturbed. Both have to say of each click what the
naive oracle says.
"""

import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random
from time import monotonic, sleep
from typing import Final

from broker.apache import ApacheKafka
from broker.logs import logs_to_stderr
from proofs.cluster import Cluster
from proofs.deployment import ROOT, Deployment, Feed, Meter, wait_until_done
from proofs.journal import Journal, Result, folder_of, parser, result
from proofs.traffic import Traffic

_SIZES: Final = {"small": (30_000, 10.0, 1), "middle": (200_000, 600.0, 1), "full": (1_000_000, 600.0, 5)}
"""Records of a round, seconds of downtime, how often each."""

_DISORDER: Final = 0.02
_FIRST_VERDICT_SECONDS: Final = 60.0
_HOUR: Final = 3600


@dataclass
class Scene:
    """A dataflow to be disturbed."""

    cluster: Cluster
    meter: Meter
    rng: Random
    downtime: float
    problems: list[str]

    def start(self, processes: int = 1) -> int:
        """Start, and let it judge for a while; 1 if it did."""
        self.cluster.start(processes)
        judged = self.meter.grows(_FIRST_VERDICT_SECONDS)
        if not judged:
            self.problems.append(f"expected verdicts of {processes} processes, got {self.cluster.errors()[-1:]}")
        sleep(self.rng.uniform(1.0, 3.0))
        return int(judged)

    def stop(self) -> None:
        """Stop in good order."""
        if any(codes := self.cluster.stop()):
            self.problems.append(f"expected exit code 0 when told to stop, got {codes}: {self.cluster.errors()[-1:]}")


def _downtime(scene: Scene) -> tuple[int, int]:
    """Away for so long, once after a stop and once after a kill, while records go on to come."""
    hits = 0
    for number in range(2):
        scene.start()
        if number:
            scene.cluster.kill()
        else:
            scene.stop()
        before = scene.meter.behind()
        sleep(scene.downtime / 2)
        hits += scene.meter.behind() > before
    scene.start()
    return 2, hits


def _clock(scene: Scene) -> tuple[int, int]:
    """An hour ahead, an hour behind, then right."""
    hits = 0
    shim = scene.cluster.log.with_name("clock.so")
    subprocess.run(["cc", "-shared", "-fPIC", "-o", shim, ROOT / "proofs" / "clock.c", "-ldl"], check=True)
    for off in (_HOUR, -_HOUR, 0):
        scene.cluster.environment |= {"LD_PRELOAD": str(shim), "PROOF_CLOCK_SECONDS": str(off)}
        hits += scene.start()
        if off:
            scene.stop()
    return 3, hits


def _rescale(scene: Scene) -> tuple[int, int]:
    """1, 3, 2 and 1 processes, after stops and after kills."""
    hits = 0
    sizes = (1, 3, 2, 1)
    for number, processes in enumerate(sizes):
        if number % 2:
            scene.stop()
        elif number:
            scene.cluster.kill()
        hits += scene.start(processes)
    return len(sizes), hits


_KINDS: Final[dict[str, Callable[[Scene], tuple[int, int]]]] = {
    "downtime": _downtime,
    "clock": _clock,
    "rescale": _rescale,
}


def run(address: str, folder: Path, number: int, *, kind: str, records: int, downtime: float, seed: int) -> Result:
    """Do one round, and compare."""
    began = monotonic()
    rng = Random(f"{seed}-{number}")
    disturbed = Deployment(folder / "disturbed", address, f"same-{seed}-{number}")
    disturbed.create()
    meter = Meter(disturbed)
    cluster = Cluster(disturbed, snapshot_seconds=rng.choice((1, 2)))
    traffic = Traffic(rng.getrandbits(32), disorder=_DISORDER)
    feed = Feed(disturbed, 0, 1_000.0, traffic=traffic)
    scene = Scene(cluster, meter, rng, downtime, [])
    try:
        injected, took_effect = _KINDS[kind](scene)
        feed.finish(records)
        if not wait_until_done(meter):
            scene.problems.append(f"stood still with {meter.behind():,} to go: {cluster.errors()[-1:]}")
        scene.stop()
    finally:
        cluster.kill()
        feed.finish()
        meter.close()
    report, expected = disturbed.count(), disturbed.expected()
    undisturbed = Deployment(
        folder / "undisturbed", address, f"same-{seed}-{number}-un", inputs=f"same-{seed}-{number}"
    )
    scene.problems += _run_undisturbed(undisturbed)
    other = undisturbed.count()
    if not other.exact or other.pending:
        scene.problems.append(f"undisturbed: lost {other.lost + other.pending}, doubled {other.doubled}")
    said = {address: (report.inputs[address].digest, other.inputs[address].digest) for address in expected.inputs}
    if different := [address for address, (one, another) in said.items() if one != another]:
        scene.problems.append(f"not what an undisturbed run said: {', '.join(different)}")
    return result(
        report,
        expected,
        round=number,
        kind=kind,
        injected=injected,
        took_effect=took_effect,
        problems=scene.problems,
        notes={"seconds": round(monotonic() - began)},
    )


def _run_undisturbed(deployment: Deployment) -> list[str]:
    deployment.create()
    meter = Meter(deployment)
    cluster = Cluster(deployment)
    problems = []
    try:
        cluster.start()
        if not wait_until_done(meter):
            problems.append(f"undisturbed: stood still: {cluster.errors()[-1:]}")
        if any(codes := cluster.stop()):
            problems.append(f"undisturbed: expected exit code 0 when told to stop, got {codes}")
    finally:
        cluster.kill()
        meter.close()
    return problems


def main() -> int:
    """Run what is not done yet."""
    given = parser(__doc__ or "").parse_args()
    logs_to_stderr()
    journal = Journal("same", {"size": given.size, "seed": given.seed}, given.state)
    records, downtime, times = _SIZES[given.size]
    kinds = list(_KINDS) * times
    todo = [(number, kind) for number, kind in enumerate(kinds) if not journal.has(number)]
    if todo:
        with folder_of(given.keep) as folder, ApacheKafka() as kafka:
            for number, kind in todo:
                place = folder / f"round-{number}"
                done = run(
                    kafka.address,
                    place,
                    number,
                    kind=kind,
                    records=records,
                    downtime=downtime,
                    seed=given.seed,
                )
                journal.add(done)
    return journal.close()


if __name__ == "__main__":
    sys.exit(main())
