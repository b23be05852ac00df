"""Files that are replaced as a whole."""

import os
from contextlib import suppress
from pathlib import Path
from typing import Final

OWNER_ONLY: Final = 0o600
FOR_ALL: Final = 0o644


def replace(path: Path, content: bytes, mode: int = OWNER_ONLY) -> None:
    """Write a file so that who reads it, also after a crash, finds the old content or the new.

    It is on disk before this returns.

    Args:
        path: The file.
        content: What it shall hold.
        mode: Who may read it.

    Raises:
        OSError: It cannot be written.
    """
    new = path.with_name(f".{path.name}.new")
    with suppress(FileNotFoundError):
        new.unlink()  # left behind by a crash
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    new.rename(path)
    sync_folder(path.parent)


def sync_folder(path: Path) -> None:
    """Bring the names in a folder to disk.

    Raises:
        OSError: It cannot be written.
    """
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
