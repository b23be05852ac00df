"""`fraud features`."""

from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import msgspec
from rich.progress import Progress as Bar
from rich.progress import SpinnerColumn, TextColumn, TimeElapsedColumn

from broker.logs import logs_to_stderr
from cli.errors import PROBLEMS, UsageError
from cli.terminal import Terminal, clean, stdout
from detection.codec import Event
from detection.kinds import MICROS, Kind, money_text
from detection.loading import load
from detection.pack import EventType, Feature, Field, Pack
from detection.program import Engine
from detection.records import DeadLetter, Record
from detection.settings import Settings
from sources.files import FileError, import_duckdb, read_file
from sources.stored import read_stored

ORIGIN: Final = "_origin"
"""The column with the address of the record."""

_BATCH: Final = 5_000
_EVICT_EVERY: Final = 40
_TOLD: Final = 5
_TYPES: Final = {
    Kind.STR: "VARCHAR",
    Kind.INT: "BIGINT",
    Kind.FLOAT: "DOUBLE",
    Kind.BOOL: "BOOLEAN",
    Kind.MONEY: "DECIMAL(38, 6)",
    Kind.TIME: "BIGINT",
    Kind.DURATION: "DOUBLE",
}
_encode = msgspec.json.Encoder().encode


def features(
    pack: Path,
    /,
    *,
    output: Path,
    input: Path | None = None,  # noqa: A002  (the option's name)
    topic: str | None = None,
    event: str | None = None,
) -> int:
    """Compute the features of stored events.

    Args:
        pack: The pack file.
        output: The Parquet file to write.
        input: A file with the events, in order.
        topic: A topic with the events, read from its beginning to its end.
        event: Which event type of the pack they are, if it has several.
    """
    if (input is None) == (topic is None):
        msg = "expected either --input or --topic"
        raise UsageError(msg)
    if output.suffix != ".parquet":
        msg = f"--output: expected a name that ends in .parquet, got {output}"
        raise UsageError(msg)
    logs_to_stderr()
    settings = Settings()
    loaded = load([pack], settings.topics, model_files=False)
    kind = _event_type(loaded, event, topic)
    records = read_file(input, kind) if input else _stored(settings, str(topic), kind)
    table = _Table(kind)
    import_duckdb()  # missing: told before the work, not after it
    with TemporaryDirectory(dir=output.parent, prefix=".features-") as folder:
        rows = Path(folder) / "rows.jsonl"
        written, wrong, first = _compute(loaded, table, records, rows)
        table.write(rows, Path(folder) / "table.parquet", written)
        (Path(folder) / "table.parquet").replace(output)  # whole, or not at all
    console = stdout()
    looking = [feature for feature in kind.features if feature.counted != kind.name]
    console.print(f"{written:,} events with {len(kind.features) - len(looking)} features: {output}")
    for feature in looking:
        console.print(f"{feature.name} looks at {feature.counted} events, which were not read: left out")
    if wrong:
        for letter in first:
            console.print(clean(f"{letter.record.origin}: {letter.error}"))
        console.print(f"{wrong:,} records are no {kind.name} and were left out", style="bold red")
        return PROBLEMS
    return 0


def _event_type(pack: Pack, name: str | None, topic: str | None) -> EventType:
    events = [event for event in pack.events if name in {None, event.name}]
    if len(events) > 1:
        events = [event for event in events if event.topic == topic] or [event for event in events if event.features]
    if len(events) != 1:
        msg = f"--event: expected one of {', '.join(event.name for event in pack.events)}, got {name or 'none'}"
        raise UsageError(msg)
    return events[0]


def _compute(pack: Pack, table: "_Table", records: Iterator[Record], path: Path) -> tuple[int, int, list[DeadLetter]]:
    """Write a JSON line for each event; gives their number, that of what is no event, and the first of it."""
    engine = Engine(pack)
    places = engine.program.plan.values(table.event)
    first: list[DeadLetter] = []
    written = wrong = batches = 0
    console = Terminal(stderr=True)
    bar = Bar(
        SpinnerColumn(),
        TextColumn("{task.completed:,.0f} events"),
        TimeElapsedColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
    with path.open("wb") as file, bar:
        task = bar.add_task("events", total=None)
        while batch := list(islice(records, _BATCH)):
            items = engine.enrich(batch)
            events = [item for item in items if not isinstance(item, DeadLetter)]
            wrong += len(items) - len(events)
            first += [item for item in items if isinstance(item, DeadLetter)][: _TOLD - len(first)]
            file.writelines(table.line(event, places) for event in events)
            written += len(events)
            batches += 1
            if batches % _EVICT_EVERY == 0:
                engine.evict()
            bar.update(task, completed=written)
    return written, wrong, first


class _Table:
    """The columns of an event type: where each record came from, its fields, its time, its features."""

    def __init__(self, event: EventType) -> None:
        self.event = event
        self._fields = [
            (item.name, f"f_{item.name}", _CONVERT.get(item.kind)) for item in (*event.members, *event.derived)
        ]
        features = [item for item in event.features if item.counted == event.name]  # others are not read
        self._features = [(item.name, _CONVERT.get(item.kind)) for item in features]
        self.columns = {ORIGIN: "VARCHAR"}
        items: list[Field | Feature] = [*event.members, *event.derived, *features]
        for item in items:
            if item.name in self.columns:
                msg = f"{item.name}: expected a field of another name, the column is for the record's address"
                raise UsageError(msg)
            self.columns[item.name] = _type(item)

    def line(self, event: Event, places: dict[str, int]) -> bytes:
        """One row as a line of JSON."""
        row: dict[str, Any] = {ORIGIN: f"{self.event.topic}/{event.partition}/{event.offset}"}
        for name, attribute, convert in self._fields:
            value = getattr(event, attribute)
            row[name] = value if convert is None or value is None else convert(value)
        computed = event.features
        for name, convert in self._features:
            value = computed[places[name]]
            row[name] = value if convert is None or value is None else convert(value)
        return _encode(row) + b"\n"

    def write(self, rows: Path, output: Path, count: int) -> None:
        """Turn the lines into Parquet, in their order."""
        duckdb = import_duckdb()
        times = {self.event.time} if self.event.time else set()
        columns = ", ".join(
            f'make_timestamp("{name}") AS "{name}"' if name in times else f'"{name}"' for name in self.columns
        )
        shape = ", ".join(f"\"{name}\": '{kind}'" for name, kind in self.columns.items())
        source = f"read_json('{_text(rows)}', format = 'newline_delimited', columns = {{{shape}}})"
        if not count:  # a file of no bytes is no JSON to DuckDB
            rows.write_bytes(b"{}\n")
            source += " WHERE false"
        with duckdb.connect() as connection:
            try:
                connection.execute(f"COPY (SELECT {columns} FROM {source}) TO '{_text(output)}' (FORMAT parquet)")  # noqa: S608
            except duckdb.Error as error:
                msg = f"{output.name}: {str(error).splitlines()[0]}"
                raise FileError(msg) from None


def _text(path: Path) -> str:
    return str(path).replace("'", "''")


def _type(item: Field | Feature) -> str:
    if isinstance(item, Feature) and item.kind is Kind.INT and item.aggregate.name == "sum":
        return "DECIMAL(38, 0)"  # may be beyond 64 bits
    return _TYPES[item.kind]


_CONVERT: Final[Mapping[Kind, Callable[[int], Any]]] = {
    Kind.MONEY: money_text,
    Kind.DURATION: lambda micros: micros / MICROS,
}


def _stored(settings: Settings, topic: str, event: EventType) -> Iterator[Record]:
    """The records of a topic, as if they came from the event's own."""
    for record in read_stored(settings, [topic]):
        yield Record(event.topic, record.partition, record.offset, record.timestamp, record.key, record.value)
