"""What Bytewax was started with, and what the recovery store belongs to.

`deployment.json` stands beside Bytewax's own files. It is written before anything is judged, and tells a store of
another application, cluster or pack from our own. It also remembers what no snapshot can: where the output topics ended
before this deployment wrote its first verdict, and how many workers it ever had.
"""

import fcntl
import os
import secrets
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from zlib import crc32

import msgspec
import structlog

from detection.files import replace

FILE: Final = "deployment.json"
FORMAT: Final = 1

ANEW: Final = "begin with empty windows: a new recovery store, and FRAUD_FRESH=1"
RESTORE: Final = "put a copy of the whole folder in its place"

_log = structlog.get_logger(__name__)

_MARKS: Final = 2**31
_POLL_SECONDS: Final = 0.05
_PATIENCE_SECONDS: Final = 5.0


class StoreError(Exception):
    """A recovery store that must not be gone on from: one line that says why, and the way out."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Arguments:
    """What Bytewax was started with.

    Attributes:
        store: The folder of the recovery store, None without one.
        process: Which process of the cluster this is, from 0.
        processes: How many there are.
        workers: Threads in each of them.
        together: Whether all processes are on one machine, and so see the same files.
    """

    store: Path | None = None
    process: int = 0
    processes: int = 1
    workers: int = 1
    together: bool = True

    @property
    def total_workers(self) -> int:
        """The workers of all processes together."""
        return self.processes * self.workers

    @property
    def own_workers(self) -> range:
        """The numbers of this process' workers: Bytewax counts them through, process by process."""
        return range(self.process * self.workers, (self.process + 1) * self.workers)


def arguments() -> Arguments:
    """What `python -m bytewax.run` was given, on its command line and in the environment.

    It does not tell the dataflow, so we read it again, with its own parser: that has accepted them a moment ago. When
    something else than `bytewax.run` runs us, such as a test, nothing was given.
    """
    if Path(sys.argv[0]).parts[-2:] != ("bytewax", "run.py"):
        return Arguments()
    from bytewax.run import _parse_args  # noqa: PLC0415  (private, but Bytewax is pinned, and a test holds us to it)

    given = _parse_args()  # type: ignore[no-untyped-call]
    addresses = [] if given.addresses is None else given.addresses.split(";")
    return Arguments(
        store=given.recovery_directory,
        process=given.process_id or 0,
        processes=max(1, len(addresses)),
        workers=given.workers_per_process or 1,
        together=len({address.rpartition(":")[0] for address in addresses}) <= 1,
    )


class _File(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """`deployment.json`: the names of the members are on disk."""

    format: int = FORMAT
    application: str
    cluster: str
    mark: int
    pack: str
    inputs: list[str]
    began_at: dict[str, int] = msgspec.field(default_factory=dict)
    workers: int = 0
    ends: dict[str, int] = msgspec.field(default_factory=dict)
    outputs: list[str] = msgspec.field(default_factory=list)
    checksum: int = 0


class Deployment:
    """The deployment that a recovery store belongs to.

    All processes of a cluster on one machine share the file: each change is made under a lock, on what is there then.

    Attributes:
        mark: A number that all part files of the store carry, other than 0.
    """

    def __init__(self, folder: Path) -> None:
        """Open nothing yet; use `open`, or ask what is `told`."""
        self._folder = folder
        self.mark = 0

    @classmethod
    def open(
        cls,
        folder: Path,
        *,
        begin: Callable[[int], None],
        application: str,
        cluster: str,
        pack: str,
        topics: Iterable[str],
    ) -> "Deployment":
        """The deployment of a store; one that has none yet becomes that of the application named here.

        Args:
            folder: The recovery store.
            begin: Called with the deployment's mark before one begins: it marks the part files, or refuses.
            application: APPLICATION_ID.
            cluster: The id of the Kafka cluster.
            pack: The hash of the packs that are started now.
            topics: Where their events come from.

        Raises:
            StoreError: The store is that of another application, cluster or pack, or its file is damaged.
        """
        self = cls(folder)
        wanted = sorted(set(topics))
        with self._changing() as found:
            if found is None:
                stored = _File(
                    application=application,
                    cluster=cluster,
                    mark=secrets.randbelow(_MARKS - 1) + 1,
                    pack=pack,
                    inputs=wanted,
                )
                begin(stored.mark)
            else:
                stored = found
            self._expect_ours(stored, application, cluster, wanted)
            stored.pack, stored.inputs = pack, wanted
            self._write(stored)
        self.mark = stored.mark
        return self

    def told(self) -> dict[str, Any]:
        """What the file says, empty if there is none.

        Raises:
            StoreError: It is damaged.
        """
        stored = self._read()
        return {} if stored is None else msgspec.structs.asdict(stored)

    def begin_at(self, offsets: Mapping[str, int], *, fresh: bool) -> None:
        """Accept that the store is still empty.

        It is when a deployment begins, and as long as it has not come to its first snapshot. But when the group's
        offsets have moved meanwhile, a snapshot got lost, and what the windows held with it.

        Args:
            offsets: The offsets of the consumer group, by `topic/partition`.
            fresh: The operator wants to begin with empty windows.

        Raises:
            StoreError: A snapshot got lost.
        """
        with self._changing() as stored:
            assert stored is not None
            if dict(offsets) != stored.began_at:
                if not fresh:
                    msg = (
                        f"{self._folder}: holds no snapshot, but the consumer group {stored.application} has been in "
                        f"{', '.join(sorted({place.rpartition('/')[0] for place in offsets}))} before: {RESTORE}; or, "
                        "to begin with empty windows where the group is, set FRAUD_FRESH=1"
                    )
                    raise StoreError(msg)
                _log.warning(
                    "FRAUD_FRESH=1: begins with empty windows where the group is; unset it, or a store that is lost "
                    "will not be missed",
                    store=str(self._folder),
                )
                stored.began_at = dict(offsets)
                self._write(stored)

    @property
    def began_at(self) -> dict[str, int]:
        """Where the consumer group was when this deployment began, by `topic/partition`."""
        stored = self._read()
        assert stored is not None  # since `open`
        return dict(stored.began_at)

    def fence_up_to(self, total_workers: int) -> int:
        """How many workers this deployment ever had at most, counting those it has now: so many producers to fence."""
        with self._changing() as stored:
            assert stored is not None  # since `open`
            if total_workers > stored.workers:
                stored.workers = total_workers
                self._write(stored)
            return stored.workers

    def ends(self, topics: Iterable[str], make: Callable[[list[str]], Mapping[str, int]]) -> dict[str, int]:
        """Where each output partition ended before this deployment wrote to it for the first time.

        On disk before it is returned, and never changed afterwards. No process judges before all have been here, so it
        does not matter which of them is the first.

        Args:
            topics: All output topics.
            make: Reads the ends of the partitions of such topics, by `topic/partition`; called only for topics that
                this deployment never wrote to.

        Returns:
            The ends by `topic/partition`, 0 to be taken for a partition that is not among them: it is younger.
        """
        stored = self._read()
        assert stored is not None
        missing = sorted(set(topics) - set(stored.outputs))
        if missing:
            made = make(missing)  # not under the lock: it asks the broker
            with self._changing() as stored:
                assert stored is not None
                still = set(missing) - set(stored.outputs)
                stored.ends |= {place: end for place, end in made.items() if place.rpartition("/")[0] in still}
                stored.outputs = sorted({*stored.outputs, *still})
                self._write(stored)
        return dict(stored.ends)

    @contextmanager
    def _changing(self) -> Iterator[_File | None]:
        """What is stored, with nobody else changing it meanwhile."""
        try:
            folder = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY)
        except OSError as error:
            msg = f"{self._folder}: expected the folder of a recovery store: {error.strerror}"
            raise StoreError(msg) from None
        try:
            if not locked(folder, fcntl.LOCK_EX, _PATIENCE_SECONDS):
                msg = (
                    f"{self._folder / FILE}: another process has been changing it for {_PATIENCE_SECONDS:g} s: stop it"
                )
                raise StoreError(msg)
            yield self._read()
        finally:
            os.close(folder)

    def _read(self) -> _File | None:
        path = self._folder / FILE
        try:
            raw = path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            msg = f"{path}: cannot be read: {error.strerror}"
            raise StoreError(msg) from None
        try:
            found = msgspec.json.decode(raw)["format"]
            stored = msgspec.json.decode(raw, type=_File) if found == FORMAT else None
        except (ValueError, LookupError, TypeError, RecursionError, msgspec.DecodeError) as error:
            msg = f"{path}: is damaged ({error}): {RESTORE}, or {ANEW}"
            raise StoreError(msg) from None
        if stored is None:
            msg = (
                f"{path}: expected format {FORMAT}, got {found!r}: another release of fraud-streams made it: "
                f"install that one, or {ANEW}"
            )
            raise StoreError(msg)
        if stored.checksum != _checksum(stored):
            wrong = f"expected checksum {_checksum(stored)}, got {stored.checksum}"
            msg = f"{path}: is damaged ({wrong}): {RESTORE}, or {ANEW}"
            raise StoreError(msg)
        return stored

    def _write(self, stored: _File) -> None:
        """Put the file in place as a whole, and on disk before this returns."""
        stored.checksum = _checksum(stored)
        raw = msgspec.json.format(msgspec.json.encode(stored), indent=2) + b"\n"
        path = self._folder / FILE
        try:
            replace(path, raw)
        except OSError as error:
            msg = f"{path}: cannot be written: {error.strerror}: a recovery store needs a folder of its own with room"
            raise StoreError(msg) from None

    def _expect_ours(self, stored: _File, application: str, cluster: str, topics: list[str]) -> None:
        anew = "give this one a recovery store of its own (-r, --recovery-dir)"
        if stored.application != application:
            msg = (
                f"{self._folder}: is the recovery store of APPLICATION_ID {stored.application}, not of {application}: "
                f"set APPLICATION_ID, or {anew}"
            )
        elif stored.cluster != cluster:
            msg = (
                f"{self._folder}: is the recovery store of the Kafka cluster {stored.cluster}, not of {cluster}, where "
                f"its offsets mean nothing: set KAFKA_BROKER_URL, or {anew}"
            )
        elif not set(stored.inputs) & set(topics):
            msg = (
                f"{self._folder}: is the recovery store of a pack that reads {', '.join(stored.inputs)} (pack "
                f"{stored.pack[:12]}), and this one reads {', '.join(topics)}: set FRAUD_PACKS, or {anew}"
            )
        else:
            return
        raise StoreError(msg)


def locked(file: int, how: int, seconds: float) -> bool:
    """Try for so long to lock a file (`fcntl.flock`); whether that worked.

    The kernel takes the lock back when the process is gone, so the end of one that is dying is worth waiting for.
    """
    deadline = time.monotonic() + seconds
    while True:
        try:
            fcntl.flock(file, how | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                return False
            time.sleep(_POLL_SECONDS)
        else:
            return True


def _checksum(stored: _File) -> int:
    content: dict[str, Any] = {**msgspec.structs.asdict(stored), "checksum": 0}
    return crc32(msgspec.json.encode(content, order="sorted"))
