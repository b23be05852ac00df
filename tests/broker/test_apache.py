import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from confluent_kafka import Consumer, KafkaException, Producer
from confluent_kafka.admin import AdminClient

from broker import apache, java
from broker.apache import ApacheKafka
from broker.errors import BrokerError
from broker.topics import TopicSpec, create_missing, preflight
from detection.settings import Settings

pytestmark = pytest.mark.kafka


@pytest.fixture(scope="module")
def own_kafka():
    """One that may be hurt: every test leaves it running."""
    with ApacheKafka() as broker:
        yield broker


def is_alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def pid_of(broker, node=0):
    return broker._processes[node].pid


def answers(broker):
    try:
        AdminClient({"bootstrap.servers": broker.address, "log_level": 0}).list_topics(timeout=1)
    except KafkaException:
        return False
    return True


def test_a_record_survives_a_kill_and_a_restart(own_kafka, new_topic, produce, consume_all):
    topic = new_topic(own_kafka)
    produce(own_kafka, topic, [(b"k", b"before")])

    own_kafka.kill()
    assert not answers(own_kafka)
    own_kafka.restart()
    produce(own_kafka, topic, [(b"k", b"after")])

    assert [message.value() for message in consume_all(own_kafka, [topic], 2)] == [b"before", b"after"]


def test_a_start_loads_its_classes_from_the_archive_of_the_first_one(own_kafka):
    mapped = Path(f"/proc/{pid_of(own_kafka)}/maps").read_text()

    assert str(java._archive()) in mapped


@pytest.mark.parametrize("damaged", [b"", b"no archive"], ids=["none could be made", "damaged"])
def test_without_an_archive_of_classes_it_starts_all_the_same(damaged, tmp_path, monkeypatch):
    archive = tmp_path / "java.aot"
    archive.write_bytes(damaged)
    monkeypatch.setattr(java, "_archive", lambda: archive)

    with ApacheKafka() as broker:
        assert answers(broker)
        assert ApacheKafka.run_tool("org.apache.kafka.tools.TopicCommand", "--version").strip().startswith("4.")


def test_a_first_start_that_fails_is_not_tried_again(tmp_path, monkeypatch):
    archive = tmp_path / "java.aot"
    monkeypatch.setattr(java, "_archive", lambda: archive)
    monkeypatch.setattr(apache, "_ARCHIVE_SECONDS", 0.0)
    told = []

    for _ in range(2):
        with ApacheKafka(progress=told.append) as broker:
            assert answers(broker)

    assert len(told) == 1
    assert archive.stat().st_size == 0


def test_a_restart_keeps_the_address(own_kafka):
    address = own_kafka.address

    own_kafka.restart()

    assert own_kafka.address == address
    assert answers(own_kafka)


def test_a_paused_broker_keeps_its_port_open_and_answers_nobody_until_resumed(own_kafka):
    host, port = own_kafka.address.split(":")

    own_kafka.pause()
    try:
        socket.create_connection((host, int(port)), timeout=2).close()
        assert not answers(own_kafka)
    finally:
        own_kafka.resume()

    assert answers(own_kafka)


def test_a_missing_topic_is_not_made_by_writing_to_it(own_kafka, topic_name):
    name = topic_name()
    errors = []
    producer = Producer({"bootstrap.servers": own_kafka.address, "message.timeout.ms": 3_000})
    producer.produce(name, b"x", on_delivery=lambda error, _message: errors.append(error))
    producer.flush(10)

    assert errors[0] is not None
    assert name not in AdminClient({"bootstrap.servers": own_kafka.address}).list_topics(timeout=5).topics


def test_a_transaction_taken_back_is_not_read(own_kafka, new_topic, topic_name, consume_all):
    topic = new_topic(own_kafka)
    producer = Producer({"bootstrap.servers": own_kafka.address, "transactional.id": topic_name()})
    producer.init_transactions(20)
    for value, end in ((b"taken back", producer.abort_transaction), (b"kept", producer.commit_transaction)):
        producer.begin_transaction()
        producer.produce(topic, value)
        producer.flush(10)
        end(10)

    assert [message.value() for message in consume_all(own_kafka, [topic], 1)] == [b"kept"]


def test_nothing_is_left_after_the_end_even_of_a_paused_broker():
    with ApacheKafka(properties={"num.partitions": "7"}) as broker:
        pid, folder = pid_of(broker), broker._folder
        settings = Settings(kafka_broker_url=broker.address)
        create_missing(settings, {"mine": TopicSpec()})
        assert preflight(settings, ["mine"]) == {"mine": 7}  # its properties are taken
        broker.pause()

    assert not is_alive(pid)
    assert not folder.exists()


def test_it_dies_with_a_parent_that_was_killed(tmp_path):
    program = (
        "import time\nfrom broker.apache import ApacheKafka\n"
        "with ApacheKafka() as broker:\n    print(broker._processes[0].pid, broker._folder, flush=True)\n    time.sleep(99)"
    )
    environment = os.environ | {"PYTHONPATH": str(Path(apache.__file__).parent.parent), "TMPDIR": str(tmp_path)}
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, env=environment
    ) as parent:
        pid = int(parent.stdout.readline().split()[0])
        assert is_alive(pid)
        parent.send_signal(signal.SIGKILL)

    deadline = time.monotonic() + 10
    while is_alive(pid):
        assert time.monotonic() < deadline, f"process {pid} lives on"
        time.sleep(0.02)


def test_a_broker_that_does_not_come_up_shows_the_end_of_its_log_and_leaves_nothing():
    broker = ApacheKafka(properties={"authorizer.class.name": "no.such.Class"})

    with pytest.raises(BrokerError, match=r"(?s)expected node 0 to come up, got exit code 1.*no\.such\.Class"), broker:
        pass

    assert not broker._folder.exists()


def test_properties_kafka_does_not_take_are_told_before_it_starts():
    with pytest.raises(BrokerError, match=r"(?s)storage to be formatted.*num\.io\.threads"):
        ApacheKafka(properties={"num.io.threads": "many"}).__enter__()


def test_three_nodes_go_on_without_one(new_topic, produce, consume_all):
    with ApacheKafka(nodes=3) as cluster:
        topic = new_topic(cluster, partitions=3)
        cluster.kill(1)
        produce(cluster, topic, [b"%d" % number for number in range(30)])

        assert len(consume_all(cluster, [topic], 30)) == 30


def test_a_consumer_group_joins_at_once(own_kafka, new_topic, produce):
    topic = new_topic(own_kafka)
    produce(own_kafka, topic, [b"x"])
    consumer = Consumer({"bootstrap.servers": own_kafka.address, "group.id": topic, "auto.offset.reset": "earliest"})
    consumer.subscribe([topic])

    message = consumer.poll(15)
    consumer.close()

    assert message is not None
    assert message.value() == b"x"


def test_a_cluster_id_that_begins_with_a_dash_is_no_option(monkeypatch):
    monkeypatch.setattr(apache, "urlsafe_b64encode", lambda _bytes: b"-kU3OEVBNTcwNTJENDM2Qk==")

    with ApacheKafka() as broker:
        assert answers(broker)
