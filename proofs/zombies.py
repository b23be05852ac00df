"""Frozen processes that wake beside their successors: is what they write taken back, and do they end?

    python -m proofs.zombies                  # small: 2
    python -m proofs.zombies --size middle    # 20

The dataflow is frozen (SIGSTOP) under load, with a transaction open. Its recovery store is copied, as an operator does
who takes the machine for lost, and another dataflow starts on the copy, under the same APPLICATION_ID. When that one
judges, the frozen one wakes: it has to end by itself within 5 s, with one error, and nothing that it wrote may count.
"""

import shutil
import signal
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

_SIZES: Final = {"small": 2, "middle": 20, "full": 100}
_ROUND: Final = 10
_RATE: Final = 1_500.0
_GONE_SECONDS: Final = 5.0
_PATIENCE: Final = 60.0
_SAYS: Final = "another process has taken the name over"


class Scene:
    """A dataflow, and the frozen ones that it succeeded.

    Attributes:
        lasted: How long each frozen one went on after it woke, s.
        problems: What was not as it has to be.
    """

    def __init__(self, address: str, folder: Path, name: str, rng: Random) -> None:
        """Make topics, and send records; start nothing yet."""
        self.deployment = Deployment(folder / "0", address, name)
        self.deployment.create()
        self.lasted: list[float] = []
        self.problems: list[str] = []
        self._address, self._folder, self._name, self._rng = address, folder, name, rng
        self._meter = Meter(self.deployment)
        self._feed = Feed(self.deployment, rng.getrandbits(32), _RATE)
        self._clusters = [Cluster(self.deployment, snapshot_seconds=1)]

    def play(self, zombies: int, processes: int) -> None:
        """Freeze and wake so often, and have the last one judge the rest."""
        self._clusters[0].start(processes)
        self._expect(self._meter.goes_on(_PATIENCE), "verdicts")
        for generation in range(1, zombies + 1):
            if not self.problems:
                self._succeed(generation, processes)
        self._feed.finish()
        self._expect(wait_until_done(self._meter), "all records judged")
        self._expect(not any(codes := self._clusters[-1].stop()), f"exit code 0 when told to stop, not {codes}")

    def close(self) -> None:
        """End all that was started."""
        for cluster in self._clusters:
            cluster.kill()
        self._feed.finish()
        self._meter.close()

    def _succeed(self, generation: int, processes: int) -> None:
        older = self._clusters[-1]
        self._feed.burst(5_000)
        sleep(self._rng.uniform(0.0, 0.3))
        older.signal(signal.SIGSTOP)
        place = self._folder / str(generation)
        shutil.copytree(older.store, place / "recovery")
        newer = Cluster(Deployment(place, self._address, self._name), snapshot_seconds=1)
        self._clusters.append(newer)
        newer.start(processes)
        self._expect(self._meter.goes_on(_PATIENCE), "verdicts of the successor")
        sleep(self._rng.uniform(0.0, 2.0))
        older.signal(signal.SIGCONT)
        woken = monotonic()
        self._expect(older.wait(_PATIENCE), f"zombie {generation} to end")
        self.lasted.append(monotonic() - woken)
        shut_out = all(older.codes()) and any(_SAYS in error for error in older.errors())
        self._expect(shut_out, f"zombie {generation} to be shut out, not {older.codes()}, {older.errors()}")
        self._expect(newer.is_running(), f"the successor of zombie {generation} to go on")

    def _expect(self, true: bool, what: str) -> None:  # noqa: FBT001  (it is the question)
        if not true:
            self.problems.append(f"expected {what}: {self._clusters[-1].errors()[-1:]}")


def run(address: str, folder: Path, number: int, *, zombies: int, seed: int, timed: bool = True) -> Result:
    """Freeze, copy and wake so often, and count.

    Args:
        address: Where the broker is.
        folder: For logs, packs and stores.
        number: Of the round's first one; rounds with two processes and with one take turns.
        zombies: How often.
        seed: Names the deployment, and decides the records.
        timed: Whether the frozen ones have to be gone in time; else that is told.
    """
    rng = Random(f"{seed}-{number}")
    scene, processes = Scene(address, folder, f"zombies-{seed}-{number}", rng), 2 - number // _ROUND % 2
    try:
        scene.play(zombies, processes)
    finally:
        scene.close()
    slowest = max(scene.lasted, default=float("nan"))
    if timed and not slowest <= _GONE_SECONDS:
        scene.problems.append(f"expected zombies to be gone within {_GONE_SECONDS:g} s, got {slowest:.1f} s")
    return result(
        scene.deployment.count(),
        scene.deployment.expected(),
        round=number,
        kind=f"{processes} processes" if processes > 1 else "one process",
        injected=zombies,
        took_effect=len(scene.lasted),
        problems=scene.problems,
        notes={"gone after": f"{slowest:.1f} s at most"},
    )


def main() -> int:
    """Run what is not done yet."""
    given = parser(__doc__ or "").parse_args()
    logs_to_stderr()
    journal = Journal("zombies", {"size": given.size, "seed": given.seed}, given.state)
    todo = [number for number in range(0, _SIZES[given.size], _ROUND) if not journal.has(number)]
    if todo:
        with folder_of(given.keep) as folder, ApacheKafka() as kafka:
            for number in todo:
                zombies = min(_ROUND, _SIZES[given.size] - number)
                place = folder / f"round-{number}"
                journal.add(run(kafka.address, place, number, zombies=zombies, seed=given.seed))
    return journal.close()


if __name__ == "__main__":
    sys.exit(main())
