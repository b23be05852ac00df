import socket
import time

import pytest

from broker.apache import ApacheKafka
from broker.errors import BrokerError
from broker.topics import TopicSpec, create_missing, preflight
from detection.settings import Settings

LOGIN = {
    "security.protocol": "SASL_PLAINTEXT",
    "sasl.mechanism": "PLAIN",
    "sasl.username": "fraud",
    "sasl.password": "hunter2",
}


@pytest.fixture
def nobody():
    """An address where nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{probe.getsockname()[1]}"


@pytest.fixture(scope="module")
def kafka_with_login():
    jaas = "org.apache.kafka.common.security.plain.PlainLoginModule required"
    properties = {
        "listener.security.protocol.map": "CLIENT:SASL_PLAINTEXT,CONTROLLER:PLAINTEXT",
        "sasl.enabled.mechanisms": "PLAIN",
        "sasl.mechanism.inter.broker.protocol": "PLAIN",
        "listener.name.client.plain.sasl.jaas.config": (
            f'{jaas} username="broker" password="b" user_broker="b" user_fraud="hunter2";'
        ),
    }
    with ApacheKafka(properties=properties, client=LOGIN) as broker:
        yield broker


def settings_for(broker, **kafka):
    return Settings(kafka_broker_url=broker.address, kafka=kafka)


def refusal(settings, topics=()):
    """The line, and the seconds it took."""
    start = time.monotonic()
    with pytest.raises(BrokerError) as caught:
        preflight(settings, topics)
    assert "\n" not in str(caught.value)
    return str(caught.value), time.monotonic() - start


def test_it_tells_the_partitions_of_what_was_asked_and_of_nothing_else(any_broker, new_topic):
    one, three = new_topic(any_broker, 1), new_topic(any_broker, 3)
    new_topic(any_broker, 5)

    assert preflight(settings_for(any_broker), [three, one, three]) == {three: 3, one: 1}


def test_no_broker_is_one_line_within_ten_seconds(nobody):
    line, seconds = refusal(Settings(kafka_broker_url=nobody), ["clicks"])

    assert line == f"no Kafka broker answers at {nobody} within 9 s: start one, or set KAFKA_BROKER_URL"
    assert seconds < 20


def test_a_broker_that_accepts_and_is_silent_is_one_line_within_ten_seconds():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        line, seconds = refusal(Settings(kafka_broker_url=address))

    assert line.startswith(f"no Kafka broker answers at {address} within 9 s")
    assert seconds < 20


def test_a_missing_topic_is_named(any_broker, topic_name):
    name = topic_name()

    assert refusal(settings_for(any_broker), [name])[0] == (
        f"topic {name} does not exist on {any_broker.address}: create what is missing with `fraud topics`"
    )


def test_all_missing_topics_are_named_at_once(any_broker, topic_name, new_topic):
    one, other = topic_name("one"), topic_name("other")

    assert refusal(settings_for(any_broker), [one, new_topic(any_broker), other])[0].startswith(
        f"topics {one}, {other} do not exist on "
    )


def test_a_preflight_makes_no_topic(any_broker, topic_name):
    name = topic_name()
    refusal(settings_for(any_broker), [name])

    assert f"topic {name} does not exist" in refusal(settings_for(any_broker), [name])[0]


def test_tls_to_a_broker_without_it_names_what_to_check(embedded):
    line, seconds = refusal(settings_for(embedded, **{"security.protocol": "SSL"}))

    assert line.startswith(f"no TLS with {embedded.address}: ")
    assert line.endswith("check KAFKA_SECURITY_PROTOCOL and KAFKA_SSL_CA_LOCATION")
    assert seconds < 8


def test_settings_that_do_not_go_together_are_one_line(embedded):
    line, _ = refusal(settings_for(embedded, **LOGIN | {"security.protocol": "SASL_SSL", "ssl.ca.location": "/none"}))

    assert "ssl.ca.location" in line
    assert "hunter2" not in line


@pytest.mark.kafka
def test_only_the_missing_topics_are_made_and_what_exists_stays_as_it_is(kafka, new_topic, topic_name):
    settings = settings_for(kafka)
    existing, missing, default = new_topic(kafka, 3), topic_name("missing"), topic_name("default")
    topics = {
        existing: TopicSpec(partitions=9),
        missing: TopicSpec(partitions=2, replication=1, config={"retention.ms": "3600000"}),
        default: TopicSpec(),
    }

    assert create_missing(settings, topics) == [missing, default]
    assert create_missing(settings, topics) == []
    assert preflight(settings, topics) == {existing: 3, missing: 2, default: 4}


@pytest.mark.kafka
@pytest.mark.parametrize(
    "spec", [TopicSpec(replication=99), TopicSpec(config={"no.such.setting": "1"}), TopicSpec(partitions=0)]
)
def test_a_topic_the_broker_refuses_is_named(kafka, topic_name, spec):
    name = topic_name()

    with pytest.raises(BrokerError, match=f"topic {name} cannot be created on {kafka.address}: "):
        create_missing(settings_for(kafka), {name: spec})


@pytest.mark.kafka
def test_a_login_opens_the_door_and_a_wrong_one_is_told_within_seconds(kafka_with_login):
    assert preflight(settings_for(kafka_with_login, **LOGIN), []) == {}

    line, seconds = refusal(settings_for(kafka_with_login, **LOGIN | {"sasl.password": "wrong-secret"}))
    assert line.startswith(f"{kafka_with_login.address} refuses the login: ")
    assert line.endswith("check KAFKA_SASL_MECHANISM, KAFKA_SASL_USERNAME and KAFKA_SASL_PASSWORD")
    assert "wrong-secret" not in line
    assert seconds < 8


@pytest.mark.kafka
def test_a_missing_login_is_told_as_a_wrong_protocol(kafka_with_login):
    line, seconds = refusal(settings_for(kafka_with_login))

    assert line == f"{kafka_with_login.address} closes every connection: check KAFKA_SECURITY_PROTOCOL"
    assert seconds < 20
