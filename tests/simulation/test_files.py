import csv
from pathlib import Path

import duckdb
import pytest

from simulation.files import COLUMNS, write_season
from simulation.handbook import Law, season
from sources.files import FileError

DRAWN = season(1, Law(customers=20, terminals=200, days=20, radius=10))


def test_a_season_is_written_with_the_published_columns(tmp_path: Path) -> None:
    write_season(DRAWN, tmp_path / "s.csv")

    with (tmp_path / "s.csv").open(newline="") as file:
        names, *rows = csv.reader(file)
    assert names == list(COLUMNS)
    first, payment = rows[0], DRAWN.payments[0]
    assert first[0] == "0"
    assert first[1].startswith("2018-04-01 ")
    assert (int(first[2]), int(first[3])) == (payment.customer, payment.terminal)
    assert round(float(first[4]) * 100) == payment.amount
    assert [(int(row[5]), int(row[6])) for row in rows] == [(int(p.scenario > 0), p.scenario) for p in DRAWN.payments]


def test_csv_and_parquet_say_the_same(tmp_path: Path) -> None:
    for name in ("s.csv", "s.parquet"):
        write_season(DRAWN, tmp_path / name)

    tables = [duckdb.sql(f"SELECT * FROM '{tmp_path / name}'").fetchall() for name in ("s.csv", "s.parquet")]
    assert tables[0] == tables[1]
    assert not list(tmp_path.glob(".season*"))


def test_another_kind_of_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileError, match=r"expected a name that ends in \.csv, \.parquet"):
        write_season(DRAWN, tmp_path / "s.json")
