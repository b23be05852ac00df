"""What the documents say about expressions is what the language does."""

from collections.abc import Callable
from itertools import groupby
from pathlib import Path
from types import SimpleNamespace

from detection.expressions import Constants, Language, Symbol, reference
from detection.kinds import Kind

SCOPE = {
    "missing": Symbol(Kind.INT, "e.missing", optional=True),
    "count": Symbol(Kind.INT, "e.count"),
    "ratio": Symbol(Kind.FLOAT, "e.ratio"),
    "amount": Symbol(Kind.MONEY, "e.amount"),
}
EVENT = SimpleNamespace(missing=None, count=3, ratio=0.5, amount=400_010_000)


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

    assert shown == expected_reference(), f"write this between the marks of docs/packs.md:\n{expected_reference()}"
