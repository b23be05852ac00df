"""Does the recovery store stay bounded while keys come and go for ever?

    python -m proofs.store                          a week of 10,000 new sessions an hour
    python -m proofs.store --rate 1000000 --lateness 1m    a week of 1,000,000, kept as the shipped pack keeps them

A session clicks twice and is never seen again. Its key stays as long as an event in time could still see it (the
pack's `lateness`, 1 h unless told, and its windows); so the store should grow for about that long, and then no more.
The epochs are Bytewax's own, each a minute of event time. Every few hours another process looks into the store, by
`fraud state`.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

from bytewax.outputs import DynamicSink, StatelessSinkPartition
from bytewax.recovery import RecoveryConfig, init_db_dir
from bytewax.testing import TestingSource, run_main
from typing_extensions import override

from dataflows.fraud import build
from dataflows.sinks import Sinks
from detection.loading import parse
from detection.records import Record

START: Final = 1_767_225_600_000
PACK: Final = Path(__file__).parents[1] / "packs" / "clicks.toml"
MINUTES: Final = 60
PARTS: Final = 4


class _Nothing(StatelessSinkPartition[Any]):
    @override
    def write_batch(self, items: list[Any]) -> None:
        pass


class _Nowhere(DynamicSink[Any]):
    @override
    def build(self, step_id: str, worker_index: int, worker_count: int) -> _Nothing:
        return _Nothing()


class Week:
    """Clicks of sessions that come and go, and what the store looked like meanwhile."""

    def __init__(self, store: Path, sessions_an_hour: int, hours: int, look_every: int) -> None:
        self.batch = max(1, sessions_an_hour // MINUTES) * 2
        self.looks: list[dict[str, Any]] = []
        self._store = store
        self._hours = hours
        self._look_every = look_every

    def records(self) -> Iterator[Record]:
        """All of them, minute by minute."""
        offset = 0
        for minute in range(self._hours * MINUTES):
            if minute % (self._look_every * MINUTES) == 0 and minute:
                self.look(minute // MINUTES, offset // 2)
            at = START + minute * 60_000
            for _ in range(self.batch):
                value = b'{"session_id":"session-%d","url":"/ad","timestamp":%d}' % (offset // 2, at + offset % 60_000)
                yield Record("clicks", 0, offset, at, None, value)
                offset += 1
        self.look(self._hours, offset // 2)

    def look(self, hour: int, sessions: int) -> None:
        """In a process of its own: within one, the SQLite of Python would break the locks of Bytewax's."""
        command = [sys.executable, "-m", "cli.main", "state", "--json", "--recovery-dir", str(self._store)]
        state = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
        logs = [log for step in state["steps"].values() for log in step["logs"].values()]
        found = {
            "hour": hour,
            "sessions": sessions,
            "epoch": state["epoch"],
            "keys": sum(log["keys"] for log in logs),
            "groups": sum(step["groups"] for step in state["steps"].values()),
            "tombstones": state["tombstones"],
            "state_bytes": sum(step["bytes"] for step in state["steps"].values()),
            "store_bytes": state["bytes"],
            "rss_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
            "cpu_seconds": round(time.process_time(), 1),
        }
        self.looks.append(found)
        shown = {name: f"{number:,}" for name, number in found.items()}
        print("  ".join(f"{name} {number}" for name, number in shown.items()), flush=True)


def run(sessions_an_hour: int, hours: int, look_every: int, lateness: str = "1h") -> list[dict[str, Any]]:
    """Run so many hours of event time as fast as it goes; gives what the store looked like."""
    with tempfile.TemporaryDirectory(prefix="proof-store-") as folder:
        store = Path(folder)
        init_db_dir(store, PARTS)  # type: ignore[no-untyped-call]
        week = Week(store, sessions_an_hour, hours, look_every)
        nowhere = _Nowhere()
        source = TestingSource(week.records(), week.batch)
        pack = parse({"clicks.toml": PACK.read_text().replace('lateness = "1m"', f'lateness = "{lateness}"')})
        flow = build(pack, source, Sinks(nowhere, nowhere, nowhere, nowhere))
        kept = RecoveryConfig(store)  # type: ignore[no-untyped-call]
        run_main(flow, epoch_interval=timedelta(0), recovery_config=kept)  # type: ignore[no-untyped-call]
        return week.looks


def main() -> int:
    """Run, and say whether the store is bounded."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rate", type=int, default=10_000, help="new sessions an hour of event time")
    parser.add_argument("--hours", type=int, default=168, help="how many hours of event time")
    parser.add_argument("--look-every", type=int, default=6, help="hours of event time between two looks")
    parser.add_argument("--lateness", default="1h", help="how late an event may be: so long sessions are kept")
    given = parser.parse_args()
    os.environ.setdefault("PYTHONWARNINGS", "ignore")
    looks = run(given.rate, given.hours, min(given.look_every, given.hours), given.lateness)
    steady = [look for look in looks if look["hour"] >= 2] or looks
    sizes = [look["store_bytes"] for look in steady]
    paces = [
        (later["cpu_seconds"] - look["cpu_seconds"]) / (later["epoch"] - look["epoch"]) * 1000
        for look, later in pairwise(steady)
    ]
    last = looks[-1]
    print(
        f"{last['sessions']:,} sessions in {last['hour']} h and {last['epoch']:,} epochs: "
        f"{last['keys']:,} keys at the end, {max(look['groups'] for look in looks)} rows of key groups at most, "
        f"{last['tombstones']} tombstones; store {min(sizes):,} to {max(sizes):,} B from hour {steady[0]['hour']} on, "
        f"{last['state_bytes'] / max(1, last['keys']):.0f} B a key"
        + (f"; {paces[0]:.1f} ms of CPU an epoch at first, {paces[-1]:.1f} at the end" if paces else "")
    )
    return 0 if max(sizes) <= 2 * min(sizes) and max(look["groups"] for look in looks) <= 256 else 1


if __name__ == "__main__":
    sys.exit(main())
