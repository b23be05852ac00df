"""`fraud evaluate`."""

import csv
from math import isnan
from pathlib import Path
from typing import Annotated

import msgspec
from cyclopts import Parameter
from rich.progress import Progress as Bar
from rich.progress import SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from broker.logs import logs_to_stderr
from cli.terminal import Terminal, stdout
from training.boosting import Boosting
from training.prequential import Day, Evaluation, evaluation, scores_of
from training.transactions import read_transactions


def evaluate(
    *,
    transactions: Path,
    json: Annotated[Path | None, Parameter(name="--json")] = None,
    scores: Path | None = None,
) -> int:
    """Measure how good a model is on a season of card payments.

    Args:
        transactions: A .csv or .parquet file with the payments and what became of them.
        json: Write all figures to this file.
        scores: Write the score of each payment of the test weeks to this CSV file.
    """
    logs_to_stderr()
    payments = read_transactions(transactions)
    settings = Boosting()
    console = Terminal(stderr=True)
    bar = Bar(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        TimeElapsedColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
    with bar:
        task = bar.add_task("reading", total=None)
        given, learned = scores_of(payments, settings, lambda told: bar.update(task, description=told))
    found = evaluation(payments, given, learned, settings)
    if json is not None:
        json.write_bytes(msgspec.json.format(msgspec.json.encode(found)) + b"\n")
    if scores is not None:
        with scores.open("w", newline="", encoding="utf-8") as file:
            lines = csv.writer(file, lineterminator="\n")
            lines.writerow(("TRANSACTION_ID", "SCORE"))
            told = enumerate(given.tolist())
            lines.writerows((payments.ids[place], f"{score:.6f}") for place, score in told if not isnan(score))
    _show(found)
    return 0


def _show(found: Evaluation) -> None:
    console = stdout()
    console.print(f"{found.payments:,} payments, {found.frauds:,} of them frauds ({found.frauds / found.payments:.2%})")
    table = Table(box=None, pad_edge=False)
    for name in ("", "AUC ROC", "average precision", "card precision@100"):
        table.add_column(name, justify="right" if name else "left")
    for fold in found.folds:
        for number, day in enumerate(fold.days):
            _row(table, f"day {fold.start + number}", day)
        _row(table, f"week from day {fold.start}", fold, style="bold")
    _row(table, "mean of the weeks", found, style="bold")
    _row(table, "  no card left out", found.all_cards)
    console.print(table)


def _row(table: Table, name: str, figures: Day | object, style: str = "") -> None:
    values = (getattr(figures, field) for field in ("auc_roc", "average_precision", "card_precision"))
    table.add_row(name, *("none" if value is None else f"{value:.4f}" for value in values), style=style)
