"""One cluster a store: each process holds a lock in its folder, as long as it lives.

The kernel holds the locks (`flock`), so nothing is left behind by a process that is killed, and one that is frozen
still has its own: when it wakes, it goes on.
"""

import fcntl
import os
import socket
from pathlib import Path
from typing import Final

from dataflows.store.deployment import StoreError, locked
from detection.files import OWNER_ONLY

PATIENCE: Final = 3.0
"""How long a predecessor may take to be gone, s: a killed process gives its memory back before its locks."""


class StoreLock:
    """The lock of one process, to be kept until it ends."""

    def __init__(self, folder: Path, process: int) -> None:
        """Hold nothing yet; use `take`."""
        self._path = folder / f".lock-{process:02}"
        self._file = -1

    @classmethod
    def take(cls, folder: Path, process: int, processes: int, *, patience: float = PATIENCE) -> "StoreLock":
        """Take the lock of this process, and see that no process of a larger cluster is left.

        Args:
            folder: The recovery store.
            process: Which process of the cluster this is.
            processes: How many there are.
            patience: How long to wait for a predecessor that is just ending, s.

        Raises:
            StoreError: Another process has the store.
        """
        self = cls(folder, process)
        try:
            self._file = os.open(self._path, os.O_RDWR | os.O_CREAT, OWNER_ONLY)
        except OSError as error:
            msg = f"{self._path}: cannot be made: {error.strerror}: a recovery store needs a folder that can be written"
            raise StoreError(msg) from None
        if not locked(self._file, fcntl.LOCK_EX, patience):
            os.close(self._file)
            raise StoreError(_told(folder, self._path))
        os.ftruncate(self._file, 0)
        os.pwrite(self._file, f"{os.getpid()} {socket.gethostname()}\n".encode(), 0)
        for path in sorted(folder.glob(".lock-*")):
            if path.name.removeprefix(".lock-").isdecimal() and int(path.name.removeprefix(".lock-")) >= processes:
                other = os.open(path, os.O_RDONLY)
                try:
                    # A shared lock, so that processes which look at the same time do not take each other for the owner.
                    if not locked(other, fcntl.LOCK_SH, patience):
                        self.release()
                        raise StoreError(_told(folder, path))
                finally:
                    os.close(other)
        return self

    def release(self) -> None:
        """Give the lock back before the process ends."""
        os.close(self._file)


def _told(folder: Path, path: Path) -> str:
    pid, _, host = path.read_text(errors="replace").strip().partition(" ")
    if not pid.isdecimal():
        return f"{folder}: another process has this recovery store: stop it first"
    if host != socket.gethostname():
        return f"{folder}: process {pid} on {host} has this recovery store: stop it first"
    if _state(pid) in {"T", "t"}:
        return f"{folder}: process {pid} has this recovery store and is stopped: kill it first (kill -9 {pid})"
    return (
        f"{folder}: process {pid} has this recovery store: stop it first, or give this one a recovery store and an "
        "APPLICATION_ID of its own"
    )


def _state(pid: str) -> str:
    """The state of a process as `ps` shows it, empty if it cannot be seen."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][:1]
    except OSError:
        return ""
