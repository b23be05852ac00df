import csv
import json
from pathlib import Path

import pytest

from simulation.files import write_season
from simulation.handbook import Law, season

SMALL = Law(customers=60, terminals=100, days=144, radius=40, terminals_a_day=1, customers_a_day=1)


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_figures_of_each_day_and_week_are_told_and_written(fraud, tmp_path: Path, suffix: str) -> None:
    drawn = season(1, SMALL)
    write_season(drawn, tmp_path / f"s.{suffix}")

    told = fraud("evaluate", "--transactions", f"s.{suffix}", "--json", "f.json", "--scores", "s.scores.csv")

    figures = json.loads((tmp_path / "f.json").read_text())
    assert figures["payments"] == len(drawn.payments)
    assert [fold["start"] for fold in figures["folds"]] == [115, 122, 129, 136]
    assert all(len(fold["days"]) == 7 for fold in figures["folds"])
    lines = told.splitlines()
    assert lines[0].startswith(f"{len(drawn.payments):,} payments, ")
    assert sum(line.startswith("day ") for line in lines) == 28
    assert sum(line.startswith("week from day ") for line in lines) == 4
    (mean,) = [line for line in lines if line.startswith("mean of the weeks")]
    assert mean.split()[-3:] == [f"{figures[name]:.4f}" for name in ("auc_roc", "average_precision", "card_precision")]
    with (tmp_path / "s.scores.csv").open(newline="") as file:
        names, *rows = csv.reader(file)
    assert names == ["TRANSACTION_ID", "SCORE"]
    tested = [n for n, payment in enumerate(drawn.payments) if 115 <= payment.at // 86_400 < 143]
    assert [int(number) for number, _ in rows] == tested


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("x.txt", "", "fraud: x.txt: expected a name that ends in .csv, .parquet"),
        ("no.csv", None, "fraud: no.csv: No such file or directory"),
        ("x.csv", "TRANSACTION_ID,TX_DATETIME\n1,2018-04-01\n", "fraud: x.csv: expected the columns TRANSACTION_ID,"),
        ("x.parquet", "nonsense", "fraud: x.parquet: "),
    ],
)
def test_what_cannot_be_read_is_one_line(fraud, tmp_path: Path, name: str, text: str | None, told: str) -> None:
    if text is not None:
        (tmp_path / name).write_text(text)

    line = fraud("evaluate", "--transactions", name, code=1)

    assert line.startswith(told)
    assert len(line.splitlines()) == 1


ROW = "7,2018-04-01 10:00:00,c,t,1.5,0\n"


@pytest.mark.parametrize(
    "row", [ROW.replace("1.5", ""), ROW.replace("1.5", "x"), ROW.replace("2018-04-01 10:00:00", "x")]
)
def test_a_cell_that_is_none_is_told(fraud, tmp_path: Path, row: str) -> None:
    (tmp_path / "x.csv").write_text(
        "TRANSACTION_ID,TX_DATETIME,CUSTOMER_ID,TERMINAL_ID,TX_AMOUNT,TX_FRAUD\n" + ROW + row
    )

    assert fraud("evaluate", "--transactions", "x.csv", code=1).startswith("fraud: x.csv: ")


def test_a_season_is_written_and_only_by_its_own_kind(fraud) -> None:
    assert fraud("simulate", "handbook", code=2).startswith("fraud: --output: expected with handbook")
    assert fraud("simulate", "clicks", "--output", "x.csv", code=2).startswith(
        "fraud: --output: expected with handbook"
    )
