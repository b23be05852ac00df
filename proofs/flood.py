"""A sender floods the state: do the others get their verdicts as before?

    python -m proofs.flood                  # small: six phases of 10 s
    python -m proofs.flood --size middle    # of 60 s: a million records each

1,000 clicks a second of honest users go on all the time, and their latency is what is measured. Beside them come
16,667 records a second: ordinary clicks; clicks each of a key never seen before; clicks that all fall into one window,
in their order and out of it. Each flood comes after a phase of ordinary clicks, and the honest p99 in it may be twice
as high as in that. In the end all is counted: a flooded window keeps its newest entries, and every record has its
verdict.
"""

import sys
from itertools import pairwise
from pathlib import Path
from random import Random
from time import sleep
from typing import Final

from broker.apache import ApacheKafka
from broker.logs import logs_to_stderr
from proofs.backlog import Memory
from proofs.cluster import Supervised
from proofs.deployment import Deployment, Meter, wait_until_done
from proofs.journal import Journal, Result, folder_of, parser, result
from proofs.recovery import quantile
from proofs.soak import Click, Clicks
from proofs.tail import Tail

_SIZES: Final = {"small": 10.0, "middle": 60.0, "full": 600.0}
"""Seconds of each phase."""

_HONEST: Final = 1_000
_FLOOD: Final = 16_667
"""Clicks a second: of the latter a million a minute."""

_MOST: Final = 2.0
_CHANGE_SECONDS: Final = 2.0
_DISORDER_MS: Final = 9_000

_random: Final = Random(1)


def ordinary(number: int, now: int) -> tuple[bytes, bytes]:
    """Three clicks a session."""
    session = b"o%x" % (number // 3)
    return session, b'{"session_id":"%s","url":"/offer/%d","timestamp":%d}' % (session, number % 40, now)


def many_keys(number: int, now: int) -> tuple[bytes, bytes]:
    """Each of a session of its own."""
    session = b"k%x" % number
    return session, b'{"session_id":"%s","url":"/offer/%d","timestamp":%d}' % (session, number % 40, now)


def one_window(_: int, now: int) -> tuple[bytes, bytes]:
    """All of one session on one URL."""
    return b"w", b'{"session_id":"w","url":"/ad","timestamp":%d}' % now


def one_window_in_disorder(_: int, now: int) -> tuple[bytes, bytes]:
    """The same, up to 9 s late."""
    return b"d", b'{"session_id":"d","url":"/ad","timestamp":%d}' % (now - _random.randrange(_DISORDER_MS))


PHASES: Final[tuple[tuple[str, Click], ...]] = (
    ("ordinary", ordinary),
    ("keys never seen before", many_keys),
    ("ordinary", ordinary),
    ("one window", one_window),
    ("ordinary", ordinary),
    ("one window, out of order", one_window_in_disorder),
)


def run(address: str, folder: Path, *, seconds: float, rate: int = _FLOOD, seed: int, timed: bool = True) -> Result:
    """Go through all phases, and count.

    Args:
        address: Where the broker is.
        folder: For logs, packs and store.
        seconds: Of each phase.
        rate: Of what comes beside the honest clicks, a second.
        seed: Names the deployment.
        timed: Whether the latencies have to hold; else they are told.
    """
    deployment = Deployment(folder, address, f"flood-{seed}")
    deployment.create()
    meter = Meter(deployment)
    tail = Tail(deployment)
    dataflow = Supervised(deployment, snapshot_seconds=10)
    memory = Memory(dataflow)
    honest = Clicks(deployment, min(_HONEST, rate), batch=20)
    found, problems = [], []
    try:
        if not meter.grows(60.0):
            problems.append("expected verdicts, got none")
        for name, click in PHASES:
            beside = Clicks(deployment, rate, click=click)
            sleep(min(_CHANGE_SECONDS, seconds / 2))  # what changes with the phase is not counted
            tail.take_latencies()
            sleep(max(seconds - _CHANGE_SECONDS, seconds / 2))
            latencies = tail.take_latencies()
            beside.finish()
            found.append((name, quantile(latencies, 0.99) if len(latencies) > 1 else float("nan")))
        honest.finish()
        if not wait_until_done(meter):
            problems.append(f"stood still with {meter.behind():,} to go")
        if code := dataflow.stop():
            problems.append(f"expected exit code 0 when told to stop, got {code}")
    finally:
        dataflow.stop()
        memory.close()
        honest.finish()
        tail.close()
        meter.close()
    for (_, before), (name, p99) in list(pairwise(found))[::2]:
        if timed and not p99 <= _MOST * before:
            problems.append(f"{name}: expected a p99 of at most {_MOST:g} times {before:.0f} ms, got {p99:.0f} ms")
    return result(
        deployment.count(),
        None,
        round=0,
        kind=f"phases of {seconds:g} s",
        injected=len(PHASES) // 2,
        took_effect=len(PHASES) // 2,
        problems=problems,
        notes={"p99": ", ".join(f"{name} {p99:.0f} ms" for name, p99 in found), "memory": f"{memory.peak:.0f} MB"},
    )


def main() -> int:
    """Run it, if it is not done yet."""
    given = parser(__doc__ or "").parse_args()
    logs_to_stderr()
    journal = Journal("flood", {"size": given.size, "seed": given.seed}, given.state)
    if not journal.results:
        with folder_of(given.keep) as folder, ApacheKafka() as kafka:
            journal.add(run(kafka.address, folder / "flood", seconds=_SIZES[given.size], seed=given.seed))
    return journal.close()


if __name__ == "__main__":
    sys.exit(main())
