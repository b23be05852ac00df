"""The report of a day from a real Kafka: all numbers are counted by hand."""

import json
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4
from zoneinfo import ZoneInfo

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient

from detection.loading import load
from detection.program import Engine
from detection.records import DeadLetter, Record
from detection.reporting.days import Days
from detection.reporting.pages import Report, report
from detection.settings import Settings
from sources.days import count
from tests import payments
from tests.conftest import Broker
from tests.sinks.receivers import hook, mail_server

HOSTILE = "<script>alert(1)</script>"


def ms(day: int, hour: int = 0, minute: int = 0, second: float = 0.0) -> int:
    return round((datetime(2026, 1, day, hour, minute, tzinfo=UTC).timestamp() + second) * 1_000)


class Scene:
    """A pack with topics of its own, and verdicts in them."""

    def __init__(self, folder: Path, broker: Broker) -> None:
        self.broker, self.tag = broker, uuid4().hex[:12]
        self.pack = folder / "pack.toml"
        self.pack.write_text(payments.pack(self.tag))
        self.engine = Engine(load([self.pack]))
        self.producer = Producer({"bootstrap.servers": broker.address})
        self.read = 0
        admin = AdminClient({"bootstrap.servers": broker.address})
        from confluent_kafka.cimpl import NewTopic  # noqa: PLC0415

        names = [f"{self.tag}.{name}" for name in ("block", "review", "accept", "dead", "labels")]
        topics = [NewTopic(name, 2, config={"retention.ms": "-1"}) for name in names]
        for future in admin.create_topics(topics).values():
            future.result()

    @property
    def variables(self) -> dict[str, str]:
        return {
            "KAFKA_BROKER_URL": self.broker.address,
            "FRAUD_PACKS": str(self.pack),
            "DEAD_LETTER_TOPIC": f"{self.tag}.dead",
            "LABELS_TOPIC": f"{self.tag}.labels",
        }

    def judge(self, at: int, amount: str, currency: str = "EUR", *, written: int | None = None) -> str:
        """Write the verdict on a payment; gives its origin."""
        value = payments.payment("u", amount, at, currency)
        record = Record(self.tag, 0, self.read, at, None, value)
        self.read += 1
        verdict = self.engine.judge(record)
        assert not isinstance(verdict, DeadLetter)
        self.write(verdict.topic, verdict.value, at + 1_000 if written is None else written)
        return record.origin

    def write(self, topic: str, value: bytes | None, at: int, **options: Any) -> None:
        self.producer.produce(topic, value, timestamp=at, **options)

    def dead(self, at: int | None, written: int) -> None:
        record = Record("other", 0, 1, -1 if at is None else at, None, b"{")
        self.write(f"{self.tag}.dead", b"{", written, headers=DeadLetter(record, "no event").headers())

    def label(self, origin: str, *, fraud: bool, at: int) -> None:
        value = json.dumps({"origin": origin, "fraudulent": fraud, "time": at}).encode()
        self.write(f"{self.tag}.labels", value, at, key=origin.encode())

    def fill(self) -> None:
        """Two weeks around the tenth of January."""
        self.judge(ms(2, 23, 59, 59.999), "1000")  # before the days before
        self.judge(ms(3), "1.00")
        alarm = self.judge(ms(9, 23, 59, 59.999), "1000")
        first = self.judge(ms(10), "1000.01")
        second = self.judge(ms(10, 12), "2000.02")
        self.judge(ms(10, 12, 1), "900.000001", "USD")
        odd = self.judge(ms(10, 12, 2), "7.0")
        missed = self.judge(ms(10, 12, 3), "5")
        self.judge(ms(10, 0, 30), "3")  # late
        self.judge(ms(10, 23, 59, 59.999), "4", written=ms(11, 10))  # after an outage
        self.judge(ms(11), "1000")
        self.write(f"{self.tag}.block", b"no verdict", ms(10, 3))
        for at, written in ((ms(10, 5), ms(10, 5)), (None, ms(10, 6)), (ms(9, 5), ms(10, 5)), (ms(11), ms(11))):
            self.dead(at, written)
        self.producer.flush()
        self.label(first, fraud=False, at=ms(12))
        self.label(second, fraud=True, at=ms(12))
        self.label(odd, fraud=True, at=ms(13))
        self.label(odd, fraud=False, at=ms(12))  # the newest: by its place, not by its clock
        self.label(missed, fraud=True, at=ms(12))
        self.label(alarm, fraud=True, at=ms(12))
        self.write(f"{self.tag}.labels", b"no label", ms(12))
        self.producer.flush()
        self.take_back()

    def take_back(self) -> None:
        """What an aborted transaction wrote is no verdict."""
        producer = Producer({"bootstrap.servers": self.broker.address, "transactional.id": self.tag})
        producer.init_transactions(30)
        producer.begin_transaction()
        payment = b'{"user": "u", "amount": 5000, "currency": "EUR", "at": %d}' % ms(10, 14)
        verdict = self.engine.judge(Record(self.tag, 1, 0, ms(10, 14), None, payment))
        assert not isinstance(verdict, DeadLetter)
        producer.produce(verdict.topic, verdict.value, timestamp=ms(10, 14))
        producer.flush()
        producer.abort_transaction(30)


@pytest.fixture
def scene(tmp_path: Path, kafka: Broker) -> Scene:
    return Scene(tmp_path, kafka)


@pytest.fixture
def run(scene: Scene, fraud: Any) -> Callable[..., str]:
    fraud.environment |= scene.variables
    return lambda *arguments, code=0: fraud("report", *arguments, code=code)


def made(scene: Scene, monkeypatch: pytest.MonkeyPatch, day: int = 10, zone: str = "UTC") -> Report:
    for name, value in scene.variables.items():
        monkeypatch.setenv(name, value)
    settings = Settings(_env_file=None)
    days = Days(date(2026, 1, day), ZoneInfo(zone))
    return report(count(settings, load(settings.fraud_packs, settings.topics), days), days)


@pytest.mark.kafka
def test_all_numbers_are_those_counted_by_hand(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    scene.fill()

    found = made(scene, monkeypatch)
    tables = {table.title: [list(row) for row in table.rows] for table in found.tables}

    assert found.title == "Fraud report of 2026-01-10 (UTC): 7 events, 3 frauds"
    assert found.notes == ("Of the 7 days before, 2 have verdicts.", "1 records in the topics of verdicts are none.")
    assert tables["Verdicts"] == [["payment", "3", "1", "3", "7", "1"]]
    assert tables["Money stopped"] == [
        ["payment", "amount", "EUR", "2", "3000.03"],
        ["payment", "amount", "USD", "1", "900.000001"],
    ]
    assert tables["Rules"] == [
        ["payment", "large", "live", "3", "1", "1 of 2 (50.0%)", "1 of 1 (100.0%)"],
        ["payment", "silent", "shadow", "3", "1", "1 of 2 (50.0%)", "1 of 1 (100.0%)"],
        ["payment", "odd", "live", "1", "1", "0 of 1 (0.0%)", "-"],
    ]
    assert tables["Labels"] == [["payment", "2 of 3", "1", "0 of 1", "0"]]
    # 3, 1, 3 of 7 and 1, 0, 1 of 2: with halves 3.5, 1.5, 3.5 of 8.5 and 1.5, 0.5, 1.5 of 3.5
    # (7/17 - 3/7) ln(49/51) = 0.000672 twice, and (3/17 - 1/7) ln(21/17) = 0.007103; the bands of the scores are 3, 1, 3 and 1, 0, 1 too
    assert tables["Drift"] == [
        ["payment", "share of fraud", "42.86%", "50.00%", "", ""],
        ["payment", "share of review", "14.29%", "0.00%", "", ""],
        ["payment", "share of legit", "42.86%", "50.00%", "", ""],
        ["payment", "decisions, together", "", "", "0.0084", "stable"],
        ["payment", "scores, together", "", "", "0.0084", "stable"],
    ]
    assert [row[:4] for row in tables["Rates of rules"]] == [
        ["payment", "large", "42.86%", "50.00%"],
        ["payment", "odd", "14.29%", "0.00%"],
        ["payment", "silent", "42.86%", "50.00%"],
    ]
    assert tables["Dead letters"] == [["other", "2", "0.5"]]


@pytest.mark.kafka
def test_another_zone_has_other_days(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    scene.fill()

    kolkata = made(scene, monkeypatch, zone="Asia/Kolkata")  # from 18:30 on the ninth to 18:30 on the tenth
    empty = made(scene, monkeypatch, day=20)

    assert kolkata.title == "Fraud report of 2026-01-10 (Asia/Kolkata): 7 events, 4 frauds"
    assert empty.title == "Fraud report of 2026-01-20 (UTC): 0 events, 0 frauds"
    assert "No event of this day has a verdict." in empty.notes


@pytest.mark.kafka
def test_it_is_a_mail_a_message_a_page_and_a_text(
    scene: Scene, run: Callable[..., str], fraud: Any, tmp_path: Path
) -> None:
    scene.judge(ms(10, 1), "1000", HOSTILE)
    scene.producer.flush()
    page, text = tmp_path / "report.html", tmp_path / "report.txt"
    with mail_server() as (mailbox, port), hook() as server:
        fraud.environment |= {
            "ALERTS_OPS": f"mailto://127.0.0.1:{port}?from=fraud@example.com&to=ops@example.com",
            "ALERTS_CHAT": server.url(),
        }
        told = run("--day", "2026-01-10", "--to", "ALERTS_OPS", "--to", "ALERTS_CHAT", "--html", page, "--text", text)

    assert told == ""
    (mail,) = mailbox.mails
    assert mail["Subject"] == "Fraud report of 2026-01-10 (UTC): 1 events, 1 frauds"
    shown, plain = mail.get_body(("html",)), mail.get_body(("plain",))
    assert shown is not None
    assert plain is not None
    assert "Money stopped" in plain.get_content()
    for markup in (shown.get_content(), page.read_text()):
        assert "<script" not in markup
        assert "&lt;" in markup
        assert "<td>large</td>" in markup
    assert server.titles == [mail["Subject"]]
    assert server.got[0]["message"].strip() == text.read_text().strip()
    assert "MONEY STOPPED" in text.read_text()


@pytest.mark.kafka
def test_it_is_tried_again_and_the_exit_code_says_if_it_never_worked(
    scene: Scene, run: Callable[..., str], fraud: Any
) -> None:
    fraud.environment |= {"ALERT_TRIES": "3"}
    with hook(lambda number: 200 if number == 3 else 500) as server:
        fraud.environment["ALERTS_OPS"] = server.url("cAnArY9f3b")
        run("--day", "2026-01-10", "--to", "ALERTS_OPS")
        assert server.asked == 3
    with hook(lambda _: 500) as server, hook() as well:
        fraud.environment["ALERTS_OPS"] = f"{server.url('cAnArY9f3b')} {well.url()}"
        told = run("--day", "2026-01-10", "--to", "ALERTS_OPS", code=1)
        assert server.asked == 3
        assert len(well.got) == 1  # the one does not wait for the other

    assert "fraud: ALERTS_OPS#0: the report was not delivered" in told
    assert "500" in told
    assert "cAnArY9f3b" not in told


@pytest.mark.kafka
def test_without_a_topic_of_labels_it_says_so(scene: Scene, run: Callable[..., str], fraud: Any) -> None:
    fraud.environment["LABELS_TOPIC"] = f"{scene.tag}.none"

    told = run("--day", "2026-01-10")

    assert "There is no topic of labels" in told
    assert told.startswith("Fraud report of 2026-01-10 (UTC): 0 events, 0 frauds\n")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--day", "yesterday"], "--day: expected a day such as 2026-01-31, got 'yesterday'"),
        (["--day", "0001-01-01"], "--day: expected a day such as 2026-01-31, got '0001-01-01'"),
        (["--day", "1970-01-02"], "--day: expected a day of this age, got '1970-01-02'"),
        (["--zone", "../../etc/passwd"], "--zone: expected a time zone such as Europe/Berlin"),
        (["--zone", "Europe"], "--zone: expected a time zone such as Europe/Berlin"),
        (["--zone", "Nowhere/Else"], "--zone: expected a time zone such as Europe/Berlin"),
    ],
)
def test_a_day_or_zone_that_is_none_is_one_line(fraud: Any, arguments: list[str], says: str) -> None:
    told = fraud("report", *arguments, code=2)

    assert told.startswith(f"fraud: {says}")
    assert len(told.splitlines()) == 1


def test_a_variable_without_receivers_is_told_before_anything_is_read(fraud: Any) -> None:
    told = fraud("report", "--to", "ALERTS_NOBODY", code=1)

    assert told.startswith("fraud: ALERTS_NOBODY: expected Apprise URLs")
