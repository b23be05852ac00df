"""Audits of topics in which something is planted, on the embedded broker and on a real Kafka."""

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import monotonic, sleep
from typing import Any

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from broker.errors import BrokerError
from detection.ledger import Ledger, Report
from detection.settings import Settings
from sources import audit as audit_module
from sources import through as module
from sources.audit import audit
from tests.conftest import Broker


@dataclass
class Deployment:
    """Topics of one test and what a dataflow would write to them."""

    broker: Broker
    source: str
    fraud: str
    legit: str
    settings: Settings
    producer: Producer = field(init=False)

    def __post_init__(self) -> None:
        self.producer = self.make_producer()

    def make_producer(self, **config: Any) -> Producer:
        return Producer({"bootstrap.servers": self.broker.address, "linger.ms": 0, **config})

    def produce(self, records: int, partition: int = 0, producer: Producer | None = None) -> None:
        for number in range(records):
            (producer or self.producer).produce(self.source, b"{}", b"%d" % number, partition)
        assert (producer or self.producer).flush(30) == 0

    def answer(self, *places: int, topic: str = "", producer: Producer | None = None, value: str = "") -> None:
        for place in places:
            verdict = {"value": value, "verdict": {"origin": f"{self.source}/0/{place}"}}
            (producer or self.producer).produce(topic or self.legit, json.dumps(verdict).encode(), b"k", 0)
        assert (producer or self.producer).flush(30) == 0

    def dead_letter(self, *places: int, error: bytes = b"no JSON") -> None:
        for place in places:
            headers = [("fraud.origin", f"{self.source}/0/{place}".encode()), ("fraud.error", error)]
            self.producer.produce(self.settings.dead_letter_topic, b"{", None, 0, headers=headers)
        assert self.producer.flush(30) == 0

    def commit(self, offset: int, partition: int = 0) -> None:
        consumer = Consumer({"bootstrap.servers": self.broker.address, "group.id": self.settings.application_id})
        consumer.commit(offsets=[TopicPartition(self.source, partition, offset)], asynchronous=False)
        consumer.close()

    def audit(self, **options: Any) -> Report:
        return audit(self.settings, [self.source], [self.fraud, self.legit], **{"settle": 0, **options})


@pytest.fixture
def deploy(topic_name: Callable[..., str], new_topic: Callable[..., str]) -> Callable[..., Deployment]:
    def make(broker: Broker, partitions: int = 1, **config: str) -> Deployment:
        return Deployment(
            broker,
            new_topic(broker, partitions, "in", **config),
            new_topic(broker, 1, "fraud"),
            new_topic(broker, 2, "legit"),
            Settings.model_construct(
                kafka_broker_url=broker.address,
                application_id=topic_name("group"),
                dead_letter_topic=new_topic(broker, 1, "dead"),
            ),
        )

    return make


@pytest.fixture
def deployment(any_broker: Broker, deploy: Callable[..., Deployment]) -> Deployment:
    return deploy(any_broker)


@pytest.fixture
def on_kafka(kafka: Broker, deploy: Callable[..., Deployment]) -> Deployment:
    return deploy(kafka)


def numbers(report: Report) -> dict[str, int]:
    kinds = ("records", "answered", "pending", "lost", "doubled", "foreign")
    return {kind: getattr(report, kind) for kind in kinds if getattr(report, kind)}


def test_one_answer_each_over_all_output_topics_is_exact(deployment: Deployment) -> None:
    deployment.produce(100)
    deployment.answer(*range(50))
    deployment.answer(*range(50, 98), topic=deployment.fraud)
    deployment.dead_letter(98, 99)
    deployment.commit(100)

    report = deployment.audit()

    assert report.exact
    assert numbers(report) == {"records": 100, "answered": 100}
    assert {address: count.records for address, count in report.outputs.items()} == {
        f"{deployment.fraud}/0": 48,
        f"{deployment.legit}/0": 50,
        f"{deployment.settings.dead_letter_topic}/0": 2,
    }


def test_what_is_planted_is_found_and_named(deployment: Deployment) -> None:
    deployment.produce(20)
    deployment.answer(*(place for place in range(20) if place not in {3, 17}))
    deployment.answer(4, topic=deployment.fraud)
    deployment.dead_letter(5, 20)
    deployment.producer.produce(deployment.fraud, b"hello", None, 0)
    deployment.producer.produce(deployment.settings.dead_letter_topic, b"no headers", None, 0)
    assert deployment.producer.flush(30) == 0
    deployment.commit(10)

    report = deployment.audit()

    assert not report.exact
    assert numbers(report) == {"records": 20, "answered": 18, "pending": 1, "lost": 1, "doubled": 2, "foreign": 3}
    source, dead = deployment.source, deployment.settings.dead_letter_topic
    assert report.examples["lost"] == [f"{source}/0/3"]
    assert report.examples["pending"] == [f"{source}/0/17"]
    assert report.examples["doubled"] == [f"{source}/0/4", f"{source}/0/5"]
    assert sorted(report.examples["foreign"]) == sorted([f"{deployment.fraud}/0/1", f"{dead}/0/1", f"{dead}/0/2"])
    assert report.outputs[f"{dead}/0"].foreign == 2


def test_an_audit_with_nothing_there_is_exact(deployment: Deployment) -> None:
    assert numbers(deployment.audit()) == {}


def test_partitions_are_counted_apart(any_broker: Broker, deploy: Callable[..., Deployment]) -> None:
    deployment = deploy(any_broker, partitions=3)
    deployment.produce(2, partition=0)
    deployment.produce(3, partition=2)
    deployment.answer(0, 1)
    deployment.commit(1, partition=2)

    report = deployment.audit()

    counted = {number: report.inputs[f"{deployment.source}/{number}"] for number in range(3)}
    assert {number: (count.records, count.pending, count.lost) for number, count in counted.items()} == {
        0: (2, 0, 0),
        1: (0, 0, 0),
        2: (3, 2, 1),
    }


def test_records_before_the_one_to_begin_at_do_not_count_nor_do_their_answers(deployment: Deployment) -> None:
    deployment.produce(10)
    deployment.answer(*range(5), 5, *range(6, 10))
    deployment.answer(1, 2)
    deployment.commit(10)

    report = deployment.audit(since={f"{deployment.source}/0": 5})

    assert report.exact
    assert numbers(report) == {"records": 5, "answered": 5}
    assert report.outputs[f"{deployment.legit}/0"].outside == 7


def test_what_is_pending_is_waited_for(deployment: Deployment) -> None:
    deployment.produce(10)
    later = threading.Timer(1.0, lambda: deployment.answer(*range(10)))
    later.start()

    report = deployment.audit(settle=20)

    later.join()
    assert numbers(report) == {"records": 10, "answered": 10}


def test_a_record_that_is_written_meanwhile_is_not_missed_and_its_answer_is_not_foreign(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    deployment.produce(10)
    looked = threading.Event()

    def ledger(ranges: Mapping[str, tuple[int, int]]) -> Ledger:
        looked.set()  # which records there are is told; what becomes of them is not read yet
        return Ledger(ranges)

    monkeypatch.setattr(audit_module, "Ledger", ledger)

    def go_on() -> None:
        assert looked.wait(30)
        deployment.produce(10)
        deployment.answer(*range(20))

    writer = threading.Thread(target=go_on)
    writer.start()
    report = deployment.audit(settle=20)
    writer.join()

    assert report.exact
    assert numbers(report) == {"records": 10, "answered": 10}


def test_the_same_answers_have_the_same_digests_whatever_their_topics_and_order(deployment: Deployment) -> None:
    deployment.produce(10)
    deployment.answer(*range(10))
    report = deployment.audit()
    again = audit(deployment.settings, [deployment.source], [deployment.fraud], settle=0)
    assert report.differences(again) == [f"{deployment.source}/0"]

    deployment.answer(*reversed(range(10)), topic=deployment.fraud)
    again = audit(deployment.settings, [deployment.source], [deployment.fraud], settle=0)
    assert report.differences(again) == []

    deployment.answer(9, topic=deployment.fraud, value="another")
    again = audit(deployment.settings, [deployment.source], [deployment.fraud], settle=0)
    assert report.differences(again) == [f"{deployment.source}/0"]


def test_dead_letters_with_another_reason_have_another_digest(deployment: Deployment) -> None:
    deployment.produce(1)
    deployment.dead_letter(0)
    digest = deployment.audit().inputs[f"{deployment.source}/0"].digest
    deployment.dead_letter(0, error=b"another")
    other = deployment.audit().inputs[f"{deployment.source}/0"].digest

    assert (int(other, 16) - int(digest, 16)) % 2**128 != int(digest, 16)


def test_a_topic_that_is_missing_is_told(deployment: Deployment) -> None:
    with pytest.raises(BrokerError, match=r"topic nowhere does not exist"):
        audit(deployment.settings, [deployment.source], ["nowhere"])


@contextmanager
def transaction(producer: Producer, end: str) -> Iterator[None]:
    producer.begin_transaction()
    yield
    assert producer.flush(30) == 0
    getattr(producer, f"{end}_transaction")()


@pytest.mark.kafka
def test_what_transactions_took_back_is_neither_record_nor_answer(on_kafka: Deployment) -> None:
    producer = on_kafka.make_producer(**{"transactional.id": on_kafka.settings.application_id})
    producer.init_transactions(30)
    with transaction(producer, "commit"):  # offsets 0, 1, 2 and its mark
        on_kafka.produce(3, producer=producer)
    with transaction(producer, "abort"):  # 4, 5 and its mark
        on_kafka.produce(2, producer=producer)
    with transaction(producer, "commit"):  # 7
        on_kafka.produce(1, producer=producer)
        on_kafka.answer(0, 1, 2, producer=producer)
    with transaction(producer, "abort"):
        on_kafka.answer(0, 7, producer=producer)
    with transaction(producer, "commit"):
        on_kafka.answer(7, producer=producer)
    with transaction(producer, "abort"):  # marks at the end of both
        on_kafka.produce(1, producer=producer)
        on_kafka.answer(8, producer=producer)
    on_kafka.commit(12)

    report = on_kafka.audit()

    assert report.exact
    assert numbers(report) == {"records": 4, "answered": 4}

    with transaction(producer, "commit"):  # an answer to a record that was taken back, and one to a mark
        on_kafka.answer(4, 3, producer=producer)
    assert numbers(on_kafka.audit()) == {"records": 4, "answered": 4, "foreign": 2}


@pytest.mark.kafka
def test_behind_an_open_transaction_of_another_nothing_is_called_lost(on_kafka: Deployment) -> None:
    on_kafka.produce(4)
    on_kafka.answer(0)
    held = on_kafka.make_producer(**{"transactional.id": on_kafka.settings.application_id})
    held.init_transactions(30)
    held.begin_transaction()
    on_kafka.answer(1, producer=held)
    on_kafka.answer(2, 3)
    on_kafka.commit(4)

    report = on_kafka.audit(settle=1)
    assert report.held_back == [f"{on_kafka.legit}/0"]
    assert numbers(report) == {"records": 4, "answered": 1, "pending": 3}

    ended = threading.Timer(1.0, held.commit_transaction)
    ended.start()
    report = on_kafka.audit(settle=20)
    ended.join()
    assert report.held_back == []
    assert numbers(report) == {"records": 4, "answered": 4}


@pytest.mark.kafka
def test_compacted_records_leave_gaps_that_nobody_misses(kafka: Broker, deploy: Callable[..., Deployment]) -> None:
    config = {"segment_ms": "100", "min_cleanable_dirty_ratio": "0.01", "delete_retention_ms": "100"}
    deployment = deploy(kafka, cleanup_policy="compact", **config)
    for _ in range(20):
        deployment.produce(5)  # the same five keys
    report = deployment.audit()
    deadline = monotonic() + 100
    while report.records == report.inputs[f"{deployment.source}/0"].end:
        assert monotonic() < deadline, "expected the cleaner to have come by"
        sleep(0.5)
        deployment.produce(1)  # a segment ends when something comes after its time
        report = deployment.audit()
    count = report.inputs[f"{deployment.source}/0"]
    deployment.answer(*_offsets(deployment))
    deployment.commit(count.end)

    again = deployment.audit()

    assert (again.lost, again.pending, again.doubled) == (0, 0, 0)
    assert again.exact or again.records < report.records  # what the cleaner took meanwhile has an answer too many


def _offsets(deployment: Deployment) -> list[int]:
    consumer = Consumer({"bootstrap.servers": deployment.broker.address, "group.id": "nobody"})
    consumer.assign([TopicPartition(deployment.source, 0, 0)])
    found: list[int] = []
    while messages := consumer.consume(10_000, 2.0):
        found += [message.offset() for message in messages]
    consumer.close()
    return found


@pytest.mark.kafka
def test_outputs_whose_beginning_is_deleted_are_told(on_kafka: Deployment) -> None:
    on_kafka.produce(3)
    on_kafka.answer(0, 1, 2)
    on_kafka.commit(3)
    admin = AdminClient({"bootstrap.servers": on_kafka.broker.address})
    for future in admin.delete_records([TopicPartition(on_kafka.legit, 0, 2)]).values():
        future.result()

    report = on_kafka.audit()

    assert report.cut == [f"{on_kafka.legit}/0"]
    assert numbers(report) == {"records": 3, "answered": 1, "lost": 2}


@pytest.mark.kafka
def test_a_broker_that_falls_silent_is_an_error(on_kafka: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    on_kafka.produce(3)
    monkeypatch.setattr(module, "PATIENCE", 0.0)
    consumer = Consumer(
        {"bootstrap.servers": on_kafka.broker.address, "group.id": "nobody", "enable.partition.eof": True}
    )
    reading = module.Reading(consumer, {(on_kafka.source, 0): 0})

    with pytest.raises(BrokerError, match=r"nothing came for 0 s, at offset [03]"):
        reading.read({(on_kafka.source, 0): 99}, lambda _address, _message: None, 99)
    consumer.close()
