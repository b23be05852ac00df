import asyncio
import os
import signal
import socket
import stat
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from broker.ports import free_ports
from dataflows.supervision.launcher import (
    Launcher,
    Patience,
    check_environment,
    check_ports,
    dataflow_command,
    prepare_store,
    process_environment,
)
from detection.settings import SettingsError

QUICK = Patience(stop=10, first=0.01, longest=0.04, steady=60)

CHILD = """
import os, signal, sys, time
rank, folder, addresses = sys.argv[1:4]
def note(text):
    with open(f"{folder}/notes", "a") as notes:
        notes.write(f"{rank} {text}\\n")
def stop(number, frame):
    note("stopped")
    sys.exit(0)
signal.signal(signal.SIGTERM, stop)
def starts(rank):
    return open(f"{folder}/notes").read().count(f"{rank} start ") if os.path.exists(f"{folder}/notes") else 0
start = starts(rank)
note(f"start {addresses}")
while any(starts(other) <= start for other in range(len(addresses.split(";")))):
    time.sleep(0.005)  # until all are up
"""
RUN_ON = "\ntime.sleep(60)"


def tells(*, joined: bool) -> str:
    """Has a child write its status."""
    return f"""
import json
status = {{"joined": {joined}, "snapshots": 0, "at": time.monotonic(), "beat_age": None}}
with open(os.environ["FRAUD_STATUS_FILE"], "w") as file:
    json.dump(status, file)
"""


class Scene:
    """A launcher of fake processes, what they note in a file, and what is said."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.said: list[str] = []
        self.reporting = False

    def notes(self) -> list[str]:
        path = self.folder / "notes"
        return path.read_text().splitlines() if path.exists() else []

    def starts(self) -> Counter[str]:
        return Counter(note.split()[0] for note in self.notes() if " start " in note)

    def launch(
        self,
        child: str,
        *,
        processes: int = 2,
        patience: Patience = QUICK,
        until: Callable[[], bool] | None = None,
    ) -> int:
        def command(rank: int, addresses: Sequence[str]) -> list[str]:
            return [sys.executable, "-u", "-c", CHILD + child, str(rank), str(self.folder), ";".join(addresses)]

        def environment(rank: int) -> Mapping[str, str]:
            return process_environment(rank, os.environ, self.folder) if self.reporting else os.environ

        launcher = Launcher(command, processes, environment=environment, write=self.said.append, patience=patience)
        self.launcher = launcher

        async def run() -> int:
            asker = asyncio.create_task(ask_to_stop(until)) if until else None
            code = await asyncio.wait_for(launcher.run(), 60)
            if asker:
                await asker
            return code

        return asyncio.run(run())


async def ask_to_stop(condition: Callable[[], bool]) -> None:
    await come_true(condition)
    os.kill(os.getpid(), signal.SIGTERM)


async def come_true(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110  (what other processes do sets no event)
        await asyncio.sleep(0.01)


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


def test_when_one_process_dies_all_start_again_after_growing_waits(scene: Scene) -> None:
    dies_three_times = "\nif rank == '1' and start < 3: sys.exit(7)" + RUN_ON

    code = scene.launch(dies_three_times, until=lambda: scene.starts() == {"0": 4, "1": 4})

    assert code == 0
    assert scene.said == [
        f"fraud: process 1 ended with 7: starting all again in {wait} s" for wait in (0.01, 0.02, 0.04)
    ]


def test_processes_of_one_start_know_the_same_addresses(scene: Scene) -> None:
    scene.launch(RUN_ON, processes=3, until=lambda: scene.starts().total() == 3)

    addresses = {note.split()[2] for note in scene.notes() if " start " in note}
    assert len(addresses) == 1
    assert len(set(addresses.pop().split(";"))) == 3


def test_a_signal_reaches_every_process_once_and_the_launcher_ends_with_0(scene: Scene) -> None:
    assert scene.launch(RUN_ON, processes=3, until=lambda: scene.starts().total() == 3) == 0

    assert Counter(note for note in scene.notes() if "stopped" in note) == {f"{rank} stopped": 1 for rank in range(3)}


def test_a_process_that_fails_while_stopping_gives_the_exit_code(scene: Scene) -> None:
    fails = "\nif rank == '1': signal.signal(signal.SIGTERM, lambda *_: os._exit(3))\nnote('ready')" + RUN_ON

    assert scene.launch(fails, until=lambda: sum("ready" in note for note in scene.notes()) == 2) == 3


def test_a_process_that_does_not_stop_is_killed_after_a_while(scene: Scene) -> None:
    deaf = "\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nnote('ready')" + RUN_ON
    patience = Patience(stop=0.2, first=0.01)

    code = scene.launch(deaf, patience=patience, until=lambda: sum("ready" in note for note in scene.notes()) == 2)

    assert code == 128 + signal.SIGKILL


def test_a_refusal_of_the_first_start_is_told_once_and_not_tried_again(scene: Scene) -> None:
    assert scene.launch("\nprint('fraud: topic clicks does not exist')\nsys.exit(1)") == 1

    assert [line.partition(" | ")[2] for line in scene.said] == ["fraud: topic clicks does not exist"]
    assert max(scene.starts().values()) == 1


def test_a_refusal_counts_as_one_however_long_it_took_unless_they_had_begun(scene: Scene) -> None:
    scene.reporting = True
    refuses = "\nif start == 0: print('fraud: the topic does not exist'); sys.exit(1)"

    assert scene.launch(tells(joined=False) + refuses + RUN_ON, processes=1) == 1

    (scene.folder / "notes").unlink()
    again = tells(joined=True) + refuses + RUN_ON
    assert scene.launch(again, processes=1, until=lambda: scene.starts() == {"0": 2}) == 0


def test_a_refusal_of_a_later_start_is_tried_again(scene: Scene) -> None:
    later = "\nif start == 0: sys.exit(7)\nif start == 1: print('fraud: no broker'); sys.exit(1)" + RUN_ON

    assert scene.launch(later, processes=1, until=lambda: scene.starts() == {"0": 3}) == 0


def test_a_crash_at_the_first_start_is_tried_again(scene: Scene) -> None:
    crash = "\nif start == 0: print('panicked'); sys.exit(1)" + RUN_ON

    assert scene.launch(crash, processes=1, until=lambda: scene.starts() == {"0": 2}) == 0


def test_a_process_that_ends_with_0_unasked_is_missed_too(scene: Scene) -> None:
    leaves = "\nif start == 0 and rank == '0': sys.exit(0)" + RUN_ON

    assert scene.launch(leaves, until=lambda: scene.starts() == {"0": 2, "1": 2}) == 0


def test_the_wait_is_the_first_again_after_a_steady_run(scene: Scene) -> None:
    dies = "\nif start < 3: sys.exit(7)" + RUN_ON

    scene.launch(
        dies,
        processes=1,
        patience=Patience(first=0.01, longest=1, steady=0),
        until=lambda: scene.starts() == {"0": 4},
    )

    assert {line.rpartition(" in ")[2] for line in scene.said} == {"0.01 s"}


def test_a_signal_between_two_starts_ends_the_wait(scene: Scene) -> None:
    code = scene.launch(
        "\nsys.exit(7)", processes=1, patience=Patience(first=3600, longest=3600), until=lambda: bool(scene.said)
    )

    assert code == 7
    assert scene.starts() == {"0": 1}


def test_lines_carry_their_rank_only_where_there_are_several(scene: Scene) -> None:
    talks = "\nprint(f'hello from {rank}'); print('no end', end='', file=sys.stderr); note('done')" + RUN_ON

    def done(processes: int) -> Callable[[], bool]:
        return lambda: sum("done" in note for note in scene.notes()) == processes

    scene.launch(talks, processes=1, until=done(1))
    assert scene.said == ["hello from 0", "no end"]
    (scene.folder / "notes").unlink()
    scene.said.clear()
    scene.launch(talks, processes=2, until=done(2))
    assert sorted(scene.said) == ["0 | hello from 0", "0 | no end", "1 | hello from 1", "1 | no end"]


def test_processes_end_with_a_launcher_that_is_killed() -> None:
    script = """
import asyncio, os, sys
from dataflows.supervision.launcher import Launcher
child = "import os, time; print(os.getpid(), flush=True); time.sleep(60)"
launcher = Launcher(
    lambda rank, addresses: [sys.executable, "-c", child], 1, environment=lambda _: os.environ,
    write=lambda line: print(line, flush=True),
)
asyncio.run(launcher.run())
"""
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as launcher:
        assert launcher.stdout
        child = int(launcher.stdout.readline())
        launcher.kill()

    asyncio.run(asyncio.wait_for(come_true(lambda: is_gone(child)), 20))


def is_gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def test_a_single_process_is_no_cluster() -> None:
    alone = dataflow_command(0, ["127.0.0.1:1"], recovery=Path("r"), snapshot_seconds=10)
    second = dataflow_command(1, ["127.0.0.1:1", "127.0.0.1:2"], recovery=Path("r"), snapshot_seconds=10, workers=2)

    assert alone[1:] == ["-m", "bytewax.run", "dataflows.fraud", "-r", "r", "-s", "10", "-b", "0"]
    assert second[len(alone) :] == ["-w", "2", "-i", "1", "-a", "127.0.0.1:1;127.0.0.1:2"]


@pytest.mark.parametrize(("given", "base"), [({}, 3030), ({"BYTEWAX_DATAFLOW_API_PORT": "9000"}, 9000)])
def test_each_process_serves_its_metrics_on_a_port_of_its_own(given: dict[str, str], base: int, tmp_path: Path) -> None:
    environment = {"BYTEWAX_DATAFLOW_API_ENABLED": "1", **given}

    first, second = (process_environment(rank, environment, tmp_path) for rank in range(2))

    assert [process["BYTEWAX_DATAFLOW_API_PORT"] for process in (first, second)] == [str(base), str(base + 1)]
    folders = {process["BYTEWAX_DATAFLOW_API_CACHE_PATH"] for process in (first, second)}
    assert len(folders) == 2
    assert all(Path(folder).is_dir() for folder in folders)


def test_a_process_is_told_its_number_and_where_to_report(tmp_path: Path) -> None:
    told = {"FRAUD_PROCESS": "1", "FRAUD_STATUS_FILE": str(tmp_path / "status-1.json")}

    assert process_environment(1, {"A": "b"}, tmp_path) == {"A": "b", **told}


@pytest.mark.parametrize(("given", "logs"), [({}, "text"), ({"FRAUD_LOGS": "json"}, "json")])
def test_logs_are_text_on_a_terminal_unless_somebody_wants_json(given, logs, tmp_path: Path) -> None:
    assert process_environment(0, given, tmp_path, terminal=True)["FRAUD_LOGS"] == logs


REPORTS = """
import json, time
def report(**changes):
    path = os.environ["FRAUD_STATUS_FILE"]
    status = dict(pid=os.getpid(), at=time.monotonic(), joined=True, beat_age=0, snapshots=0, snapshot_age=1,
                  lag={f"t/{rank}": 1}, stalled=[]) | changes
    with open(path + "~", "w") as file:
        json.dump(status, file)
    os.replace(path + "~", path)
report()
"""


def test_a_process_that_tells_nothing_is_killed_with_the_others_and_all_start_again(scene: Scene) -> None:
    freezes = REPORTS + (
        "\nif start == 0 and rank == '1': signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)"
        "\nwhile True: report(); time.sleep(0.05)"
    )
    patience = Patience(stop=10, first=0.01, frozen=1, look=0.05)
    scene.reporting = True

    assert scene.launch(freezes, patience=patience, until=lambda: scene.starts() == {"0": 2, "1": 2}) == 0
    assert scene.said[0].startswith("fraud: process 1 tells nothing for 1 s: killing all")
    assert scene.said[1:] == ["fraud: process 1 ended with 137: starting all again in 0.01 s"]


def test_processes_may_be_silent_for_ever_if_nobody_minds(scene: Scene) -> None:
    patience = Patience(stop=10, first=0.01, frozen=0, look=0.01)
    scene.reporting = True

    scene.launch("\ntime.sleep(0.5); note('done')" + RUN_ON, patience=patience, until=lambda: "1 done" in scene.notes())

    assert scene.said == []


def test_the_health_is_that_of_the_running_processes_and_counts_the_restarts(scene: Scene) -> None:
    reports = REPORTS + "\nif start == 0: sys.exit(7)\nnote('ready')" + RUN_ON
    scene.reporting = True
    found: list[dict[str, Any]] = []

    def asked() -> bool:
        if sum("ready" in note for note in scene.notes()) == 2 and not found:
            found.append(scene.launcher.health())
        return bool(found)

    scene.launch(reports, until=asked)

    (health,) = found
    assert health["ready"]
    assert health["restarts"] == 1
    assert health["lag"] == {"total": 2, "topics": {"t": 2}}
    assert len({process["pid"] for process in health["processes"]}) == 2
    assert not scene.launcher.health()["ready"]  # they ended


def test_a_line_of_json_is_passed_on_whole(scene: Scene) -> None:
    talks = "\nprint('{\"process\": 1}'); note('done')" + RUN_ON

    scene.launch(talks, until=lambda: sum("done" in note for note in scene.notes()) == 2)

    assert scene.said == ['{"process": 1}'] * 2


@pytest.mark.parametrize("port", ["abc", "0", "65536", "-1", "65535", "1_000", "٣٠٣٠", " 3030"])
def test_a_port_that_not_every_process_can_have_is_refused_in_one_line(port: str) -> None:
    environment = {"BYTEWAX_DATAFLOW_API_ENABLED": "1", "BYTEWAX_DATAFLOW_API_PORT": port}

    with pytest.raises(SettingsError) as caught:
        check_environment(environment, 2)

    assert caught.value.lines == [
        f"BYTEWAX_DATAFLOW_API_PORT: expected the first of 2 ports, from 1 to 65534, got {port!r}"
    ]


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"BYTEWAX_DATAFLOW_API_PORT": "abc"},
        {"BYTEWAX_DATAFLOW_API_ENABLED": "1"},
        {"BYTEWAX_DATAFLOW_API_ENABLED": "1", "BYTEWAX_DATAFLOW_API_PORT": ""},
        {"BYTEWAX_DATAFLOW_API_ENABLED": "1", "BYTEWAX_DATAFLOW_API_PORT": "1"},
        {"BYTEWAX_DATAFLOW_API_ENABLED": "1", "BYTEWAX_DATAFLOW_API_PORT": "65534"},
    ],
)
def test_a_port_is_looked_at_only_where_it_is_used(environment: dict[str, str]) -> None:
    check_environment(environment, 2)


def test_a_port_for_metrics_that_is_taken_is_told_where_metrics_are_served() -> None:
    (port,) = free_ports(1)
    environment = {"BYTEWAX_DATAFLOW_API_PORT": str(port - 1)}
    with socket.create_server(("127.0.0.1", port)):
        check_ports(environment, 2)

        with pytest.raises(SettingsError) as caught:
            check_ports(environment | {"BYTEWAX_DATAFLOW_API_ENABLED": "1"}, 2)

    assert caught.value.lines == [
        f"BYTEWAX_DATAFLOW_API_PORT: expected 2 free ports from {port - 1} on, got {port}: Address already in use"
    ]


def test_a_recovery_store_is_made_once_and_for_its_owner_only(tmp_path: Path) -> None:
    store = tmp_path / "deep" / "store"

    assert prepare_store(store, 4)
    assert not prepare_store(store, 8)

    assert len(list(store.glob("part-*.sqlite3"))) == 4
    assert stat.S_IMODE(store.stat().st_mode) == 0o700


def test_a_store_is_made_in_an_empty_folder_too(tmp_path: Path) -> None:
    (tmp_path / "lost+found").mkdir()

    assert prepare_store(tmp_path, 2)


@pytest.mark.parametrize("below", ["", "deep/er"])
def test_a_store_where_a_file_is_gets_an_error_with_the_place_of_the_file(below: str, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()

    with pytest.raises(NotADirectoryError, match="expected a folder, got a file") as caught:
        prepare_store(file / below, 2)

    assert str(caught.value.filename).startswith(str(file))


@pytest.mark.parametrize("folder", ["/proc/self", "/proc/self/store"])
def test_a_store_in_a_place_that_takes_none_gets_an_error_with_its_folder(folder: str) -> None:
    with pytest.raises(OSError) as caught:
        prepare_store(Path(folder), 2)

    assert str(caught.value.filename) == folder
    assert caught.value.strerror
