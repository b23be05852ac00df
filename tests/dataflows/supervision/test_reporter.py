import json
import os
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient
from structlog.testing import capture_logs

from broker.config import consumer_config
from broker.ends import Ends
from broker.vitals import Vitals
from dataflows.supervision.reporter import Reporter, read_status, write_status
from detection.records import Record
from detection.settings import Settings
from sources.kafka import KafkaSource
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


def test_a_partition_that_the_client_stopped_reading_raises_the_alarm_and_the_other_does_not(
    embedded, new_topic, produce, admin
) -> None:
    topic = new_topic(embedded, 2)
    vitals = Vitals()
    consumers: list[Consumer] = []

    def client(config: dict[str, Any]) -> Consumer:
        consumers.append(Consumer(config))
        return consumers[-1]

    config = consumer_config(Settings(kafka_broker_url=embedded.address, application_id=topic))
    source = KafkaSource(config, [topic], vitals=vitals, client=client)
    lanes = [source.build_part("s", name, None) for name in source.list_parts()]
    reporter = Reporter(vitals, Ends(admin, []), Ends(admin, [], beginnings=True), None)
    read: list[Record] = []

    def come_to(end: int, other: int) -> bool:
        """Read on, until we and the ends are so far."""
        for lane in lanes:
            read.extend(lane.next_batch())
        reporter.report(now)
        return vitals.positions() == {f"{topic}/0": end, f"{topic}/1": other} and set(vitals.ends.values()) == {end}

    now = vitals.started_at
    for partition in range(2):
        produce(embedded, topic, [b"{}"] * 3, partition=partition)
    wait_until(lambda: come_to(3, 3))
    (consumer,) = consumers
    consumer.pause([TopicPartition(topic, 1)])
    for partition in range(2):
        produce(embedded, topic, [b"{}"] * 2, partition=partition)
    wait_until(lambda: come_to(5, 3))
    assert vitals.stalled == frozenset()
    now += 25
    wait_until(lambda: come_to(5, 3))
    assert vitals.stalled == {f"{topic}/1"}
    consumer.resume([TopicPartition(topic, 1)])
    wait_until(lambda: come_to(5, 5))
    assert vitals.stalled == frozenset()
    for lane in lanes:
        lane.close()


def test_what_is_not_read_on_purpose_is_not_stalled_and_has_its_own_time_afterwards(
    embedded, new_topic, produce, admin
) -> None:
    topic = new_topic(embedded, 1)
    vitals = Vitals()
    vitals.follow([(topic, 0)], {f"{topic}/0": 0})
    reporter = Reporter(vitals, Ends(admin, []), Ends(admin, [], beginnings=True), None)
    now = vitals.started_at

    def ends_at(end: int) -> bool:
        reporter.report(now)
        return vitals.ends == {f"{topic}/0": end}

    wait_until(lambda: ends_at(0))
    produce(embedded, topic, [b"{}"])
    wait_until(lambda: ends_at(1))
    vitals.paused = True
    for _ in range(3):
        now += 25
        produce(embedded, topic, [b"{}"])
        reporter.report(now)
        assert vitals.stalled == frozenset()
    wait_until(lambda: ends_at(4))
    vitals.paused = False
    produce(embedded, topic, [b"{}"])
    wait_until(lambda: ends_at(5))
    assert vitals.stalled == frozenset()
    produce(embedded, topic, [b"{}"])
    wait_until(lambda: ends_at(6))
    now += 25
    reporter.report(now)
    assert vitals.stalled == {f"{topic}/0"}


def test_a_disk_that_is_full_is_told_once_and_reported_to_when_it_has_room_again(admin, tmp_path) -> None:
    folder = tmp_path / "missing"
    reporter = Reporter(Vitals(), Ends(admin, []), Ends(admin, [], beginnings=True), folder / "status.json")
    with capture_logs() as logs:
        reporter.start()
        wait_until(lambda: bool(logs))
        folder.mkdir()
        wait_until((folder / "status.json").exists)
        reporter.stop()

    assert [entry["event"] for entry in logs] == ["the status cannot be written"]


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
