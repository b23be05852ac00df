import socket

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from broker.embedded import EmbeddedBroker


def test_its_address_is_a_host_and_a_port_that_answers(embedded):
    host, port = embedded.address.split(":")

    assert host == "127.0.0.1"
    socket.create_connection((host, int(port)), timeout=2).close()


def test_nothing_answers_any_more_after_the_end():
    with EmbeddedBroker() as broker:
        host, port = broker.address.split(":")

    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((host, int(port)), timeout=2)


def test_two_brokers_in_one_process_do_not_share_topics():
    with EmbeddedBroker() as one, EmbeddedBroker() as other:
        one.create_topic("mine")

        assert list(AdminClient({"bootstrap.servers": one.address}).list_topics(timeout=5).topics) == ["mine"]
        assert not AdminClient({"bootstrap.servers": other.address}).list_topics(timeout=5).topics


@pytest.mark.parametrize("partitions", [1, 7, 64])
def test_a_topic_has_as_many_partitions_as_asked(embedded, topic_name, partitions):
    name = topic_name()
    embedded.create_topic(name, partitions)

    topics = AdminClient({"bootstrap.servers": embedded.address}).list_topics(timeout=5).topics

    assert len(topics[name].partitions) == partitions


def test_a_topic_that_exists_is_not_made_again(embedded, new_topic):
    name = new_topic(embedded)

    with pytest.raises(ValueError, match="expected a name no topic has"):
        embedded.create_topic(name, 2)


def test_a_topic_without_partitions_is_refused(embedded, topic_name):
    with pytest.raises(ValueError, match=r"at least 1 partition for .*, got 0"):
        embedded.create_topic(topic_name(), 0)


def test_a_topic_appears_with_four_partitions_when_a_producer_names_it(embedded, topic_name, produce):
    name = topic_name()
    produce(embedded, name, [b"x"])

    topics = AdminClient({"bootstrap.servers": embedded.address}).list_topics(timeout=5).topics

    assert len(topics[name].partitions) == 4


def test_a_look_at_a_missing_topic_makes_none(embedded, topic_name):
    name = topic_name()
    consumer = Consumer({"bootstrap.servers": embedded.address, "group.id": "g", "allow.auto.create.topics": False})

    assert consumer.list_topics(name, timeout=5).topics[name].error
    assert name not in consumer.list_topics(timeout=5).topics
    consumer.close()


def test_a_partition_keeps_its_newest_five_megabytes_only(embedded, new_topic, produce):
    name = new_topic(embedded)
    produce(embedded, name, [b"x" * 1_000] * 20_000)  # 20 MB, not compressed

    consumer = Consumer({"bootstrap.servers": embedded.address, "group.id": "g"})
    first, end = consumer.get_watermark_offsets(TopicPartition(name, 0), timeout=5)
    consumer.close()

    assert end == 20_000
    assert 4_000_000 < (end - first) * 1_000 <= 5 * 1024 * 1024


def test_a_transaction_isolates_nothing_there(embedded, new_topic, topic_name, consume_all):
    name = new_topic(embedded)
    producer = Producer({"bootstrap.servers": embedded.address, "transactional.id": topic_name()})
    producer.init_transactions(10)
    producer.begin_transaction()
    producer.produce(name, b"taken back")
    producer.flush(10)
    producer.abort_transaction(10)

    assert [message.value() for message in consume_all(embedded, [name], 1)] == [b"taken back"]


def test_it_says_nothing_on_stderr(capfd):
    with EmbeddedBroker() as broker:
        AdminClient({"bootstrap.servers": broker.address, "log_level": 0}).list_topics(timeout=5)

    assert not capfd.readouterr().err
