"""The documents, taken apart for the tests."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCUMENTS = [ROOT / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md")]
DOCUMENTS += sorted((ROOT / "docs").glob("*.md"))

_BLOCK = re.compile(r"^(?P<fence>`{3,})(?P<info>[^\n`]*)\n(?P<body>.*?)^(?P=fence)$", re.MULTILINE | re.DOTALL)
_CELL = re.compile(r"(?<!\\)\|")


@dataclass(frozen=True)
class Block:
    """A fenced block.

    Attributes:
        document: Its file's path from the root.
        line: Where its fence begins.
        info: Language and marks.
        text: What is inside.
    """

    document: str
    line: int
    info: str
    text: str

    def __str__(self) -> str:
        return f"{self.document}:{self.line}"


def blocks_of(path: Path) -> Iterator[Block]:
    text = path.read_text("utf-8")
    for match in _BLOCK.finditer(text):
        line = text.count("\n", 0, match.start()) + 1
        yield Block(str(path.relative_to(ROOT)), line, match["info"], match["body"])


BLOCKS = [block for path in DOCUMENTS for block in blocks_of(path)]


def _with_their_pack() -> Iterator[tuple[Block, str]]:
    """The parts of packs, each behind the whole pack that stands before it in its document."""
    whole: Block | None = None
    for block in BLOCKS:
        if block.info == "toml":
            whole = block
            yield block, block.text
        elif block.info == "toml part":
            assert whole is not None
            assert whole.document == block.document, f"{block}: a part without a whole pack before it"
            yield block, f"{whole.text}\n{block.text}"


PACKS = list(_with_their_pack())
COMMANDS = [
    (block, command)
    for block in BLOCKS
    if block.info.split()[:1] == ["console"]
    for command in re.findall(r"^\$ (.*?)(?:\s+#.*)?$", re.sub(r"\\\n *", "", block.text), re.MULTILINE)
]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "document" in metafunc.fixturenames:
        metafunc.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
    if "pack_text" in metafunc.fixturenames:
        metafunc.parametrize("pack_text", [text for _, text in PACKS], ids=[str(block) for block, _ in PACKS])
    if "command" in metafunc.fixturenames:
        ids = [f"{block}: {command}" for block, command in COMMANDS]
        metafunc.parametrize("command", [command for _, command in COMMANDS], ids=ids)


@pytest.fixture(scope="session")
def root() -> Path:
    return ROOT


@pytest.fixture(scope="session")
def blocks() -> list[Block]:
    return BLOCKS


@pytest.fixture(scope="session")
def table() -> Callable[[str, str], list[list[str]]]:
    """Reads the first table under a heading: `table("docs/packs.md", "### Kinds")`; cells as text, `|` unescaped."""

    def read(document: str, heading: str) -> list[list[str]]:
        return tables_under(ROOT / document, heading)[0]

    return read


@pytest.fixture(scope="session")
def tables() -> Callable[[str, str], list[list[list[str]]]]:
    """As `table`, all of them."""

    def read(document: str, heading: str) -> list[list[list[str]]]:
        return tables_under(ROOT / document, heading)

    return read


def tables_under(path: Path, heading: str) -> list[list[list[str]]]:
    """The tables between a heading and the next one, without their heads."""
    _, found, rest = path.read_text("utf-8").partition(f"\n{heading}\n")
    assert found, f"{path.name}: no heading {heading}"
    section = re.split(r"^#", rest, maxsplit=1, flags=re.MULTILINE)[0]
    tables = re.findall(r"(?:^\|.*\n)+", section, re.MULTILINE)
    return [[_cells(line) for line in table.splitlines()[2:]] for table in tables]


def _cells(line: str) -> list[str]:
    return [cell.strip().replace("\\|", "|") for cell in _CELL.split(line.strip())[1:-1]]
