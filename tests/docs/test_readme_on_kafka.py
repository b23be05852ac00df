"""The README's commands that need a broker, run as written in a folder of the reader's, on a real Kafka of their own."""

import json
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Message

from broker.apache import ApacheKafka
from dataflows.supervision.launcher import free_ports
from tests.conftest import wait_until
from tests.docs.conftest import BLOCKS, COMMANDS

FROM_FRANCE = {"user": "a", "country": "FR", "timestamp": "2026-01-01T00:00:00Z"}
FROM_THE_US = {"user": "a", "country": "US", "timestamp": "2026-01-01T00:30:00Z"}

FROM_ITALY = {"user": "a", "country": "IT", "timestamp": "2026-01-01T00:40:00Z"}
OUTPUTS = ["queuing.legit", "queuing.fraud"]

README = [command for block, command in COMMANDS if block.document == "README.md"]
EXPORT = next(command for command in README if command.startswith("export "))
STORE = next(command for command in README if "bytewax.recovery" in command)
THREADS, PROCESS = (command for command in README if "bytewax.run" in command)
TAIL = next(command for command in README if command.startswith("fraud tail"))
RUN = next(command for command in README if command.startswith("fraud run"))

pytestmark = pytest.mark.kafka


@pytest.fixture(scope="module")
def own_kafka() -> Iterator[ApacheKafka]:
    """The README's topics have the default names: they must be nobody else's."""
    with ApacheKafka() as broker:
        yield broker


class Reader:
    """Somebody who types what the README says, with an address of their own where it has an example's."""

    def __init__(self, folder: Path, broker: ApacheKafka) -> None:
        self.folder = folder
        (folder / "packs").mkdir()
        pack = next(block for block in BLOCKS if block.document == "README.md" and block.info == "toml")
        (folder / "packs" / "countries.toml").write_text(pack.text)
        scripts = str(Path(sys.executable).parent)
        self.environment = {"PATH": f"{scripts}:{os.environ['PATH']}", "HOME": str(folder), "COLUMNS": "200"}
        words = [word.partition("=") for word in shlex.split(EXPORT)[1:]]
        self.environment |= {name: value.replace("localhost:9092", broker.address) for name, _, value in words}
        self.environment["PYTHONUNBUFFERED"] = "1"

    def types(self, command: str) -> str:
        done = subprocess.run(["bash", "-c", command], **self._where(), timeout=120, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return str(done.stdout)

    @contextmanager
    def leaves_running(self, *commands: str) -> Iterator[None]:
        """Beside the rest, until Ctrl-C tells them all; it must end each in good order."""
        processes = [subprocess.Popen(["bash", "-c", f"exec {command}"], **self._where()) for command in commands]
        try:
            yield
            for process in processes:
                process.send_signal(signal.SIGINT)
            said = [process.communicate(timeout=60) for process in processes]
            assert not any(process.returncode for process in processes), said
        finally:
            for process in processes:
                process.kill()
                process.wait()

    def _where(self) -> dict[str, Any]:
        pipe = subprocess.PIPE
        return {"cwd": self.folder, "env": self.environment, "stdout": pipe, "stderr": pipe, "text": True}


def test_the_commands_judge_the_readers_own_topic(
    own_kafka: ApacheKafka,
    tmp_path: Path,
    produce: Callable[..., None],
    consume_all: Callable[..., list[Message]],
) -> None:
    reader = Reader(tmp_path, own_kafka)

    def logins(*records: dict[str, str]) -> None:
        produce(own_kafka, "logins", [(b"a", json.dumps(record).encode()) for record in records], partition=0)

    for command in README[README.index(EXPORT) + 1 : README.index(RUN)]:
        reader.types(command)
    reader.types(STORE)
    with reader.leaves_running(THREADS):
        logins(FROM_FRANCE)
        assert reasons(consume_all(own_kafka, OUTPUTS, 1)) == [[]]

    # What was seen is remembered, by whichever command goes on with it.
    addresses = ";".join(f"127.0.0.1:{port}" for port in free_ports(2))
    mine = PROCESS.replace("10.0.0.1:2101;10.0.0.2:2101", addresses)
    assert mine != PROCESS
    with reader.leaves_running(mine, mine.replace("-i 0", "-i 1")):
        logins(FROM_THE_US)
        assert reasons(consume_all(own_kafka, OUTPUTS, 2)) == [[], ["2 countries within an hour"]]

    with reader.leaves_running(RUN):
        logins(FROM_ITALY)
        verdicts = consume_all(own_kafka, OUTPUTS, 3, extra_seconds=1)
        assert reasons(verdicts) == [[], ["2 countries within an hour"], ["3 countries within an hour"]]


def reasons(messages: list[Message]) -> list[list[str]]:
    return sorted(json.loads(message.value() or b"")["reason"] for message in messages)


def test_the_tail_shows_what_is_judged_from_now_on(
    own_kafka: ApacheKafka, tmp_path: Path, produce: Callable[..., None]
) -> None:
    reader = Reader(tmp_path, own_kafka)
    # The other test's group has committed offsets, and its store is not here.
    reader.environment["APPLICATION_ID"] = "tail"
    reader.types("fraud topics")
    out = tmp_path / "out"

    def shown() -> bool:
        produce(own_kafka, "logins", [(b"b", json.dumps({**FROM_FRANCE, "user": "b"}).encode())])
        # The shell makes the file, in its own time. The other test's records are judged anew by this application.
        return out.exists() and " LEGIT  logins  b " in out.read_text()

    with reader.leaves_running(RUN, f"{TAIL} >{out}"):
        wait_until(shown)
