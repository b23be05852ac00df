from pathlib import Path

import pytest

from broker.config import passed_through
from detection.settings import Settings


@pytest.fixture
def example(root: Path) -> dict[str, str]:
    """The variables of .env.example, as if all were uncommented."""
    lines = (root / ".env.example").read_text().splitlines()
    return dict(line.removeprefix("#").split("=", 1) for line in lines if "=" in line)


def test_what_it_shows_are_the_defaults(
    example: dict[str, str], root: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(root)  # its paths are those of the checkout
    ours = {name: value for name, value in example.items() if name.lower() in Settings.model_fields}
    file = tmp_path / ".env"
    file.write_text("".join(f"{name}={value}\n" for name, value in ours.items()))
    defaults = Settings(_env_file=None)

    shown = Settings(_env_file=file)

    assert {path.resolve() for path in shown.fraud_packs} == {path.resolve() for path in defaults.fraud_packs}
    assert shown.model_copy(update={"fraud_packs": defaults.fraud_packs}) == defaults


def test_it_shows_every_setting(example: dict[str, str]) -> None:
    assert {name.upper() for name in Settings.model_fields} - {"KAFKA", "ALERTS"} <= set(example)


def test_every_other_variable_is_one_the_kafka_client_knows(example: dict[str, str], tmp_path: Path) -> None:
    others = [name for name in example if name.lower() not in Settings.model_fields]
    file = tmp_path / ".env"
    file.write_text("".join(f"{name}={example[name] or 'x'}\n" for name in others))

    passed = passed_through(Settings(_env_file=file))

    assert set(passed) == {name.removeprefix("KAFKA_").replace("_", ".").lower() for name in others}


def test_it_is_all_comments(root: Path) -> None:
    lines = (root / ".env.example").read_text().splitlines()

    assert [line for line in lines if line and not line.startswith("#")] == []
