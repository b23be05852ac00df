import json
import time
from collections import Counter
from collections.abc import Callable

import pytest
from confluent_kafka import IsolationLevel, Producer
from confluent_kafka.admin import AdminClient
from structlog.testing import capture_logs

from broker.apache import ApacheKafka
from broker.config import watching_config
from broker.embedded import EmbeddedBroker
from broker.ends import Ends
from detection.settings import Settings
from tests.conftest import wait_until


def admin(address: str) -> AdminClient:
    return AdminClient({"bootstrap.servers": address, "log_level": 0})


def refreshed(ends: Ends, condition: Callable[[], bool]) -> bool:
    ends.refresh()
    return condition()


def test_they_are_where_the_next_record_will_be_and_move_with_every_record(any_broker, new_topic, produce) -> None:
    topic = new_topic(any_broker, 2)
    produce(any_broker, topic, [b"x"] * 3, partition=1)
    ends = Ends(admin(any_broker.address), [(topic, 0), (topic, 1)])

    wait_until(lambda: refreshed(ends, lambda: ends.latest == {f"{topic}/0": 0, f"{topic}/1": 3}))
    produce(any_broker, topic, [b"x"], partition=0)
    wait_until(lambda: refreshed(ends, lambda: ends.latest == {f"{topic}/0": 1, f"{topic}/1": 3}))


def test_nothing_is_known_before_an_answer_came(embedded, new_topic) -> None:
    ends = Ends(admin(embedded.address), [(new_topic(embedded), 0)])
    ends.refresh()

    assert ends.latest == {}
    assert ends.answers == 0


def test_a_partition_may_be_added_later(embedded, new_topic) -> None:
    topic = new_topic(embedded, 2)
    ends = Ends(admin(embedded.address), [])
    ends.refresh()
    ends.watch([(topic, 1)])

    wait_until(lambda: refreshed(ends, lambda: ends.latest == {f"{topic}/1": 0}))


def test_without_a_broker_a_refresh_does_not_wait_and_the_last_answer_stays(new_topic) -> None:
    with EmbeddedBroker() as broker:
        topic = new_topic(broker)
        ends = Ends(admin(broker.address), [(topic, 0)])
        wait_until(lambda: refreshed(ends, lambda: bool(ends.latest)))
    answers = ends.answers

    began = time.monotonic()
    for _ in range(100):
        ends.refresh()

    assert time.monotonic() - began < 3
    assert ends.latest == {f"{topic}/0": 0}
    assert ends.answers <= answers + 1


def test_a_topic_that_is_missing_hides_no_other_and_is_told_once(embedded, new_topic, topic_name, monkeypatch) -> None:
    monkeypatch.setattr("broker.ends.ANSWER_SECONDS", 0.5)  # a topic may be on its way, so the client waits for it
    there, missing = new_topic(embedded), topic_name("missing")
    ends = Ends(admin(embedded.address), [(missing, 0), (there, 0)])

    with capture_logs() as logs:
        for _ in range(3):
            asked = ends._asked
            wait_until(lambda asked=asked: refreshed(ends, lambda: ends._asked is not asked))

    assert f"{missing}/0" not in ends.latest
    assert [entry["place"] for entry in logs if missing in entry["place"]] == [f"{missing}/0"]


@pytest.mark.kafka
def test_the_last_stable_offset_stays_before_an_open_transaction(kafka, new_topic, topic_name) -> None:
    topic = new_topic(kafka)
    producer = Producer({"bootstrap.servers": kafka.address, "transactional.id": topic_name()})
    producer.init_transactions(30)
    producer.begin_transaction()
    producer.produce(topic, b"x")
    producer.flush(30)
    stable = Ends(admin(kafka.address), [(topic, 0)], isolation=IsolationLevel.READ_COMMITTED)
    high = Ends(admin(kafka.address), [(topic, 0)])

    wait_until(lambda: refreshed(high, lambda: high.latest == {f"{topic}/0": 1}))
    wait_until(lambda: refreshed(stable, lambda: stable.latest == {f"{topic}/0": 0}))
    producer.commit_transaction(30)
    wait_until(lambda: refreshed(stable, lambda: stable.latest == {f"{topic}/0": 2}))  # with the mark of the commit


@pytest.mark.kafka
def test_a_broker_that_is_gone_is_looked_for_now_and_then_only(new_topic) -> None:
    attempts: Counter[int] = Counter()

    def heard(statistics: str) -> None:
        for node in json.loads(statistics)["brokers"].values():
            attempts[node["nodeid"]] = node["connects"]

    with ApacheKafka(nodes=3) as cluster:
        topic = new_topic(cluster, 3)
        config = watching_config(Settings(kafka_broker_url=cluster.address))
        asking = AdminClient({**config, "statistics.interval.ms": 100, "stats_cb": heard})
        ends = Ends(asking, [(topic, n) for n in range(3)])
        wait_until(lambda: refreshed(ends, lambda: len(ends.latest) == 3))
        asking.poll(0.2)
        before = attempts.copy()
        cluster.kill(0)
        for _ in range(50):
            ends.refresh()
            asking.poll(0.1)

    again = attempts - before
    assert again.keys() == {0}
    assert again[0] < 60
