import json
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import Any

import bytewax.run
import pytest

from dataflows.store.deployment import FILE, FORMAT, Arguments, Deployment, StoreError, arguments

OURS: dict[str, Any] = {
    "begin": lambda mark: None,
    "application": "fraud",
    "cluster": "c1",
    "pack": "0123456789abcdef",
    "topics": ["clicks", "logins"],
}


def no_ends(topics: list[str]) -> dict[str, int]:
    raise AssertionError(topics)


# --- what Bytewax was started with -----------------------------------------------------------------------------------


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Arguments]:
    """The arguments when `bytewax.run` was started with this command line and environment."""

    def start(*command: str, **environment: str) -> Arguments:
        for name in [name for name in os.environ if name.startswith("BYTEWAX_")]:
            monkeypatch.delenv(name)
        for name, value in environment.items():
            monkeypatch.setenv(f"BYTEWAX_{name}", value)
        monkeypatch.setattr(sys, "argv", [bytewax.run.__file__, "dataflows.fraud", *command])
        return arguments()

    return start


KEPT = ("-s", "10", "-b", "0")


@pytest.mark.parametrize(
    "given", [("-r", "there"), ("-rthere",), ("--recovery-directory", "there"), ("--recovery-directory=there",)]
)
def test_the_store_is_found_in_each_form_of_its_option(given: tuple[str, ...], started) -> None:
    assert started(*given, *KEPT) == Arguments(store=Path("there"))


def test_processes_and_workers_are_found(started) -> None:
    found = started("-i", "1", "-a", "a:1;b:2;c:3", "-w4")

    assert found == Arguments(process=1, processes=3, workers=4, together=False)
    assert found.total_workers == 12
    assert [*found.own_workers] == [4, 5, 6, 7]


def test_processes_on_one_machine_see_one_store(started) -> None:
    assert started("-i", "0", "-a", "127.0.0.1:1;127.0.0.1:2").together
    assert started("-w", "2").together


def test_what_the_environment_says_counts_and_the_command_line_wins(started) -> None:
    environment = {
        "RECOVERY_DIRECTORY": "there",
        "SNAPSHOT_INTERVAL": "10",
        "RECOVERY_BACKUP_INTERVAL": "0",
        "PROCESS_ID": "2",
        "ADDRESSES": "a:1;b:2;c:3",
        "WORKERS_PER_PROCESS": "2",
    }

    assert started(**environment) == Arguments(store=Path("there"), process=2, processes=3, workers=2, together=False)
    assert started("-w", "5", "-r", "here", **environment).workers == 5
    assert started("-r", "here", **environment).store == Path("here")


def test_a_pod_of_a_stateful_set_is_a_process(started, tmp_path: Path) -> None:
    hosts = tmp_path / "hosts"
    hosts.write_text("fraud-0:2101\n\nfraud-1:2101\n")

    found = started(POD_NAME="fraud-1", STATEFULSET_NAME="fraud", HOSTFILE_PATH=str(hosts))

    assert (found.process, found.processes) == (1, 2)


@pytest.mark.parametrize("argv", [["pytest", "-r", "A"], ["x/run.py", "-i", "a"], [""], ["bytewax.run", "--help"]])
def test_what_was_not_started_by_bytewax_was_given_nothing(argv: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", argv)

    assert arguments() == Arguments()


def test_it_is_bytewax_that_we_hear_of(tmp_path: Path) -> None:
    """In a process of its own, as `python -m bytewax.run` starts it."""
    (tmp_path / "told.py").write_text(
        "from dataflows.store.deployment import arguments\ndef flow():\n    print(arguments())\n    raise SystemExit(0)\n"
    )
    command = [sys.executable, "-m", "bytewax.run", "told", "-rthere", *KEPT, "-w", "3"]

    said = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout

    assert said.strip() == repr(Arguments(store=Path("there"), workers=3))


# --- the file --------------------------------------------------------------------------------------------------------


def test_the_first_start_writes_a_file_for_its_owner_alone(tmp_path: Path) -> None:
    Deployment.open(tmp_path, **OURS)

    assert stat.S_IMODE((tmp_path / FILE).stat().st_mode) == 0o600
    assert json.loads((tmp_path / FILE).read_text())["application"] == "fraud"
    assert [path.name for path in tmp_path.iterdir()] == [FILE]


def test_the_workers_to_fence_are_the_most_there_ever_were(tmp_path: Path) -> None:
    said = [Deployment.open(tmp_path, **OURS).fence_up_to(workers) for workers in (2, 6, 1)]

    assert said == [2, 6, 6]


def test_the_ends_are_made_once_and_are_on_disk_before_they_are_told(tmp_path: Path) -> None:
    asked = []

    def make(topics: list[str]) -> dict[str, int]:
        asked.append(topics)
        return {"out/0": 7, "out/1": 0}

    assert Deployment.open(tmp_path, **OURS).ends(["out"], make) == {"out/0": 7, "out/1": 0}
    assert Deployment.open(tmp_path, **OURS).ends(["out"], no_ends) == {"out/0": 7, "out/1": 0}
    assert asked == [["out"]]


def test_an_output_topic_that_a_pack_adds_later_gets_its_own_ends_and_the_others_keep_theirs(tmp_path: Path) -> None:
    Deployment.open(tmp_path, **OURS).ends(["out"], lambda _: {"out/0": 7})

    later = Deployment.open(tmp_path, **OURS).ends(
        ["new", "out"], lambda topics: {f"{topic}/0": 99 for topic in topics}
    )

    assert later == {"out/0": 7, "new/0": 99}


def test_a_crash_between_the_reading_of_the_ends_and_their_writing_leaves_none(tmp_path: Path) -> None:
    def crash(topics: list[str]) -> dict[str, int]:
        raise ConnectionError

    with pytest.raises(ConnectionError):
        Deployment.open(tmp_path, **OURS).ends(["out"], crash)

    assert Deployment.open(tmp_path, **OURS).ends(["out"], lambda _: {"out/0": 5}) == {"out/0": 5}


def test_processes_that_start_at_once_agree_on_all_of_it(tmp_path: Path) -> None:
    def start(number: int) -> tuple[dict[str, int], int]:
        deployment = Deployment.open(tmp_path, **OURS)
        ends = deployment.ends(["out"], lambda _: {"out/0": number})
        return ends, deployment.fence_up_to(number)

    with ThreadPool(8) as pool:
        said = pool.map(start, range(1, 33))

    assert len({json.dumps(ends) for ends, _ in said}) == 1
    assert Deployment.open(tmp_path, **OURS).fence_up_to(1) == 32


def test_a_pack_that_changed_is_gone_on_with_as_long_as_it_has_a_topic_in_common(tmp_path: Path) -> None:
    Deployment.open(tmp_path, **OURS)
    Deployment.open(tmp_path, **{**OURS, "pack": "next", "topics": ["logins", "orders"]})

    with pytest.raises(
        StoreError, match=r"a pack that reads logins, orders \(pack next\), and this one reads clicks: "
    ):
        Deployment.open(tmp_path, **{**OURS, "topics": ["clicks"]})


@pytest.mark.parametrize(
    ("other", "told"),
    [
        ({"application": "theirs"}, r"of APPLICATION_ID fraud, not of theirs: set APPLICATION_ID"),
        ({"cluster": "c2"}, r"of the Kafka cluster c1, not of c2, .*: set KAFKA_BROKER_URL"),
        ({"topics": ["payments"]}, r"reads clicks, logins \(pack 0123456789ab\), and this one reads payments"),
    ],
)
def test_the_store_of_another_is_refused_and_left_as_it_is(other: dict[str, Any], told: str, tmp_path: Path) -> None:
    Deployment.open(tmp_path, **OURS)
    before = (tmp_path / FILE).read_bytes()

    with pytest.raises(StoreError, match=told) as caught:
        Deployment.open(tmp_path, **{**OURS, **other})

    assert "\n" not in str(caught.value)
    assert (tmp_path / FILE).read_bytes() == before


@pytest.mark.parametrize("format_", [0, 2, "1", None])
def test_a_file_of_another_release_is_refused(format_: Any, tmp_path: Path) -> None:
    Deployment.open(tmp_path, **OURS)
    content = json.loads((tmp_path / FILE).read_text())
    (tmp_path / FILE).write_text(json.dumps({**content, "format": format_}))

    with pytest.raises(StoreError, match=f"expected format {FORMAT}, got .* another release .* FRAUD_FRESH=1"):
        Deployment.open(tmp_path, **OURS)


def test_every_bit_of_the_file_counts(tmp_path: Path) -> None:
    Deployment.open(tmp_path, **OURS).ends(["out"], lambda _: {"out/0": 5})
    path = tmp_path / FILE
    good = path.read_bytes()
    content = json.loads(good)

    for place in range(len(good)):
        path.write_bytes(good[:place] + bytes([good[place] ^ 1]) + good[place + 1 :])
        try:
            Deployment.open(tmp_path, **OURS)
        except StoreError:
            continue
        assert json.loads(path.read_bytes()) == content  # white space, which means nothing


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"[" * 100_000, b'{"format":1}', b"\xff\x00"])
def test_a_file_that_is_none_is_refused_with_the_way_out(content: bytes, tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(content)

    with pytest.raises(StoreError, match=r"deployment\.json: is damaged .* a copy of the whole folder"):
        Deployment.open(tmp_path, **OURS)


def test_a_crash_while_the_file_is_written_leaves_the_one_before(tmp_path: Path) -> None:
    Deployment.open(tmp_path, **OURS).fence_up_to(3)
    (tmp_path / f".{FILE}.new").write_text("{")

    assert Deployment.open(tmp_path, **OURS).fence_up_to(1) == 3


def test_a_folder_that_is_missing_or_none_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    for path in (tmp_path / "missing", tmp_path / "file"):
        with pytest.raises(StoreError, match="expected the folder of a recovery store"):
            Deployment.open(path, **OURS)
