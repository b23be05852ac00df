"""The deployment that a command is about: its settings, its pack, the topics it needs."""

from broker.topics import TopicSpec
from detection.pack import Pack, load
from detection.settings import Settings

_LARGEST_OUTPUT = 2 * 1024 * 1024
"""Bytes. A verdict is larger than its input by reasons and evidence, and Kafka's own limit for that is 1 MiB."""


def read_project() -> tuple[Settings, Pack]:
    """Read the settings and load their packs."""
    settings = Settings()
    return settings, load(settings.fraud_packs, settings.topics)


def topics_of(settings: Settings, pack: Pack, *, partitions: int = -1, replication: int = -1) -> dict[str, TopicSpec]:
    """Every topic the packs need, with what it is made of if it is missing."""
    inputs = TopicSpec(partitions=partitions, replication=replication)
    config = {"max.message.bytes": str(_LARGEST_OUTPUT)}
    outputs = TopicSpec(partitions=partitions, replication=replication, config=config)
    return {
        **dict.fromkeys(pack.topics_in, inputs),
        **dict.fromkeys([*pack.topics_out, settings.dead_letter_topic], outputs),
    }
