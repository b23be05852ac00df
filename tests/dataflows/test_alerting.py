"""The dataflow of alerts: on test sources, and as an operator starts and kills it."""

import json
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from bytewax.errors import BytewaxRuntimeError
from bytewax.recovery import RecoveryConfig, init_db_dir
from bytewax.testing import TestingSink, TestingSource, run_main
from confluent_kafka import Consumer, Message, TopicPartition

from broker.embedded import EmbeddedBroker
from dataflows.alerting import topics_of
from dataflows.alerts import build
from dataflows.supervision.stopping import PATIENCE
from detection.alerting.alert import Alert
from detection.alerting.outbox import Message as Told
from detection.alerting.outbox import Patience
from detection.loading import parse
from detection.program import Engine
from detection.records import DeadLetter, Record, Verdict
from sinks.notify import QUEUE, Bury, NotifySink, NotifyTicks, Way
from sources.kafka import BATCH
from tests import payments
from tests.conftest import wait_until
from tests.dataflows.test_start import environment
from tests.sinks.receivers import hook

NOON = 1_767_268_800_000
LATER = NOON + 24 * 3_600_000
PACK = f"""{payments.pack("payments")}
[alert.ops]
to = ["${{ALERTS_OPS}}"]
dedupe = {{ per = ["user"], for = "1h" }}
"""


def payment(number: int, user: str, minutes: float = 0.0, amount: float = 1000.0) -> Record:
    at = NOON + int(minutes * 60_000)
    return Record("payments", 0, number, at, user.encode(), payments.payment(user, amount, at))


def judged(text: str, *records: Record) -> list[Verdict]:
    engine = Engine(parse({"pack.toml": text}))
    answers = [engine.judge(record) for record in records]
    assert not any(isinstance(answer, DeadLetter) for answer in answers)
    return answers  # type: ignore[return-value]


def as_read(number: int, verdict: Verdict) -> Record:
    return Record(verdict.topic, 0, number, LATER, verdict.key, verdict.value)


def run(
    records: list[Any], text: str = PACK, store: RecoveryConfig | None = None, batch: int = 1
) -> tuple[list[Alert], list[DeadLetter]]:
    alerts: list[Any] = []
    dead: list[Any] = []
    flow = build(parse({"pack.toml": text}), TestingSource(records, batch), TestingSink(alerts), TestingSink(dead))  # type: ignore[arg-type]
    run_main(flow, recovery_config=store)
    return [alert for _, alert in alerts], dead


def test_an_alert_tells_what_the_verdict_and_its_event_say() -> None:
    alerts, dead = run([as_read(0, *judged(PACK, payment(7, "ann", 1)))])

    assert dead == []
    assert alerts == [
        Alert(
            alert="ops",
            rule="large",
            decision="block",
            reasons=["1000 by ann"],
            entity=[("user", "ann")],
            amount="1000 EUR",
            origin="payments/0/7",
            at=(NOON + 60_000) * 1_000,
        )
    ]


def test_decisions_and_rules_that_nobody_wants_told_are_not() -> None:
    verdicts = judged(PACK, payment(1, "ann", amount=7.0), payment(2, "bob", amount=1.0), payment(3, "cat"))
    records = [as_read(number, verdict) for number, verdict in enumerate(verdicts)]
    both = PACK.replace('to = ["${', 'rules = ["odd"]\ndecisions = ["block", "review"]\nto = ["${')

    assert [alert.rule for alert in run(records)[0]] == ["large"]
    assert [alert.rule for alert in run(records, both)[0]] == ["odd"]
    assert topics_of(parse({"p": PACK})) == ("payments.block",)
    assert topics_of(parse({"p": both})) == ("payments.block", "payments.review")


@pytest.mark.parametrize("batch", [1, 100])
def test_restarts_and_replays_change_nothing(batch: int, tmp_path: Path) -> None:
    verdicts = judged(PACK, *(payment(number, f"u{number % 3}", number * 7.0) for number in range(40)))
    records = [as_read(number, verdict) for number, verdict in enumerate(verdicts)]
    expected = sorted(alert.origin for alert in run(records)[0])
    init_db_dir(tmp_path, 1)
    source: list[Any] = [*records[:17], TestingSource.EOF(), *records[17:29], TestingSource.EOF(), *records[29:]]
    alerts: list[Any] = []
    for _ in range(3):
        flow = build(parse({"p": PACK}), TestingSource(source, batch), TestingSink(alerts), TestingSink([]))  # type: ignore[arg-type]
        run_main(flow, recovery_config=RecoveryConfig(tmp_path))

    assert sorted(alert.origin for _, alert in alerts) == expected
    assert len(expected) < len(records)


@pytest.mark.parametrize("value", [None, b"", b"{}", b"\xff", b"[" * 9_000, b'{"fraudulent":true}'])
def test_what_is_no_verdict_is_a_dead_letter(value: bytes | None) -> None:
    alerts, dead = run([Record("payments.block", 0, 3, NOON, None, value)])

    assert alerts == []
    assert [letter.error.partition(":")[0] for letter in dead] == ["alerts"]


def test_a_verdict_on_an_event_that_the_pack_no_longer_reads_is_told_all_the_same() -> None:
    (verdict,) = judged(PACK, payment(7, "ann"))
    alerts, _ = run([as_read(0, verdict)], PACK.replace('"payments"', '"others"'))

    assert [(alert.entity, alert.at) for alert in alerts] == [([("event", "payments/0/7")], LATER * 1_000)]


def test_a_dead_letter_that_cannot_be_kept_is_heard_of_though_nothing_more_comes() -> None:
    class Refusing:
        name = "ALERTS_OPS#0"

        def send(self, message: Told) -> str:
            return "refused"

    def no_broker() -> Bury:
        msg = "no broker"
        raise OSError(msg)

    began = time.monotonic()

    def stop() -> bool:
        return time.monotonic() - began > 20

    ways = [Way(alert="ops", receiver=Refusing())]
    notify = NotifySink(ways, no_broker, patience=Patience(tries=1), stop=lambda: False)
    source: Any = TestingSource([as_read(0, *judged(PACK, payment(7, "ann")))])
    flow = build(parse({"p": PACK}), source, notify, TestingSink([]), NotifyTicks(stop))

    with pytest.raises((OSError, BytewaxRuntimeError)):
        run_main(flow, epoch_interval=timedelta(seconds=0.2))

    assert not stop()


# --- processes ---------------------------------------------------------------------------------------------------------


class Scene:
    def __init__(self, folder: Path, broker: EmbeddedBroker, new_topic: Callable[..., str]) -> None:
        self.folder, self.broker = folder, broker
        self.block, self.dead = new_topic(broker, 2, "block"), new_topic(broker, 1, "dead")
        self.text = PACK.replace('"payments.block"', f'"{self.block}"')
        (folder / "pack.toml").write_text(self.text)
        self.store = folder / "store"
        self.store.mkdir()
        init_db_dir(self.store, 1)
        self.group = uuid4().hex
        self.processes: list[subprocess.Popen[bytes]] = []

    def start(self, url: str, *others: str, store: bool = True, **settings: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "bytewax.run", "dataflows.alerts"]
        command += ["-r", str(self.store), "-s", "1", "-b", "0", *others] if store else []
        variables = environment(
            KAFKA_BROKER_URL=self.broker.address,
            FRAUD_PACKS=str(self.folder / "pack.toml"),
            APPLICATION_ID=self.group,
            ALERT_DEAD_LETTER_TOPIC=self.dead,
            ALERTS_OPS=url,
            **{"ALERT_START": "beginning", **settings},
        )
        with (self.folder / "log").open("a") as log:
            process = subprocess.Popen(command, cwd=self.folder, env=variables, stdout=log, stderr=log)
        self.processes.append(process)
        return process

    def log(self) -> str:
        return (self.folder / "log").read_text()

    def begun(self) -> bool:
        """Whether it is on disk where the first start began."""
        path = self.store / "deployment.json"
        return path.exists() and self.block in json.loads(path.read_bytes())["outputs"]

    def lose_store(self) -> None:
        shutil.rmtree(self.store)
        self.store.mkdir()
        init_db_dir(self.store, 1)

    def values(self, numbers: range) -> list[bytes]:
        return [verdict.value for verdict in judged(self.text, *(payment(one, f"u{one}") for one in numbers))]


@pytest.fixture
def scene(tmp_path: Path, embedded: EmbeddedBroker, new_topic: Callable[..., str]) -> Iterator[Scene]:
    found = Scene(tmp_path, embedded, new_topic)
    yield found
    for process in found.processes:
        process.kill()
        process.wait()


def test_a_kill_loses_no_alert_and_a_stop_doubles_none(
    scene: Scene, embedded: EmbeddedBroker, produce: Callable[..., None]
) -> None:
    with hook() as server:
        first = scene.start(server.url())
        produce(embedded, scene.block, scene.values(range(20)))
        wait_until(lambda: len(server.got) >= 3, 60)
        first.kill()
        first.wait()
        produce(embedded, scene.block, scene.values(range(20, 30)))
        second = scene.start(server.url())
        wait_until(lambda: len(set(server.titles)) == 30, 60)
        second.send_signal(signal.SIGTERM)
        assert second.wait(20) == 0, scene.log()
        told = len(server.got)
        third = scene.start(server.url())
        produce(embedded, scene.block, scene.values(range(30, 31)))
        wait_until(lambda: len(set(server.titles)) == 31, 60)
        third.send_signal(signal.SIGTERM)
        assert third.wait(20) == 0, scene.log()

    assert len(server.got) == told + 1
    assert set(server.titles) == {f"FRAUD large: user u{number}" for number in range(31)}


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL])
def test_what_a_slow_receiver_took_after_the_epoch_it_came_in_is_not_sent_again(
    scene: Scene, embedded: EmbeddedBroker, produce: Callable[..., None], end: signal.Signals
) -> None:
    def answer(_number: int) -> int:
        time.sleep(1.5)
        return 200

    with hook(answer) as server:
        first = scene.start(server.url())
        produce(embedded, scene.block, scene.values(range(3)))
        wait_until(lambda: len(server.got) == 3, 60)
        if end == signal.SIGKILL:
            time.sleep(5.0)  # some quiet epochs
        first.send_signal(end)
        assert first.wait(20) == (0 if end == signal.SIGTERM else -end), scene.log()
        second = scene.start(server.url())
        produce(embedded, scene.block, scene.values(range(3, 4)))
        wait_until(lambda: "FRAUD large: user u3" in server.titles, 60)
        second.send_signal(signal.SIGTERM)
        assert second.wait(20) == 0, scene.log()

    assert sorted(server.titles) == [f"FRAUD large: user u{number}" for number in range(4)]


def test_a_receiver_that_hangs_stops_nothing_loses_nothing_and_fills_no_memory(
    scene: Scene, embedded: EmbeddedBroker, produce: Callable[..., None], consume_all: Callable[..., list[Message]]
) -> None:
    scene.text = scene.text.replace('"1h" }', '"1h" }\ngroup = "1s"')
    (scene.folder / "pack.toml").write_text(scene.text)
    number, most = 4 * BATCH, QUEUE + BATCH
    released = threading.Event()
    client = Consumer({"bootstrap.servers": embedded.address, "group.id": f"{scene.group}-alerts"})

    def taken() -> int:
        parts = [TopicPartition(scene.block, partition) for partition in range(2)]
        return sum(max(part.offset, 0) for part in client.committed(parts, timeout=10))

    def hang(_number: int) -> int:
        released.wait(60)
        return 500

    with hook(hang) as server:
        process = scene.start(f"{server.url()}?rto=60")
        produce(embedded, scene.block, scene.values(range(number)))
        wait_until(lambda: taken() > QUEUE, 60)
        seen = []
        for _ in range(5):  # snapshots go on, and nothing more is read
            age = newest_snapshot(scene.store)
            wait_until(lambda age=age: newest_snapshot(scene.store) > age, 30)  # type: ignore[misc]
            seen.append(taken())
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0, scene.log()
        took = time.monotonic() - began
        assert server.asked == 1
        released.set()
    assert QUEUE < seen[-1] <= most
    assert seen[-1] == seen[-2]
    assert took < PATIENCE

    # What is still to be told: each of them, once.
    with hook(lambda _: 500) as server:
        process = scene.start(server.url(), ALERT_TRIES="1")
        letters = consume_all(embedded, [scene.dead], number, extra_seconds=2, timeout=120)
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0, scene.log()
    client.close()
    origins = [dict(letter.headers() or [])["fraud.origin"].decode() for letter in letters]  # type: ignore[union-attr]
    assert sorted(origins) == sorted(f"payments/0/{one}" for one in range(number))


def newest_snapshot(store: Path) -> int:
    """The epoch of the newest snapshot in a recovery store."""
    with closing(sqlite3.connect(f"file:{store / 'part-0.sqlite3'}?mode=ro", uri=True)) as connection:
        found = connection.execute("SELECT max(snap_epoch) FROM snaps").fetchone()[0]
    return int(found or 0)


def test_what_nobody_takes_is_one_dead_letter_and_no_log_has_the_secret(
    scene: Scene, embedded: EmbeddedBroker, produce: Callable[..., None], consume_all: Callable[..., list[Message]]
) -> None:
    with hook(lambda _: 500) as server:
        process = scene.start(server.url("cAnArY9f3b"), ALERT_TRIES="2")
        produce(embedded, scene.block, [*scene.values(range(1)), b"no verdict"])
        letters = consume_all(embedded, [scene.dead], 2, extra_seconds=2, timeout=60)
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0, scene.log()
        assert server.asked == 2

    assert len(letters) == 2
    by_value = {letter.value() == b"no verdict": dict(letter.headers() or []) for letter in letters}
    assert b"no verdict" in by_value[True]["fraud.error"]
    assert b"500" in by_value[False]["fraud.error"]
    assert by_value[False]["fraud.origin"] == b"payments/0/0"
    assert "an alert was not delivered" in scene.log()
    assert "cAnArY9f3b" not in scene.log() + str(by_value)


@pytest.mark.parametrize(
    ("url", "store", "says"),
    [
        ("", True, "ALERTS_OPS: expected Apprise URLs, since a pack names it, got nothing"),
        ("cAnArY9f3b", True, "ALERTS_OPS: expected Apprise URLs, got something else at place 1"),
        ("json://a", False, "alerts: expected a recovery store of their own"),
    ],
)
def test_a_start_that_cannot_work_is_refused_in_one_line(scene: Scene, url: str, says: str, *, store: bool) -> None:
    process = scene.start(url, store=store)

    assert process.wait(60) == 1
    assert f"fraud: {says}" in scene.log()
    assert "cAnArY9f3b" not in scene.log()
    assert "Traceback" not in scene.log()


def test_a_second_process_is_refused_for_only_one_knows_whether_receivers_can_follow(scene: Scene) -> None:
    process = scene.start("json://127.0.0.1:9", "-i", "0", "-a", "127.0.0.1:9101;127.0.0.1:9102")

    assert process.wait(60) == 1
    assert "fraud: alerts: expected one process, got 2" in scene.log()
    assert "Traceback" not in scene.log()


def test_the_store_of_another_application_is_refused(scene: Scene) -> None:
    first = scene.start("json://127.0.0.1:9")
    wait_until((scene.store / "deployment.json").exists, 60)
    second = scene.start("json://127.0.0.1:9")  # the same application, and a second process
    assert second.wait(60) == 1
    first.kill()
    first.wait()
    scene.group = uuid4().hex
    third = scene.start("json://127.0.0.1:9")

    assert third.wait(60) == 1
    assert "Traceback" not in scene.log()
    assert scene.log().count("fraud: ") == 2


def test_a_first_start_tells_nothing_of_what_was_before_and_all_of_what_comes(
    scene: Scene, embedded: EmbeddedBroker, produce: Callable[..., None]
) -> None:
    produce(embedded, scene.block, scene.values(range(50)))
    with hook() as server:
        first = scene.start(server.url(), ALERT_START="end")
        wait_until(scene.begun, 60)
        first.kill()  # most likely before it has a snapshot
        first.wait()
        produce(embedded, scene.block, scene.values(range(50, 53)))
        second = scene.start(server.url(), ALERT_START="end")
        wait_until(lambda: len(set(server.titles)) == 3, 60)
        produce(embedded, scene.block, scene.values(range(53, 55)))
        wait_until(lambda: len(set(server.titles)) == 5, 60)
        second.send_signal(signal.SIGTERM)
        assert second.wait(20) == 0, scene.log()

    assert set(server.titles) == {f"FRAUD large: user u{number}" for number in range(50, 55)}


def test_a_first_start_may_begin_at_the_beginning(
    scene: Scene, embedded: EmbeddedBroker, produce: Callable[..., None]
) -> None:
    produce(embedded, scene.block, scene.values(range(5)))
    with hook() as server:
        scene.start(server.url(), ALERT_START="beginning")
        wait_until(lambda: len(set(server.titles)) == 5, 60)


def test_a_lost_store_is_refused_until_somebody_wants_to_go_on_where_the_group_is(
    scene: Scene, embedded: EmbeddedBroker, produce: Callable[..., None]
) -> None:
    client = Consumer({"bootstrap.servers": embedded.address, "group.id": f"{scene.group}-alerts"})

    def committed() -> int:
        parts = [TopicPartition(scene.block, number) for number in range(2)]
        return sum(max(part.offset, 0) for part in client.committed(parts, timeout=10))

    with hook() as server:
        first = scene.start(server.url(), ALERT_START="end")
        wait_until(scene.begun, 60)
        produce(embedded, scene.block, scene.values(range(4)))
        wait_until(lambda: committed() == 4, 60)
        first.send_signal(signal.SIGTERM)
        assert first.wait(20) == 0, scene.log()
        scene.lose_store()
        produce(embedded, scene.block, scene.values(range(4, 6)))
        second = scene.start(server.url(), ALERT_START="end")
        assert second.wait(60) == 1
        assert (
            f"holds no snapshot, but the consumer group {scene.group}-alerts has been in {scene.block}" in scene.log()
        )
        third = scene.start(server.url(), ALERT_START="end", FRAUD_FRESH="1")
        wait_until(lambda: len(set(server.titles)) == 6, 60)
        third.send_signal(signal.SIGTERM)
        assert third.wait(20) == 0, scene.log()
    client.close()

    assert "Traceback" not in scene.log()
    assert len(server.titles) == 6


@pytest.mark.parametrize("at_once", [True, False])
def test_a_topic_that_a_pack_names_later_begins_at_its_end_also_in_a_store_that_was_begun_anew(
    scene: Scene,
    embedded: EmbeddedBroker,
    produce: Callable[..., None],
    new_topic: Callable[..., str],
    *,
    at_once: bool,
) -> None:
    def name_later() -> None:
        text = scene.text.replace('"payments.review"', f'"{later}"')
        text = text.replace('to = ["${', 'decisions = ["block", "review"]\nto = ["${')
        (scene.folder / "pack.toml").write_text(text)

    def begun() -> bool:
        return later in json.loads((scene.store / "deployment.json").read_bytes())["outputs"]

    later = new_topic(embedded, 1, "later")
    produce(embedded, later, scene.values(range(50, 60)))
    client = Consumer({"bootstrap.servers": embedded.address, "group.id": f"{scene.group}-alerts"})
    client.commit(offsets=[TopicPartition(scene.block, 0, 0)], asynchronous=False)
    client.close()
    with hook() as server:
        if at_once:
            name_later()
        process = scene.start(server.url(), ALERT_START="end", FRAUD_FRESH="1")
        if not at_once:
            produce(embedded, scene.block, scene.values(range(1)))
            wait_until(lambda: len(server.titles) == 1, 60)
            process.send_signal(signal.SIGTERM)
            assert process.wait(20) == 0, scene.log()
            name_later()
            process = scene.start(server.url(), ALERT_START="end")
        wait_until(lambda: scene.begun() and begun(), 60)
        produce(embedded, later, scene.values(range(60, 61)))
        wait_until(lambda: "FRAUD large: user u60" in server.titles, 60)
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0, scene.log()

    assert set(server.titles) - {"FRAUD large: user u0"} == {"FRAUD large: user u60"}


def test_a_damaged_store_is_refused(scene: Scene, embedded: EmbeddedBroker, produce: Callable[..., None]) -> None:
    with hook() as server:
        first = scene.start(server.url())
        produce(embedded, scene.block, scene.values(range(1)))
        wait_until(lambda: len(server.got) == 1, 60)
        first.send_signal(signal.SIGTERM)
        assert first.wait(20) == 0, scene.log()
    for left in scene.store.glob("part-0.sqlite3?*"):
        left.unlink()
    with (scene.store / "part-0.sqlite3").open("r+b") as file:
        file.truncate(8_192)

    assert scene.start("json://127.0.0.1:9").wait(60) == 1
    assert "fraud: " in scene.log()
    assert "part-0.sqlite3: is damaged" in scene.log()


# --- what is personal --------------------------------------------------------------------------------------------------

PERSONAL = f'pii = ["user"]\n{PACK}'


def test_personal_fields_are_masked_in_alerts_and_still_told_apart() -> None:
    users = ["annabel-1@example.com", "annabel-2@example.com", "annabel-1@example.com"]
    verdicts = judged(PERSONAL, *(payment(number, user) for number, user in enumerate(users)))
    alerts, _ = run([as_read(number, verdict) for number, verdict in enumerate(verdicts)], PERSONAL)

    assert [(alert.entity, alert.reasons) for alert in alerts] == [([("user", "***om")], ["1000 by ***om"])] * 2
    assert [alert.origin for alert in alerts] == ["payments/0/0", "payments/0/1"]


def test_personal_values_are_masked_when_the_event_can_no_longer_be_read() -> None:
    (verdict,) = judged(PERSONAL, payment(1, "annabel-1@example.com"))
    alerts, _ = run(
        [as_read(0, verdict)], PERSONAL.replace('amount = "money:currency"', 'amount = "money:currency", new = "str"')
    )

    assert [(alert.entity, alert.reasons) for alert in alerts] == [([("event", "payments/0/1")], ["1000 by ***om"])]


def test_no_personal_value_reaches_a_receiver_a_dead_letter_or_a_log(
    scene: Scene, embedded: EmbeddedBroker, produce: Callable[..., None], consume_all: Callable[..., list[Message]]
) -> None:
    scene.text = f'pii = ["user"]\n{scene.text}'
    (scene.folder / "pack.toml").write_text(scene.text)
    canary = "cAnArY9f3b"
    with hook(lambda number: 500 if number < 3 else 200) as server:
        scene.start(server.url(), ALERT_TRIES="2")
        first, second = judged(scene.text, payment(0, f"{canary}-1"), payment(1, f"{canary}-2"))
        produce(embedded, scene.block, [first.value, second.value])
        letters = consume_all(embedded, [scene.dead], 1, timeout=60)
        wait_until(lambda: len(server.got) == 1, 60)

    assert "***-" in server.titles[0]
    assert canary not in json.dumps(server.got) + str([(one.value(), one.headers()) for one in letters]) + scene.log()
