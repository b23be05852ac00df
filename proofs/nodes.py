"""The Kafka that the proofs hurt: with a listener behind a proxy, and one that asks for a name."""

from pathlib import Path
from typing import Final

from confluent_kafka import ElectionType, TopicPartition
from confluent_kafka.admin import AdminClient
from typing_extensions import override

from broker.apache import ApacheKafka
from broker.ports import free_ports

USER: Final = "fraud"
PASSWORD: Final = "of-a-proof"  # on 127.0.0.1, for as long as the proof runs


class Kafka(ApacheKafka):
    """Apache Kafka with more listeners on its first node.

    Attributes:
        proxied: The port of the listener that a proxy stands before,
        proxy: and the port that the proxy has to take.
        secured: Where clients need USER and PASSWORD, and the rights of that user: host:port.
    """

    def __init__(self, *, nodes: int = 1, secured: bool = False, data: Path | None = None) -> None:
        """Start nothing yet.

        Args:
            nodes: How many brokers.
            secured: Whether there are rights at all.
            data: Where to keep the records, else in a temporary folder.
        """
        super().__init__(nodes=nodes)
        self.proxied, self.proxy, port = free_ports(3)
        self.secured = f"127.0.0.1:{port}"
        self._secured = secured
        self._data = data

    @property
    def data(self) -> Path:
        """Where the records are kept."""
        assert self._data is not None
        return self._data

    def has_ended(self, node: int = 0) -> bool:
        """Whether a node has ended by itself."""
        return self._processes[node].poll() is not None

    @override
    def _server_properties(self, node: int) -> dict[str, str]:
        properties = super()._server_properties(node)
        if node:
            return properties
        listeners, told = properties["listeners"], properties["listeners"].split(",")[0]
        properties["listeners"] = f"{listeners},PROXIED://127.0.0.1:{self.proxied}"
        properties["advertised.listeners"] = f"{told},PROXIED://127.0.0.1:{self.proxy}"
        properties["listener.security.protocol.map"] += ",PROXIED:PLAINTEXT"
        if self._secured:
            properties["listeners"] += f",SECURED://{self.secured}"
            properties["advertised.listeners"] += f",SECURED://{self.secured}"
            properties["listener.security.protocol.map"] += ",SECURED:SASL_PLAINTEXT"
            properties["listener.name.secured.sasl.enabled.mechanisms"] = "PLAIN"
            properties["listener.name.secured.plain.sasl.jaas.config"] = (
                f'org.apache.kafka.common.security.plain.PlainLoginModule required user_{USER}="{PASSWORD}";'
            )
            properties["authorizer.class.name"] = "org.apache.kafka.metadata.authorizer.StandardAuthorizer"
            properties["super.users"] = "User:ANONYMOUS"  # who comes in by another listener
        if self._data is not None:
            properties["log.dirs"] = str(self._data)
        return properties


class Leaders:
    """Who leads the partitions of some topics."""

    def __init__(self, address: str, topics: list[str]) -> None:
        """Ask nobody yet."""
        self._admin = AdminClient({"bootstrap.servers": address, "log_level": 0, "reconnect.backoff.max.ms": 200})
        self._topics = topics

    def now(self) -> dict[tuple[str, int], int]:
        """The leading node, by partition; -1 where there is none."""
        return {place: leader for place, (leader, _) in self._partitions().items()}

    def in_sync(self) -> int:
        """How many copies that are in sync the partition has that has the fewest."""
        return min(copies for _, copies in self._partitions().values())

    def elect_preferred(self) -> None:
        """Have each partition led by the node that comes first for it."""
        parts = [TopicPartition(topic, number) for topic, number in self._partitions()]
        self._admin.elect_leaders(ElectionType.PREFERRED, parts).result()

    def _partitions(self) -> dict[tuple[str, int], tuple[int, int]]:
        known = self._admin.list_topics(timeout=10).topics
        return {
            (topic, number): (partition.leader, len(partition.isrs))
            for topic in self._topics
            for number, partition in known[topic].partitions.items()
        }
