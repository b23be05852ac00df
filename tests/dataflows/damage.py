"""Ways to damage a recovery store, and what must come of it: refused with the way out, or resumed exactly."""

import random
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, TypeAlias

from bytewax.recovery import RecoveryConfig, init_db_dir
from bytewax.testing import TestingSource

from dataflows.store.deployment import FILE, Arguments, StoreError
from dataflows.store.opening import Store
from tests.dataflows.examples import Outputs, run, traffic, wide

PARTS = 3
RECORDS = traffic(180, seed=5)
STOP, KILL = 60, 120
SOURCE = [*RECORDS[:STOP], TestingSource.EOF(), *RECORDS[STOP:KILL], TestingSource.ABORT(), *RECORDS[KILL:]]

OURS: dict[str, Any] = {
    "application": "fraud",
    "cluster": "c1",
    "pack": "0123456789abcdef",
    "topics": ["payments", "logins", "pings"],
    "fresh": False,
    "committed": lambda: {"payments/0": 60},
    "lanes": ("iterable",),
}


def opened(folder: Path, **other: Any) -> Store:
    store = Store.open(Arguments(store=folder), **{**OURS, **other})
    store.prepare()
    return store


def begun(folder: Path) -> Path:
    """A store that a deployment has begun with, and that has no snapshot yet."""
    folder.mkdir()
    init_db_dir(folder, PARTS)
    opened(folder, committed=dict).close()
    return folder


def killed(folder: Path, *, log: bool = True) -> Path:
    """A store of a deployment that stopped, went on, and was killed. With `log`, the newest of it is in the logs only."""
    made = begun(folder.with_name("made"))
    # Another process: in one, the SQLite of Python and that of Bytewax would break each other's locks.
    holders = [sqlite3.connect(path) for path in made.glob("part-*.sqlite3")] if log else []
    for holder in holders:
        holder.execute("SELECT count(*) FROM snaps").fetchall()  # as long as we look, the logs stay
    code = f"""
import os
from pathlib import Path
from tests.dataflows.damage import SOURCE, RecoveryConfig, run, wide
source = list(SOURCE)
for _ in range(2):
    run(wide(), source, batch=7, store=RecoveryConfig(Path({str(made)!r})))
os._exit(9)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2], check=False)
    assert done.returncode == 9
    shutil.copytree(made, folder)
    for holder in holders:
        holder.close()
    return folder


def resumed(folder: Path) -> list[Any]:
    """What a start with this store says to the rest of the records."""
    outputs = Outputs()
    run(
        wide(),
        [*SOURCE[:STOP], *SOURCE[STOP + 1 : KILL + 1], *SOURCE[KILL + 2 :]],
        batch=7,
        store=RecoveryConfig(folder),
        outputs=outputs,
    )
    return sorted(map(repr, outputs.by_origin().items()))


def outcome(folder: Path, expected: list[Any]) -> str:
    """What came of a store: the line that refused it, or `exact`."""
    try:
        opened(folder).close()
    except StoreError as error:
        line = str(error)
        assert "\n" not in line
        assert str(folder) in line
        assert any(
            way in line
            for way in ("a copy of the whole folder", "FRAUD_FRESH=1", "install that one", "python -m bytewax.recovery")
        ), line
        return line
    assert resumed(folder) == expected, "neither refused nor resumed exactly"
    return "exact"


Damage: TypeAlias = Callable[[Path, random.Random], str]
"""Damages a store, and tells how."""


def part(folder: Path, index: int = 0) -> Path:
    return folder / f"part-{index}.sqlite3"


def files(folder: Path) -> list[Path]:
    """What holds state, by size, the files of shared memory apart: these are made anew."""
    return sorted(
        path
        for path in folder.iterdir()
        if path.stat().st_size and not path.name.endswith("-shm") and path.name[0] != "."
    )


def flip(folder: Path, chance: random.Random) -> str:
    """Turn one bit, of any byte of any file with the same chance."""
    found = files(folder)
    (path,) = chance.choices(found, [path.stat().st_size for path in found])
    return flip_in(path, chance.randrange(path.stat().st_size), chance.randrange(8))


def flip_in(path: Path, place: int, bit: int = 0) -> str:
    content = bytearray(path.read_bytes())
    content[place] ^= 1 << bit
    path.write_bytes(content)
    return f"bit {bit} of byte {place} of {path.name}"


def cut(folder: Path, chance: random.Random) -> str:
    """Cut a file short, anywhere."""
    path = chance.choice(files(folder))
    size = chance.randrange(path.stat().st_size)
    with path.open("r+b") as file:
        file.truncate(size)
    return f"{path.name} cut to {size} bytes"


def blank(folder: Path, chance: random.Random) -> str:
    """Lose a page."""
    path = chance.choice(files(folder))
    place = chance.randrange(path.stat().st_size) // 4096 * 4096
    with path.open("r+b") as file:
        file.seek(place)
        file.write(bytes(min(4096, path.stat().st_size - place)))
    return f"page at {place} of {path.name}"


def without(name: str) -> Damage:
    def damage(folder: Path, chance: random.Random) -> str:
        for path in folder.glob(name):
            path.unlink()
        return f"{name} deleted"

    return damage


def swapped(folder: Path, chance: random.Random) -> str:
    part(folder, 0).rename(folder / "aside")
    part(folder, 1).rename(part(folder, 0))
    (folder / "aside").rename(part(folder, 1))
    return "two parts swapped"


def made_anew(folder: Path, chance: random.Random) -> str:
    for path in folder.glob("part-*"):
        path.unlink()
    init_db_dir(folder, PARTS)
    return "the parts made anew"


def one_made_anew(folder: Path, chance: random.Random) -> str:
    other = folder / "other"
    other.mkdir()
    init_db_dir(other, PARTS)
    for path in folder.glob("part-1.sqlite3*"):
        path.unlink()
    shutil.move(other / "part-1.sqlite3", part(folder, 1))
    return "one part made anew"


def other_count(folder: Path, chance: random.Random) -> str:
    other = folder / "other"
    other.mkdir()
    init_db_dir(other, PARTS + 1)
    shutil.move(other / f"part-{PARTS}.sqlite3", folder)
    return "a part of a larger store"


def sql(*statements: str, index: int = 0) -> Damage:
    def damage(folder: Path, chance: random.Random) -> str:
        with closing(sqlite3.connect(part(folder, index))) as db, db:
            for statement in statements:
                db.execute(statement)
        return f"part {index}: {'; '.join(statements)}"

    return damage


def every(*statements: str) -> Damage:
    def damage(folder: Path, chance: random.Random) -> str:
        return ", ".join(sql(*statements, index=index)(folder, chance) for index in range(PARTS))

    return damage


def copied(folder: Path, chance: random.Random) -> str:
    shutil.copy(part(folder), part(folder, 9))
    return "a part copied to another name"


def no_database(folder: Path, chance: random.Random) -> str:
    part(folder, 2).write_bytes(b"no database at all" * 1000)
    return "a part that is no database"


def empty_file(folder: Path, chance: random.Random) -> str:
    for path in folder.glob("part-0.sqlite3*"):
        path.write_bytes(b"")
    return "a part of no bytes"


def evil(folder: Path, chance: random.Random) -> str:
    """A snapshot that runs code when it is unpickled."""
    code = b"cposix\nsystem\n(Vtouch " + str(folder / "ran").encode() + b"\ntR."
    with closing(sqlite3.connect(part(folder))) as db, db:
        db.execute("UPDATE snaps SET ser_change = ? WHERE rowid = (SELECT min(rowid) FROM snaps)", (code,))
    return "a pickle with code"


FORMS: Mapping[str, Damage] = {
    "a part is missing": without("part-1.sqlite3*"),
    "all parts are missing": without("part-*"),
    "deployment.json is missing": without(FILE),
    "all is missing": without("*.*"),
    "two parts are swapped": swapped,
    "all parts are made anew": made_anew,
    "one part is made anew": one_made_anew,
    "a part of another store": other_count,
    "a part under another name": copied,
    "a part that is no database": no_database,
    "a part of no bytes": empty_file,
    "an older Bytewax": every("PRAGMA user_version = 4"),
    "a newer Bytewax": every("PRAGMA user_version = 6"),
    "a newer Bytewax in one part": sql("PRAGMA user_version = 6"),
    "a table is gone": sql("DROP TABLE fronts"),
    "the snapshots are gone": every("DELETE FROM snaps"),
    "the offsets are gone": every("DELETE FROM snaps WHERE step_id = 'fraud.decode.source'"),
    "the offsets before the kill are gone": every("DELETE FROM snaps WHERE step_id = 'fraud.decode.source' AND snap_epoch < (SELECT max(snap_epoch) FROM snaps)"),
    "the executions are gone": every("DELETE FROM exs"),
    "how far the workers came is gone": every("DELETE FROM fronts"),
    "the workers came further than any snapshot": every("UPDATE fronts SET worker_frontier = worker_frontier + 64"),
    "the workers came less far": every("UPDATE fronts SET worker_frontier = worker_frontier - 1"),
    "one part is older": sql("UPDATE commits SET commit_epoch = commit_epoch - 3"),
    "two rows say which part it is": sql("INSERT INTO parts (part_index, part_count) VALUES (1, 3)"),
    "text instead of a snapshot": every("UPDATE snaps SET ser_change = x'00'"),
    "a pickle with code": evil,
    "another application's mark": sql("PRAGMA application_id = 77"),
}  # fmt: skip
