import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from cli.main import app

Make = Callable[..., subprocess.CompletedProcess[str]]

DEVELOPMENT = ["Makefile", "pyproject.toml", "requirements"]


@pytest.fixture
def checkout(root: Path, tmp_path: Path) -> Path:
    """The files that decide about the installation, which counts as done."""
    for name in DEVELOPMENT:
        copy = shutil.copytree if (root / name).is_dir() else shutil.copy
        copy(root / name, tmp_path / name)
    installed = tmp_path / ".venv" / ".installed"
    installed.parent.mkdir()
    installed.touch()
    return tmp_path


@pytest.fixture
def make(checkout: Path) -> Make:
    def run(*arguments: str, path: str = os.environ["PATH"]) -> subprocess.CompletedProcess[str]:
        # Not what the make that may run these tests has told its children.
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
        for name in ("SECONDS", "SUMMARY", "BROKER", "ARGS", "PYTHON"):
            environment.pop(name, None)
        return subprocess.run(
            [shutil.which("make") or "make", *arguments],
            cwd=checkout,
            env={**environment, "PATH": path},
            capture_output=True,
            text=True,
            check=False,
        )

    return run


def test_help_names_every_target_and_is_what_make_alone_does(make: Make, root: Path) -> None:
    targets = re.findall(r"^([a-z]+):", (root / "Makefile").read_text(), re.MULTILINE)

    helped = make()

    assert re.findall(r"^  make ([a-z]+)", helped.stdout, re.MULTILINE) == targets
    assert {"demo", "test", "check", "lock", "bench", "clean", "help"} <= set(targets)
    for target in targets:
        assert make("-n", target).returncode == 0


@pytest.mark.parametrize(
    ("arguments", "command"),
    [
        ([], "fraud demo"),
        (["SECONDS=5"], "fraud demo --seconds 5"),
        (
            ["SECONDS=5", "SUMMARY=out.json", "BROKER=kafka"],
            "fraud demo --seconds 5 --summary out.json --broker kafka",
        ),
    ],
)
def test_demo_passes_on_what_it_is_told(make: Make, arguments: list[str], command: str) -> None:
    ran = make("-n", "demo", *arguments).stdout.strip()

    assert ran.removeprefix(".venv/bin/").split() == command.split()
    app.parse_args(shlex.split(ran)[1:], exit_on_error=False, print_error=False)


def test_bench_runs_something_that_exists(make: Make, root: Path) -> None:
    module = make("-n", "bench").stdout.split("-m ")[1].split()[0]

    assert (root / module.replace(".", "/")).with_suffix(".py").is_file()


@pytest.mark.parametrize("changed", ["requirements/dev.txt", "pyproject.toml"])
def test_a_change_of_the_requirements_installs_again_and_nothing_else_does(
    make: Make, checkout: Path, changed: str
) -> None:
    installed = checkout / ".venv" / ".installed"
    now = max((checkout / name).stat().st_mtime for name in ["requirements/dev.txt", "pyproject.toml"])
    os.utime(installed, (now + 10, now + 10))
    assert make("-q", "install").returncode == 0

    os.utime(checkout / changed, (now + 20, now + 20))

    assert make("-q", "install").returncode == 1


def _fake(folder: Path, name: str, script: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)


def test_a_python_that_does_not_work_is_passed_over(make: Make, checkout: Path) -> None:
    (checkout / ".venv" / ".installed").unlink()
    fakes = checkout / "fakes"
    _fake(fakes, "python3.12", "echo python3.12: command not found >&2; exit 127")  # as pyenv's shims do
    _fake(
        fakes,
        "python3.11",
        f'[ "$1" = -m ] && mkdir -p .venv/bin && ln -s {shutil.which("true")} .venv/bin/python; exit 0',
    )

    made = make("install", path=f"{fakes}:/usr/bin:/bin")

    assert made.returncode == 0, made.stderr
    assert (checkout / ".venv" / ".installed").exists()
    assert (checkout / ".venv" / "bin" / "python").exists()


def test_without_a_fitting_python_it_says_what_is_wanted(make: Make, checkout: Path) -> None:
    (checkout / ".venv" / ".installed").unlink()

    made = make("install", "PYTHON=python-of-nobody")

    assert made.returncode == 2
    assert "expected Python 3.11 or 3.12" in made.stderr
    assert "python-of-nobody" in made.stderr
    assert not (checkout / ".venv" / ".installed").exists()


def test_clean_keeps_a_recovery_store(make: Make, checkout: Path) -> None:
    (checkout / "recovery").mkdir()
    (checkout / "sources" / "__pycache__").mkdir(parents=True)

    make("clean")

    assert not (checkout / ".venv").exists()
    assert not (checkout / "sources" / "__pycache__").exists()
    assert (checkout / "recovery").is_dir()
