"""Models in the dataflow: the same scores on every way, and another model while it runs."""

import json
import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from bytewax.recovery import RecoveryConfig, init_db_dir
from bytewax.testing import TestingSource, cluster_main

from broker.ports import free_ports
from dataflows.fraud import build
from detection.program import Program
from sources.models import ModelFiles
from tests.dataflows.cluster_flow import records as cluster_records
from tests.dataflows.examples import ENTRIES, Outputs, engine_says, rows, run, traffic
from tests.dataflows.scored import put, scored
from tests.dataflows.test_recovery import CUTS, with_sentinels

RECORDS = traffic(600)


def told(value: bytes) -> Any:
    return json.loads(value)["verdict"]["model"]


@pytest.mark.parametrize("workers", [1, 2, 4])
@pytest.mark.parametrize("batch", [1, 100])
def test_all_scores_are_those_of_the_engine_whatever_the_workers(tmp_path: Path, workers: int, batch: int) -> None:
    put(tmp_path, 1)
    put(tmp_path, 2, "payments.challenger.model")
    pack, outputs = scored(tmp_path), Outputs()

    flow = build(pack, TestingSource(RECORDS, batch), outputs.sinks())
    cluster_main(flow, [], 0, worker_count_per_proc=workers, epoch_interval=timedelta(0))

    expected = engine_says(pack, RECORDS)
    assert outputs.by_origin() == expected
    models = [told(answer[3]) for answer in expected.values() if answer[0] != "dead_letters"]
    scores = {model["payments"]["score"] for model in models if model}
    assert len(scores) > 50
    assert any(model is None for model in models)  # logins and pings
    assert any("top" in model["payments"] for model in models if model)


@pytest.fixture
def store(tmp_path: Path) -> RecoveryConfig:
    init_db_dir(tmp_path, 2)
    return RecoveryConfig(tmp_path)


def test_a_score_after_stops_is_the_one_it_would_have_been(tmp_path: Path, store: RecoveryConfig) -> None:
    put(tmp_path, 1)
    source, outputs = with_sentinels(RECORDS[:240], TestingSource.EOF, CUTS), Outputs()

    for number in range(len(CUTS) + 1):
        run(scored(tmp_path), source, batch=9, store=store, outputs=outputs, entry=list(ENTRIES)[number % 2])

    assert outputs.by_origin() == engine_says(scored(tmp_path), RECORDS[:240])


@pytest.mark.parametrize("cut", [60, 239])
def test_a_score_after_a_crash_is_the_one_it_would_have_been(tmp_path: Path, store: RecoveryConfig, cut: int) -> None:
    put(tmp_path, 1)
    source, outputs = with_sentinels(RECORDS[:240], TestingSource.ABORT, [cut]), Outputs()

    for _ in range(2):
        run(scored(tmp_path), source, batch=5, store=store, outputs=outputs, epoch=timedelta(hours=1))

    # Doubles are what a test sink is allowed: but a double says the same again.
    assert set(rows(outputs)) == set(engine_says(scored(tmp_path), RECORDS[:240]).items())


def test_two_processes_give_the_scores_of_the_engine(tmp_path: Path) -> None:
    put(tmp_path, 1)
    output = tmp_path / "out"
    output.mkdir()
    addresses = ";".join(f"127.0.0.1:{port}" for port in free_ports(2))
    command = [sys.executable, "-m", "bytewax.run", "tests.dataflows.cluster_flow", "-a", addresses, "-i"]
    environment = {**os.environ, "OUTPUT": str(output), "MODELS": str(tmp_path)}
    processes = [
        subprocess.Popen([*command, str(rank)], env=environment, stderr=subprocess.PIPE, text=True) for rank in range(2)
    ]
    try:
        errors = [process.communicate(timeout=60)[1] for process in processes]
    finally:
        for process in processes:
            process.kill()

    assert [process.returncode for process in processes] == [0, 0], errors
    answers = [json.loads(line) for path in output.iterdir() for line in path.read_text().splitlines()]
    expected = engine_says(scored(tmp_path), cluster_records())
    assert len(answers) == len(expected)
    assert dict(answers) == {place: repr(answer) for place, answer in expected.items()}


@pytest.mark.parametrize("entry", ENTRIES)
def test_another_model_while_it_runs_loses_no_verdict_and_changes_once(tmp_path: Path, entry: str) -> None:
    first = put(tmp_path, 1)
    pack, outputs = scored(tmp_path), Outputs()
    files = ModelFiles(pack.models)
    calls: list[str] = []
    second = ""

    def refresh(program: Program) -> None:
        nonlocal second
        calls.append("")
        if len(calls) == 20:
            second = put(tmp_path, 2)
            files.look()
            files.look()
        files(program.models)

    ENTRIES[entry](build(pack, TestingSource(RECORDS, 7), outputs.sinks(), refresh), epoch_interval=timedelta(0))

    found = outputs.by_origin()  # none twice
    assert found.keys() == {record.origin for record in RECORDS}
    for seed, identity in ((1, first), (2, second)):
        put(tmp_path, seed)
        expected = engine_says(scored(tmp_path), RECORDS)
        mine = [place for place, answer in found.items() if answer[3] and b'"%b"' % identity.encode() in answer[3]]
        assert len(mine) > 20
        assert {place: found[place] for place in mine} == {place: expected[place] for place in mine}
    for number in range(3):
        ids = [
            model["payments"]["id"]
            for place in (f"payments/{number}/{offset}" for offset in range(1_000))
            if place in found and found[place][0] != "dead_letters" and (model := told(found[place][3]))
        ]
        assert ids == sorted(ids, key=[first, second].index)
        assert set(ids) == {first, second}
