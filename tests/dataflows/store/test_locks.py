import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dataflows.store.deployment import StoreError
from dataflows.store.locks import PATIENCE, StoreLock
from tests.conftest import wait_until

HOLD = """
import sys, time
from pathlib import Path
from dataflows.store.locks import StoreLock
lock = StoreLock.take(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), patience=0)
print("held", flush=True)
time.sleep(60)
"""


@pytest.fixture
def hold(tmp_path: Path) -> Iterator[Callable[[int, int], subprocess.Popen[str]]]:
    """Starts a process that takes a lock of the store and keeps it."""
    started = []

    def start(process: int, processes: int) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", HOLD, str(tmp_path), str(process), str(processes)]
        holder = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        started.append(holder)
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        return holder

    yield start
    for holder in started:
        holder.kill()
        holder.wait()
        assert holder.stdout is not None
        holder.stdout.close()


def refused(folder: Path, process: int, processes: int) -> str:
    with pytest.raises(StoreError) as caught:
        StoreLock.take(folder, process, processes, patience=0.1)
    return str(caught.value)


def test_a_second_cluster_is_refused_and_told_whose_the_store_is(hold, tmp_path: Path) -> None:
    holder = hold(0, 1)

    assert refused(tmp_path, 0, 1) == (
        f"{tmp_path}: process {holder.pid} has this recovery store: stop it first, or give this one a recovery store "
        "and an APPLICATION_ID of its own"
    )


def test_it_is_refused_in_time(hold, tmp_path: Path) -> None:
    hold(0, 1)
    began = time.monotonic()

    with pytest.raises(StoreError):
        StoreLock.take(tmp_path, 0, 1)

    assert PATIENCE <= time.monotonic() - began < 5


def test_a_frozen_process_has_its_lock_still(hold, tmp_path: Path) -> None:
    holder = hold(0, 1)
    holder.send_signal(signal.SIGSTOP)
    wait_until(lambda: Path(f"/proc/{holder.pid}/stat").read_text().split(") ")[1][0] == "T")

    told = refused(tmp_path, 0, 1)

    assert told.endswith(
        f"process {holder.pid} has this recovery store and is stopped: kill it first (kill -9 {holder.pid})"
    )


def test_the_lock_of_a_killed_process_is_free_as_soon_as_it_is_gone(hold, tmp_path: Path) -> None:
    holder = hold(0, 1)
    holder.kill()

    StoreLock.take(tmp_path, 0, 1).release()  # may have to wait, no longer than a start may take


@pytest.mark.parametrize(("old", "new"), [((2, 3), (0, 1)), ((1, 2), (0, 1)), ((0, 1), (0, 3)), ((1, 3), (1, 2))])
def test_a_cluster_of_another_size_is_refused_while_one_process_is_left(
    old: tuple[int, int], new: tuple[int, int], hold, tmp_path: Path
) -> None:
    holder = hold(*old)

    assert f"process {holder.pid} has this" in refused(tmp_path, *new)


def test_the_processes_of_one_cluster_do_not_mind_each_other(tmp_path: Path, hold) -> None:
    for size in (3, 1, 2):
        holders = [hold(process, size) for process in range(size)]
        for holder in holders:
            holder.kill()
            holder.wait()


def test_a_lock_is_given_back_when_another_is_refused(hold, tmp_path: Path) -> None:
    holder = hold(1, 2)
    refused(tmp_path, 0, 1)
    holder.kill()
    holder.wait()

    StoreLock.take(tmp_path, 0, 1, patience=0).release()


def test_a_process_that_is_started_by_the_owner_does_not_keep_the_lock(tmp_path: Path) -> None:
    lock = StoreLock.take(tmp_path, 0, 1)
    child = subprocess.Popen(["sleep", "60"], close_fds=False)
    try:
        lock.release()
        StoreLock.take(tmp_path, 0, 1, patience=0).release()
    finally:
        child.kill()
        child.wait()


def test_an_owner_on_another_machine_is_named_with_it(tmp_path: Path) -> None:
    lock = StoreLock.take(tmp_path, 0, 1)
    (tmp_path / ".lock-00").write_text("7 elsewhere\n")
    assert "process 7 on elsewhere has this" in refused(tmp_path, 0, 1)
    (tmp_path / ".lock-00").write_text("")
    assert "another process has this" in refused(tmp_path, 0, 1)
    lock.release()


def test_a_lock_is_for_its_owner_alone_and_a_folder_that_is_none_is_told(tmp_path: Path) -> None:
    StoreLock.take(tmp_path, 0, 1).release()
    assert stat.S_IMODE((tmp_path / ".lock-00").stat().st_mode) == 0o600

    assert "cannot be made: No such file or directory" in refused(tmp_path / "missing", 0, 1)
