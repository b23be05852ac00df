"""The deployment's files, read for the tests."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

_DEFAULT = re.compile(r"\$\{\w+:-([^${}]*)\}")


@pytest.fixture(scope="session")
def root() -> Path:
    return Path(__file__).parents[2]


@pytest.fixture(scope="session")
def compose(root: Path) -> Callable[[str], dict[str, Any]]:
    """Reads a compose file as it is with an empty environment."""

    def read(name: str) -> dict[str, Any]:
        text = (root / name).read_text()
        while (filled_in := _DEFAULT.sub(r"\1", text)) != text:  # innermost first
            text = filled_in
        model: dict[str, Any] = yaml.safe_load(text)
        return model

    return read


@pytest.fixture(scope="session")
def services(compose: Callable[[str], dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The services of docker-compose.yml."""
    found: dict[str, dict[str, Any]] = compose("docker-compose.yml")["services"]
    return found


@pytest.fixture(scope="session")
def ours(services: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The services that run our image."""
    return {name: service for name, service in services.items() if "build" in service}


@pytest.fixture(scope="session")
def dockerfile(root: Path) -> list[tuple[str, str]]:
    """The instructions of the Dockerfile with their arguments, continued lines joined."""
    lines = (line for line in (root / "Dockerfile").read_text().splitlines() if not line.lstrip().startswith("#"))
    return list(_instructions(lines))


def _instructions(lines: Iterator[str]) -> Iterator[tuple[str, str]]:
    joined = ""
    for line in lines:
        joined += line.strip()
        if joined.endswith("\\"):
            joined = joined[:-1]
        elif joined:
            name, _, arguments = joined.partition(" ")
            yield name, arguments
            joined = ""


@pytest.fixture(autouse=True)
def no_settings_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("APPLICATION_ID", "FRAUD_PACKS", "TRANSACTIONS_PER_SECOND", "TRANSACTIONS_TOPIC", "KAFKA_BROKER_URL"):
        monkeypatch.delenv(name, raising=False)
