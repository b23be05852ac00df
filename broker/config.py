"""The configuration of every Kafka client the engine opens, and why each value is what it is.

Whatever librdkafka can be told, the environment can tell it (`KAFKA_SASL_USERNAME` sets `sasl.username`), except what
would break the promise of one verdict for each event. Which names exist is asked of librdkafka itself, so a setting
of tomorrow's release works without a change here.
"""

import logging
import re
from functools import cache
from typing import Any

import structlog
from confluent_kafka import KafkaException, Producer

from broker.errors import error_in
from broker.logs import ClientLog
from detection.settings import Settings, SettingsError

_log = structlog.get_logger(__name__)

LARGEST_VERDICT = 2 * 1024 * 1024
"""What topics of ours take, bytes: twice Kafka's default for an event."""

_UNKNOWN = "No such configuration property"
_NOBODYS = "no.such.property"
_SECRET = re.compile(r"password|passphrase|secret|pem|token|credential|oauthbearer\.config")

# What the engine relies on, under every name librdkafka has for it, and what to do instead of changing it.
_OURS = {
    "bootstrap.servers": "set KAFKA_BROKER_URL instead",
    "metadata.broker.list": "set KAFKA_BROKER_URL instead",
    "test.mock.num.brokers": "set KAFKA_BROKER_URL instead",
    "group.id": "set APPLICATION_ID instead",
    "transactional.id": "set APPLICATION_ID instead",
    **dict.fromkeys(
        [
            "acks",
            "auto.commit.enable",
            "auto.offset.reset",
            "delivery.report.only.error",
            "delivery.timeout.ms",
            "enable.auto.commit",
            "enable.auto.offset.store",
            "enable.idempotence",
            "enable.partition.eof",
            "isolation.level",
            "message.timeout.ms",
            "request.required.acks",
        ],
        "leave it out, or events are lost or judged twice",
    ),
}

# Taken by confluent_kafka itself, which wants Python objects there.
_NO_TEXT = frozenset({"default.topic.config", "logger", "on.delivery"})


def consumer_config(settings: Settings) -> dict[str, Any]:
    """For the sources, which assign partitions themselves and keep their offsets in the snapshots."""
    return {
        **_common(settings),
        "group.id": settings.application_id,
        # Only a snapshot makes an offset final; the source commits after it, for lag tools.
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        # An offset the broker no longer has is an error to tell, not a place to jump away from.
        "auto.offset.reset": "error",
        # Off by default in librdkafka: a flipped bit would be judged.
        "check.crcs": True,
        # A typing error in a topic's name must not make a topic.
        "allow.auto.create.topics": False,
        # An end of partition is news only to who reads a tail, and that one asks for it.
        "enable.partition.eof": False,
        # What an upstream transaction took back never happened.
        "isolation.level": "read_committed",
        # How long a broker holds an empty answer back: with several partitions, this is latency.
        "fetch.wait.max.ms": 10,
        # Enough for a worker to be busy between two fetches at 200,000 records a second, in 64 MiB at the most.
        "queued.min.messages": 200_000,
        "queued.max.messages.kbytes": 65_536,
        **passed_through(settings),
    }


def producer_config(settings: Settings) -> dict[str, Any]:
    """For the sinks, which confirm every record before a snapshot."""
    return {
        **_common(settings),
        # No duplicate and no swap within a session, and written on all replicas in sync before it counts.
        "enable.idempotence": True,
        "acks": "all",
        # Never give a message up: one that timed out may still have been written, and giving up one partition's
        # batch makes the client write others' again (librdkafka #4953). The sink has its own deadline.
        "message.timeout.ms": 0,
        # So nothing but the metadata tells that a topic was deleted: a transaction that begins with it asks for ever.
        "topic.metadata.refresh.interval.ms": 10_000,
        # And it hopes so long that the topic will turn up again: by default until an alarm says that nothing goes on.
        "topic.metadata.propagation.max.ms": 10_000,
        # Success is counted by flush(); a callback for each of 200,000 records a second is not needed.
        "delivery.report.only.error": True,
        # 5 ms fill a batch under load, and nobody notices them.
        "linger.ms": 5,
        "batch.num.messages": 10_000,
        # Verdicts repeat their member names; lz4 costs the least processor time for that.
        "compression.type": "lz4",
        # Room for ten seconds of a slow broker, in 256 MiB at the most.
        "queue.buffering.max.messages": 2_000_000,
        "queue.buffering.max.kbytes": 262_144,
        # A verdict is larger than its event, which may be as large as its own topic takes.
        "message.max.bytes": LARGEST_VERDICT,
        # Java's choice of partition, so that a topic keyed by others lines up with ours.
        "partitioner": "murmur2_random",
        **passed_through(settings),
    }


def admin_config(settings: Settings) -> dict[str, Any]:
    """For a look at the cluster and the creation of topics: a person waits for the answer."""
    return {
        **_common(settings),
        # What goes wrong is raised, in one line.
        "logger": ClientLog(at_most=logging.DEBUG),
        # Connected to all brokers, not only when one is asked. As long as a question waits for a broker that is dead,
        # librdkafka 2.16 otherwise tries to connect without a pause: seen 6,000 times a second, on both cores.
        "enable.sparse.connections": False,
        "socket.timeout.ms": 10_000,
        "socket.connection.setup.timeout.ms": 5_000,
        **passed_through(settings),
    }


def watching_config(settings: Settings) -> dict[str, Any]:
    """For asking on and on, while nobody waits: a question may be open at the end, which is nothing to tell."""
    return {"log_level": 4, **admin_config(settings)}


def passed_through(settings: Settings) -> dict[str, str]:
    """The librdkafka settings of the environment, spelled and checked.

    A name librdkafka does not know is a warning, once: Kubernetes itself sets `KAFKA_PORT` for a service named kafka.

    Raises:
        SettingsError: A value librdkafka does not take, or a setting that is the engine's own.
    """
    known: dict[str, str] = {}
    complaints = []
    for name, value in settings.kafka.items():
        if name in _OURS:
            complaints.append(f"{_variable(name)}: expected no value, got one for {name}: {_OURS[name]}")
            continue
        spelling = _spelling(name)
        if spelling is None:
            continue
        if problem := _refusal(spelling, value):
            # librdkafka's text may contain the value, under names for secrets we keep it back.
            told = "" if _SECRET.search(name) else f": {problem}"
            complaints.append(f"{_variable(name)}: expected a value librdkafka takes for {name}, got another{told}")
        known[spelling] = value
    if complaints:
        raise SettingsError(complaints)
    return known


def _common(settings: Settings) -> dict[str, Any]:
    return {
        "bootstrap.servers": settings.kafka_broker_url,
        "client.id": settings.application_id,
        "logger": ClientLog(),
        # A broker that is back is found within a second, not within ten.
        "reconnect.backoff.max.ms": 1_000,
        # Firewalls forget silent connections.
        "socket.keepalive.enable": True,
    }


@cache
def _spelling(name: str) -> str | None:
    """How librdkafka writes a name that has dots only: `log_level` is the one setting it writes with an underscore."""
    if name not in _NO_TEXT:
        for spelling in (name, name.replace(".", "_")):
            if not (_refusal(spelling, "") or "").startswith(_UNKNOWN):
                return spelling
    _log.warning("ignored: librdkafka has no such setting", variable=_variable(name), setting=name)
    return None


def _refusal(name: str, value: str) -> str | None:
    """What librdkafka says against a setting, None when it takes it.

    Properties are taken in order and the second one never exists, so no client is ever made.
    """
    try:
        Producer({name: value, _NOBODYS: ""})
    except KafkaException as exception:
        told = error_in(exception).str().strip()
    except (AttributeError, TypeError):  # confluent_kafka's own settings, which take callables
        told = _UNKNOWN
    return None if _NOBODYS in told else told


def _variable(name: str) -> str:
    return "KAFKA_" + name.replace(".", "_").upper()
