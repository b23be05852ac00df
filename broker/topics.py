"""Topics: are they there, and how many partitions have they? Asked before anything starts; and made, if told so."""

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from broker.config import admin_config
from broker.errors import BrokerError, error_in, explain, is_login, is_tls
from detection.settings import Settings

if TYPE_CHECKING:
    from broker.logs import ClientLog

_PATIENCE_SECONDS = 9.0  # with the start of Python, a person waits no more than 10
_LOOK_SECONDS = 1.0
_RETELL_SECONDS = 0.1


@dataclass(frozen=True, kw_only=True, slots=True)
class TopicSpec:
    """What a topic is made with.

    Attributes:
        partitions: How many; -1 for the broker's default.
        replication: Copies of each partition; -1 for the broker's default.
        config: Topic settings of Kafka, such as `retention.ms`.
    """

    partitions: int = -1
    replication: int = -1
    config: Mapping[str, str] = field(default_factory=dict)


class Look(NamedTuple):
    """What a cluster told.

    Attributes:
        cluster: The name that it gave itself.
        partitions: How many partitions each of its topics has.
        admin: The client that was told.
    """

    cluster: str
    partitions: dict[str, int]
    admin: AdminClient


class _Cluster:
    """An admin client that knows why it gets no answer.

    The error of a call says only that nothing came; that the login was refused or TLS failed is told to `error_cb`.

    Attributes:
        address: Where it is asked for.
        name: The name that the cluster gave itself, once it has told its topics.
    """

    def __init__(self, settings: Settings) -> None:
        self.address = settings.kafka_broker_url
        self.name = ""
        self._reasons: list[KafkaError] = []
        config: dict[str, Any] = {**admin_config(settings), "error_cb": self._reasons.append}
        self._log: ClientLog = config["logger"]
        try:
            self.admin = AdminClient(config)
        except KafkaException as exception:  # settings that do not go together
            raise explain(error_in(exception), self.address, _PATIENCE_SECONDS) from None

    def partitions(self, deadline: float) -> dict[str, int]:
        """How many partitions each topic of the cluster has. Leaves out topics that are only just being made."""
        while True:
            try:
                found = self.admin.list_topics(timeout=_LOOK_SECONDS)
            except KafkaException as exception:
                self.admin.poll(0)  # lets error_cb speak
                self._raise_final()
                if time.monotonic() >= deadline:
                    raise self._silence(error_in(exception)) from None
            else:
                self.name = str(found.cluster_id or "")
                return {
                    name: len(topic.partitions)
                    for name, topic in found.topics.items()
                    if topic.partitions and not topic.error
                }

    def error(self, error: KafkaError) -> BrokerError:
        return explain(error, self.address, _PATIENCE_SECONDS)

    def _silence(self, error: KafkaError) -> BrokerError:
        # A listener that waits for a login or TLS hangs up, which is told to the log alone.
        if "Disconnected" in self._log.newest:
            return BrokerError(f"{self.address} closes every connection: check KAFKA_SECURITY_PROTOCOL")
        return self.error(error)

    def _raise_final(self) -> None:
        """A refused login or a failed TLS handshake does not get better by waiting."""
        for reason in self._reasons:
            if is_login(reason) or is_tls(reason):
                raise self.error(reason)


def preflight(settings: Settings, topics: Iterable[str]) -> dict[str, int]:
    """How many partitions each of the topics has.

    Args:
        settings: Where the broker is, and how to talk to it.
        topics: The names that are needed.

    Raises:
        BrokerError: As `look`.
    """
    needed = list(dict.fromkeys(topics))
    partitions = look(settings, needed).partitions
    return {topic: partitions[topic] for topic in needed}


def look(settings: Settings, topics: Iterable[str]) -> Look:
    """What the cluster tells of itself and its topics.

    Args:
        settings: Where the broker is, and how to talk to it.
        topics: The names that are needed.

    Raises:
        BrokerError: No broker answers within 9 seconds, it refuses us, or topics are missing; in one line.
    """
    deadline = time.monotonic() + _PATIENCE_SECONDS
    cluster = _Cluster(settings)
    partitions = cluster.partitions(deadline)
    missing = [topic for topic in dict.fromkeys(topics) if topic not in partitions]
    if missing:
        subject = f"topic {missing[0]} does" if len(missing) == 1 else f"topics {', '.join(missing)} do"
        msg = f"{subject} not exist on {cluster.address}: create what is missing with `fraud topics`"
        raise BrokerError(msg)
    return Look(cluster.name, partitions, cluster.admin)


def create_missing(settings: Settings, topics: Mapping[str, TopicSpec]) -> list[str]:
    """Create the topics that do not exist, and wait until the cluster shows them.

    What exists stays as it is, also where it differs from its spec.

    Returns:
        The names of the topics this call made, in the order asked.

    Raises:
        BrokerError: No broker answers within 9 seconds, or it refuses.
    """
    deadline = time.monotonic() + _PATIENCE_SECONDS
    cluster = _Cluster(settings)
    existing = cluster.partitions(deadline)
    wanted = [
        NewTopic(name, num_partitions=spec.partitions, replication_factor=spec.replication, config=dict(spec.config))
        for name, spec in topics.items()
        if name not in existing
    ]
    if not wanted:
        return []
    created = []
    for name, future in cluster.admin.create_topics(wanted, request_timeout=_PATIENCE_SECONDS).items():
        try:
            future.result()
        except KafkaException as exception:
            error = error_in(exception)
            if error.code() != KafkaError.TOPIC_ALREADY_EXISTS:  # somebody else was faster
                msg = f"topic {name} cannot be created on {cluster.address}: {error.str()}"
                raise BrokerError(msg) from None
        else:
            created.append(name)
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while set(created) - cluster.partitions(deadline).keys():
        if time.monotonic() >= deadline:
            msg = f"topics {', '.join(created)} were created on {cluster.address}, but it does not show them"
            raise BrokerError(msg)
        time.sleep(_RETELL_SECONDS)  # the broker knows a topic a moment after its controller does
    return created
