from uuid import uuid4

import pytest
from confluent_kafka.admin import AdminClient, ConfigResource

from broker.topics import TopicSpec
from cli.project import topics_of
from detection.loading import load
from detection.settings import Settings
from tests.cli.conftest import PACKS


def test_topics_that_exist_are_told_with_their_partitions(fraud, transfers) -> None:
    told = fraud("topics").splitlines()

    variables = ("TRANSACTIONS_TOPIC", "LEGIT_TOPIC", "REVIEW_TOPIC", "FRAUD_TOPIC", "DEAD_LETTER_TOPIC")
    assert told == [f"exists   {transfers(variable)} (2 partitions)" for variable in variables]


def test_a_dry_run_tells_what_is_missing_and_makes_nothing(fraud, transfers, embedded) -> None:
    missing = f"missing.{uuid4().hex}"
    fraud.environment["REVIEW_TOPIC"] = missing

    told = fraud("topics", "--dry-run", "--partitions", 7).splitlines()

    assert [line for line in told if not line.startswith("exists")] == [f"would create  {missing} (7 partitions)"]
    assert missing not in AdminClient({"bootstrap.servers": embedded.address}).list_topics(timeout=5).topics


def test_without_a_broker_one_line_says_so_and_the_exit_code_is_3(fraud) -> None:
    fraud.environment["KAFKA_BROKER_URL"] = "127.0.0.1:1"

    (line,) = fraud("topics", "--dry-run", code=3).splitlines()

    assert "no Kafka broker answers at 127.0.0.1:1" in line


def test_a_topic_for_labels_that_a_pack_reads_is_compacted_as_the_review_page_needs_it() -> None:
    settings = Settings.model_construct()

    wanted = topics_of(settings, load([PACKS / "labels.toml"], settings.topics), partitions=3)

    assert wanted["fraud.labels"] == TopicSpec(partitions=3, config={"cleanup.policy": "compact"})
    assert wanted["transactions"].config == {}


@pytest.mark.kafka
def test_missing_topics_are_created_once_with_room_for_verdicts_in_the_outputs(fraud, kafka) -> None:
    suffix = uuid4().hex
    names = ("TRANSACTIONS_TOPIC", "FRAUD_TOPIC", "REVIEW_TOPIC", "LEGIT_TOPIC", "DEAD_LETTER_TOPIC")
    topics = {name: f"{name}.{suffix}" for name in names}
    fraud.environment |= {**topics, "KAFKA_BROKER_URL": kafka.address}

    created = [line for line in fraud("topics", "--partitions", 3).splitlines() if suffix in line]

    assert sorted(created) == sorted(f"created  {topic} (3 partitions)" for topic in topics.values())
    assert not any(line.startswith("created") for line in fraud("topics").splitlines())
    admin = AdminClient({"bootstrap.servers": kafka.address})
    resources = {name: ConfigResource(ConfigResource.Type.TOPIC, topic) for name, topic in topics.items()}
    configs = admin.describe_configs(list(resources.values()))
    largest = {name: int(configs[resource].result()["max.message.bytes"].value) for name, resource in resources.items()}
    assert {name: size == 2 * 1024 * 1024 for name, size in largest.items()} == {
        name: name != "TRANSACTIONS_TOPIC" for name in names
    }
