import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from bytewax.recovery import RecoveryConfig

from dataflows.store.deployment import StoreError
from dataflows.store.state import state_of
from detection.features.group import GroupState
from detection.program import Engine, Program
from tests.dataflows.damage import PARTS, RECORDS, begun, part
from tests.dataflows.examples import run, wide


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A store in which all records are."""
    folder = begun(tmp_path / "store")
    run(wide(), RECORDS, batch=7, store=RecoveryConfig(folder))
    return folder


def test_it_tells_what_is_in_the_store(store: Path) -> None:
    engine = Engine(wide())
    for record in RECORDS:
        engine.judge(record)
    # What a group drops at its own pace, the engine drops with each snapshot: so the keys of both are taken alike.
    expected = {}
    for step, snapshot in zip(Program(wide()).steps, engine.snapshot()[1], strict=True):
        expected[step.name] = GroupState.restore(step, snapshot).sizes()

    state = state_of(store)

    assert {
        step: {name: log.keys for name, log in found.logs.items()} for step, found in state.steps.items()
    } == expected
    assert all(0 < found.groups <= 128 and found.bytes > 100 for found in state.steps.values())
    assert state.parts == PARTS
    assert state.bytes == sum(path.stat().st_size for path in store.glob("part-*"))
    assert state.starts == 1
    assert state.epoch == -(-len(RECORDS) // 7) + 1
    assert state.taken is not None
    assert timedelta(0) <= datetime.now(UTC) - state.taken < timedelta(minutes=1)
    assert state.deployment["application"] == "fraud"


def test_before_the_first_snapshot_it_says_so(tmp_path: Path) -> None:
    state = state_of(begun(tmp_path / "store"))

    assert (state.epoch, state.taken, state.steps, state.offsets) == (None, None, {}, {})


def test_it_changes_nothing(store: Path) -> None:
    before = {path.name: path.read_bytes() for path in store.iterdir()}

    state_of(store)

    after = {path.name: path.read_bytes() for path in store.iterdir()}
    assert {name: content for name, content in after.items() if content and not name.endswith("-shm")} == before


def test_a_state_that_is_damaged_is_told_with_its_key(store: Path) -> None:
    with closing(sqlite3.connect(part(store))) as db, db:
        db.execute("UPDATE snaps SET ser_change = x'80052E' WHERE step_id = 'fraud.features.groups'")

    with pytest.raises(
        StoreError, match=r"part-0\.sqlite3: the state of fraud\.features\.groups, \w+/\d{3}: cannot be read"
    ):
        state_of(store)


BUSY = """
import sys
from pathlib import Path
from tests.dataflows.damage import RecoveryConfig, run, traffic, wide
print("running", flush=True)
run(wide(), traffic(20_000, seed=7), batch=20, store=RecoveryConfig(Path(sys.argv[1])))
"""


def test_it_tells_the_same_while_a_dataflow_works_with_the_store(tmp_path: Path) -> None:
    store = begun(tmp_path / "store")
    command = [sys.executable, "-c", BUSY, str(store)]
    epochs = []
    with subprocess.Popen(command, cwd=Path(__file__).parents[3], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        child.stdout.readline()
        deadline = time.monotonic() + 30
        while len(epochs) < 10 and time.monotonic() < deadline:
            state = state_of(store)
            if state.epoch is not None and state.epoch not in epochs:
                assert state.steps
                epochs.append(state.epoch)
        child.kill()

    assert len(epochs) == 10
    assert epochs == sorted(epochs)
