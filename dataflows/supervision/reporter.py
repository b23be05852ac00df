"""A thread in each process that tells how the process is: to the supervisor in a file, to everybody in the metrics."""

import json
import os
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from time import monotonic
from typing import Any, Final

import structlog

from broker.ends import Ends
from broker.vitals import Vitals
from dataflows.supervision.watchdog import Watchdog

INTERVAL: Final = 1.0
"""Between two reports, s."""

_log = structlog.get_logger(__name__)


class Reporter:
    """Asks for ends, watches over partitions, and reports."""

    def __init__(self, vitals: Vitals, ends: Ends, begins: Ends, path: Path | None) -> None:
        """Do nothing yet.

        Args:
            vitals: What to report, and where to note what was found.
            ends: Asked for the ends of the partitions that are read.
            begins: Asked for their beginnings, where a position is not known yet.
            path: The status file, if somebody wants one.
        """
        self._vitals = vitals
        self._ends = ends
        self._begins = begins
        self._path = path
        self._watchdog = Watchdog()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Report from now on, each second, in a thread of its own."""
        self._thread = threading.Thread(target=self._run, name="reporter", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread: the interpreter shall not end around it."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(INTERVAL)

    def _run(self) -> None:
        complained = False
        while not self._stop.is_set():
            try:
                self.report(monotonic())
            except OSError as error:  # the disk may have room again, before the supervisor takes us for frozen
                if not complained:
                    complained = True
                    with suppress(OSError):  # a log that nobody reads any more: its supervisor was killed
                        _log.error("the status cannot be written", file=str(self._path), error=error.strerror)
            else:
                complained = False
            self._stop.wait(INTERVAL)

    def report(self, now: float) -> None:
        """One round; `now` is on the monotonic clock, s."""
        vitals = self._vitals
        self._ends.watch(vitals.assigned)
        self._ends.refresh()
        vitals.ends = self._ends.latest
        positions = vitals.positions()
        unknown = [part for part in vitals.assigned if f"{part[0]}/{part[1]}" not in positions]
        if unknown:
            self._begins.watch(unknown)
            self._begins.refresh()
            vitals.begins = self._begins.latest
        vitals.stalled = self._watchdog.look({} if vitals.paused else positions, vitals.ends, now)
        if self._path is not None:
            write_status(self._path, status(vitals, now))


def status(vitals: Vitals, now: float) -> dict[str, Any]:
    """What a supervisor needs to know of a process."""
    return {
        "pid": os.getpid(),
        "at": now,
        "joined": vitals.joined,
        "beat_age": None if vitals.beat is None else now - vitals.beat,
        "snapshots": vitals.snapshots,
        "snapshot_age": vitals.snapshot_age(now),
        "lag": vitals.lag(),
        "stalled": sorted(vitals.stalled),
    }


def write_status(path: Path, content: Mapping[str, Any]) -> None:
    """Write a status so that a reader finds the old one or the new one, never half of it."""
    partial = path.with_suffix(".part")
    partial.write_text(json.dumps(content))
    partial.replace(path)


def read_status(path: Path) -> dict[str, Any] | None:
    """The status of a process; None before its first one."""
    try:
        content: dict[str, Any] = json.loads(path.read_text())
    except FileNotFoundError:
        return None
    return content
