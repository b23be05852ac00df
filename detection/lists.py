"""Lists: who is on them, from when to when, and what they say of each.

Rules read them as they are when an event is judged. They are no part of the state: a pack, a file or a topic holds
them, and who is on one at an event's time is told by that event time, never by a clock.
"""

import csv
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from functools import lru_cache
from hashlib import file_digest
from pathlib import Path
from typing import Any, Final, TypeAlias

import msgspec

from detection.codec import time_of
from detection.kinds import LARGEST, Kind
from detection.pack import Entry, MemberList, Pack

Entries: TypeAlias = dict[Any, Entry]
"""The members of one list; changed in place, for the generated functions hold it."""

ALWAYS: Final = (-LARGEST - 1, LARGEST + 1)
COLUMNS: Final = ("member", "since", "until", "value")
_REMEMBERED: Final = 65_536
"""Addresses whose entry is kept: most events come from few."""

_INTEGERS: Final = 19
"""Digits of the largest whole number of 64 bits."""


class Lists:
    """The lists of a pack, as they are now.

    Attributes:
        entries: By the name of the list.
        refused: How many records of a list's topic could not be used since the start of the process.
    """

    def __init__(self, pack: Pack) -> None:
        self._lists = {item.name: item for item in pack.lists}
        self.entries: dict[str, Entries] = {item.name: _copied(item.entries) for item in pack.lists}
        self.refused = dict.fromkeys(self.entries, 0)

    def replace(self, name: str, members: Iterable[Any] | Mapping[Any, Any]) -> None:
        """Put only these on a list.

        Raises:
            ValueError: They are not of the list's kinds.
        """
        if not isinstance(self.entries[name], dict):
            msg = "is a database of addresses, which a test cannot change"
            raise ValueError(msg)  # noqa: TRY004  (one kind of error for all that is wrong with it)
        found = dict(entries_of(self._lists[name], members))
        self.entries[name].clear()
        self.entries[name].update(found)

    def put(self, name: str, key: bytes | None, value: bytes | None) -> None:
        """Take a record of the list's topic: its key is the member, its value says more, or nothing: taken off.

        Raises:
            ValueError: It is no such record; the list stays as it is.
        """
        item = self._lists[name]
        try:
            text = (key or b"").decode()
        except UnicodeDecodeError:
            msg = "key: expected UTF-8"
            raise ValueError(msg) from None
        member = _of_text(item.kind, text, "key")
        if not value:
            self.entries[name].pop(member, None)
            return
        try:
            said = msgspec.json.decode(value)
        except msgspec.DecodeError as error:
            msg = f"value: not JSON: {error}"
            raise ValueError(msg) from None
        if not isinstance(said, dict):
            msg = f'value: expected an object such as {{"until": "2026-01-31T00:00:00Z"}}, got {value[:50]!r}'
            raise ValueError(msg)  # noqa: TRY004  (one kind of error for all that is wrong with it)
        self.entries[name][member] = _entry(item, said.get("since"), said.get("until"), said.get("value"))


def entries_of(item: MemberList, members: Iterable[Any] | Mapping[Any, Any]) -> Iterator[tuple[Any, Entry]]:
    """The entries that a pack's own text gives: members, or members with what is said of each.

    That is its value, or a table with `since`, `until` and `value`, as a record of a topic has them.

    Raises:
        ValueError: They are not of the list's kinds.
    """
    if not isinstance(members, Mapping):
        if item.value:
            msg = "expected a table, member = value"
            raise ValueError(msg)
        for member in members:
            yield _typed(item.kind, member, "member"), _entry(item, None, None, None)
        return
    for text, value in members.items():
        if item.value is None and not isinstance(value, Mapping):
            msg = "expected a list of members, which have no values"
            raise ValueError(msg)
        said = value if isinstance(value, Mapping) else {"value": value}
        allowed = COLUMNS[1:] if item.value else COLUMNS[1:-1]
        if unknown := said.keys() - set(allowed):
            msg = f"{text}: expected {', '.join(allowed)}, got {min(unknown)}"
            raise ValueError(msg)
        member = _of_text(item.kind, text, "member")  # a key of TOML is text
        yield member, _entry(item, said.get("since"), said.get("until"), said.get("value"))


def read_file(item: MemberList, path: Path) -> dict[Any, Entry]:
    """The entries of a file: `.txt`, a member a line, `#` before remarks; or `.csv` with a column `member`.

    A `.csv` may have columns `since`, `until` and `value`, and others, which nobody reads. A member that comes twice
    is as its last line says.

    Raises:
        OSError: It cannot be read.
        ValueError: Its text is not that; begins with the line.
    """
    with path.open(newline="", encoding="utf-8-sig") as file:
        if path.suffix == ".txt":
            rows: Iterator[tuple[int, dict[str, str]]] = (
                (number, {"member": line.strip()})
                for number, line in enumerate(file, 1)
                if line.strip() and not line.startswith("#")
            )
        else:
            reader = csv.DictReader(file, strict=True)
            if "member" not in (reader.fieldnames or ()):
                msg = f"1: expected a column member, got {', '.join(reader.fieldnames or ()) or 'nothing'}"
                raise ValueError(msg)
            rows = ((reader.line_num, row) for row in reader)
        entries = {}
        number = 1
        try:
            for number, row in rows:  # noqa: B007  (for the error)
                since, until, value = (row.get(name) or None for name in COLUMNS[1:])
                said = None if value is None or item.value is None else _of_text(item.value, value, "value")
                member = _of_text(item.kind, row["member"], "member")
                entries[member] = _entry(item, _written(since), _written(until), said)
        except (ValueError, csv.Error) as error:
            msg = f"{number}: {error}"
            raise ValueError(msg) from None
    return entries


def _copied(entries: Any) -> Entries:
    copied: Entries = dict(entries) if isinstance(entries, dict) else entries
    return copied


class AddressTable:
    """An .mmdb database as the entries of a list.

    Attributes:
        digest: SHA-256 of the file.
    """

    def __init__(self, file: Path, path: tuple[str, ...], kind: Kind) -> None:
        """Open a database.

        Args:
            file: The database.
            path: Where the value stands in the record of an address.
            kind: The kind of the value; what is of another one is not there.

        Raises:
            OSError: It cannot be read.
            ValueError: It is no database, or maxminddb is not installed.
        """
        try:
            import maxminddb  # noqa: PLC0415  (an extra)
        except ImportError:
            msg = "needs maxminddb: pip install 'fraud-streams[geo]'"
            raise ValueError(msg) from None
        with file.open("rb") as opened:
            self.digest = file_digest(opened, "sha256").hexdigest()
        try:
            self._reader = maxminddb.open_database(file)
        except maxminddb.InvalidDatabaseError:
            msg = "expected an .mmdb database, got something else"
            raise ValueError(msg) from None
        self._path = path
        self._kind = kind
        self.get = lru_cache(_REMEMBERED)(self._look_up)

    def _look_up(self, address: str) -> Entry | None:
        try:
            found: Any = self._reader.get(address)
        except ValueError:  # no address, or one of IPv6 in a database of IPv4
            return None
        for name in self._path:
            found = found.get(name) if isinstance(found, dict) else None
        try:
            return None if found is None else (*ALWAYS, _typed(self._kind, found, "value"))
        except ValueError:
            return None


def _entry(item: MemberList, since: Any, until: Any, value: Any) -> Entry:
    first, end = (
        end if moment is None else _moment(moment, name)
        for name, moment, end in zip(("since", "until"), (since, until), ALWAYS, strict=True)
    )
    if first >= end:
        msg = f"expected since before until, got {since} and {until}"
        raise ValueError(msg)
    return first, end, None if item.value is None else _typed(item.value, value, "value")


def _moment(moment: Any, name: str) -> int:
    try:
        return time_of(moment.isoformat() if isinstance(moment, datetime) else moment)  # TOML has times of its own
    except (ValueError, OverflowError):
        msg = f"{name}: expected a time such as 2026-01-31T00:00:00Z, or ms since 1970, got {moment!r}"
        raise ValueError(msg) from None


def _written(moment: str | None) -> str | int | None:
    """A time in a cell: milliseconds are digits there."""
    return int(moment) if moment and moment.isdecimal() and len(moment) < _INTEGERS else moment


_TYPES: Final[Mapping[Kind, tuple[type, ...]]] = {
    Kind.STR: (str,),
    Kind.INT: (int,),
    Kind.FLOAT: (float, int),
    Kind.BOOL: (bool,),
}


def _typed(kind: Kind, value: Any, subject: str) -> Any:
    if type(value) not in _TYPES[kind] or (kind is Kind.INT and not -LARGEST - 1 <= value <= LARGEST):
        msg = f"{subject}: expected {kind}, got {'nothing' if value is None else repr(value)}"
        raise ValueError(msg)
    return float(value) if kind is Kind.FLOAT else value


_READ: Final[Mapping[Kind, Callable[[str], Any]]] = {
    Kind.STR: str,
    Kind.INT: int,
    Kind.FLOAT: float,
    Kind.BOOL: {"true": True, "false": False}.__getitem__,
}


def _of_text(kind: Kind, text: str, subject: str) -> Any:
    try:
        if text:
            return _typed(kind, _READ[kind](text), subject)
    except (ValueError, LookupError):
        pass
    msg = f"{subject}: expected {kind}, got {text!r}" if text else f"{subject}: expected {kind}, got nothing"
    raise ValueError(msg)
