"""Strangers' clients: Kafka's own Java tools, which share no code with ours, and kcat where it is installed."""

import os
import shutil
import subprocess

import pytest

from broker.apache import ApacheKafka

MISSING = "kcat is not installed"
needs_kcat = pytest.mark.skipif(shutil.which("kcat") is None, reason=MISSING)

RECORDS = [("k1", '{"n":1}'), ("k2", '{"n":2}'), ("k3", "ä€")]


class JavaTools:
    """org.apache.kafka.tools, of the same jars as the broker."""

    @staticmethod
    def write(address, topic):
        lines = "".join(f"{key}\t{value}\n" for key, value in RECORDS)
        properties = ("--property", "parse.key=true", "--property", "key.separator=\t")
        main = "org.apache.kafka.tools.ConsoleProducer"
        ApacheKafka.run_tool(main, "--bootstrap-server", address, "--topic", topic, *properties, feed=lines)

    @staticmethod
    def read(address, topic):
        main = "org.apache.kafka.tools.consumer.ConsoleConsumer"
        place = ("--bootstrap-server", address, "--topic", topic, "--partition", "0", "--offset", "earliest")
        limits = ("--max-messages", str(len(RECORDS)), "--timeout-ms", "30000")
        return ApacheKafka.run_tool(main, *place, *limits, "--property", "print.key=true")


class Kcat:
    """kcat, where it is installed."""

    @staticmethod
    def write(address, topic):
        lines = "".join(f"{key}\t{value}\n" for key, value in RECORDS)
        subprocess.run(
            ["kcat", "-P", "-b", address, "-t", topic, "-K", "\t"], input=lines, text=True, check=True, timeout=60
        )

    @staticmethod
    def read(address, topic):
        command = ["kcat", "-C", "-b", address, "-t", topic, "-o", "beginning", "-e", "-q", "-f", "%k\t%s\n"]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout


# Java is the stranger everywhere; kcat is another one on the machines that have it, and the one for the embedded broker,
# which Java's clients cannot use.
PAIRS = [
    ("kafka", JavaTools),
    pytest.param("kafka", Kcat, marks=needs_kcat),
    pytest.param("embedded", Kcat, marks=needs_kcat),
]


def test_kcat_is_there_where_all_must_be_tested():
    if shutil.which("kcat") is None and os.environ.get("CI") != "true":
        pytest.skip(MISSING)
    assert shutil.which("kcat")


@pytest.mark.kafka  # the Java tools come with the Kafka extra
@pytest.mark.parametrize(("broker", "stranger"), PAIRS)
def test_what_a_stranger_writes_we_read(broker, stranger, request, new_topic, consume_all):
    broker = request.getfixturevalue(broker)
    topic = new_topic(broker)

    stranger.write(broker.address, topic)

    messages = consume_all(broker, [topic], len(RECORDS))
    assert [(message.key().decode(), message.value().decode()) for message in messages] == RECORDS


@pytest.mark.kafka
@pytest.mark.parametrize(("broker", "stranger"), PAIRS)
def test_what_we_write_a_stranger_reads(broker, stranger, request, new_topic, produce):
    broker = request.getfixturevalue(broker)
    topic = new_topic(broker)
    produce(broker, topic, [(key.encode(), value.encode()) for key, value in RECORDS])

    read = stranger.read(broker.address, topic)

    assert [tuple(line.split("\t")) for line in read.splitlines()] == RECORDS
