"""The processes of a dataflow as an operator starts them, to be killed, frozen, stopped, and started again."""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event, Thread
from time import monotonic, sleep
from typing import Final

import msgspec

from broker.ports import free_ports
from dataflows.supervision.launcher import dataflow_command, die_with_parent, prepare_store
from proofs.deployment import Deployment

STORE_PARTS: Final = 12
"""Enough for three processes."""

_ENDS_SECONDS: Final = 6.0
_STOP_SECONDS: Final = 15.0

_starter: Final = ThreadPoolExecutor(1, "starter")
"""Starts all processes: the kernel stops them when the thread ends that started them, and this one ends last."""


class Cluster:
    """`python -m bytewax.run dataflows.fraud`, one process or several.

    Attributes:
        log: What the processes said.
        started: When the latest start was (monotonic).
    """

    def __init__(
        self,
        deployment: Deployment,
        *,
        snapshot_seconds: int = 2,
        environment: dict[str, str] | None = None,
        bug: str = "",
    ) -> None:
        """Make the recovery store; a bug is one of `proofs.planting`."""
        self._bug = bug
        self._deployment = deployment
        self._snapshot_seconds = snapshot_seconds
        self.environment = environment or {}
        self.store = deployment.folder / "recovery"
        self.log = deployment.folder / "dataflow.log"
        self.started = 0.0
        prepare_store(self.store, STORE_PARTS)
        self._processes: list[subprocess.Popen[bytes]] = []
        self._log_begin = 0

    def start(self, processes: int = 1, *, crash: tuple[int, str, int] | None = None) -> None:
        """Start all processes.

        Args:
            processes: How many.
            crash: A rank, the crash point at which it kills itself, and at which call.
        """
        ports = free_ports(processes)
        addresses = [f"127.0.0.1:{port}" for port in ports]
        self._log_begin = self.log.stat().st_size if self.log.exists() else 0
        self._processes = []
        self.started = monotonic()
        for rank in range(processes):
            command = self._command(rank, addresses)
            if crash is not None and crash[0] == rank:
                command[1:3] = ["-m", "proofs.crashing", crash[1], str(crash[2])]
            elif self._bug:
                command[1:3] = ["-m", "proofs.planting", self._bug]
            self._processes.append(_launch(command, self._deployment, self.environment, self.log))

    @property
    def pids(self) -> list[int]:
        """The processes that run."""
        return [process.pid for process in self._processes if process.poll() is None]

    @property
    def ranks(self) -> range:
        """The processes that were started."""
        return range(len(self._processes))

    def codes(self) -> list[int | None]:
        """How each process ended; None if it runs."""
        return [process.poll() for process in self._processes]

    def is_running(self) -> bool:
        """Whether all run."""
        return bool(self._processes) and not any(code is not None for code in self.codes())

    def catches(self, number: signal.Signals, seconds: float) -> bool:
        """Wait until all that run have a handler for a signal, at most so long; whether they have."""
        deadline = monotonic() + seconds
        while not all(_catches(pid, number) for pid in self.pids):
            if monotonic() > deadline:
                return False
            sleep(0.1)
        return True

    def signal(self, number: signal.Signals, ranks: Sequence[int] | None = None) -> None:
        """Send a signal to all processes or some."""
        for rank in self.ranks if ranks is None else ranks:
            if self._processes[rank].poll() is None:
                self._processes[rank].send_signal(number)

    def kill(self, ranks: Sequence[int] | None = None, *, peers_end: bool = False) -> None:
        """SIGKILL some processes or all, and see all of them end.

        Args:
            ranks: Which; None: all at once.
            peers_end: Give the others time to end by themselves before they are killed too.
        """
        self.signal(signal.SIGKILL, ranks)
        if peers_end:
            self.wait(_ENDS_SECONDS)
        self.signal(signal.SIGKILL)
        for process in self._processes:
            process.wait()

    def wait(self, seconds: float) -> bool:
        """Wait until all have ended, at most so long; whether they have."""
        deadline = monotonic() + seconds
        while self.pids and monotonic() < deadline:
            sleep(0.02)
        return not self.pids

    def stop(self) -> list[int]:
        """SIGTERM all; gives how they ended. Who does not end is killed."""
        self.signal(signal.SIGTERM)
        self.wait(_STOP_SECONDS)
        self.kill()
        return [process.wait() for process in self._processes]

    def errors(self) -> list[str]:
        """What the dataflow told as errors since the latest start, each once; not what the Kafka client told."""
        with self.log.open("rb") as log:
            log.seek(self._log_begin)
            lines = log.read().decode("utf-8", "replace").splitlines()
        return list(dict.fromkeys(filter(None, map(_error_in, lines))))

    def _command(self, rank: int, addresses: Sequence[str]) -> list[str]:
        return dataflow_command(rank, addresses, recovery=self.store, snapshot_seconds=self._snapshot_seconds)


class _Line(msgspec.Struct):
    """A line of the log."""

    event: str
    level: str
    facility: str = ""


def _error_in(line: str) -> str | None:
    """The error that a line tells, if it does."""
    if line.startswith("fraud: "):
        return line.removeprefix("fraud: ")
    try:
        told = msgspec.json.decode(line, type=_Line)
    except msgspec.DecodeError:  # what Bytewax or Python say
        return None
    return told.event if told.level == "error" and not told.facility else None


class Supervised:
    """`fraud run`: starts the processes again when one ends."""

    def __init__(
        self,
        deployment: Deployment,
        processes: int = 1,
        *,
        snapshot_seconds: int = 2,
        environment: dict[str, str] | None = None,
    ) -> None:
        """Start it."""
        self.log = deployment.folder / "run.log"
        self.store = deployment.folder / "recovery"
        command = [sys.executable, "-m", "cli.main", "run", "--processes", str(processes), "--recovery-dir"]
        command += [str(self.store), "--snapshot-interval", str(snapshot_seconds)]
        prepare_store(self.store, STORE_PARTS)
        self._process = _launch(command, deployment, environment or {}, self.log)

    def pids(self) -> list[int]:
        """The processes of the dataflow."""
        path = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children")
        return [int(pid) for pid in path.read_text().split()] if path.exists() else []

    def kill(self, rank: int | None = None) -> int:
        """SIGKILL processes of the dataflow, one or all; gives how many."""
        pids = self.pids()
        chosen = pids if rank is None else pids[rank : rank + 1]
        for pid in chosen:
            os.kill(pid, signal.SIGKILL)
        return len(chosen)

    def stop(self) -> int:
        """SIGTERM; gives how it ended."""
        self._process.terminate()
        try:
            return self._process.wait(2 * _STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
            self._process.kill()
            return self._process.wait()


class Keeper:
    """Starts a cluster again, all of it, whenever a process has ended: `fraud run` without its patience."""

    def __init__(self, cluster: Cluster, processes: int, *, start: bool = True) -> None:
        """Start the cluster, unless it is."""
        self.restarts = 0
        self._cluster = cluster
        self._processes = processes
        self._end = Event()
        if start:
            cluster.start(processes)
        self._thread = Thread(target=self._run, daemon=True)
        self._thread.start()

    def end(self) -> None:
        """Keep no more; the cluster stays as it is."""
        self._end.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._end.wait(0.1):
            if not self._cluster.is_running():
                self._cluster.kill(peers_end=True)
                if self._end.wait(0.5):
                    return
                self._cluster.start(self._processes)
                self.restarts += 1


def _launch(
    command: Sequence[str], deployment: Deployment, environment: Mapping[str, str], log: Path
) -> subprocess.Popen[bytes]:
    with log.open("ab") as output:
        begun = _starter.submit(
            subprocess.Popen,
            command,
            cwd=deployment.folder,
            env=deployment.environment(**environment),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            preexec_fn=die_with_parent,
        )
        return begun.result()


def _catches(pid: int, number: signal.Signals) -> bool:
    try:
        status = Path(f"/proc/{pid}/status").read_text("ascii", "replace")
    except (FileNotFoundError, ProcessLookupError):  # it has ended meanwhile
        return True
    (mask,) = (line.split()[1] for line in status.splitlines() if line.startswith("SigCgt:"))
    return bool(int(mask, 16) >> (number - 1) & 1)
