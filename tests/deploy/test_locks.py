import shutil
import subprocess
from pathlib import Path

import pytest


@pytest.fixture
def checkout(root: Path, tmp_path: Path) -> Path:
    shutil.copytree(root / "requirements", tmp_path / "requirements")
    shutil.copy(root / "pyproject.toml", tmp_path)
    return tmp_path


def _check(checkout: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [checkout / "requirements" / "compile.sh", "--check"], capture_output=True, text=True, check=False
    )


def _edit(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new, 1))


def test_the_locks_belong_to_the_dependencies_as_they_are(checkout: Path) -> None:
    checked = _check(checkout)

    assert checked.returncode == 0, checked.stderr


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"bytewax==0.21.1"', '"bytewax==0.21.0"'),
        ('"hatchling>=1.27"]', '"hatchling>=1.28"]'),
        ('"jgo>=3.2"', '"jgo>=3.3"'),
        ('"pytest>=9.2",\n', ""),
        ('requires-python = ">=3.11,<3.13"', 'requires-python = ">=3.12,<3.13"'),
    ],
)
def test_a_changed_dependency_makes_them_stale(checkout: Path, old: str, new: str) -> None:
    _edit(checkout / "pyproject.toml", old, new)

    checked = _check(checkout)

    assert checked.returncode == 1
    assert checked.stderr.startswith("requirements/base.txt: expected it to be made from pyproject.toml as it is")


def test_what_is_not_a_dependency_makes_nothing_stale(checkout: Path) -> None:
    _edit(checkout / "pyproject.toml", 'version = "0.1.0"', 'version = "0.2.0"')
    _edit(checkout / "pyproject.toml", "dependencies = [\n", "dependencies = [ # what runs\n")

    assert _check(checkout).returncode == 0


@pytest.mark.parametrize("file", ["base.txt", "image.txt", "dev.txt", "build.txt"])
def test_each_file_is_looked_at(checkout: Path, file: str) -> None:
    _edit(checkout / "requirements" / file, "SHA-256 ", "SHA-256 0")

    checked = _check(checkout)

    assert checked.returncode == 1
    assert f"requirements/{file}" in checked.stderr


@pytest.mark.parametrize("file", ["base.txt", "image.txt", "dev.txt", "build.txt"])
def test_every_version_is_pinned_with_its_hashes(root: Path, file: str) -> None:
    text = (root / "requirements" / file).read_text().replace("\\\n", "")
    pins = [line for line in text.splitlines() if not line.startswith("#")]

    assert pins
    for pin in pins:
        assert "==" in pin
        assert "--hash=sha256:" in pin


def test_what_runs_and_what_develops_agree_on_versions(root: Path) -> None:
    names = ("base", "image", "dev", "build")
    base, image, dev, build = (_versions(root / "requirements" / f"{name}.txt") for name in names)

    assert base.items() <= image.items() <= dev.items()
    assert build.items() <= dev.items()


def _versions(file: Path) -> dict[str, str]:
    pins = (line.split()[0].split("==") for line in file.read_text().splitlines() if "==" in line)
    return dict(pins)
