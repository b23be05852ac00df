import os
import subprocess
import sys
from pathlib import Path

import pytest


def _commands(root: Path, markdown: str, folder: Path) -> list[str]:
    file = folder / "README.md"
    file.write_text(markdown)
    ran = subprocess.run([sys.executable, root / ".ci" / "readme.py", file], capture_output=True, text=True, check=True)
    return ran.stdout.splitlines()


@pytest.mark.parametrize(
    ("markdown", "commands"),
    [
        ("```console\n$ make test\n1 passed\n$ fraud check\n```\n", ["make test", "fraud check"]),
        ("```console\n$ make test   # all of it\n```\n", ["make test"]),
        ("```console\n$ fraud check \\\n    a.toml\n$ fraud --help\n```\n", ["fraud check a.toml", "fraud --help"]),
        ("```console\n$ make test\n```\ntext\n```console\n$ make test\n```\n", ["make test"]),
        ("- a list\n\n  ```console\n  $ make test\n  ```\n", ["make test"]),
        ("````console\n$ make a\n```\n$ make b\n````\n", ["make a", "make b"]),
        ("```console norun\n$ fraud run\n```\n```console\n$ make a\n```\n", ["make a"]),
        ("```bash\n$ make a\n```\n", []),
        ("$ make a\n", []),
        ("```console\n$ docker compose up\n$ makefile\n$ fraudulent\nmake a\n```\n", []),
    ],
)
def test_what_can_be_run_is_what_the_reader_is_told_to_run(
    root: Path, tmp_path: Path, markdown: str, commands: list[str]
) -> None:
    assert _commands(root, markdown, tmp_path) == commands


@pytest.mark.parametrize("name", ["run", "readme.py"])
def test_it_can_be_executed(root: Path, name: str) -> None:
    assert os.access(root / ".ci" / name, os.X_OK)


def test_the_workflow_does_nothing_but_the_run_everybody_can_do(root: Path) -> None:
    assert ".ci/run" in (root / ".github" / "workflows" / "ci.yml").read_text()
