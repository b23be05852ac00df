"""The recovery store: what is in it, and whether it may be gone on from. Asked before Bytewax opens it.

Bytewax keeps its state in SQLite files, `part-N.sqlite3`, each a share of the keys:

- `parts`: which of how many parts this is.
- `snaps`: the snapshots by step, key and epoch, pickled; GC leaves the newest of each key that is final.
- `exs`: the executions, and which epoch each began with; `fronts`: how far each worker of an execution came.
- `commits`: the epoch up to which the part is final.

A start goes on from the least epoch that any worker of the newest execution came to. Nothing in these files is
unpickled here but builtins.

Only before Bytewax opens the files, after its dataflow has ended, or from another process: within one, the SQLite of
Python and that of Bytewax would break each other's locks
(https://www.sqlite.org/howtocorrupt.html#multiple_copies_of_sqlite_linked_into_the_same_application).
"""

import io
import pickle
import sqlite3
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, NoReturn

import structlog
from typing_extensions import override

from dataflows.store.deployment import ANEW, FILE, RESTORE, Arguments, Deployment, StoreError
from dataflows.store.locks import StoreLock
from dataflows.store.wal import LogError, expect_end, expect_whole
from detection.errors import StateError
from detection.sealed import DamagedError, unseal
from sources.kafka import LANES

SOURCE_STEP: Final = "fraud.decode.source"
ALERTS_STEP: Final = "alerts.verdicts_in"
"""The source of the dataflow of alerts, which has the same lanes."""

GROUP_STEP: Final = "fraud.features.groups"
KAFKA_LANES: Final = tuple(f"lane-{number:02}" for number in range(LANES))

CHECK_SECONDS: Final = 10.0
"""A large store is not looked through for longer; the rest is taken for whole."""

_SCHEMA: Final = 5
"""The version that Bytewax 0.21.1 writes into its files."""
_BEGINNING: Final = 1
"""The first epoch of Bytewax."""
_LAG: Final = 2
"""A kill leaves at most so many epochs between the parts, since an epoch waits until the one before is final."""
_UNEVEN: Final = 16
"""A stop may end the source so many epochs before the last step."""
_STEPS_BETWEEN_LOOKS: Final = 20_000

_OF_THE_DISK: Final = frozenset(
    {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_READONLY,
    }
)

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """What one file tells of itself.

    Attributes:
        path: The file.
        index: Which part it is.
        count: How many parts the store has.
        mark: That of its deployment, 0 for none.
        executions: Execution, workers, first epoch.
        fronts: Execution, worker, the epoch it came to.
        commit: The epoch up to which it is final, None before the first.
        lanes: By source lane the epochs of its snapshots.
        rows: How many snapshots it holds.
        newest: When the newest snapshot was written, UTC.
    """

    path: Path
    index: int
    count: int
    mark: int
    executions: tuple[tuple[int, int, int], ...]
    fronts: tuple[tuple[int, int, int], ...]
    commit: int | None
    lanes: Mapping[str, tuple[int, ...]]
    rows: int
    newest: datetime | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Contents:
    """What the parts tell together.

    Attributes:
        folder: The store.
        parts: Those that are here.
        together: Whether all parts should be here.
        epoch: The one that a start goes on with; None if that cannot be told from the parts that are here.
    """

    folder: Path
    parts: tuple[Part, ...]
    together: bool
    epoch: int | None = field(init=False)

    def __post_init__(self) -> None:
        """Reckon as Bytewax does."""
        executions = [execution for part in self.parts for execution in part.executions]
        fronts = [front for part in self.parts for front in part.fronts]
        epoch = None if not self.together else _BEGINNING
        if self.together and executions:
            newest, workers, first = max(executions)
            reached = dict.fromkeys(range(workers), first)
            for execution, worker, front in fronts:
                if execution == newest:
                    reached[worker] = max(reached.get(worker, first), front)
            epoch = min(reached.values())
        object.__setattr__(self, "epoch", epoch)

    @property
    def empty(self) -> bool:
        """Whether there is no snapshot to go on from."""
        return not any(part.rows for part in self.parts) if self.epoch is None else self.epoch == _BEGINNING

    @property
    def untouched(self) -> bool:
        """Whether nobody ever started with it."""
        return not any(part.rows or part.executions or part.fronts for part in self.parts)


class Store:
    """A recovery store that is ours, from the start of a process to its end.

    Attributes:
        deployment: What it belongs to.
        contents: What was in it at the start.
    """

    def __init__(self, lock: StoreLock, deployment: Deployment, contents: Contents, mine: Sequence[Part]) -> None:
        """Take over a lock; use `open`."""
        self._lock = lock
        self._mine = mine
        self.deployment = deployment
        self.contents = contents

    @classmethod
    def open(
        cls,
        given: Arguments,
        *,
        application: str,
        cluster: str,
        pack: str,
        topics: Collection[str],
        fresh: bool,
        committed: Callable[[], Mapping[str, int]],
        lanes: Collection[str] = KAFKA_LANES,
    ) -> "Store":
        """Take the store that Bytewax was given for this process, if it may be gone on from. `prepare` it then.

        Args:
            given: What Bytewax was started with.
            application: APPLICATION_ID.
            cluster: The id of the Kafka cluster.
            pack: The hash of the packs.
            topics: Where their events come from.
            fresh: The operator wants to begin with empty windows.
            committed: Gives the offsets of the consumer group, by `topic/partition`.
            lanes: The parts of the source.

        Raises:
            StoreError: It may not; the reason and the way out in one line.
        """
        assert given.store is not None
        lock = StoreLock.take(given.store, given.process, given.processes)
        try:
            _expect_logs(given)
            contents = read(given.store, together=given.together)
            check(contents, lanes)
            deployment = Deployment.open(
                given.store,
                begin=lambda mark: _begin(contents, mark),
                application=application,
                cluster=cluster,
                pack=pack,
                topics=topics,
            )
            _expect_marked(contents, deployment.mark, fresh=fresh)
            if contents.empty:
                deployment.begin_at(committed(), fresh=fresh)
            elif fresh:
                _log.warning("FRAUD_FRESH=1 does nothing here, and hides the loss of this store: unset it")
        except BaseException:
            lock.release()
            raise
        mine = [part for part in contents.parts if part.index % given.processes == given.process or not given.together]
        return cls(lock, deployment, contents, mine)

    def prepare(self) -> None:
        """See that the files are whole, and clear them of what Bytewax leaves in them. Before it opens them.

        Apart from `open` since it takes as long as the store is large, and something else may be done meanwhile.

        Raises:
            StoreError: One is damaged.
        """
        try:
            look_through(self._mine)
            if self.contents.epoch is not None:
                drop_unfinished(self._mine, self.contents.epoch)
            purge(self._mine)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Let others have it."""
        self._lock.release()


# --- reading ---------------------------------------------------------------------------------------------------------


def read(folder: Path, *, together: bool = True) -> Contents:
    """What the files of a store tell of themselves; also while a dataflow works with them.

    Args:
        folder: The store.
        together: Whether all its parts should be here.

    Raises:
        StoreError: There are none, or one cannot be read.
    """
    if not folder.is_dir():
        got = "a file" if folder.exists() else "nothing"
        msg = f"{folder}: expected the folder of a recovery store, got {got}: {_making(folder)}"
        raise StoreError(msg)
    paths = sorted(folder.glob("part-*.sqlite3"))
    if not paths:
        if (folder / FILE).exists():
            msg = f"{folder}: holds a {FILE}, but no part-*.sqlite3 any more: {RESTORE}, or {ANEW}"
        else:
            msg = (
                f"{folder}: holds no recovery store: `fraud run` makes one, or `python -m bytewax.recovery {folder} 4`"
            )
        raise StoreError(msg)
    return Contents(folder=folder, parts=tuple(_read_part(path) for path in paths), together=together)


def opened(path: Path) -> sqlite3.Connection:
    """A connection that changes nothing."""
    return sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=5, isolation_level=None)


def _read_part(path: Path) -> Part:
    try:
        with closing(opened(path)) as db:
            db.execute("BEGIN")  # all of one moment
            ((schema,),) = db.execute("PRAGMA user_version")
            ((mark,),) = db.execute("PRAGMA application_id")
            if schema != _SCHEMA:
                _refuse_schema(path, schema)
            rows = db.execute("SELECT part_index, part_count FROM parts").fetchall()
            name = path.name.removeprefix("part-").removesuffix(".sqlite3")
            if len(rows) != 1 or str(rows[0][0]) != name:
                found = ", ".join(f"part {index} of {count}" for index, count in rows) or "none"
                msg = f"{path}: expected part {name} of a recovery store, got {found}: {RESTORE}, or {ANEW}"
                raise StoreError(msg)
            ((commit,),) = db.execute("SELECT max(commit_epoch) FROM commits")
            lanes: dict[str, tuple[int, ...]] = {}
            for lane, epoch in db.execute(_LANES, (SOURCE_STEP, ALERTS_STEP)):
                lanes[lane] = (*lanes.get(lane, ()), epoch)
            ((count, newest),) = db.execute("SELECT count(*), max(created_at) FROM snaps")
            return Part(
                path=path,
                index=rows[0][0],
                count=rows[0][1],
                mark=mark,
                executions=tuple(db.execute("SELECT ex_num, worker_count, resume_epoch FROM exs")),
                fronts=tuple(db.execute("SELECT ex_num, worker_index, worker_frontier FROM fronts")),
                commit=commit,
                lanes=lanes,
                rows=count,
                newest=None if newest is None else datetime.fromisoformat(newest).replace(tzinfo=UTC),
            )
    except (sqlite3.Error, ValueError, TypeError, OverflowError) as error:
        _refuse_damaged(path, error)


# --- checking --------------------------------------------------------------------------------------------------------


def check(contents: Contents, lanes: Collection[str] = KAFKA_LANES) -> None:
    """See that the parts belong together, and that a start finds all it needs in them.

    Args:
        contents: The store.
        lanes: The parts of the source: each has a snapshot, or would begin anew.

    Raises:
        StoreError: They do not.
    """
    folder, parts = contents.folder, contents.parts
    counts = {part.count for part in parts}
    if len(counts) > 1:
        told = ", ".join(f"{part.path.name} is one of {part.count}" for part in parts)
        _refuse(folder, f"its parts do not belong together ({told})")
    if not contents.together:
        return  # what is missing here may be on another machine; Bytewax itself looks at what all have
    missing = sorted(set(range(*counts)) - {part.index for part in parts})
    if missing:
        names = ", ".join(f"part-{index}.sqlite3" for index in missing)
        _refuse(folder, f"{names} of {counts.pop()} parts {'is' if len(missing) == 1 else 'are'} missing")
    if contents.empty:
        if any(part.commit is not None for part in parts):
            _refuse(folder, "its snapshots are final, but no execution is known that made them")
        return
    epoch = contents.epoch
    assert epoch is not None
    commits = {part.path.name: part.commit for part in parts}
    final = [commit for commit in commits.values() if commit is not None]
    oldest = min(commits, key=lambda name: commits[name] or 0)
    if final and max(final) >= epoch:
        _refuse(folder, f"it ends with epoch {epoch - 1}, but parts of it are final up to {max(final)}")
    if final and ((len(final) < len(parts) and max(final) > _BEGINNING + _LAG) or max(final) - min(final) > _LAG):
        _refuse(folder, f"{oldest} is older than the others (epoch {commits[oldest]}, not {max(final)})")
    epochs = {lane: found for part in parts for lane, found in part.lanes.items()}
    lost = sorted(lane for lane in lanes if not any(found < epoch for found in epochs.get(lane, ())))
    if lost:
        _refuse(folder, f"it holds no offsets of {', '.join(lost)} before epoch {epoch}")
    newest = max((found for lane in lanes for found in epochs[lane]), default=epoch)
    if not epoch - 1 - _UNEVEN <= newest <= epoch:
        _refuse(folder, f"it ends with epoch {epoch - 1}, but its newest offsets are those of {newest}")


def look_through(parts: Collection[Part], seconds: float = CHECK_SECONDS) -> None:
    """See that each file is whole, and each snapshot in it what was stored.

    Args:
        parts: The files.
        seconds: What is not looked at by then is taken for whole, with a warning.

    Raises:
        StoreError: One is damaged.
    """
    deadline = time.monotonic() + seconds
    for part in parts:
        try:
            with closing(opened(part.path)) as db:
                db.set_progress_handler(lambda: time.monotonic() > deadline, _STEPS_BETWEEN_LOOKS)
                ((found,),) = db.execute("PRAGMA integrity_check(1)")
                if found != "ok":
                    _refuse_damaged(part.path, found)
                for step, key, change in db.execute("SELECT step_id, state_key, ser_change FROM snaps"):
                    _expect_whole(part.path, step, key, change)
        except sqlite3.OperationalError as error:
            if time.monotonic() > deadline:
                _log.warning("a recovery store was not looked through: it is too large", file=str(part.path))
                return
            _refuse_damaged(part.path, error)
        except (sqlite3.Error, ValueError, TypeError, OverflowError) as error:
            _refuse_damaged(part.path, error)


def _expect_logs(given: Arguments) -> None:
    """See that the logs are whole, before reading the files makes their shared memory anew."""
    assert given.store is not None
    deadline = time.monotonic() + CHECK_SECONDS
    for place, path in enumerate(sorted(given.store.glob("part-*.sqlite3"))):
        try:
            expect_end(path)
            if not given.together or place % given.processes == given.process:  # as costly as the log is long
                expect_whole(path, deadline, is_read=_is_readable(path))
        except LogError as error:
            _refuse_damaged(path, f"its log: {error}")


def _is_readable(path: Path) -> bool:
    """Let SQLite read the log of a file; gives whether it could, and else `read` will tell why not."""
    try:
        with closing(opened(path)) as db:
            db.execute("SELECT 1 FROM parts")
    except sqlite3.Error:
        return False
    return True


def _expect_whole(path: Path, step: str, key: str, change: bytes | None) -> None:
    if change is None:
        return
    try:
        state = unpickled(change)
        if step in {GROUP_STEP, SOURCE_STEP}:
            unseal(state)
    except (DamagedError, StateError) as error:
        _refuse_damaged(path, f"the state of {step}, {key}: {error}")


class _Builtins(pickle.Unpickler):
    """Loads plain builtins; anything else could run code."""

    @override
    def find_class(self, module_name: str, global_name: str, /) -> NoReturn:
        msg = f"expected plain values, got {module_name}.{global_name}"
        raise pickle.UnpicklingError(msg)


def unpickled(state: bytes) -> Any:
    """What Bytewax pickled, if that is plain builtins: so all states of ours are.

    Raises:
        StateError: It is something else, or damaged.
    """
    try:
        return _Builtins(io.BytesIO(state)).load()
    except Exception as error:  # noqa: BLE001  (a pickle that is damaged may raise anything)
        msg = f"cannot be read: {error}"
        raise StateError(msg) from None


# --- whose it is -----------------------------------------------------------------------------------------------------


def _begin(contents: Contents, mark: int) -> None:
    """Mark the files of a store that a deployment begins with."""
    if not contents.untouched:
        msg = f"its {FILE} is missing: whose it is, and where it began, is not known"
        _refuse(contents.folder, msg)
    _mark(contents.parts, mark)


def _mark(parts: Collection[Part], mark: int) -> None:
    for part in parts:
        try:
            with closing(sqlite3.connect(part.path, timeout=5, isolation_level=None)) as db:
                db.execute(f"PRAGMA application_id = {mark:d}")
        except sqlite3.Error as error:
            _refuse_damaged(part.path, error)


def _expect_marked(contents: Contents, mark: int, *, fresh: bool) -> None:
    strangers = [part.path.name for part in contents.parts if _mark_of(part.path) != mark]
    if not strangers:
        return
    if fresh and contents.untouched:
        _mark(contents.parts, mark)
        return
    msg = f"{', '.join(strangers)}: not of the deployment that {FILE} tells of: they were made anew or swapped"
    _refuse(contents.folder, msg)


def _mark_of(path: Path) -> int:
    """The mark of a file now: since it was read, it may have got one."""
    try:
        with closing(opened(path)) as db:
            ((mark,),) = db.execute("PRAGMA application_id")
    except sqlite3.Error as error:
        _refuse_damaged(path, error)
    return int(mark)


# --- clearing --------------------------------------------------------------------------------------------------------


def purge(parts: Collection[Part]) -> int:
    """Delete what Bytewax would keep for ever: the tombstones of keys that are gone. Only before it opens the store.

    Returns:
        How many were there.
    """
    purged = 0
    for part in parts:
        if part.commit is None:
            continue
        try:
            with closing(sqlite3.connect(part.path, timeout=5, isolation_level=None)) as db:
                ((there,),) = db.execute("SELECT EXISTS (SELECT 1 FROM snaps WHERE ser_change IS NULL)")
                if there:
                    purged += db.execute(_PURGE, (part.commit,)).rowcount
        except sqlite3.Error as error:
            _refuse_damaged(part.path, error)
    if purged:
        _log.info("keys that are gone were deleted from the recovery store", keys=purged)
    return purged


def drop_unfinished(parts: Collection[Part], epoch: int) -> int:
    """Delete the snapshots of epochs that were not finished. Only before Bytewax opens the store.

    Bytewax 0.21.1 leaves them. It runs the epoch again, and a key that nothing comes for this time keeps the snapshot
    of the first try, which knows records that lie behind the offsets of the second: were the dataflow to crash in the
    epoch after, they would count twice in that key's windows.

    Args:
        parts: The files.
        epoch: The one that a start goes on with.

    Returns:
        How many there were.
    """
    dropped = 0
    for part in parts:
        try:
            with closing(sqlite3.connect(part.path, timeout=5, isolation_level=None)) as db:
                dropped += db.execute("DELETE FROM snaps WHERE snap_epoch >= ?", (epoch,)).rowcount
        except sqlite3.Error as error:
            _refuse_damaged(part.path, error)
    if dropped:
        _log.info("snapshots of an epoch that was not finished were deleted", epoch=epoch, snapshots=dropped)
    return dropped


_LANES: Final = "SELECT state_key, snap_epoch FROM snaps WHERE step_id IN (?, ?)"

_PURGE: Final = """
DELETE FROM snaps WHERE ser_change IS NULL AND snap_epoch <= ? AND NOT EXISTS (
    SELECT 1 FROM snaps AS other
    WHERE other.step_id = snaps.step_id AND other.state_key = snaps.state_key AND other.snap_epoch <> snaps.snap_epoch
)
"""


# --- refusing --------------------------------------------------------------------------------------------------------


def _refuse(folder: Path, reason: str) -> NoReturn:
    msg = f"{folder}: {reason}: {RESTORE}, or {ANEW}"
    raise StoreError(msg)


def _refuse_damaged(path: Path, reason: object) -> NoReturn:
    told = " ".join(str(reason).split())
    if isinstance(reason, sqlite3.Error) and getattr(reason, "sqlite_errorcode", 0) & 0xFF in _OF_THE_DISK:
        msg = (
            f"{path}: cannot be used ({told}): is there room, and may this user write there? Else {RESTORE}, or {ANEW}"
        )
        raise StoreError(msg)
    msg = f"{path}: is damaged ({told}): {RESTORE}, or {ANEW}"
    raise StoreError(msg)


def _refuse_schema(path: Path, schema: int) -> NoReturn:
    if schema == 0:
        _refuse_damaged(path, "it is no file of Bytewax")
    whose, way = ("a newer", f"install that one, or {ANEW}") if schema > _SCHEMA else ("an older", ANEW)
    msg = f"{path}: expected version {_SCHEMA} of Bytewax's format, got {schema}: {whose} Bytewax made it: {way}"
    raise StoreError(msg)


def _making(folder: Path) -> str:
    return f"`fraud run` makes one, or `python -m bytewax.recovery {folder} 4`"
