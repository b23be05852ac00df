"""Offsets that an operator wants passed over, because nothing can read them: one dead letter each instead.

Noted in the folder of the recovery store while the dataflow is stopped, and taken at each start: an entry does nothing
once the position is behind it, so it stays.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import msgspec

from detection.files import replace
from detection.records import Record

FILE: Final = "skips.json"
FORMAT: Final = 1
MOST: Final = 10_000
"""Offsets skipped at once: each becomes a dead letter, made in memory at the start."""


class SkipError(Exception):
    """A skip that cannot be done; the message says which, and what to do."""


class _File(msgspec.Struct):
    """`skips.json`: the names of the members are on disk."""

    format: int
    partitions: dict[str, int]


class Skips:
    """Where reading goes on, by `topic/partition`."""

    def __init__(self, to: Mapping[str, int]) -> None:
        """Take what was noted: the first offset that is read again, by `topic/partition`."""
        self.to = dict(to)

    @classmethod
    def read(cls, folder: Path) -> "Skips":
        """What was noted in the folder of the recovery store.

        Raises:
            SkipError: The file is damaged, or of another release.
        """
        path = folder / FILE
        try:
            found = msgspec.json.decode(path.read_bytes(), type=_File)
        except FileNotFoundError:
            return cls({})
        except msgspec.DecodeError as error:
            msg = f"{path}: is damaged ({error}): delete it, and note again what is to be skipped (fraud skip)"
            raise SkipError(msg) from None
        if found.format != FORMAT:
            msg = f"{path}: expected format {FORMAT}, got {found.format}: it was made by another release"
            raise SkipError(msg)
        return cls(found.partitions)

    def note(self, folder: Path, address: str, to: int) -> None:
        """Go on at this offset of a partition, from the next start on."""
        self.to[address] = to
        replace(folder / FILE, msgspec.json.format(msgspec.json.encode(_File(FORMAT, self.to))))

    def records(self, topic: str, partition: int, position: Callable[[], int]) -> list[Record]:
        """What stands for the skipped offsets of a partition: records without a value.

        Args:
            topic: Of the partition.
            partition: Its number.
            position: Gives where it would be read on; asked only if something was noted for it.

        Raises:
            SkipError: It is too many.
        """
        address = f"{topic}/{partition}"
        to = self.to.get(address)
        if to is None:
            return []
        begin = position()
        if to - begin > MOST:
            raise SkipError(too_many(address, begin, to))
        return [Record(topic, partition, offset, -1, None, None) for offset in range(begin, to)]

    def error(self, record: Record) -> str:
        """Why a record was skipped."""
        address = f"{record.topic}/{record.partition}"
        return f"skipped by an operator: {address} is read on at offset {self.to[address]}"


def too_many(address: str, begin: int, to: int) -> str:
    """What is wrong with skipping so much."""
    return (
        f"{address}: expected to skip at most {MOST} offsets at once, got {to - begin}, from {begin} to {to}: go on in "
        "steps, or, if records were deleted before they were read, with a new recovery store and APPLICATION_ID"
    )
