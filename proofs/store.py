"""Does the recovery store stay bounded while keys come and go for ever?

    python -m proofs.store                          a week of 10,000 new sessions an hour
    python -m proofs.store --rate 1000000 --lateness 1m --state week    1,000,000, kept as the shipped pack keeps them

A session clicks twice and is never seen again. Its key stays as long as an event in time could still see it (the
pack's `lateness`, 1 h unless told, and its windows); so the store should grow for about that long, and then no more.
The epochs are Bytewax's own, each a minute of event time. Every few hours the dataflow stops, another process looks
into the store, by `fraud state`, and the dataflow goes on from it; with `--state`, also a later run does.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition
from bytewax.outputs import DynamicSink, StatelessSinkPartition
from bytewax.recovery import RecoveryConfig, init_db_dir
from bytewax.testing import run_main
from typing_extensions import override

from dataflows.fraud import build
from dataflows.sinks import Sinks
from detection.loading import parse
from detection.records import Record
from proofs.journal import folder_of

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


class _Minutes(StatefulSourcePartition[Record, int]):
    """The clicks of sessions that come and go, a minute of event time in a batch; its state is how many are over."""

    def __init__(self, sessions: int, minute: int, end: int) -> None:
        self._clicks = sessions * 2
        self._minute = minute
        self._end = end

    @override
    def next_batch(self) -> list[Record]:
        if self._minute == self._end:
            raise StopIteration
        first, at = self._minute * self._clicks, START + self._minute * 60_000
        self._minute += 1
        return [self._click(first + number, at + number * 60_000 // self._clicks) for number in range(self._clicks)]

    @override
    def snapshot(self) -> int:
        return self._minute

    @staticmethod
    def _click(offset: int, at: int) -> Record:
        value = b'{"session_id":"session-%d","url":"/ad","timestamp":%d}' % (offset // 2, at)
        return Record("clicks", 0, offset, at, None, value)


class _Clicks(FixedPartitionedSource[Record, int]):
    def __init__(self, sessions: int, end: int) -> None:
        self._sessions = sessions
        self._end = end

    @override
    def list_parts(self) -> list[str]:
        return ["clicks"]

    @override
    def build_part(self, step_id: str, for_part: str, resume_state: int | None) -> _Minutes:
        return _Minutes(self._sessions, resume_state or 0, self._end)


class Week:
    """A store, the sessions that went through it, and what it looked like meanwhile.

    Attributes:
        looks: What was seen, in order.
    """

    def __init__(self, folder: Path, sessions_an_hour: int, lateness: str = "1h") -> None:
        """Go on where the folder's last look was; an empty one begins."""
        self._sessions = max(1, sessions_an_hour // MINUTES)
        self._store = folder / "store"
        self._seen = folder / f"seen-{sessions_an_hour}-{lateness}.json"
        self._pack = parse({"clicks.toml": PACK.read_text().replace('lateness = "1m"', f'lateness = "{lateness}"')})
        self.looks: list[dict[str, Any]] = []
        if self._seen.exists():
            self.looks = json.loads(self._seen.read_text())
        elif self._store.exists():
            msg = f"{folder}: expected the store of the same rate and lateness, got that of another"
            raise SystemExit(msg)
        else:
            self._store.mkdir(parents=True)
            init_db_dir(self._store, PARTS)  # type: ignore[no-untyped-call]
            self._save()  # says whose the store is, also if there is never a look

    @property
    def hours(self) -> int:
        """How many hours of event time are over."""
        return self.looks[-1]["hour"] if self.looks else 0

    def go_on(self, hours: int) -> None:
        """Until so many hours are over, as fast as it goes, and look."""
        nowhere = _Nowhere()
        source = _Clicks(self._sessions, hours * MINUTES)
        flow = build(self._pack, source, Sinks(nowhere, nowhere, nowhere, nowhere))
        kept = RecoveryConfig(self._store)  # type: ignore[no-untyped-call]
        began = time.process_time()
        run_main(flow, epoch_interval=timedelta(0), recovery_config=kept)  # type: ignore[no-untyped-call]
        self._look(hours, time.process_time() - began)

    def _look(self, hour: int, cpu_seconds: float) -> None:
        """In a process of its own, as an operator does."""
        command = [sys.executable, "-m", "cli.main", "state", "--json", "--recovery-dir", str(self._store)]
        state = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
        logs = [log for step in state["steps"].values() for log in step["logs"].values()]
        found = {
            "hour": hour,
            "sessions": hour * MINUTES * self._sessions,
            "epoch": state["epoch"],
            "keys": sum(log["keys"] for log in logs),
            "groups": sum(step["groups"] for step in state["steps"].values()),
            "tombstones": state["tombstones"],
            "state_bytes": sum(step["bytes"] for step in state["steps"].values()),
            "store_bytes": state["bytes"],
            "rss_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
            "ms_an_epoch": round(cpu_seconds * 1000 / (hour - self.hours) / MINUTES, 1),
        }
        self.looks.append(found)
        self._save()
        shown = {name: f"{number:,}" for name, number in found.items()}
        print("  ".join(f"{name} {number}" for name, number in shown.items()), flush=True)

    def _save(self) -> None:
        # Whole or not at all: a look that is lost is only made again.
        part = self._seen.with_suffix(".part")
        part.write_text(json.dumps(self.looks))
        part.replace(self._seen)


def main() -> int:
    """Run, and say whether the store is bounded."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rate", type=int, default=10_000, help="new sessions an hour of event time")
    parser.add_argument("--hours", type=int, default=168, help="how many hours of event time")
    parser.add_argument("--look-every", type=int, default=6, help="hours of event time between two looks")
    parser.add_argument("--lateness", default="1h", help="how late an event may be: so long sessions are kept")
    parser.add_argument("--state", type=Path, help="the folder to keep the store in; the next run goes on with it")
    given = parser.parse_args()
    os.environ.setdefault("PYTHONWARNINGS", "ignore")
    with folder_of(given.state) as folder:
        week = Week(folder, given.rate, given.lateness)
        while week.hours < given.hours:
            week.go_on(min(week.hours + given.look_every, given.hours))
    looks = week.looks
    steady = [look for look in looks if look["hour"] >= 2] or looks
    sizes = [look["store_bytes"] for look in steady]
    last = looks[-1]
    print(
        f"{last['sessions']:,} sessions in {last['hour']} h and {last['epoch']:,} epochs: "
        f"{last['keys']:,} keys at the end, {max(look['groups'] for look in looks)} rows of key groups at most, "
        f"{last['tombstones']} tombstones; store {min(sizes):,} to {max(sizes):,} B from hour {steady[0]['hour']} on, "
        f"{last['state_bytes'] / max(1, last['keys']):.0f} B a key; "
        f"{steady[0]['ms_an_epoch']:.1f} ms of CPU an epoch at first, {last['ms_an_epoch']:.1f} at the end"
    )
    return 0 if max(sizes) <= 2 * min(sizes) and max(look["groups"] for look in looks) <= 256 else 1


if __name__ == "__main__":
    sys.exit(main())
