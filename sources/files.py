"""Records from files: JSON Lines, CSV, Parquet.

For computing features over what is stored; the dataflow reads Kafka. An offset is the number of the line or row, the
first one 1; the partition is always 0.
"""

import csv
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from detection.kinds import Kind
from detection.pack import EventType
from detection.records import Record

_ROWS: Final = 10_000
_WHOLE: Final = re.compile(r"-?[0-9]{1,19}")
_encode = msgspec.json.Encoder().encode


class FileError(ValueError):
    """A file cannot be read or written; the message says why."""


def read_file(path: Path, event: EventType) -> Iterator[Record]:
    """The records in a file, in its order, as if they came from the event's topic.

    Args:
        path: A file whose name ends in `.jsonl`, `.csv` or `.parquet`.
        event: What its lines or rows are. Cells of a CSV file are read as its fields say; empty ones are missing.

    Raises:
        FileError: Its name says nothing of its format, or it is damaged.
        OSError: It cannot be opened.
    """
    reader = _READERS.get(path.suffix)
    if reader is None:
        msg = f"{path}: expected a name that ends in {', '.join(_READERS)}"
        raise FileError(msg)
    with path.open("rb"):  # a file that is not there is told before the first record is asked for
        return (Record(event.topic, 0, number, -1, None, value) for number, value in reader(path, event))


def _lines(path: Path, _: EventType) -> Iterator[tuple[int, bytes]]:
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if value := line.strip():
                yield number, value


def _cells(path: Path, event: EventType) -> Iterator[tuple[int, bytes]]:
    kinds = {".".join(field.member): field for field in event.members}
    with path.open(newline="", encoding="utf-8-sig") as file:
        rows = csv.reader(file, strict=True)
        try:
            names = next(rows, [])
            readers = [_CELLS.get(kinds[name].kind if name in kinds else Kind.STR, str) for name in names]
            paths = [kinds[name].member if name in kinds else (name,) for name in names]
            for row in rows:
                if len(row) == len(names):
                    cells = zip(paths, readers, row, strict=True)
                    yield rows.line_num, _encode(_nested((path, read(cell)) for path, read, cell in cells if cell))
                elif row:
                    yield rows.line_num, b"%d cells, not %d" % (len(row), len(names))  # told as what it is
        except (csv.Error, UnicodeDecodeError) as error:
            msg = f"{path}:{rows.line_num}: not CSV: {error}"
            raise FileError(msg) from None


def _nested(cells: Iterable[tuple[tuple[str, ...], object]]) -> dict[str, Any]:
    """The object whose inner members are these: a column's name has a dot for each level."""
    members: dict[str, Any] = {}
    for (*outer, last), value in cells:
        inside = members
        for name in outer:
            if not isinstance(inside.get(name), dict):
                inside[name] = {}
            inside = inside[name]
        if not isinstance(inside.get(last), dict):  # a declared inner member says more
            inside[last] = value
    return members


def _rows(path: Path, _: EventType) -> Iterator[tuple[int, bytes]]:
    duckdb = import_duckdb()
    with duckdb.connect() as connection:
        try:
            connection.execute("SET TimeZone = 'UTC'")
            # A time with a zone would be written as nobody else reads it.
            described = connection.execute("DESCRIBE SELECT * FROM read_parquet(?)", [str(path)]).fetchall()
            zoned = [_quoted(name) for name, kind, *_ in described if kind == "TIMESTAMP WITH TIME ZONE"]
            replaced = ", ".join(f"{name}::TIMESTAMP AS {name}" for name in zoned)
            columns = f"* REPLACE ({replaced})" if zoned else "*"
            query = f"SELECT to_json(row)::VARCHAR FROM (SELECT {columns} FROM read_parquet(?)) row"  # noqa: S608
            rows = connection.execute(query, [str(path)])
            number = 0
            while batch := rows.fetchmany(_ROWS):
                for number, (text,) in enumerate(batch, number + 1):  # noqa: B020  (goes on counting)
                    yield number, text.encode()
        except duckdb.Error as error:
            msg = f"{path}: {str(error).splitlines()[0]}"
            raise FileError(msg) from None


def import_duckdb() -> Any:
    """DuckDB, which is an extra.

    Raises:
        FileError: It is not installed.
    """
    try:
        import duckdb  # noqa: PLC0415  (an extra)
    except ImportError:
        msg = "Parquet needs DuckDB: pip install 'fraud-streams[files]'"
        raise FileError(msg) from None
    return duckdb


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _number(text: str) -> int | str:
    return int(text) if _WHOLE.fullmatch(text) else text


def _float(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text  # the decoder tells what it expected


_CELLS: Final[Mapping[Kind, Callable[[str], Any]]] = {
    Kind.INT: _number,
    Kind.TIME: _number,
    Kind.FLOAT: _float,
    Kind.BOOL: lambda text: {"true": True, "false": False}.get(text.lower(), text),
}
_READERS: Final[Mapping[str, Callable[[Path, EventType], Iterator[tuple[int, bytes]]]]] = {
    ".jsonl": _lines,
    ".csv": _cells,
    ".parquet": _rows,
}
