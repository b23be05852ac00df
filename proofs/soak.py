"""A soak: does memory grow, do handles or threads leak, does latency creep up, and is it all exact in the end?

    python -m proofs.soak                              # small: 2 minutes
    python -m proofs.soak --size middle --rate 12000   # 20 minutes

Clicks whose event time is their record's timestamp, so the state is as large as the windows and no larger. The first
eight minutes are warm-up: at 12,000 events/s memory grew until then, and no more. Memory is that of all processes of
the dataflow; its slope comes with its standard error, and fails when it is more than 1 MB an hour and more than twice
that error: over 20 minutes a slope of 1 MB is less than what can be told from noise. A run of less than 20 minutes has
a quarter of it as warm-up, and only tells the slope.
"""

import statistics
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from threading import Event, Thread
from time import monotonic, sleep, time_ns
from typing import Final, NamedTuple, TypeAlias

from confluent_kafka import Producer

from broker.apache import ApacheKafka
from broker.config import producer_config
from broker.logs import logs_to_stderr
from proofs.cluster import Cluster
from proofs.deployment import Deployment, Meter, wait_until_done
from proofs.journal import Journal, Result, folder_of, parser, result
from proofs.recovery import quantile
from proofs.tail import Tail

_SIZES: Final = {"small": 2, "middle": 20, "full": 60}
"""Minutes."""

_SLOPE_MB: Final = 1.0  # an hour
_EVERY_SECONDS: Final = 5.0
_WARM_UP_SECONDS: Final = 480.0
_SLOPE_MINUTES: Final = 20.0
_PAGE: Final = 4_096
_BATCH: Final = 500
_RATE: Final = 5_000
_CREEP: Final = 1.5


Click: TypeAlias = Callable[[int, int], tuple[bytes, bytes]]
"""Key and value of a click, from its number and the time now, ms since the epoch."""


class Sample(NamedTuple):
    """What the processes hold at a moment.

    Attributes:
        at: Seconds since the start.
        megabytes: Resident memory of all processes.
        files: Their open files.
        threads: Their threads.
        p99: Of the latencies since the last sample, ms; None if there was none.
        longest: The longest of them, ms.
    """

    at: float
    megabytes: float
    files: int
    threads: int
    p99: float | None
    longest: float = 0.0


def click(number: int, now: int) -> tuple[bytes, bytes]:
    """Three clicks of each session, in one of twenty all on one URL."""
    session, url = number // 3, number // 3 % 40 if number // 3 % 20 == 0 else number % 40
    return b"%x" % session, b'{"session_id":"%x","url":"/offer/%d","sent":%d}' % (session, url, now)


class Clicks:
    """Sends clicks at a rate, in a thread of its own; without another `click` each says when it was sent."""

    def __init__(
        self,
        deployment: Deployment,
        rate: int,
        *,
        click: Click = click,
        batch: int = _BATCH,
    ) -> None:
        """Begin to send.

        Args:
            deployment: To whose topic.
            rate: Clicks a second.
            click: What to send.
            batch: How many are sent at once.
        """
        self.sent = 0
        self._topic = deployment.clicks
        self._rate = rate
        self._click = click
        self._batch = batch
        self._producer = Producer({**producer_config(deployment.settings), "client.id": "soak"})
        self._end = Event()
        self._thread = Thread(target=self._run, daemon=True)
        self._thread.start()

    def finish(self) -> None:
        """Send no more, and wait until all is delivered."""
        self._end.set()
        self._thread.join()
        while self._producer.flush(1.0):
            pass

    def _run(self) -> None:
        due = monotonic()
        while not self._end.is_set():
            now = time_ns() // 1_000_000
            pairs = (self._click(number, now) for number in range(self.sent, self.sent + self._batch))
            batch = [{"key": key, "value": value} for key, value in pairs]
            while batch:
                self._producer.produce_batch(self._topic, batch)
                batch = [message for message in batch if message.pop("_error", None) is not None]
                self._producer.poll(0.1 if batch else 0)
            self.sent += self._batch
            due += self._batch / self._rate
            self._end.wait(max(0.0, due - monotonic()))


def run(address: str, folder: Path, *, minutes: float, rate: int, processes: int, seed: int) -> Result:
    """Soak for so long, and count."""
    deployment = Deployment(folder, address, f"soak-{seed}")
    deployment.create()
    meter = Meter(deployment)
    cluster = Cluster(deployment, snapshot_seconds=10)
    tail = Tail(deployment, every=max(1, rate // 1_000))
    clicks = Clicks(deployment, rate)
    samples: list[Sample] = []
    problems = []
    try:
        cluster.start(processes)
        if not meter.grows(60.0):
            problems.append(f"expected verdicts, got {cluster.errors()[-1:]}")
        began = monotonic()
        while monotonic() - began < minutes * 60 and cluster.is_running():
            sleep(_EVERY_SECONDS)
            samples.append(_sample(cluster.pids, monotonic() - began, tail))
        if not cluster.is_running():
            problems.append(f"ended after {monotonic() - began:.0f} s: {cluster.errors()[-1:]}")
        clicks.finish()
        if not wait_until_done(meter):
            problems.append(f"stood still with {meter.behind():,} to go: {cluster.errors()[-1:]}")
        if any(codes := cluster.stop()):
            problems.append(f"expected exit code 0 when told to stop, got {codes}")
    finally:
        cluster.kill()
        clicks.finish()
        tail.close()
        meter.close()
    (folder / "samples.csv").write_text("".join(f"{','.join(map(str, sample))}\n" for sample in samples))
    is_long = minutes >= _SLOPE_MINUTES
    warm = _WARM_UP_SECONDS if is_long else minutes * 60 / 4
    notes, found = judge([sample for sample in samples if sample.at >= warm], slope_counts=is_long)
    return result(
        deployment.count(),
        None,
        round=0,
        kind=f"{minutes:g} minutes at {rate:,} events/s",
        injected=0,
        took_effect=0,
        problems=problems + found,
        notes=notes,
    )


def judge(samples: Sequence[Sample], *, slope_counts: bool = True) -> tuple[dict[str, str], list[str]]:
    """What the samples after the warm-up show: figures, and what is not as it has to be."""
    if len(samples) < 4:
        return {}, ["too few samples"]
    slope, error = _slope([sample.at for sample in samples], [sample.megabytes for sample in samples])
    half = len(samples) // 2
    latencies = [[sample.p99 for sample in part if sample.p99 is not None] for part in (samples[:half], samples[half:])]
    first, second = (statistics.median(part) if part else float("nan") for part in latencies)
    notes = {
        "memory": f"{samples[-1].megabytes:.0f} MB, {slope:+.1f} ± {error:.1f} MB/h",
        "files": f"{samples[0].files} to {samples[-1].files}",
        "threads": f"{samples[0].threads} to {samples[-1].threads}",
        "p99": f"{first:.0f} to {second:.0f} ms",
        # No snapshot, and nothing else, stood in the way for longer.
        "longest": f"{max(sample.longest for sample in samples):.0f} ms",
    }
    problems = []
    if slope_counts and slope > max(_SLOPE_MB, 2 * error):
        problems.append(f"memory: expected a slope of at most {_SLOPE_MB:g} MB/h, got {notes['memory']}")
    for name in ("files", "threads"):
        values = [getattr(sample, name) for sample in samples]
        if max(values[half:]) > max(values[:half]):
            problems.append(f"{name}: expected no more than before, got {notes[name]}")
    if not second <= max(_CREEP * first, first + 20.0):
        problems.append(f"p99: expected it to stay, got {notes['p99']}")
    return notes, problems


def _slope(at: Sequence[float], values: Sequence[float]) -> tuple[float, float]:
    """Of the line through the values, an hour, with its standard error."""
    line = statistics.linear_regression(at, values)
    middle = statistics.fmean(at)
    spread = sum((x - middle) ** 2 for x in at)
    rest = sum((y - line.slope * x - line.intercept) ** 2 for x, y in zip(at, values, strict=True))
    return line.slope * 3600, (rest / (len(at) - 2) / spread) ** 0.5 * 3600


def _sample(pids: Sequence[int], at: float, tail: Tail) -> Sample:
    pages = files = threads = 0
    for pid in pids:
        process = Path(f"/proc/{pid}")
        try:
            pages += int((process / "statm").read_text().split()[1])
            files += sum(1 for _ in (process / "fd").iterdir())
            threads += sum(1 for _ in (process / "task").iterdir())
        except FileNotFoundError:  # it has just ended, which is found out elsewhere
            continue
    latencies = tail.take_latencies()
    p99 = quantile(latencies, 0.99) if latencies else None
    return Sample(at, pages * _PAGE / 1e6, files, threads, p99, max(latencies, default=0.0))


def main() -> int:
    """Run it, if it is not done yet."""
    options = parser(__doc__ or "")
    options.add_argument("--minutes", type=float, help="instead of those of the size")
    options.add_argument("--rate", type=int, help=f"events a second [small: {_RATE}]")
    options.add_argument("--processes", type=int, default=1)
    given = options.parse_args()
    if given.rate is None and given.size != "small":
        options.error("--rate: expected 80 % of the top rate of this machine, see bench.throughput")
    given.rate = given.rate or _RATE
    logs_to_stderr()
    minutes = given.minutes or _SIZES[given.size]
    arguments = {"minutes": minutes, "rate": given.rate, "processes": given.processes, "seed": given.seed}
    journal = Journal("soak", arguments, given.state)
    if not journal.results:
        with folder_of(given.keep) as folder, ApacheKafka() as kafka:
            journal.add(
                run(
                    kafka.address,
                    folder / "soak",
                    minutes=minutes,
                    rate=given.rate,
                    processes=given.processes,
                    seed=given.seed,
                )
            )
    return journal.close()


if __name__ == "__main__":
    sys.exit(main())
