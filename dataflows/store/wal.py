"""Whether the write-ahead log of an SQLite file is whole.

Its frames have checksums, and SQLite reads no further than the first that is wrong: what is behind a damaged frame is
forgotten without a word, and with it the end of the newest snapshots. A log that ends in the middle of a transaction is
another matter: so it looks after a kill. https://www.sqlite.org/fileformat2.html#walformat

How many frames were committed also stands in the shared memory beside the log. That outlives a kill, and is made anew
by whoever opens the file next: up to the first frame that is wrong, whose checksums SQLite finds fifty times as fast as
we would. https://www.sqlite.org/walformat.html#the_wal_index_file_format
"""

import struct
import sys
import time
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple

_HEADER: Final = struct.Struct(">8I")
_FRAME: Final = struct.Struct(">6I")
_SALTS: Final = struct.Struct(">2I")
_MAGIC: Final = 0x377F0682
_INDEX: Final = struct.Struct("=III??HII8s8s8s")
_VERSION: Final = 3_007_000
_LARGEST_PAGE: Final = 65_536
_MASK: Final = 0xFFFFFFFF


class LogError(Exception):
    """What is wrong with a log."""


def expect_end(file: Path) -> None:
    """See that the log of a database file ends where the shared memory says. Before anybody opens the file.

    Raises:
        LogError: Committed frames are gone.
    """
    index = _index(file)
    if index is None or index.frames <= index.copied:
        return  # all of the log is in the database file too
    size = _FRAME.size + index.page
    try:
        with file.with_name(f"{file.name}-wal").open("rb") as log:
            log.seek(_HEADER.size + (index.frames - 1) * size)
            frame = log.read(size)
    except FileNotFoundError:
        frame = b""
    if len(frame) < size or frame[8:24] != index.salts + index.sums:
        msg = f"expected {index.frames} committed frames, and the last of them is not there"
        raise LogError(msg)


def expect_whole(file: Path, deadline: float, *, is_read: bool = False) -> None:
    """See that SQLite forgets no committed frame of the log of a database file, as it does behind a damaged one.

    Args:
        file: The database file, which nobody writes; its log need not exist.
        deadline: When to leave off and take it for whole (`time.monotonic`).
        is_read: Whether SQLite has read something of the file since it was last written. Then the log is whole as far
            as it came, and only what it left is looked at. No connection may be open here: to close the shared memory
            would take back its locks (https://www.sqlite.org/howtocorrupt.html#_posix_advisory_locks_canceled_by_a_separate_thread_doing_close_).

    Raises:
        LogError: It forgets one.
    """
    try:
        log = file.with_name(f"{file.name}-wal").open("rb")
    except FileNotFoundError:
        return
    with log:
        head = log.read(_HEADER.size)
        if head:
            _expect_frames(log, _begin(head), _index(file) if is_read else None, deadline)


class _Index(NamedTuple):
    """What the shared memory tells of a log.

    Attributes:
        page: The size of a page, B.
        frames: How many are committed.
        copied: How many of them are in the database file too.
        salts: Those of the frames, as they stand in them.
        sums: The checksums of the last of them, as they stand in it.
    """

    page: int
    frames: int
    copied: int
    salts: bytes
    sums: bytes


def _index(file: Path) -> _Index | None:
    try:
        found = file.with_name(f"{file.name}-shm").read_bytes()[: _INDEX.size * 2 + 4]
    except FileNotFoundError:
        return None
    head = found[: _INDEX.size]
    if len(found) < _INDEX.size * 2 + 4 or head != found[_INDEX.size : _INDEX.size * 2]:
        return None  # a kill came while it was written, or nobody wrote it
    version, _, _, ready, _, page, frames, _, sums, salts, _ = _INDEX.unpack(head)
    if version != _VERSION or not ready:
        return None
    (copied,) = struct.unpack("=I", found[_INDEX.size * 2 :])
    big_endian = sums if sys.byteorder == "big" else struct.pack(">2I", *struct.unpack("<2I", sums))
    return _Index(page if page > 1 else _LARGEST_PAGE, frames, copied, salts, big_endian)


class _Head(NamedTuple):
    """What a log begins with: the size of a page, B, the salts, the first checksums, and their byte order."""

    page: int
    salts: tuple[int, int]
    sums: tuple[int, int]
    order: str


def _begin(head: bytes) -> _Head:
    if len(head) < _HEADER.size:
        msg = "its header is cut short"
        raise LogError(msg)
    magic, _, page, _, salt1, salt2, *found = _HEADER.unpack(head)
    order = ">" if magic & 1 else "<"
    sums = _checksum((0, 0), head[:24], order)
    if magic & ~1 != _MAGIC or sums != tuple(found):
        msg = "its header is damaged"
        raise LogError(msg)
    return _Head(page, (salt1, salt2), sums, order)


def _expect_frames(file: BinaryIO, head: _Head, index: _Index | None, deadline: float) -> None:
    size = _FRAME.size + head.page
    sums = head.sums
    number = broken = 0
    if index is not None and index.frames and (index.page, index.salts) == (head.page, _SALTS.pack(*head.salts)):
        number = index.frames
        file.seek(_HEADER.size + (number - 1) * size)
        last = file.read(_FRAME.size)
        if len(last) < _FRAME.size:
            msg = f"expected {number} committed frames, and the last of them is not there"
            raise LogError(msg)
        *_, first, second = _FRAME.unpack(last)
        sums = first, second
        file.seek(_HEADER.size + number * size)
    while len(frame := file.read(size)) == size and time.monotonic() < deadline:
        number += 1
        _, commits, salt1, salt2, *found = _FRAME.unpack(frame[: _FRAME.size])
        ours = (salt1, salt2) == head.salts  # else it is left over from before the log began anew
        if broken:
            # Left over too may be the beginning of a transaction that a kill ended: but never the end of one.
            if ours and commits:
                msg = f"frame {broken} is damaged, and committed ones follow it"
                raise LogError(msg)
            continue
        if ours:
            sums = _checksum(_checksum(sums, frame[:8], head.order), frame[_FRAME.size :], head.order)
        if not ours or sums != tuple(found):
            broken = number


def _checksum(sums: tuple[int, int], content: bytes, order: str) -> tuple[int, int]:
    first, second = sums
    words = struct.unpack(f"{order}{len(content) // 4}I", content)
    for one, other in zip(words[::2], words[1::2], strict=True):
        first = (first + one + second) & _MASK
        second = (second + other + first) & _MASK
    return first, second
