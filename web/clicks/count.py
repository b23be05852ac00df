"""How often the button was pressed, kept over restarts.

In a file, and not counted from the topic: Kafka deletes old records, others may write clicks too, and the file is the
`click_count.json` that programs beside the page read.
"""

import asyncio
import fcntl
import os
from pathlib import Path
from typing import Final

import msgspec

from detection.files import OWNER_ONLY, replace
from sources.files import FileError

_EXAMPLE: Final = '{"click_count": 3}'


class _Kept(msgspec.Struct):
    click_count: int


class Count:
    """The number of clicks, in memory and in its file.

    Of one process: two with the same file would overwrite each other's number.
    """

    def __init__(self, path: Path) -> None:
        """Go on from the file, or from 0 where there is none.

        Raises:
            FileError: It holds something else, or another page has it.
            OSError: It cannot be read, or nothing can be written beside it.
        """
        self._path = path
        # The file itself is replaced at each click, and a lock stays with what was replaced.
        self._lock = os.open(path.with_name(f".{path.name}.lock"), os.O_RDWR | os.O_CREAT, OWNER_ONLY)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._number = self._kept = _read(path)
        except BlockingIOError:
            os.close(self._lock)
            msg = f"{path}: another click page keeps its count there: name another file with --count-file"
            raise FileError(msg) from None
        except (OSError, FileError):
            os.close(self._lock)
            raise
        self._writing = asyncio.Lock()

    @property
    def number(self) -> int:
        """How many clicks there are."""
        return self._number

    async def add(self) -> int:
        """Add one; gives the number it made, which is on disk then.

        Raises:
            OSError: It is not on disk. The next one that is written holds this one too.
        """
        self._number += 1
        mine = self._number
        async with self._writing:
            # Whoever waited while another one wrote finds its own number written: one write for all of them.
            if self._kept < mine:
                number = self._number
                await asyncio.to_thread(replace, self._path, msgspec.json.encode(_Kept(number)))
                self._kept = number
        return mine

    def close(self) -> None:
        """Let another page have the file."""
        os.close(self._lock)


def _read(path: Path) -> int:
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return 0
    try:
        number = msgspec.json.decode(content, type=_Kept).click_count
    except msgspec.DecodeError:
        number = -1
    if number < 0:
        msg = f"{path}: expected a count such as {_EXAMPLE}, got something else"
        raise FileError(msg)
    return number
