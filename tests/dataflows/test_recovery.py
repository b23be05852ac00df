"""Stops, crashes and restarts, in the way of Bytewax's own suite."""

import json
import pickle
import re
import sqlite3
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from bytewax.errors import BytewaxRuntimeError
from bytewax.recovery import RecoveryConfig, init_db_dir
from bytewax.testing import TestingSource

from dataflows import decoding
from detection.errors import StateError
from detection.features.group import read_snapshot
from detection.loading import parse
from detection.records import Record
from detection.sealed import seal
from tests.dataflows.examples import (
    ENTRIES,
    START,
    WIDE,
    Outputs,
    engine_says,
    origin,
    payment,
    rows,
    run,
    traffic,
    wide,
)

RECORDS = traffic(240, seed=3)
CUTS = [1, 7, 60, 61, 119, 239]


@pytest.fixture
def store(tmp_path: Path) -> RecoveryConfig:
    init_db_dir(tmp_path, 2)
    return RecoveryConfig(tmp_path)


def with_sentinels(records: list[Record], sentinel: type, cuts: list[int]) -> list[Any]:
    """The records with one sentinel before each place."""
    out: list[Any] = []
    for place, record in enumerate(records):
        out += [sentinel()] if place in cuts else []
        out.append(record)
    return out


@pytest.mark.parametrize("entry", ENTRIES)
@pytest.mark.parametrize("batch", [1, 16])
def test_stops_at_any_point_change_no_verdict_and_double_none(entry: str, batch: int, store: RecoveryConfig) -> None:
    source = with_sentinels(RECORDS, TestingSource.EOF, CUTS)
    outputs = Outputs()
    for _ in [*CUTS, "the rest"]:
        run(wide(), source, batch=batch, entry=entry, store=store, outputs=outputs)

    assert outputs.by_origin() == engine_says(wide(), RECORDS)


@pytest.mark.parametrize("epoch", [timedelta(0), timedelta(hours=1)], ids=["an epoch a batch", "one epoch"])
@pytest.mark.parametrize("cut", CUTS)
def test_an_abort_at_any_point_loses_nothing_and_changes_no_verdict(
    cut: int, epoch: timedelta, store: RecoveryConfig
) -> None:
    source = with_sentinels(RECORDS, TestingSource.ABORT, [cut])
    outputs = Outputs()
    run(wide(), source, batch=5, store=store, outputs=outputs, epoch=epoch)
    assert len(list(rows(outputs))) < len(RECORDS)
    run(wide(), source, batch=5, store=store, outputs=outputs, epoch=epoch)

    # Doubles are what a test sink is allowed: but a double says the same again.
    assert dict(rows(outputs)) == engine_says(wide(), RECORDS)
    assert set(rows(outputs)) == set(engine_says(wide(), RECORDS).items())


def test_late_marks_are_the_same_after_a_restart(store: RecoveryConfig) -> None:
    records = [
        payment(1, at=100_000, offset=0),
        payment(2, at=81_000, offset=1),  # in time: the lateness is 20 s
        payment(3, at=79_999, offset=2),
        payment(4, at=0, offset=0, partition=1),  # another partition has another watermark
    ]
    source = with_sentinels(records, TestingSource.EOF, [1])
    outputs = Outputs()
    run(wide(), source, store=store, outputs=outputs)
    run(wide(), source, store=store, outputs=outputs)

    late = [json.loads(verdict.value)["verdict"]["late"] for verdict in outputs.legit]
    assert late == [False, False, True, False]


def test_more_workers_find_the_state_of_fewer_and_the_other_way_round(store: RecoveryConfig) -> None:
    source = with_sentinels(RECORDS, TestingSource.EOF, [80, 160])
    outputs = Outputs()
    for entry in ("one worker", "two threads", "one worker"):
        run(wide(), source, batch=9, entry=entry, store=store, outputs=outputs)

    assert outputs.by_origin() == engine_says(wide(), RECORDS)


def test_what_was_in_a_window_before_the_stop_is_evidence_after_it(store: RecoveryConfig) -> None:
    records = [Record("logins", 0, n, START + n, None, b'{"user":"u"}') for n in range(3)]
    source = with_sentinels(records, TestingSource.EOF, [2])
    outputs = Outputs()
    run(wide(), source, store=store, outputs=outputs)
    run(wide(), source, store=store, outputs=outputs)

    (verdict,) = outputs.fraud
    assert json.loads(verdict.value)["verdict"]["evidence"] == {
        "logins": {"total": 3, "newest": ["logins/0/0", "logins/0/1", "logins/0/2"]}
    }


def test_a_pack_that_lost_a_keyed_step_goes_on_with_the_others(store: RecoveryConfig) -> None:
    without_device = WIDE.replace(
        WIDE[WIDE.index("[feature.device_users]") : WIDE.index("[feature.merchant_sales]")], ""
    )
    rule = without_device[without_device.index("[rule.shared_device]") : without_device.index("[rule.crowd]")]
    smaller = parse({"wide.toml": without_device.replace(rule, "")})
    source = with_sentinels(RECORDS, TestingSource.EOF, [120, 180])
    outputs = Outputs()
    run(wide(), source, store=store, outputs=outputs)
    run(smaller, source, store=store, outputs=outputs)  # ends with all groups asked for a snapshot
    run(smaller, source, store=store, outputs=outputs)

    assert set(outputs.by_origin()) == {record.origin for record in RECORDS}
    # The window of another step still holds what came before.
    said = {
        place: json.loads(answer[3])["reason"]
        for place, answer in engine_says(smaller, RECORDS).items()
        if answer[0] == "review"
    }
    later = {record.origin for record in RECORDS[120:]}
    reasons = {origin(verdict): json.loads(verdict.value)["reason"] for verdict in outputs.review}
    assert {place: told for place, told in reasons.items() if place in later} == {
        place: told for place, told in said.items() if place in later
    }


def test_a_pack_that_lost_all_features_goes_on(store: RecoveryConfig) -> None:
    bare = parse({"wide.toml": WIDE[: WIDE.index("[feature.user_spent]")] + WIDE[WIDE.index("[rule.overload]") :]})
    source = with_sentinels(RECORDS, TestingSource.EOF, [120])
    outputs = Outputs()
    run(wide(), source, store=store, outputs=outputs)
    run(bare, source, store=store, outputs=outputs)

    assert set(outputs.by_origin()) == {record.origin for record in RECORDS}


def test_a_pack_that_won_a_keyed_step_goes_on(store: RecoveryConfig) -> None:
    start = WIDE.index("[feature.device_users]")
    without = WIDE[:start] + WIDE[WIDE.index("[feature.merchant_sales]") : WIDE.index("[rule.shared_device]")]
    smaller = parse({"wide.toml": without + WIDE[WIDE.index("[rule.crowd]") :]})
    source = with_sentinels(RECORDS, TestingSource.EOF, [120])
    outputs = Outputs()
    run(smaller, source, store=store, outputs=outputs)
    assert not any(b'"warming"' in verdict.value for verdict in [*outputs.fraud, *outputs.review, *outputs.legit])
    run(wide(), source, store=store, outputs=outputs)

    assert set(outputs.by_origin()) == {record.origin for record in RECORDS}
    warming = {
        name
        for verdict in [*outputs.fraud, *outputs.review, *outputs.legit]
        for name in json.loads(verdict.value)["verdict"].get("warming", [])
    }
    assert "device_users" in warming
    assert "user_spent" not in warming


# --- states that cannot be continued ---------------------------------------------------------------------------------


def rewrite(folder: Path, step: str, change: Any) -> int:
    """Change the stored states of a step; gives how many."""
    changed = 0
    for part in folder.glob("part-*.sqlite3"):
        with sqlite3.connect(part) as db:
            found = db.execute("SELECT rowid, ser_change FROM snaps WHERE step_id = ?", (step,)).fetchall()
            for row, state in found:
                if state is not None:
                    db.execute(
                        "UPDATE snaps SET ser_change = ? WHERE rowid = ?",
                        (pickle.dumps(change(pickle.loads(state))), row),
                    )
                    changed += 1
        db.close()
    return changed


def next_format_of_group(state: bytes) -> bytes:
    return seal(msgspec.msgpack.encode({**read_snapshot(state), "format": 3}))


def next_format_of_source(state: bytes) -> bytes:
    return seal(msgspec.msgpack.encode({**decoding.read_snapshot("", state), "format": 3}))


@pytest.mark.parametrize(
    ("step", "change", "told"),
    [
        ("fraud.features.groups", next_format_of_group, r"expected format 2, got 3"),
        ("fraud.features.groups", lambda state: state[:-1], r"state: cannot be read"),
        ("fraud.decode.source", next_format_of_source, r"state of source iterable: expected format 2, got 3"),
    ],
    ids=["group of the next format", "damaged group", "source of the next format"],
)
def test_a_state_that_cannot_be_continued_is_refused(
    step: str, change: Any, told: str, store: RecoveryConfig, tmp_path: Path
) -> None:
    source = with_sentinels(RECORDS, TestingSource.EOF, [100])
    run(wide(), source, store=store)
    assert rewrite(tmp_path, step, change)

    with pytest.raises((StateError, BytewaxRuntimeError)) as caught:
        run(wide(), source, store=store)

    error: BaseException | None = caught.value
    while error is not None and not isinstance(error, StateError):
        error = error.__cause__
    assert re.search(told, str(error))
