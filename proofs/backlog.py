"""A backlog that was there before the dataflow: is its memory bounded, and are all records judged exactly once?

    python -m proofs.backlog                     # small: 1,000,000 records
    python -m proofs.backlog --records 5000000   # each of the three rounds with so many

`fraud run` judges it: as it is; through a line to the broker that takes a few megabytes a second, so records come
faster than verdicts go; and with a producer queue of 1,000 records. The memory is the most that a process of the
dataflow ever had resident (VmHWM), seen each second. The bound is that of docs/operating.md.
"""

import re
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event, Thread
from time import monotonic, time_ns
from typing import Final

from confluent_kafka import Producer

from broker.config import producer_config
from broker.logs import logs_to_stderr
from proofs.cluster import Supervised
from proofs.deployment import Deployment, Meter, wait_until_done
from proofs.journal import Journal, Result, folder_of, parser, result
from proofs.nodes import Kafka
from proofs.proxy import Proxy

BOUND_MB: Final = 600
"""Resident memory of a process, MB (10^6 bytes), with small records, packs and windows."""

_SIZES: Final = {"small": 1_000_000, "middle": 5_000_000, "full": 20_000_000}
_BATCH: Final = 5_000
_SLOW_BYTES: Final = 1_000_000.0  # a second: a tenth of what is judged, as it is compressed
_HIGH_WATER: Final = re.compile(r"^VmHWM:\s+(\d+) kB$", re.MULTILINE)


@dataclass(frozen=True)
class Round:
    """How the backlog is judged.

    Attributes:
        kind: In words.
        bytes_per_second: What the line to the broker takes; 0: all.
        environment: Settings.
    """

    kind: str
    bytes_per_second: float = 0.0
    environment: Mapping[str, str] = field(default_factory=dict)


ROUNDS: Final = (
    Round("as it is"),
    Round("a slow line", bytes_per_second=_SLOW_BYTES),
    Round("a small queue", environment={"KAFKA_QUEUE_BUFFERING_MAX_MESSAGES": "1000"}),
)


class Memory:
    """Looks at the memory of some processes each second, in a thread of its own.

    Attributes:
        peak: The most that one of them had resident so far, MB.
    """

    def __init__(self, dataflow: Supervised) -> None:
        """Begin to look."""
        self.peak = 0.0
        self._dataflow = dataflow
        self._end = Event()
        self._thread = Thread(target=self._run, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Look no more."""
        self._end.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._end.wait(1.0):
            for pid in self._dataflow.pids():
                try:
                    status = Path(f"/proc/{pid}/status").read_text()
                except (FileNotFoundError, ProcessLookupError):  # it has just ended
                    continue
                if found := _HIGH_WATER.search(status):
                    self.peak = max(self.peak, int(found[1]) * 1_024 / 1e6)


def fill(deployment: Deployment, records: int) -> None:
    """Send so many clicks as fast as it goes, and wait until they are there.

    They were made one a millisecond, three a session: the windows never hold more than a minute or two of them.
    """
    producer = Producer({**producer_config(deployment.settings), "client.id": "backlog"})
    first = time_ns() // 1_000_000 - records
    for begin in range(0, records, _BATCH):
        batch = [
            {
                "key": b"%016x" % (number // 3),
                "value": b'{"session_id":"%016x","url":"/offer/%d","timestamp":%d}'
                % (number // 3, number % 7, first + number),
            }
            for number in range(begin, min(begin + _BATCH, records))
        ]
        while batch:
            producer.produce_batch(deployment.clicks, batch)
            batch = [message for message in batch if message.pop("_error", None) is not None]
            producer.poll(0.1 if batch else 0)
    while producer.flush(1.0):
        pass


def run(kafka: Kafka, folder: Path, number: int, spec: Round, *, records: int, processes: int, seed: int) -> Result:
    """Judge one backlog, and count."""
    deployment = Deployment(folder, kafka.address, f"backlog-{seed}-{number}")
    deployment.create()
    fill(deployment, records)
    meter = Meter(deployment)
    environment, problems = dict(spec.environment), []
    with ExitStack() as stack:
        stack.callback(meter.close)
        if spec.bytes_per_second:
            stack.enter_context(Proxy(kafka.proxy, kafka.proxied, bytes_per_second=spec.bytes_per_second))
            environment["KAFKA_BROKER_URL"] = f"127.0.0.1:{kafka.proxy}"
        began = monotonic()
        dataflow = Supervised(deployment, processes, snapshot_seconds=10, environment=environment)
        stack.callback(dataflow.stop)
        memory = Memory(dataflow)
        stack.callback(memory.close)
        if not wait_until_done(meter):
            problems.append(f"stood still with {meter.behind():,} to go")
        seconds = monotonic() - began
        if code := dataflow.stop():
            problems.append(f"expected exit code 0 when told to stop, got {code}")
    if not 0 < memory.peak <= BOUND_MB:
        problems.append(f"expected at most {BOUND_MB} MB resident, got {memory.peak:.0f}")
    return result(
        deployment.count(),
        None,
        round=number,
        kind=spec.kind,
        injected=0,
        took_effect=0,
        problems=problems,
        notes={"peak": f"{memory.peak:.0f} MB", "bound": f"{BOUND_MB} MB", "seconds": round(seconds)},
    )


def main() -> int:
    """Run what is not done yet."""
    options = parser(__doc__ or "")
    options.add_argument("--records", type=int, help="instead of those of the size")
    options.add_argument("--processes", type=int, default=1)
    given = options.parse_args()
    logs_to_stderr()
    records = given.records or _SIZES[given.size]
    arguments = {"records": records, "processes": given.processes, "seed": given.seed}
    journal = Journal("backlog", arguments, given.state)
    todo = [(number, spec) for number, spec in enumerate(ROUNDS) if not journal.has(number)]
    if todo:
        with folder_of(given.keep) as folder, Kafka() as kafka:
            for number, spec in todo:
                place = folder / f"round-{number}"
                done = run(kafka, place, number, spec, records=records, processes=given.processes, seed=given.seed)
                journal.add(done)
    return journal.close()


if __name__ == "__main__":
    sys.exit(main())
