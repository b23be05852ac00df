"""Runs the processes of one dataflow: all start together, all stop together, and when one fails all start again.

A cluster of Bytewax lives and dies as a whole: a process whose peer is gone fails within seconds, and one that is asked
alone to stop cannot. So every signal goes to all, and nobody is killed before the last snapshot had time to be written.
"""

import asyncio
import ctypes
import errno
import re
import signal
import socket
import sys
from asyncio.subprocess import DEVNULL, PIPE, STDOUT, Process
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any, Final

from bytewax.errors import BytewaxRuntimeError
from bytewax.recovery import init_db_dir

from broker.ports import free_ports
from dataflows.store.deployment import FILE
from dataflows.store.opening import read
from dataflows.store.quarantine import InHand, Journal
from dataflows.supervision.environment import CAREFUL, LOGS, PROCESS, RESTARTS, STATUS_FILE
from dataflows.supervision.health import ProcessState, describe
from dataflows.supervision.reporter import read_status
from dataflows.supervision.stopping import PATIENCE
from detection.settings import SettingsError

FIRST_API_PORT: Final = 3030
REFUSED: Final = 1
_API_ENABLED: Final = "BYTEWAX_DATAFLOW_API_ENABLED"
_API_PORT: Final = "BYTEWAX_DATAFLOW_API_PORT"
_HIGHEST_PORT: Final = 65_535
_PR_SET_PDEATHSIG: Final = 1
_CHUNK: Final = 65_536
_NUMBER: Final = re.compile("[0-9]{1,5}")

_libc = ctypes.CDLL(None)


@dataclass(frozen=True, kw_only=True, slots=True)
class Patience:
    """How long the launcher waits, all in seconds.

    Attributes:
        stop: For a process to end by itself, before it is killed; longer than it needs to find that it cannot.
        first: Before the second start.
        longest: Before any start; the wait doubles until then.
        steady: Running so long makes the next wait the first again.
        frozen: For a word from a process, before all are killed and started again; 0: for ever.
        look: Between two looks at what the processes tell.
    """

    stop: float = PATIENCE + 5.0
    first: float = 1.0
    longest: float = 30.0
    steady: float = 60.0
    frozen: float = 60.0
    look: float = 1.0


class Launcher:
    """Supervises the processes of one dataflow on this machine.

    Args:
        command: The command line of a rank, given the addresses of all ranks.
        processes: How many.
        environment: The environment of a rank.
        write: Takes each line that a process or the launcher itself has to say.
        patience: How long to wait for what.
        journal: Where deaths are held against records.
        tries: After so many deaths without a reason and without a snapshot, the processes have to be careful.
    """

    def __init__(
        self,
        command: Callable[[int, Sequence[str]], list[str]],
        processes: int,
        *,
        environment: Callable[[int], Mapping[str, str]],
        write: Callable[[str], None],
        patience: Patience = Patience(),
        journal: Journal | None = None,
        tries: int = 3,
    ) -> None:
        self._command = command
        self._ranks = range(processes)
        self._environment = environment
        self._write = write
        self._patience = patience
        self._journal = journal
        self._tries = tries
        self._deaths = 0
        self._running: list[Process] = []
        self._environments: list[Mapping[str, str]] = []
        self._since = monotonic()
        self._told: set[str] = set()
        self._restarts = 0
        self._killed: set[int] = set()

    async def run(self) -> int:
        """Run until a signal comes, or until the first start is refused.

        Returns:
            0 when all processes ended with 0 after the signal, else the exit code of the first that did not.
        """
        loop = asyncio.get_running_loop()
        self._stopping = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop)
        wait = self._patience.first
        starts = 0
        while True:
            began = loop.time()
            starts += 1
            rank, code = await self._run_once()
            lasted = loop.time() - began
            if self._stopping.is_set():
                return code
            self._restarts += 1
            # Without a reason of ours it was a crash, which may be over at the next start.
            if starts == 1 and code == REFUSED and self._told and not self._any_tells("joined"):
                return code
            if lasted >= self._patience.steady:
                wait = self._patience.first
            if self._look_for_the_culprit():
                wait = self._patience.first
            self._write(f"fraud: process {rank} ended with {code}: starting all again in {wait:g} s")
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), wait)
                return code
            wait = min(2 * wait, self._patience.longest)

    def health(self) -> dict[str, Any]:
        """How the processes are, see `dataflows.supervision.health.describe`."""
        return describe(self._states(), self._restarts, monotonic())

    def _states(self) -> list[ProcessState]:
        states = []
        for rank in self._ranks:
            process = self._running[rank] if rank < len(self._running) else None
            environment = self._environments[rank] if rank < len(self._environments) else {}
            states.append(
                ProcessState(
                    pid=process.pid if process else None,
                    alive=process is not None and process.returncode is None,
                    since=self._since,
                    metrics_port=int(environment[_API_PORT]) if _API_ENABLED in environment else None,
                    status=read_status(Path(environment[STATUS_FILE])) if STATUS_FILE in environment else None,
                )
            )
        return states

    def _any_tells(self, name: str) -> bool:
        """Whether some process has told of such a thing."""
        return any(state.status is not None and state.status[name] for state in self._states())

    async def _frozen(self) -> int:
        """The rank of the first process that tells nothing any more, or whose workers do nothing."""
        while True:
            await asyncio.sleep(self._patience.look)
            now = monotonic()
            for rank, state in enumerate(self._states()):
                why = state.frozen(now, self._patience.frozen) if STATUS_FILE in self._environments[rank] else None
                if why is not None:
                    self._write(f"fraud: process {rank} {why}: killing all")
                    return rank

    def _look_for_the_culprit(self) -> bool:
        """Hold deaths without a reason against the records in hand; gives whether there were any.

        A crash with a reason was noted by the process itself.
        """
        if self._any_tells("snapshots"):
            self._deaths = 0
        victims = {
            rank: signal.Signals(-process.returncode)
            for rank, process in enumerate(self._running)
            if process.returncode is not None and process.returncode < 0 and rank not in self._killed
        }
        victims = {rank: how for rank, how in victims.items() if how not in {signal.SIGTERM, signal.SIGINT}}
        self._deaths += bool(victims)
        found = False
        for rank, how in victims.items():
            path = self._environments[rank].get(CAREFUL)
            if path is None or self._journal is None:
                continue
            for origin in InHand.read(Path(path)):
                found = True
                tries = self._journal.note(origin, f"the process died on it ({how.name})")
                self._write(f"fraud: process {rank} died of {how.name} on {origin}: {tries} of {self._tries} times")
        return found

    def _kill(self, *, guilty: int | None = None) -> None:
        """End what still runs, through no fault of its own."""
        self._killed |= {rank for rank, process in enumerate(self._running) if process.returncode is None} - {guilty}
        self._signal(signal.SIGKILL)

    def _stop(self) -> None:
        self._stopping.set()
        # A second signal is passed on too: it ends the processes at once.
        self._signal(signal.SIGTERM)

    def _signal(self, number: signal.Signals) -> None:
        for process in self._running:
            if process.returncode is None:
                with suppress(ProcessLookupError):
                    process.send_signal(number)

    async def _run_once(self) -> tuple[int, int]:
        """Start all, wait until one ends or all are asked to, and see all of them end.

        Returns:
            The rank that ended first, or with a failure, and its exit code as a shell has it.
        """
        # Is one taken before its process has it, the next start gets others.
        addresses = [f"127.0.0.1:{port}" for port in free_ports(len(self._ranks))]
        self._told.clear()
        self._running = []
        self._killed = set()
        self._environments = [self._prepare(rank) for rank in self._ranks]
        self._since = monotonic()
        try:
            for rank in self._ranks:
                self._running.append(await self._spawn(rank, addresses))
            outputs = [asyncio.create_task(self._forward(rank)) for rank in self._ranks]
            ends = [asyncio.create_task(process.wait()) for process in self._running]
            asked = asyncio.create_task(self._stopping.wait())
            frozen = asyncio.create_task(self._frozen())
            if self._stopping.is_set():  # while they were being started
                self._signal(signal.SIGTERM)
            await asyncio.wait([*ends, asked, frozen], return_when=asyncio.FIRST_COMPLETED)
            asked.cancel()
            frozen.cancel()
            first = next((rank for rank in self._ranks if ends[rank].done()), None)
            if first is None and frozen.done():
                first = frozen.result()
                self._kill(guilty=first)  # none of them could end without it
            elif not self._stopping.is_set():
                self._signal(signal.SIGTERM)
            await asyncio.wait(ends, timeout=self._patience.stop)
            self._kill()
            await asyncio.wait([*ends, *outputs])
        finally:  # also when not all of them could be started
            self._kill()
            await asyncio.gather(*(process.wait() for process in self._running))
        codes = [_shell_code(process.returncode or 0) for process in self._running]
        if first is None or self._stopping.is_set():
            first = next((rank for rank in self._ranks if codes[rank]), 0)
        return first, codes[first]

    def _prepare(self, rank: int) -> Mapping[str, str]:
        """The environment of the next process of a rank."""
        environment = {**self._environment(rank), RESTARTS: str(self._restarts)}
        if STATUS_FILE in environment:
            status = Path(environment[STATUS_FILE])
            status.unlink(missing_ok=True)  # of the process before
            if self._journal is not None and self._deaths >= self._tries:
                environment[CAREFUL] = str(status.with_suffix(".hand"))
                status.with_suffix(".hand").unlink(missing_ok=True)
        return environment

    async def _spawn(self, rank: int, addresses: Sequence[str]) -> Process:
        return await asyncio.create_subprocess_exec(
            *self._command(rank, addresses),
            env=dict(self._environments[rank]),
            stdin=DEVNULL,
            stdout=PIPE,
            stderr=STDOUT,
            # Ctrl-C reaches the whole foreground group: they shall hear of it once, from us.
            start_new_session=True,
            preexec_fn=die_with_parent,
        )

    async def _forward(self, rank: int) -> None:
        """Pass on what a process says, line by line, with its rank if there are several."""
        stream = self._running[rank].stdout
        assert stream is not None
        rest = b""
        while chunk := await stream.read(_CHUNK):
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                self._tell(rank, line)
        if rest:
            self._tell(rank, rest)

    def _tell(self, rank: int, raw: bytes) -> None:
        line = raw.decode("utf-8", "backslashreplace")
        if line.startswith("fraud: "):
            # Why a process does not start or stop: the others find the same reason.
            if line in self._told:
                return
            self._told.add(line)
        # A line of JSON names its process itself.
        self._write(f"{rank} | {line}" if len(self._ranks) > 1 and not line.startswith("{") else line)


def dataflow_command(
    rank: int, addresses: Sequence[str], *, recovery: Path, snapshot_seconds: int, workers: int = 1
) -> list[str]:
    """The command line of one process of the dataflow."""
    command = [sys.executable, "-m", "bytewax.run", "dataflows.fraud"]
    command += ["-r", str(recovery), "-s", str(snapshot_seconds), "-b", "0"]
    if workers > 1:
        command += ["-w", str(workers)]
    if len(addresses) > 1:
        command += ["-i", str(rank), "-a", ";".join(addresses)]
    return command


def check_environment(environment: Mapping[str, str], processes: int) -> None:
    """See that every process gets a port for its metrics, if they are to be served.

    Raises:
        SettingsError: There is no such port.
    """
    port = environment.get(_API_PORT)
    highest = _HIGHEST_PORT - processes + 1
    if _API_ENABLED in environment and port and not (_NUMBER.fullmatch(port) and 1 <= int(port) <= highest):
        of = "the port" if processes == 1 else f"the first of {processes} ports"
        raise SettingsError([f"{_API_PORT}: expected {of}, from 1 to {highest}, got {port!r}"])


def check_ports(environment: Mapping[str, str], processes: int) -> None:
    """See that the ports for metrics are free: Bytewax would go on without, after a backtrace.

    Raises:
        SettingsError: One is not.
    """
    if _API_ENABLED not in environment:
        return
    first = _first_port(environment)
    for port in range(first, first + processes):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as Bytewax does
            try:
                probe.bind(("0.0.0.0", port))  # noqa: S104  (and so does it)
            except OSError as error:
                expected = "a free port" if processes == 1 else f"{processes} free ports from {first} on"
                raise SettingsError([f"{_API_PORT}: expected {expected}, got {port}: {error.strerror}"]) from None


def process_environment(
    rank: int, environment: Mapping[str, str], folder: Path, *, terminal: bool = False
) -> dict[str, str]:
    """The environment of one process: its number, where it reports, and where it serves metrics, if it is to.

    Args:
        rank: Which process.
        environment: Ours.
        folder: An empty one, to be deleted afterwards.
        terminal: Whether a person reads its log, who wants no JSON.
    """
    ours = {**environment, PROCESS: str(rank), STATUS_FILE: str(folder / f"status-{rank}.json")}
    if terminal:
        ours.setdefault(LOGS, "text")
    if _API_ENABLED not in environment:
        return ours
    port = _first_port(environment) + rank
    cache = folder / str(rank)
    cache.mkdir(exist_ok=True)
    return {
        **ours,
        _API_PORT: str(port),
        "BYTEWAX_DATAFLOW_API_CACHE_PATH": str(cache),
    }


def prepare_store(folder: Path, parts: int) -> bool:
    """Make a recovery store, if there is none: events are in it, so only its owner may look.

    Returns:
        Whether one was made.

    Raises:
        OSError: The folder is none, or it or the store cannot be made.
        StoreError: The store was made before, and its files are gone.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        # The system's own words would be that there is a file, which is nothing wrong to most of its readers.
        raise NotADirectoryError(errno.ENOTDIR, "expected a folder, got a file", error.filename) from None
    if any(folder.glob("part-*.sqlite3")):
        return False
    if (folder / FILE).exists():
        read(folder)  # says what is missing: nothing is begun anew without a word
    try:
        init_db_dir(folder, parts)  # type: ignore[no-untyped-call]
    except BytewaxRuntimeError as error:
        raise OSError(errno.EIO, "expected a folder that a recovery store can be made in", str(folder)) from error
    return True


def die_with_parent() -> None:
    """Ask the kernel to stop this process when its parent is gone, however that ended. To be called before exec."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _first_port(environment: Mapping[str, str]) -> int:
    return int(environment.get(_API_PORT) or FIRST_API_PORT)


def _shell_code(code: int) -> int:
    return 128 - code if code < 0 else code
