"""What the documents say about expressions is what the language does."""

from collections.abc import Callable
from itertools import groupby
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from detection.expressions import Constants, Language, ListSymbol, Symbol, lowering, reference
from detection.expressions.language import Row, spelled
from detection.expressions.tree import Call
from detection.kinds import Kind
from detection.lists import ALWAYS

SCOPE = {
    "missing": Symbol(Kind.INT, "e.missing", optional=True),
    "count": Symbol(Kind.INT, "e.count"),
    "ratio": Symbol(Kind.FLOAT, "e.ratio"),
    "amount": Symbol(Kind.MONEY, "e.amount"),
    "merchant": Symbol(Kind.STR, "e.merchant"),
    "pause": Symbol(Kind.DURATION, "e.pause"),
    "at": Symbol(Kind.TIME, "e.at"),
    "trusted": ListSymbol(Kind.STR, None, "e.trusted", "e.at"),
    "limits": ListSymbol(Kind.STR, Kind.FLOAT, "e.limits", "e.at"),
}
EVENT = SimpleNamespace(
    missing=None,
    count=3,
    ratio=0.5,
    amount=400_010_000,
    merchant="Nike",
    pause=90_000_000,
    at=1_767_223_800_000_000,  # 2025-12-31T23:30:00Z
    trusted={"Nike": (*ALWAYS, None)},
    limits={"Nike": (*ALWAYS, 300.0)},
)


def value(text: str) -> object:
    constants = Constants()
    return eval(Language(SCOPE).compile(text, constants).source, {**constants.values, "e": EVENT})


def written(found: object) -> str:
    return {None: "unknown", True: "true", False: "false"}[found]


def test_the_values_in_the_table_are_those_of_the_expressions(table: Callable[[str, str], list[list[str]]]) -> None:
    shown = [(text.strip("`"), result) for text, result in table("docs/packs.md", "### Unknown values")]

    assert [(text, written(value(text))) for text, _ in shown] == shown


def test_the_differences_from_cel_are_so() -> None:
    for text in ("count > 0.5", "amount > 400", "amount == 400.01", "count * 1.5 == 4.5"):
        assert value(text) is True, text


def expected_reference() -> str:
    """The table as Markdown: one line for each name and meaning, its forms in the order of the language."""
    lines = ["| Name | Forms | Yields |", "| --- | --- | --- |"]
    rows = sorted(reference(), key=lambda row: list(dict.fromkeys(row.name for row in reference())).index(row.name))
    for name, of_name in groupby(rows, key=lambda row: row.name):
        forms: dict[str, list[str]] = {}
        for row in of_name:
            forms.setdefault(row.meaning, []).append(f"`{row.signature}`")
        lines += [f"| `{name}` | {'<br>'.join(these)} | {meaning} |" for meaning, these in forms.items()]
    escaped = [line if number < 2 else _escaped(line) for number, line in enumerate(lines)]
    return "\n".join(escaped) + "\n"


def _escaped(line: str) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in line[2:-2].split(" | ")) + " |"


def test_the_reference_is_the_language_no_more_and_no_less(root: Path) -> None:
    text = (root / "docs" / "packs.md").read_text()
    shown = text.partition("<!-- reference -->\n")[2].partition("<!-- end of reference -->")[0]

    without_examples = "".join(f"{' | '.join(line.split(' | ')[:3])} |\n" for line in shown.splitlines())
    assert without_examples == expected_reference(), f"write this into docs/packs.md:\n{expected_reference()}"


def test_every_line_of_the_reference_has_an_example_that_uses_it_and_is_true(
    table: Callable[[str, str], list[list[str]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    used: set[tuple[str, str]] = set()

    def noted(call: Call, operands: list[Any]) -> Row:
        row = chosen(call, operands)
        used.add((spelled(row.function), row.meaning))
        return row

    chosen = lowering._row
    monkeypatch.setattr(lowering, "_row", noted)
    for name, _, meaning, example in table("docs/packs.md", "### Reference"):
        used.clear()
        text = example.strip("`")
        assert value(text) is True, text
        if name.strip("`") in {"in", "[ ]"}:  # these choose otherwise, and have one line each
            assert {"in": " in [", "[ ]": "limits["}[name.strip("`")] in text
        else:
            assert (name.strip("`"), meaning) in used, text
