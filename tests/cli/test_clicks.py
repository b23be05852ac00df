"""`fraud clicks` as a process: how it begins, what it refuses, how it ends."""

import json
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import httpx
import pytest

from tests.cli.conftest import PACKS, Fraud
from tests.reading import read_all


@pytest.fixture
def clicks(fraud: Fraud, embedded) -> str:
    """Points the settings at the clicks pack with a topic of this test alone; gives the topic."""
    topic = f"clicks.{uuid4().hex[:12]}"
    embedded.create_topic(topic, 2)
    (fraud.folder / "clicks.toml").write_text((PACKS / "clicks.toml").read_text().replace('"clicks"', f'"{topic}"'))
    fraud.environment |= {"KAFKA_BROKER_URL": embedded.address, "FRAUD_PACKS": "clicks.toml"}
    return topic


def started(process: subprocess.Popen[str]) -> str:
    line = process.stdout.readline()
    found = re.match(r"(http://\S+): [\d,]+ clicks so far, further ones go to ", line)
    assert found, line + process.stderr.read()
    return found[1]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_with_0_within_two_seconds_and_all_it_answered_is_there(
    number: signal.Signals, fraud: Fraud, clicks: str, embedded, tmp_path: Path
) -> None:
    with fraud.running("clicks", "--port", 0) as process:
        url = started(process)
        with httpx.Client(base_url=url, timeout=20) as browser:  # its connection stays open
            answered = [browser.post("/click").json()["click_count"] for _ in range(5)]
            began = time.monotonic()
            process.send_signal(number)
            _, said = process.communicate(timeout=30)
            took = time.monotonic() - began

    assert (process.returncode, said) == (0, "")
    assert took < 2
    assert answered == [1, 2, 3, 4, 5]
    assert len(read_all(embedded, [clicks], 5)) == 5
    assert json.loads((tmp_path / "click_count.json").read_bytes()) == {"click_count": 5}


def test_the_next_start_goes_on_with_the_count(fraud: Fraud, clicks: str, tmp_path: Path) -> None:
    (tmp_path / "kept.json").write_text('{"click_count": 1234}')
    with fraud.running("clicks", "--port", 0, "--count-file", "kept.json") as process:
        url = started(process)

        assert httpx.get(f"{url}/click").json() == {"click_count": 1235}


def refused(fraud: Fraud, *arguments: object, code: int) -> str:
    (line,) = fraud("clicks", *arguments, code=code).splitlines()
    return line


def test_a_port_that_is_taken_is_told_in_a_line(fraud: Fraud, clicks: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

        told = refused(fraud, "--port", port, code=2)

    assert told == f"fraud: 127.0.0.1:{port}: Address already in use: choose another with --host or --port"


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1"])
def test_other_machines_reach_it_only_if_that_was_asked_for(host: str, fraud: Fraud, clicks: str) -> None:
    assert refused(fraud, "--host", host, "--port", 0, code=2) == (
        f"fraud: --host {host}: other machines would reach the page, which asks nobody who they are: add --public"
    )


def test_with_public_they_do(fraud: Fraud, clicks: str) -> None:
    with fraud.running("clicks", "--host", "0.0.0.0", "--port", 0, "--public") as process:
        assert started(process).startswith("http://0.0.0.0:")


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["--host", "no host"], 2, "--host: expected an address of this machine, got 'no host'"),
        (["--trusted-proxy", "nonsense"], 2, "--trusted-proxy: expected an address or a network, got 'nonsense'"),
        (["--count-file", "clicks.toml"], 1, "clicks.toml: expected a count such as "),
        (["--count-file", "no/such/folder"], 1, "No such file or directory"),
        (["--counter"], 3, "topic fcd-producer does not exist on "),
    ],
)
def test_what_cannot_be_is_told_in_a_line(
    arguments: list[str], code: int, told: str, fraud: Fraud, clicks: str
) -> None:
    assert told in refused(fraud, "--port", 0, *arguments, code=code)


def test_a_pack_without_clicks_is_told_in_a_line(fraud: Fraud, transfers: Callable[[str], str]) -> None:
    assert refused(fraud, "--port", 0, code=2) == (
        "fraud: event.click: expected it in the packs, got none: add packs/clicks.toml to FRAUD_PACKS"
    )


@pytest.mark.parametrize("missing", ["jinja2", "starlette", "uvicorn"])
def test_without_the_extra_it_says_what_to_install(missing: str, fraud: Fraud) -> None:
    script = f"""
import sys
sys.modules["{missing}"] = None
sys.argv = ["fraud", "clicks"]
from cli.main import main
main()
"""
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        env=fraud.environment,
        check=False,
    )

    told = "fraud: the click page needs its server: pip install 'fraud-streams[page]'\n"
    assert (done.returncode, done.stderr) == (2, told)
