"""What `fraud run` does with a recovery store that is not as it should be, or not its own."""

import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from dataflows.store.state import state_of
from tests.conftest import wait_until


@pytest.fixture
def judged(fraud, transfers, embedded, produce, consume_all) -> Callable[[int], str]:
    """Runs until so many records have an answer and their offsets are in the store and the group, then stops; gives what
    was logged.
    """
    # The embedded broker isolates no transactions.
    fraud.environment["DELIVERY"] = "at_least_once"

    def judge(total: int) -> str:
        with fraud.running("run", "--snapshot-interval", 1) as process:
            produce(embedded, transfers("TRANSACTIONS_TOPIC"), [b"{}"] * 5, partition=0)
            consume_all(embedded, [transfers("DEAD_LETTER_TOPIC")], total)
            epoch = state_of(Path(fraud.folder / "recovery")).epoch or 0
            wait_until(lambda: (state_of(Path(fraud.folder / "recovery")).epoch or 0) > epoch + 2)
            process.send_signal(signal.SIGTERM)
            _, said = process.communicate(timeout=30)
            assert process.returncode == 0, said
            return said

    return judge


def test_a_store_that_was_emptied_is_refused_unless_the_operator_wants_it(fraud, judged, tmp_path) -> None:
    judged(5)
    shutil.rmtree(tmp_path / "recovery")

    told = fraud("run", code=1)
    assert "fraud: recovery: holds no snapshot, but the consumer group" in told
    assert told.count("FRAUD_FRESH=1") == 1
    assert "holds no snapshot" in fraud("run", code=1)  # the folder that is there now makes no difference

    fraud.environment["FRAUD_FRESH"] = "1"
    assert "FRAUD_FRESH=1: begins with empty windows" in judged(10)
    assert "FRAUD_FRESH=1 does nothing here" in judged(15)
    del fraud.environment["FRAUD_FRESH"]
    assert "FRAUD_FRESH" not in judged(20)


def test_a_store_that_is_gone_after_one_snapshot_is_missed_and_nothing_is_judged_twice(  # noqa: PLR0917  (fixtures)
    fraud, transfers, embedded, produce, consume_all, tmp_path
) -> None:
    """While running, the group is told of a snapshot with the next one: here only the stop can tell it."""
    fraud.environment["DELIVERY"] = "at_least_once"
    with fraud.running("run", "--snapshot-interval", 3600) as process:
        produce(embedded, transfers("TRANSACTIONS_TOPIC"), [b"{}"] * 5, partition=0)
        consume_all(embedded, [transfers("DEAD_LETTER_TOPIC")], 5)
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=30)
        assert process.returncode == 0, said
    shutil.rmtree(tmp_path / "recovery")

    assert "holds no snapshot, but the consumer group" in fraud("run", code=1)

    fraud.environment["FRAUD_FRESH"] = "1"
    with fraud.running("run", "--snapshot-interval", 3600) as process:
        produce(embedded, transfers("TRANSACTIONS_TOPIC"), [b"{}"] * 5, partition=0)
        assert len(consume_all(embedded, [transfers("DEAD_LETTER_TOPIC")], 10, extra_seconds=1)) == 10
        process.terminate()
        process.communicate(timeout=30)


def test_an_older_copy_of_a_store_is_gone_on_from_with_a_warning(fraud, judged, tmp_path) -> None:
    judged(5)
    shutil.copytree(tmp_path / "recovery", tmp_path / "older")
    assert "is it an older copy" not in judged(10)
    shutil.rmtree(tmp_path / "recovery")
    (tmp_path / "older").rename(tmp_path / "recovery")

    said = judged(15)

    assert "is it an older copy" in said
    assert '"records": 5' in said


def test_a_store_whose_files_are_gone_is_refused_and_none_are_made(fraud, judged, tmp_path) -> None:
    judged(5)
    for path in (tmp_path / "recovery").glob("part-*"):
        path.unlink()

    assert "holds a deployment.json, but no part-*.sqlite3 any more" in fraud("run", code=1)
    assert not list((tmp_path / "recovery").glob("part-*"))


def test_a_damaged_store_is_refused_in_one_line(fraud, judged, tmp_path) -> None:
    judged(5)
    part = tmp_path / "recovery" / "part-1.sqlite3"
    part.write_bytes(part.read_bytes()[:10_000])
    for path in part.parent.glob("part-1.sqlite3-*"):
        path.unlink()

    # Without a port of its own it tells that another test's dataflow has the usual one for health.
    line, *more = fraud("run", "--health-port", 0, code=1).splitlines()

    assert more == [], line
    assert line.startswith("fraud: recovery/part-1.sqlite3: is damaged (")
    assert line.endswith(
        "put a copy of the whole folder in its place, or begin with empty windows: a new recovery store, and FRAUD_FRESH=1"
    )


@pytest.mark.parametrize(("frozen", "processes"), [("", 1), ("", 2), ("frozen", 1)])
def test_a_second_cluster_on_the_same_store_is_refused(  # noqa: PLR0917  (fixtures)
    frozen: str, processes: int, fraud, judged, transfers, tmp_path
) -> None:
    judged(5)
    with fraud.running("run", "--snapshot-interval", 1) as first:
        wait_until(lambda: owner_of(tmp_path / "recovery") != "")
        child = owner_of(tmp_path / "recovery")
        if frozen:
            subprocess.run(["kill", "-STOP", child], check=True)
        began = time.monotonic()
        told = fraud("run", "--processes", processes, code=1)
        lasted = time.monotonic() - began
        subprocess.run(["kill", "-CONT", child], check=True)
        first.terminate()
        first.communicate(timeout=30)

    assert f"process {child} has this recovery store" in told
    assert ("is stopped: kill it first" in told) == bool(frozen)
    print(f"refused after {lasted:.1f} s, the start of Python among them")  # noqa: T201


def owner_of(store: Path) -> str:
    """The dataflow that has a store, empty while there is none."""
    try:
        pid = (store / ".lock-00").read_text().split()[0]
        return pid if b"bytewax.run" in Path(f"/proc/{pid}/cmdline").read_bytes() else ""
    except (FileNotFoundError, ProcessLookupError, IndexError):
        return ""
