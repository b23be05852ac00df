import logging
import time

import pytest
from confluent_kafka import Consumer, Producer
from confluent_kafka.admin import AdminClient
from structlog.testing import capture_logs

from broker import config
from broker.config import admin_config, consumer_config, passed_through, producer_config
from broker.logs import ClientLog
from detection.settings import Settings, SettingsError

KINDS = [(consumer_config, Consumer), (producer_config, Producer), (admin_config, AdminClient)]


@pytest.fixture(autouse=True)
def nothing_was_warned_about_yet():
    config._spelling.cache_clear()


def complaints(**kafka):
    with pytest.raises(SettingsError) as caught:
        passed_through(Settings(kafka={name.replace("_", "."): value for name, value in kafka.items()}))
    return caught.value.lines


@pytest.mark.parametrize(("make", "client"), KINDS)
def test_a_client_takes_its_configuration(make, client, embedded):
    assert client(make(Settings(kafka_broker_url=embedded.address))).list_topics(timeout=5).brokers


@pytest.mark.parametrize(("make", "_client"), KINDS)
def test_what_the_environment_says_wins_in_every_client(make, _client):
    settings = Settings(kafka={"client.id": "mine", "socket.keepalive.enable": "false", "sasl.username": "u"})

    made = make(settings)

    assert (made["client.id"], made["socket.keepalive.enable"], made["sasl.username"]) == ("mine", "false", "u")


def test_a_second_name_of_a_setting_wins_too(embedded):
    made = producer_config(Settings(kafka_broker_url=embedded.address, kafka={"queue.buffering.max.ms": "0"}))

    assert list(made).index("queue.buffering.max.ms") > list(made).index("linger.ms")  # the later one counts


def test_the_one_setting_with_an_underscore_is_found():
    assert passed_through(Settings(kafka={"log.level": "7"})) == {"log_level": "7"}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("sasl.mechanism", "SCRAM-SHA-512"),
        ("security.protocol", "SASL_SSL"),
        ("ssl.ca.location", "/etc/ca.pem"),
        ("ssl.key.password", "hunter2"),
        ("enable.ssl.certificate.verification", "false"),
        ("sasl.oauthbearer.token.endpoint.url", "https://login"),
        ("statistics.interval.ms", "1000"),
        ("debug", "broker,topic"),
    ],
)
def test_settings_of_librdkafka_pass_through(name, value):
    with capture_logs() as logs:
        assert passed_through(Settings(kafka={name: value})) == {name: value}
    assert not logs


def test_a_variable_librdkafka_does_not_know_is_one_warning_and_no_error():
    settings = Settings(kafka={"port": "tcp://10.0.0.1:9092", "service.host": "10.0.0.1", "linger.ms": "1"})

    with capture_logs() as logs:
        assert passed_through(settings) == {"linger.ms": "1"}
        assert passed_through(settings) == {"linger.ms": "1"}

    assert [(line["log_level"], line["variable"]) for line in logs] == [
        ("warning", "KAFKA_PORT"),
        ("warning", "KAFKA_SERVICE_HOST"),
    ]


@pytest.mark.parametrize("name", ["logger", "default.topic.config", "error.cb", "on.delivery", "stats.cb"])
def test_what_only_python_can_set_is_not_taken_from_the_environment(name):
    with capture_logs() as logs:
        assert passed_through(Settings(kafka={name: "x"})) == {}
    assert len(logs) == 1


@pytest.mark.parametrize(
    "name",
    [
        "acks",
        "request.required.acks",
        "enable.auto.commit",
        "auto.commit.enable",
        "enable.auto.offset.store",
        "enable.idempotence",
        "message.timeout.ms",
        "delivery.timeout.ms",
        "delivery.report.only.error",
        "auto.offset.reset",
        "isolation.level",
        "enable.partition.eof",
    ],
)
def test_what_would_lose_or_double_events_cannot_be_set(name):
    variable = "KAFKA_" + name.upper().replace(".", "_")

    with pytest.raises(SettingsError) as caught:
        producer_config(Settings(kafka={name: "1"}))

    assert caught.value.lines == [
        f"{variable}: expected no value, got one for {name}: leave it out, or events are lost or judged twice"
    ]


@pytest.mark.parametrize(
    ("name", "instead"),
    [
        ("bootstrap.servers", "KAFKA_BROKER_URL"),
        ("metadata.broker.list", "KAFKA_BROKER_URL"),
        ("test.mock.num.brokers", "KAFKA_BROKER_URL"),
        ("group.id", "APPLICATION_ID"),
        ("transactional.id", "APPLICATION_ID"),
    ],
)
def test_what_has_a_variable_of_its_own_is_sent_there(name, instead):
    (line,) = complaints(**{name: "x"})

    assert line.endswith(f"set {instead} instead")


def test_all_bad_values_are_told_at_once():
    lines = complaints(acks="1", linger_ms="soon", compression_type="zip")

    assert [line.split(":")[0] for line in lines] == ["KAFKA_ACKS", "KAFKA_LINGER_MS", "KAFKA_COMPRESSION_TYPE"]
    assert lines[2].endswith('Invalid value "zip" for configuration property "compression.codec"')


@pytest.mark.parametrize("name", ["ssl.key.pem", "sasl.password", "sasl.oauthbearer.client.secret", "ssl.key.password"])
def test_a_refused_secret_is_not_shown(name, monkeypatch):
    monkeypatch.setattr(config, "_refusal", lambda _name, value: value and f'Invalid value "{value}"')

    with pytest.raises(SettingsError) as caught:
        passed_through(Settings(kafka={name: "hunter2"}))

    assert "hunter2" not in str(caught.value)
    assert caught.value.lines[0].startswith("KAFKA_" + name.upper().replace(".", "_"))


def test_a_secret_is_in_no_log_line_even_when_librdkafka_tells_everything(embedded, capfd):
    secret = {"sasl.password": "hunter2", "ssl.key.password": "hunter2", "sasl.username": "u", "debug": "all"}
    with capture_logs() as logs:
        client = Producer(producer_config(Settings(kafka_broker_url=embedded.address, kafka=secret)))
        client.list_topics(timeout=5)
        client.poll(0.2)

    assert len(logs) > 10
    assert "hunter2" not in str(logs) + "".join(capfd.readouterr())


def test_librdkafka_writes_to_our_log_at_its_own_level_and_not_to_stderr(capfd):
    with capture_logs() as logs:
        client = Consumer(consumer_config(Settings(kafka_broker_url="127.0.0.1:1", kafka={"linger.ms": "1"})))
        deadline = time.monotonic() + 10
        while "FAIL" not in {line["facility"] for line in logs} and time.monotonic() < deadline:
            client.poll(0.1)
        client.close()

    assert {line["log_level"] for line in logs if line["facility"] == "FAIL"} == {"error"}
    # That linger.ms is for producers is no news: what the environment sets goes to both.
    assert "CONFWARN" not in {line["facility"] for line in logs}
    assert not capfd.readouterr().err


def test_a_line_that_comes_again_is_logged_once():
    log = ClientLog()
    with capture_logs() as logs:
        for milliseconds in range(3):
            log.log(logging.ERROR, "", "FAIL", "fraud#consumer-1", f"refused (after {milliseconds}ms in state CONNECT)")
        log.log(logging.ERROR, "", "FAIL", "fraud#consumer-1", "timed out")

    assert [line["event"] for line in logs] == ["refused", "timed out"]
