"""The `fraud` command as a user runs it: in a process of its own, in a folder without a `.env`."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import pytest

from broker.embedded import EmbeddedBroker

PACKS = Path(__file__).parents[2] / "packs"


class Fraud:
    """Runs `fraud` commands with an environment of their own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        ours = ("KAFKA_", "FRAUD_", "BYTEWAX_", "NO_COLOR", "FORCE_COLOR", "APPLICATION_ID")
        self.environment = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
        self.temporary = folder / "tmp"
        self.temporary.mkdir()
        self.environment |= {"COLUMNS": "200", "TMPDIR": str(self.temporary)}

    def command(self, *arguments: object) -> list[str]:
        return [sys.executable, "-m", "cli.main", *map(str, arguments)]

    def __call__(self, *arguments: object, code: int = 0) -> str:
        """Run to the end; gives stdout, or stderr if the exit code is to be another than 0 or 1."""
        done = subprocess.run(
            self.command(*arguments),
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout if code == 0 or done.stdout else done.stderr

    @contextmanager
    def running(self, *arguments: object) -> Iterator[subprocess.Popen[str]]:
        """Run beside the test."""
        with subprocess.Popen(
            self.command(*arguments),
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            try:
                yield process
            finally:
                process.kill()


@pytest.fixture
def fraud(tmp_path: Path) -> Fraud:
    return Fraud(tmp_path)


@pytest.fixture
def transfers(fraud: Fraud, embedded: EmbeddedBroker) -> Callable[[str], str]:
    """Points the settings at the transfers pack with topics of this test alone; gives a topic's name by its variable."""
    suffix = uuid4().hex[:12]
    names = ("TRANSACTIONS_TOPIC", "FRAUD_TOPIC", "REVIEW_TOPIC", "LEGIT_TOPIC", "DEAD_LETTER_TOPIC")
    topics = {name: f"{name.lower()}.{suffix}" for name in (*names, "LABELS_TOPIC", "AUDIT_TOPIC")}
    for topic in topics.values():
        embedded.create_topic(topic, 2)
    fraud.environment |= {
        **topics,
        "KAFKA_BROKER_URL": embedded.address,
        "FRAUD_PACKS": str(PACKS / "transfers.toml"),
        "APPLICATION_ID": suffix,
        "DELIVERY": "at_least_once",
    }
    return topics.__getitem__
