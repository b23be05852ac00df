"""Which stores are gone on from, and which are refused, with what words."""

import os
import pickle
import random
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest

from dataflows.store.deployment import FILE, Arguments, StoreError
from dataflows.store.opening import Store, drop_unfinished, look_through, purge, read
from tests.dataflows import damage
from tests.dataflows.damage import FORMS, OURS, PARTS, begun, killed, opened, outcome, part, resumed

FLIPS = int(os.environ.get("FLIPS", "10"))
"""How often each kind of damage is done, anywhere in the files."""

KILLS = int(os.environ.get("KILLS", "3"))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return killed(tmp_path_factory.mktemp("whole") / "store")


@pytest.fixture(scope="module")
def closed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same, and nothing is left in the logs."""
    return killed(tmp_path_factory.mktemp("closed") / "store", log=False)


@pytest.fixture(scope="module")
def expected(closed: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    return resumed(copy(closed, tmp_path_factory.mktemp("expected")))


@pytest.fixture(params=["whole", "closed"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A copy of either, to be damaged."""
    return copy(request.getfixturevalue(request.param), tmp_path)


def copy(store: Path, folder: Path) -> Path:
    return Path(shutil.copytree(store, folder / "copy"))


def test_a_store_that_is_whole_resumes_exactly(whole: Path, closed: Path, expected: list[Any], tmp_path: Path) -> None:
    assert any(path.stat().st_size for path in whole.glob("*-wal"))
    assert not any(path.stat().st_size for path in closed.glob("*-wal"))
    assert len(expected) > 50

    for name, store in (("whole", whole), ("closed", closed)):
        assert outcome(Path(shutil.copytree(store, tmp_path / name)), expected) == "exact"


def test_a_store_without_a_snapshot_is_begun_and_begun_again(tmp_path: Path) -> None:
    store = begun(tmp_path / "store")

    opened(store, committed=dict).close()  # after a crash in the first epoch

    assert {found.mark for found in read(store).parts} == {opened(store, committed=dict).deployment.mark} != {0}


def test_a_new_store_is_refused_when_the_group_has_been_here_unless_the_operator_wants_it(tmp_path: Path) -> None:
    store = tmp_path / "store"
    store.mkdir()
    damage.init_db_dir(store, PARTS)

    for _ in range(2):
        with pytest.raises(
            StoreError,
            match=r"holds no snapshot, but the consumer group fraud has been in payments before: .*FRAUD_FRESH=1",
        ):
            opened(store)
    opened(store, fresh=True).close()
    opened(store).close()  # a crash in the first epoch needs no permission again

    with pytest.raises(StoreError, match="holds no snapshot"):
        opened(store, committed=lambda: {"payments/0": 61})


def test_a_store_that_has_snapshots_is_gone_on_from_also_when_told_to_begin_anew(
    closed: Path, expected: list[Any], tmp_path: Path
) -> None:
    store = copy(closed, tmp_path)
    opened(store, fresh=True).close()

    assert resumed(store) == expected


def test_parts_that_were_made_anew_are_begun_with_when_the_operator_wants_it(closed: Path, tmp_path: Path) -> None:
    store = copy(closed, tmp_path)
    damage.made_anew(store, random.Random(1))
    with pytest.raises(StoreError, match="they were made anew or swapped"):
        opened(store)

    opened(store, fresh=True).close()
    opened(store).close()


@pytest.mark.parametrize(
    ("other", "told"),
    [
        ({"application": "theirs"}, "is the recovery store of APPLICATION_ID fraud, not of theirs"),
        ({"cluster": "c2"}, "is the recovery store of the Kafka cluster c1, not of c2"),
        ({"topics": ["clicks"]}, "is the recovery store of a pack that reads logins, payments, pings"),
        ({"lanes": ("iterable", "lane-31")}, "holds no offsets of lane-31"),
    ],
)
def test_the_store_of_another_is_refused(other: dict[str, Any], told: str, closed: Path, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=told):
        opened(copy(closed, tmp_path), **other)


def test_a_store_that_another_has_is_refused_before_it_is_read(closed: Path, tmp_path: Path) -> None:
    store = copy(closed, tmp_path)
    ours = opened(store)
    part(store).write_bytes(b"")

    with pytest.raises(StoreError, match=f"process {os.getpid()} has this recovery store"):
        opened(store)
    ours.close()
    with pytest.raises(StoreError, match="is damaged"):
        opened(store)


def test_a_folder_that_is_none_is_told_how_one_is_made(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()

    with pytest.raises(StoreError, match="empty: holds no recovery store: `fraud run` makes one, or"):
        read(tmp_path / "empty")
    with pytest.raises(StoreError, match="expected the folder of a recovery store, got a file"):
        read(tmp_path / "file")
    with pytest.raises(StoreError, match="expected the folder of a recovery store, got nothing"):
        read(tmp_path / "missing")


def test_what_is_on_another_machine_is_not_missed(closed: Path, tmp_path: Path) -> None:
    store = copy(closed, tmp_path)
    part(store, 1).unlink()

    given = Arguments(store=store, process=0, processes=2, together=False)
    ours = Store.open(given, **OURS)
    ours.prepare()
    ours.close()


# --- damage ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", FORMS)
def test_a_store_that_is_not_as_it_was_is_refused(form: str, store: Path, expected: list[Any]) -> None:
    how = FORMS[form](store, random.Random(form))

    assert outcome(store, expected) != "exact", how
    assert not (store / "ran").exists()


@pytest.mark.parametrize("kind", [damage.flip, damage.cut, damage.blank])
def test_damage_anywhere_is_refused_or_means_nothing(
    kind: damage.Damage, store: Path, expected: list[Any], tmp_path: Path
) -> None:
    refused = 0
    for seed in range(FLIPS):
        damaged = Path(shutil.copytree(store, tmp_path / "damaged"))
        how = kind(damaged, random.Random(seed))
        try:
            refused += outcome(damaged, expected) != "exact"
        except BaseException as error:
            error.add_note(f"seed {seed}: {how}")
            raise
        shutil.rmtree(damaged)

    print(f"{kind.__name__}: {FLIPS} damaged, {refused} refused, {FLIPS - refused} resumed exactly")  # noqa: T201
    assert refused


@pytest.mark.parametrize("seen", [False, True])
@pytest.mark.parametrize("share", [0.0, 0.5, 0.9])
def test_a_log_with_a_damaged_frame_is_not_taken_for_a_shorter_one(
    *, share: float, seen: bool, whole: Path, expected: list[Any], tmp_path: Path
) -> None:
    logs = sorted(path.name for path in whole.glob("*-wal"))
    assert len(logs) == PARTS
    for name in logs:
        store = copy(whole, tmp_path)
        index = store / name.replace("-wal", "-shm")
        frame = int(frames_committed(index) * share)
        damage.flip_in(store / name, 32 + FRAME * frame + 24 + 100)
        index.unlink()  # else the end tells
        if seen:  # and whoever looked has made it anew, up to the damage
            with suppress(StoreError):
                read(store)
        assert f"its log: frame {frame + 1} is damaged, and committed ones follow it" in outcome(store, expected)
        shutil.rmtree(store)


@pytest.mark.parametrize("cut", ["last frame", "half a frame", "all", "the file"])
def test_a_log_that_lost_its_end_is_not_taken_for_an_older_one(cut: str, whole: Path, tmp_path: Path) -> None:
    store = copy(whole, tmp_path)
    log = store / "part-1.sqlite3-wal"
    end = frames_committed(log.with_name("part-1.sqlite3-shm")) * FRAME + 32
    if cut == "the file":
        log.unlink()
    else:
        os.truncate(log, {"last frame": end - FRAME, "half a frame": end - FRAME // 2, "all": 0}[cut])

    with pytest.raises(StoreError, match=r"its log: expected \d+ committed frames, and the last of them is not there"):
        opened(store)


def test_a_log_that_ends_amid_a_transaction_is_as_it_should_be(
    whole: Path, expected: list[Any], tmp_path: Path
) -> None:
    """So a kill leaves it, and the one after it, which began to write over what was left."""
    for index in range(PARTS):
        store = copy(whole, tmp_path)
        log = store / f"part-{index}.sqlite3-wal"
        end = frames_committed(log.with_name(f"part-{index}.sqlite3-shm")) * FRAME + 32
        frames = log.read_bytes()[32:end]
        begun = [frame[:4] + bytes(4) + frame[8:] for frame in (frames[:FRAME], frames[FRAME : 2 * FRAME])]
        os.truncate(log, end)
        with log.open("ab") as file:
            file.write(b"".join(begun) + begun[0][: FRAME // 2])
        assert outcome(store, expected) == "exact"
        shutil.rmtree(store)


FRAME = 24 + 4096


def frames_committed(index: Path) -> int:
    """Of a log, as its shared memory says."""
    return int.from_bytes(index.read_bytes()[16:20], "little")


KILLED = """
import sys
from pathlib import Path
from tests.dataflows.damage import RecoveryConfig, opened, run, traffic, wide
folder = Path(sys.argv[1])
opened(folder, committed=dict)
print("begun", flush=True)
run(wide(), traffic(20_000, seed=7), batch=20, store=RecoveryConfig(folder))
print("all of it", flush=True)
"""


def last_change(log: Path) -> int:
    """When it was written to, ns; 0 if it is gone, as it is when whoever had the file open closes it."""
    try:
        return log.stat().st_mtime_ns
    except FileNotFoundError:
        return 0


def wait_for_writes(store: Path, number: int) -> None:
    """Wait until the logs of a store were seen to change so often."""
    deadline = time.monotonic() + 30
    seen: list[int] = []
    while number > 0 and time.monotonic() < deadline:
        now = [last_change(path) for path in sorted(store.glob("*-wal"))]
        number -= now != seen
        seen = now
        time.sleep(0.001)


def test_a_kill_at_any_moment_is_not_taken_for_damage(tmp_path: Path) -> None:
    store = begun(tmp_path / "store")
    chance = random.Random(int(os.environ.get("SEED", "1")))
    epochs = []
    for _ in range(KILLS):
        child = subprocess.Popen(
            [sys.executable, "-c", KILLED, str(store)], cwd=Path(__file__).parents[3], stdout=subprocess.PIPE, text=True
        )
        with child:
            assert child.stdout is not None
            assert child.stdout.readline() == "begun\n"
            wait_for_writes(store, chance.randrange(5, 60))
            child.kill()
        ours = opened(store, committed=dict)
        ours.close()
        assert ours.contents.epoch is not None
        epochs.append(ours.contents.epoch)

    print(f"kills: {KILLS}, refused: 0, epochs: {epochs[-1]}")  # noqa: T201
    assert epochs == sorted(epochs)
    assert epochs[-1] > 1


def test_a_disk_that_is_full_is_told_in_one_line(tmp_path: Path) -> None:
    store = tmp_path / "store"
    store.mkdir()
    damage.init_db_dir(store, PARTS)
    code = f"""
import resource, signal, sys
from pathlib import Path
from tests.dataflows.damage import StoreError, opened
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (16, 16))
try:
    opened(Path({str(store)!r}), committed=dict)
except StoreError as error:
    print(error)
"""
    command = [sys.executable, "-B", "-c", code]
    said = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[3]).stdout

    assert said.count("\n") == 1
    assert "cannot be used (disk I/O error): is there room" in said
    assert not (store / FILE).exists()
    opened(store, committed=dict).close()  # when there is room again


def test_a_folder_that_cannot_be_written_is_told_in_one_line(closed: Path) -> None:
    with tempfile.TemporaryDirectory() as open_to_all:
        Path(open_to_all).chmod(0o755)
        store = copy(closed, Path(open_to_all))
        for path in (*store.iterdir(), store):
            path.chmod(0o555 if path.is_dir() else 0o444)
        # Another process: changing the user interrupts the threads of clients in this one, and a mock cluster ends so.
        code = f"""
import os
from pathlib import Path
from tests.dataflows.damage import StoreError, opened
if os.geteuid() == 0:  # who may write everywhere
    os.seteuid(65_534)
try:
    opened(Path({str(store)!r}))
except StoreError as error:
    print(error)
"""
        command = [sys.executable, "-B", "-c", code]
        said = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[3]).stdout
        store.chmod(0o755)

    assert said.count("\n") == 1
    assert ".lock-00: cannot be made: Permission denied: a recovery store needs a" in said


def test_a_large_store_is_not_looked_through_for_ever(closed: Path, tmp_path: Path) -> None:
    store = copy(closed, tmp_path)

    look_through(read(store).parts, seconds=0)


# --- epochs that were not finished ---


def test_a_snapshot_of_an_unfinished_epoch_is_gone_before_bytewax_runs_it_again(
    closed: Path, expected: list[Any], tmp_path: Path
) -> None:
    store = copy(closed, tmp_path)
    contents = read(store)
    assert contents.epoch is not None
    drop_unfinished(contents.parts, contents.epoch)  # the end of a stream leaves some as well
    # What a kill leaves behind: groups of the epoch that are ahead of the offsets, one of them new.
    for found in contents.parts:
        with closing(sqlite3.connect(found.path)) as db, db:
            db.executemany(
                "INSERT INTO snaps (step_id, state_key, snap_epoch, ser_change) VALUES ('fraud.features.groups', ?, ?, ?)",
                [("user/000", contents.epoch, b"ahead"), ("user/new", contents.epoch, b"ahead")],
            )

    assert drop_unfinished(read(store).parts, contents.epoch) == 2 * len(contents.parts)
    assert drop_unfinished(read(store).parts, contents.epoch) == 0
    assert resumed(store) == expected


def test_opening_a_store_drops_them(closed: Path, expected: list[Any], tmp_path: Path) -> None:
    store = copy(closed, tmp_path)
    contents = read(store)
    assert contents.epoch is not None
    drop_unfinished(contents.parts, contents.epoch)
    contents = read(store)
    with closing(sqlite3.connect(contents.parts[0].path)) as db, db:
        db.execute(
            "INSERT INTO snaps (step_id, state_key, snap_epoch, ser_change) VALUES ('fraud.old', 'new', ?, ?)",
            (contents.epoch, pickle.dumps("ahead")),
        )

    opened(store).close()

    assert [part.rows for part in read(store).parts] == [part.rows for part in contents.parts]
    assert resumed(store) == expected


# --- tombstones ------------------------------------------------------------------------------------------------------


def test_keys_that_are_gone_are_deleted_and_nothing_else(closed: Path, expected: list[Any], tmp_path: Path) -> None:
    store = copy(closed, tmp_path)
    gone = 0
    for found in read(store).parts:
        with closing(sqlite3.connect(found.path)) as db, db:
            db.executemany(
                "INSERT INTO snaps (step_id, state_key, snap_epoch, ser_change) VALUES ('fraud.old', ?, ?, NULL)",
                [(f"k{number}", found.commit) for number in range(50)]
                + [("superseded", found.commit), ("superseded", found.commit + 1), ("too new", found.commit + 1)],
            )
        gone += 50

    assert purge(read(store).parts) == gone
    assert purge(read(store).parts) == 0
    left = [row for found in read(store).parts for row in _tombstones(found.path)]
    assert sorted(set(left)) == ["superseded", "too new"]
    assert resumed(store) == expected


def _tombstones(path: Path) -> list[str]:
    with closing(sqlite3.connect(path)) as db:
        return [key for (key,) in db.execute("SELECT state_key FROM snaps WHERE ser_change IS NULL")]
