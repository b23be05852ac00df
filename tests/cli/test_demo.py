import json
import re
import signal
import socket
import subprocess
from pathlib import Path

import httpx
import pytest

from tests.conftest import wait_until


def test_the_demo_answers_every_event_as_its_label_says(fraud, tmp_path: Path) -> None:
    # What the environment says is not the demo's business.
    fraud.environment |= {"KAFKA_BROKER_URL": "127.0.0.1:1", "KAFKA_SASL_USERNAME": "me", "FRAUD_TOPIC": "other"}

    told = fraud("demo", "--seconds", 8, "--summary", "summary.json")

    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["events"] > 1_000
    assert summary["missing"] == summary["doubled"] == summary["dead_letters"] == 0
    assert sum(summary["verdicts"].values()) == summary["events"]
    assert summary["precision"] >= 0.95
    assert summary["recall"] >= 0.95
    assert {"click_burst", "click_counter", "large_transfer", "high_amount"} <= summary["rules"].keys()
    assert 0 < summary["latency_ms"]["p50"] <= summary["latency_ms"]["p99"]
    assert (summary["broker"], round(summary["seconds"])) == ("embedded", 8)
    assert "kcat -b 127.0.0.1:" in told
    assert "Summary" in told


@pytest.mark.parametrize("path", ["no/dir/x.json", ".", "/proc/self/cmdline/x.json"])
def test_a_summary_that_cannot_be_written_is_told_before_anything_starts(path: str, fraud) -> None:
    told = fraud("demo", "--summary", path, code=2)

    assert told == f"fraud: --summary: expected a file that can be written, in a folder that exists, got {path}\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_demo_with_its_summary_and_leaves_nothing(fraud, number: int) -> None:
    with fraud.running("demo") as process:
        while "precision" not in process.stdout.readline():
            assert process.poll() is None
        (child,) = children(process.pid)
        process.send_signal(number)
        told, _ = process.communicate(timeout=60)

    assert process.returncode == 0
    assert "Summary" in told
    assert not list(fraud.temporary.iterdir())
    assert not Path(f"/proc/{child}").exists()


def test_a_dataflow_that_dies_ends_the_demo_with_1(fraud) -> None:
    with fraud.running("demo") as process:
        while "precision" not in process.stdout.readline():
            assert process.poll() is None
        (child,) = children(process.pid)
        subprocess.run(["kill", "-KILL", child], check=True)
        _, error = process.communicate(timeout=60)

    assert process.returncode == 1
    assert "fraud: the dataflow: expected it to run, it ended with exit code -9" in error
    assert not list(fraud.temporary.iterdir())


def test_the_pages_are_served_meanwhile(fraud) -> None:
    with fraud.running("demo", "--port", 0) as process:
        while not (found := re.search(r"The live page is at (\S+)\n", process.stdout.readline())):
            assert process.poll() is None
        url = found[1]
        wait_until(lambda: httpx.get(f"{url}/api/state", timeout=20).json()["words"].get("FRAUD", 0) > 0, 60)
        wait_until(lambda: httpx.get(f"{url}/api/review", timeout=20).json()["counts"]["open"] > 0, 60)
        process.send_signal(signal.SIGINT)
        told, error = process.communicate(timeout=60)

    assert process.returncode == 0
    assert "Summary" in told
    assert error == ""


def test_where_the_page_cannot_be_served_a_line_says_so_and_the_demo_goes_on(fraud, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        busy = fraud("demo", "--seconds", 1, "--port", port)
    (tmp_path / "sitecustomize.py").write_text(
        "import importlib.util as u\nfind = u.find_spec\n"
        "u.find_spec = lambda name, package=None: None if name == 'uvicorn' else find(name, package)\n"
    )
    fraud.environment |= {"PYTHONPATH": str(tmp_path)}
    without = fraud("demo", "--seconds", 1)

    assert f"No live page: 127.0.0.1:{port}: Address already in use: choose another with --host or --port" in busy
    assert "No live page, which needs its web server: pip install 'fraud-streams[page]'" in without
    assert "Summary" in busy
    assert "Summary" in without


def children(pid: int) -> list[str]:
    return subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True, check=True).stdout.split()
