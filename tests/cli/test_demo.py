import json
import signal
import subprocess
from pathlib import Path

import pytest


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


def children(pid: int) -> list[str]:
    return subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True, check=True).stdout.split()
