"""What SECURITY.md says is held by tests that there are, and it names who is not held off."""

import ast
import re
from pathlib import Path
from typing import Any

DOCUMENT = "SECURITY.md"
ADVERSARIES = [
    "### A sender of records",
    "### An author of packs",
    "### An author of models",
    "### A stranger on the network",
    "### Who gets at the recovery store",
    "### Another tenant of the cluster",
    "### A visitor of the page",
]


def test_each_threat_has_a_control_and_a_test_that_there_is(root: Path, table: Any) -> None:
    threats = 0
    for heading in ADVERSARIES:
        for threat, control, tests in table(DOCUMENT, heading):
            threats += 1
            assert threat
            assert control
            named = re.findall(r"`([\w/]+\.py)::(\w+)`", tests)
            assert named, threat
            assert re.sub(r"`[^`]*`", "", tests).strip(", ") == "", threat
            for file, name in named:
                tree = ast.parse((root / file).read_text())
                found = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
                assert name in found, f"{threat}: {file}::{name}"
    assert threats > 20


def test_every_adversary_has_its_section(root: Path) -> None:
    text = (root / DOCUMENT).read_text()
    section = text.partition("## Threats")[2].partition("\n## ")[0]

    assert re.findall(r"^### .*$", section, re.MULTILINE) == ADVERSARIES


def test_what_is_not_defended_is_said_of_all_that_bytewax_unpickles(root: Path) -> None:
    section = (root / DOCUMENT).read_text().partition("## What is not defended")[2].partition("\n## ")[0]

    for word in ("unpickles", "recovery store", "between the dataflow's processes", "private network"):
        assert word in " ".join(section.split())
