"""Links between files lead somewhere, and blocks are of a kind that some test looks at."""

import json
import re
from pathlib import Path
from typing import Any

CHECKED = {
    "toml",
    "toml part",
    "toml mine.toml",
    "csv partners.csv",
    "toml wrong",
    "toml costly",
    "text costly",
    "text",
    "console",
    "console norun",
    "json lines",
    "json verdict",
    "json",
    "python",
    "mermaid",
    "yaml",
    "bash",
}


def _slug(heading: str) -> str:
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def _headings(path: Path) -> set[str]:
    text = re.sub(r"^```.*?^```", "", path.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    return {_slug(heading) for heading in re.findall(r"^#+ (.*)$", text, re.MULTILINE)}


def test_a_link_leads_to_a_file_and_a_heading_that_there_are(document: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", document.read_text("utf-8")):
        if target.startswith(("https://", "http://localhost")):
            continue
        name, _, anchor = target.partition("#")
        path = document.parent / name if name else document
        assert path.exists(), target
        assert not anchor or anchor in _headings(path), target


def test_every_document_can_be_reached_from_the_readme(root: Path) -> None:
    linked = set(re.findall(r"\]\((docs/\w+\.md)", (root / "README.md").read_text("utf-8")))

    assert linked == {str(path.relative_to(root)) for path in (root / "docs").glob("*.md")}


def test_every_block_is_of_a_kind_that_is_checked(blocks: list[Any]) -> None:
    assert [str(block) for block in blocks if block.info not in CHECKED] == []


def test_json_in_the_documents_is_json(blocks: list[Any]) -> None:
    for block in blocks:
        if block.info.startswith("json"):
            for text in block.text.splitlines() if block.info == "json lines" else [block.text]:
                assert isinstance(json.loads(text), dict), str(block)


def test_tables_have_as_many_cells_in_each_row_as_in_their_head(document: Path) -> None:
    text = re.sub(r"^```.*?^```", "", document.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    for table in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}) == 1, table[:200]
