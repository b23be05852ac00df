"""Every command that the documents show is one that there is."""

import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from inspect import Parameter
from pathlib import Path
from typing import Any

import pytest
from bytewax.run import _parse_args

from cli import errors
from cli.main import app
from detection.settings import Settings
from simulation import TRAFFIC

OPERATING = "docs/operating.md"
OF_OTHERS = {"docker", "kafka-consumer-groups.sh", "kcat", "mkdir"}
COMMANDS = [name for name in app if not name.startswith("-")]


def test_a_command_is_one_that_there_is(command: str, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for words in _simple_commands(command):
        _check(words, root, monkeypatch)


def _simple_commands(command: str) -> list[list[str]]:
    return [shlex.split(part) for part in command.split(" && ")]


def _check(words: list[str], root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    match words:
        case ["export", *assignments]:
            _check_variables(assignments)
        case ["fraud", *tokens]:
            app.parse_args(tokens, exit_on_error=False, print_error=False)
        case ["make", target, *variables]:
            _check_make(target, variables, (root / "Makefile").read_text())
        case ["python", "-m", "bytewax.run", *arguments]:
            monkeypatch.setattr(sys, "argv", ["bytewax.run", *arguments])
            assert _parse_args().import_str in {"dataflows.fraud", "dataflows.alerts"}
        case ["python", "-m", module] if module.startswith("proofs."):
            assert find_spec(module) is not None
        case ["python", "-m", module, *_]:
            assert module == "bytewax.recovery"
        case ["docker", "compose", *arguments]:
            files = [arguments[place + 1] for place, word in enumerate(arguments) if word == "-f"]
            assert all((root / file).is_file() for file in files)
        case [program, *_]:
            assert program in OF_OTHERS or (root / program).is_file()


def _check_make(target: str, variables: list[str], makefile: str) -> None:
    assert f"\n{target}:" in makefile
    assert all(f"\n{variable.partition('=')[0]} ?=" in makefile for variable in variables)


def _check_variables(assignments: list[str]) -> None:
    names = {assignment.partition("=")[0].lower() for assignment in assignments}
    assert {name for name in names if not name.startswith("alerts_")} <= set(Settings.model_fields)


def test_the_readme_shows_commands_that_can_be_run_as_written(root: Path) -> None:
    ran = subprocess.run(
        [sys.executable, root / ".ci" / "readme.py", root / "README.md"], capture_output=True, text=True, check=True
    )

    assert ran.stdout.splitlines() == ["make demo SECONDS=10", "make test"]


def test_the_check_of_the_readmes_pack_says_what_is_shown(
    root: Path, blocks: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    readme = [block for block in blocks if block.document == "README.md"]
    place = next(number for number, block in enumerate(readme) if block.info == "toml")
    pack, shown = readme[place : place + 2]
    command, _, told = shown.text.partition("\n")
    (tmp_path / "packs").mkdir()
    (tmp_path / "packs" / "countries.toml").write_text(pack.text)
    monkeypatch.chdir(tmp_path)

    code = app(shlex.split(command.removeprefix("$ fraud ")), result_action="return_value")

    assert code == 0
    assert capsys.readouterr().out == told


def test_every_command_has_a_section_and_no_other_has(root: Path) -> None:
    sections = re.findall(r"^### `fraud (\w+)`$", (root / OPERATING).read_text(), re.MULTILINE)

    assert sections == COMMANDS


@pytest.mark.parametrize("name", COMMANDS)
def test_the_options_of_a_command_are_those_it_has(
    name: str, tables: Callable[[str, str], list[list[list[str]]]]
) -> None:
    inner = [word for word in app[name] if not word.startswith("-")]
    options = {
        argument.names[0]: argument.field_info.default
        for command in ([app[name][word] for word in inner] or [app[name]])
        for argument in command.assemble_argument_collection()
        if argument.names[0].startswith("--")
    }
    found = tables(OPERATING, f"### `fraud {name}`")
    words = {None: "none", Parameter.empty: "required"}
    shown = {option.strip("`"): default for option, default, _ in found[0]} if found else {}

    assert shown == {option: words.get(default, f"`{default}`") for option, default in options.items()}


def test_the_exit_codes_are_those_there_are(table: Callable[[str, str], list[list[str]]]) -> None:
    shown = [int(code) for code, _ in table(OPERATING, "## Commands")]

    assert shown == [0, errors.PROBLEMS, errors.USAGE, errors.BROKER]


def test_the_kinds_of_traffic_are_named(root: Path) -> None:
    section = (root / OPERATING).read_text().partition("### `fraud simulate`\n")[2].partition("### ")[0]

    assert all(f"`{kind}`" in section or f"--{kind}" in section for kind in TRAFFIC)


def test_a_command_in_the_text_is_one_that_there_is(document: Path, root: Path) -> None:
    makefile = (root / "Makefile").read_text()
    text = document.read_text("utf-8")

    for name, rest in re.findall(r"`fraud ([a-z]+)( [^`]+)?`", text):
        assert name in COMMANDS
        if rest:
            app.parse_args([name, *shlex.split(rest)], exit_on_error=False, print_error=False)
    for target in re.findall(r"`make ([a-z]+)[^`]*`", text):
        assert f"\n{target}:" in makefile
