"""Seasons of card payments as files, with the columns that published ones have."""

import csv
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from simulation.handbook import Season
from sources.files import FileError, import_duckdb

COLUMNS: Final = {
    "TRANSACTION_ID": "BIGINT",
    "TX_DATETIME": "TIMESTAMP",
    "CUSTOMER_ID": "BIGINT",
    "TERMINAL_ID": "BIGINT",
    "TX_AMOUNT": "DOUBLE",
    "TX_FRAUD": "BIGINT",
    "TX_FRAUD_SCENARIO": "BIGINT",
}
"""What a file holds of each payment, and as what, for DuckDB."""

_START: Final = datetime(2018, 4, 1)  # noqa: DTZ001  (the files name no zone)


def write_season(season: Season, path: Path) -> None:
    """Write all payments of a season in their order, into a file whose name ends in `.csv` or `.parquet`.

    Raises:
        FileError: It does not, or DuckDB, which writes Parquet, is not installed.
        OSError: It cannot be written.
    """
    if path.suffix not in {".csv", ".parquet"}:
        msg = f"{path}: expected a name that ends in .csv, .parquet"
        raise FileError(msg)
    with TemporaryDirectory(dir=path.parent, prefix=".season-") as folder:
        written = Path(folder) / "season.csv"
        with written.open("w", newline="", encoding="utf-8") as file:
            lines = csv.writer(file, lineterminator="\n")
            lines.writerow(COLUMNS)
            lines.writerows(_rows(season))
        if path.suffix == ".parquet":
            written = _to_parquet(written)
        written.replace(path)  # whole, or not at all


def _rows(season: Season) -> Iterator[tuple[object, ...]]:
    for number, payment in enumerate(season.payments):
        time = (_START + timedelta(seconds=payment.at)).isoformat(" ")
        amount = f"{payment.amount // 100}.{payment.amount % 100:02}"
        scenario = payment.scenario
        yield number, time, payment.customer, payment.terminal, amount, int(scenario > 0), scenario


def _to_parquet(written: Path) -> Path:
    duckdb = import_duckdb()
    columns = ", ".join(f"'{name}': '{kind}'" for name, kind in COLUMNS.items())
    parquet = written.with_suffix(".parquet")
    with duckdb.connect() as connection:
        source = f"read_csv('{_text(written)}', header = true, columns = {{{columns}}})"
        connection.execute(f"COPY (SELECT * FROM {source}) TO '{_text(parquet)}' (FORMAT parquet)")  # noqa: S608
    return parquet


def _text(path: Path) -> str:
    return str(path).replace("'", "''")
