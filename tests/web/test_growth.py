"""Topics that gain partitions while the pages read them."""

import json
from typing import Any

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewPartitions

from broker.topics import TopicSpec, create_missing
from detection.loading import load
from detection.program import Engine
from detection.records import Record, Verdict
from detection.settings import WebUser
from tests.conftest import wait_until
from tests.web.conftest import TOKEN, transfer
from tests.web.review.test_review import PACK
from web import following

USERS = (WebUser("ana", "analyst", TOKEN),)
BEARER = {"authorization": f"Bearer {TOKEN}"}


@pytest.mark.kafka
def test_verdicts_in_a_partition_that_their_topic_gained_are_shown_and_reviewed(
    page, deployment, kafka, topic_name, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "_LOOK_SECONDS", 0.1)
    kinds = ("transactions", "fraud", "review", "legit", "dead_letter", "labels", "audit")
    topics = {f"{kind}_topic": topic_name(kind) for kind in kinds}
    settings = deployment.settings.model_copy(update={"kafka_broker_url": kafka.address, **topics})
    create_missing(settings, dict.fromkeys(topics.values(), TopicSpec(partitions=1, replication=1)))
    deployment.pack = load([PACK], settings.topics)
    served = page(users=USERS, loopback=False, review=True, settings=settings)
    admin = AdminClient({"bootstrap.servers": kafka.address})
    grown = [NewPartitions(settings.fraud_topic, 2), NewPartitions(settings.transactions_topic, 2)]
    for future in admin.create_partitions(grown).values():
        future.result()
    wait_until(
        lambda: all(
            len(admin.list_topics(topic, timeout=5).topics[topic].partitions) == 2
            for topic in (settings.fraud_topic, settings.transactions_topic)
        )
    )

    event = Record(settings.transactions_topic, 1, 0, 1_700_000_000_000, b"k", transfer(900))
    answer = Engine(deployment.pack).judge(event)
    assert isinstance(answer, Verdict)
    producer = Producer({"bootstrap.servers": kafka.address})
    producer.produce(event.topic, event.value, event.key, 1)
    producer.produce(answer.topic, answer.value, answer.key, 1)
    producer.produce(event.topic, event.value, event.key, 1)  # has no answer yet
    assert producer.flush(30) == 0

    def get(path: str) -> Any:
        return json.loads(served.client.get(path, headers=BEARER).content)

    wait_until(lambda: get("/api/state")["words"].get("FRAUD") == 1, 60)
    wait_until(lambda: [row["origin"] for row in get("/api/review")["rows"]] == [event.origin], 60)
    wait_until(lambda: get("/api/state")["lag"] == 1, 60)
