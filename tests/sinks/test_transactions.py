import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any, cast
from uuid import uuid4

import pytest
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, TopicPartition

from broker.config import producer_config
from broker.errors import BrokerError
from detection.settings import Settings
from sinks.kafka import DeliveryError
from sinks.transactions import EVERY, Commits, TransactionalOutbox, TransactionalOutboxes, fence
from tests.conftest import Broker, wait_until


class Clock:
    """Stands still unless a test moves it."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Reader:
    """What a `read_committed` reader has seen of a topic with one partition."""

    def __init__(self, broker: Broker, topic: str) -> None:
        self._consumer = Consumer({"bootstrap.servers": broker.address, "group.id": "nobody", "fetch.wait.max.ms": 10})
        self._consumer.assign([TopicPartition(topic, 0, OFFSET_BEGINNING)])
        self._seen: list[bytes | None] = []

    def seen(self) -> list[bytes | None]:
        self._seen += [message.value() for message in self._consumer.consume(1_000, 0.3)]
        return self._seen


class Scene:
    def __init__(self, broker: Broker, topic: str) -> None:
        self.settings = Settings(kafka_broker_url=broker.address, application_id=uuid4().hex)
        self.config = producer_config(self.settings)
        self.topic = topic
        self.clock = Clock()
        self.reader = Reader(broker, topic)

    def outbox(self, number: int = 0) -> TransactionalOutbox:
        fenced = fence(self.config, self.settings.application_id, [number])
        outboxes = TransactionalOutboxes(fenced, clock=self.clock)
        opened = outboxes.open(number)
        assert outboxes.mine() is opened
        return opened

    def write(self, outbox: TransactionalOutbox, *values: bytes) -> None:
        outbox.write(self.topic, [{"value": value} for value in values])


@pytest.fixture
def scene(kafka: Broker, new_topic: Callable[..., str]) -> Iterator[Scene]:
    return Scene(kafka, new_topic(kafka))


pytestmark = pytest.mark.kafka


def test_what_is_written_counts_when_it_is_committed_and_not_before(scene: Scene) -> None:
    outbox = scene.outbox()
    scene.write(outbox, b"1", b"2")
    outbox.write_one(scene.topic, None, b"3", [("fraud.origin", b"t/0/1")])
    assert scene.reader.seen() == []

    outbox.confirm()

    wait_until(lambda: scene.reader.seen() == [b"1", b"2", b"3"])


def test_a_tick_commits_when_it_is_time(scene: Scene) -> None:
    outbox = scene.outbox()
    scene.write(outbox, b"1")
    outbox.tick()  # the first time is at once
    wait_until(lambda: scene.reader.seen() == [b"1"])
    scene.write(outbox, b"2")
    scene.clock.now += EVERY * 0.9
    outbox.tick()
    assert scene.reader.seen() == [b"1"]

    scene.clock.now += EVERY * 0.2
    outbox.tick()

    wait_until(lambda: scene.reader.seen() == [b"1", b"2"])


def test_ticks_and_confirmations_without_anything_written_ask_nobody(scene: Scene) -> None:
    outbox = scene.outbox()
    for _ in range(3):
        scene.clock.now += 1
        outbox.tick()
        outbox.confirm()

    scene.write(outbox, b"1")
    outbox.confirm()
    wait_until(lambda: scene.reader.seen() == [b"1"])


def test_who_starts_under_a_name_takes_back_what_the_older_one_had_not_committed(scene: Scene) -> None:
    older = scene.outbox()
    scene.write(older, b"committed")
    older.confirm()
    scene.write(older, b"on its way")
    older.poll()

    newer = scene.outbox()
    scene.write(newer, b"newer")
    newer.confirm()
    scene.write(older, b"late")
    with pytest.raises(DeliveryError):
        older.confirm()

    wait_until(lambda: b"newer" in scene.reader.seen())
    assert scene.reader.seen() == [b"committed", b"newer"]


def test_the_one_that_is_shut_out_says_why(scene: Scene) -> None:
    older = scene.outbox()
    scene.write(older, b"1")
    scene.outbox()

    with pytest.raises(DeliveryError, match=r"another process has taken the name over \(is APPLICATION_ID used twice"):
        older.confirm()


def test_a_fence_that_the_brokers_refuse_is_told_with_its_name_and_their_reason() -> None:
    refusal = KafkaError(KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED)

    class Refused:
        def __init__(self, _: dict[str, Any]) -> None:
            pass

        def list_topics(self, timeout: float) -> None:
            pass

        def init_transactions(self, timeout: float) -> None:
            raise KafkaException(refusal)

    with pytest.raises(
        BrokerError, match=f"^app-0: its older transactions cannot be ended: {re.escape(refusal.str())}"
    ):
        fence({}, "app", [0], cast("Any", Refused))


def test_each_worker_has_a_name_of_its_own_and_those_are_fenced_that_are_asked_for(scene: Scene) -> None:
    outboxes = [scene.outbox(number) for number in range(3)]
    for number, outbox in enumerate(outboxes):
        scene.write(outbox, b"%d" % number)
        outbox.confirm()
    wait_until(lambda: sorted(scene.reader.seen()) == [b"0", b"1", b"2"])

    fence(scene.config, scene.settings.application_id, [0, 2])

    for outbox in (outboxes[0], outboxes[2]):
        scene.write(outbox, b"late")
        with pytest.raises(DeliveryError):
            outbox.confirm()
    scene.write(outboxes[1], b"in time")
    outboxes[1].confirm()
    wait_until(lambda: sorted(scene.reader.seen()) == [b"0", b"1", b"2", b"in time"])


def test_a_start_that_was_overtaken_stays_shut_out_and_shuts_nobody_out_when_it_goes_on(scene: Scene) -> None:
    overtaken = fence(scene.config, scene.settings.application_id, [0])
    newer = scene.outbox()
    scene.write(newer, b"newer")
    newer.confirm()

    older = TransactionalOutboxes(overtaken, clock=scene.clock).open(0)
    scene.write(older, b"older")
    with pytest.raises(DeliveryError, match="another process has taken the name over"):
        older.confirm()

    scene.write(newer, b"newest")
    newer.confirm()
    wait_until(lambda: scene.reader.seen() == [b"newer", b"newest"])


def test_the_ticks_of_a_worker_end_when_told_and_give_no_item(scene: Scene) -> None:
    told = False
    outboxes = TransactionalOutboxes(fence(scene.config, scene.settings.application_id, [0]), clock=scene.clock)
    ticks = Commits(outboxes, lambda: told).build("commits", 0, 1)

    assert list(ticks.next_batch()) == []
    awake = ticks.next_awake()
    assert awake is not None
    assert (awake - datetime.now(UTC)).total_seconds() < EVERY
    told = True
    with pytest.raises(StopIteration):
        ticks.next_batch()


def test_a_transaction_that_failed_says_why_once_and_not_that_the_client_is_in_a_state(scene: Scene, capsys) -> None:
    outbox = scene.outbox()
    scene.outbox()  # takes the name over
    scene.write(outbox, b"1")
    wait_until(lambda: fails(lambda: scene.write(outbox, b"2")))

    for again in (outbox.confirm, lambda: scene.write(outbox, b"3"), outbox.confirm):
        with pytest.raises(DeliveryError, match="another process has taken the name over"):
            again()
    assert capsys.readouterr().out.count("another process has taken the name over") == 1


def test_a_fatal_error_that_comes_up_between_two_commits_says_too_that_the_name_was_taken_over(capsys) -> None:
    class Client:
        def poll(self, _: float) -> None:
            raise KafkaException(KafkaError(KafkaError._FENCED, "fenced by a newer instance", fatal=True))

    outbox = TransactionalOutbox(cast("Any", Client()), lambda: 0.0)

    with pytest.raises(DeliveryError, match="nothing can be delivered any more: another process has taken the name"):
        outbox.poll()
    assert capsys.readouterr().out.count("another process has taken the name over") == 1


def test_a_worker_without_a_name_gets_no_outbox() -> None:
    outboxes = TransactionalOutboxes({})

    with pytest.raises(RuntimeError, match="before its ticks have begun"):
        outboxes.mine()
    with pytest.raises(RuntimeError, match="worker 1 has no producer"):
        outboxes.open(1)


def fails(attempt: Callable[[], None]) -> bool:
    try:
        attempt()
    except DeliveryError:
        return True
    return False


@pytest.mark.parametrize("answers", [True, False])
def test_a_producer_is_connected_before_it_fences_and_fences_also_when_it_is_not(*, answers: bool) -> None:
    calls = []

    class Client:
        def __init__(self, config: dict[str, Any]) -> None:
            self.config = config

        def list_topics(self, *, timeout: float) -> None:
            calls.append("list_topics")
            if not answers:
                raise KafkaException(KafkaError(KafkaError._TIMED_OUT, f"after {timeout} s"))

        def init_transactions(self, timeout: float) -> None:
            calls.append("init_transactions")
            assert timeout

    fence({}, "app", [0], cast("Any", Client))

    assert calls == ["list_topics", "init_transactions"]
