import json
import os
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient

from broker.ends import Ends
from broker.vitals import Vitals
from dataflows.reporter import Reporter, read_status, write_status
from tests.conftest import Broker, wait_until


@pytest.fixture
def admin(embedded: Broker) -> AdminClient:
    return AdminClient({"bootstrap.servers": embedded.address, "log_level": 0})


def test_the_lag_is_found_without_a_position_in_the_snapshot(embedded, new_topic, produce, admin, tmp_path) -> None:
    topic = new_topic(embedded, 2)
    produce(embedded, topic, [b"x"] * 3, partition=0)
    vitals = Vitals()
    vitals.joined = True
    reporter = Reporter(vitals, Ends(admin, []), Ends(admin, [], beginnings=True), tmp_path / "status.json")
    offsets = {f"{topic}/1": 0}
    vitals.follow([(topic, 0), (topic, 1)], offsets)

    def lag() -> dict[str, int | None]:
        reporter.report(vitals.started_at + 1)
        status = read_status(tmp_path / "status.json")
        assert status is not None
        return status["lag"]

    assert lag() == {f"{topic}/0": None, f"{topic}/1": None}
    wait_until(lambda: lag() == {f"{topic}/0": 3, f"{topic}/1": 0})
    offsets[f"{topic}/0"] = 2
    assert lag() == {f"{topic}/0": 1, f"{topic}/1": 0}


def test_a_status_says_who_it_is_and_how_it_is(admin, tmp_path) -> None:
    vitals = Vitals()
    reporter = Reporter(vitals, Ends(admin, []), Ends(admin, [], beginnings=True), tmp_path / "status.json")
    reporter.report(vitals.started_at + 2)

    assert json.loads((tmp_path / "status.json").read_text()) == {
        "pid": os.getpid(),
        "at": vitals.started_at + 2,
        "joined": False,
        "beat_age": None,
        "snapshots": 0,
        "snapshot_age": 2,
        "lag": {},
        "stalled": [],
    }


def test_the_thread_reports_by_itself_and_ends_when_told(admin, tmp_path) -> None:
    reporter = Reporter(Vitals(), Ends(admin, []), Ends(admin, [], beginnings=True), tmp_path / "status.json")
    reporter.start()
    wait_until((tmp_path / "status.json").exists)
    reporter.stop()

    assert reporter._thread is not None
    assert not reporter._thread.is_alive()


def test_a_process_that_has_not_told_anything_has_no_status(tmp_path: Path) -> None:
    assert read_status(tmp_path / "status.json") is None
    write_status(tmp_path / "status.json", {"pid": 1})
    assert read_status(tmp_path / "status.json") == {"pid": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["status.json"]
