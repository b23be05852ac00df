"""The deployment that a command is about: its settings, its pack, the topics it needs."""

from broker.config import LARGEST_VERDICT
from broker.topics import TopicSpec
from detection.loading import load
from detection.pack import Pack
from detection.settings import Settings


def read_project(*, model_files: bool = False) -> tuple[Settings, Pack]:
    """Read the settings and load their packs; the files of models only where something is judged."""
    settings = Settings()
    return settings, load(settings.fraud_packs, settings.topics, model_files=model_files)


def topics_of(settings: Settings, pack: Pack, *, partitions: int = -1, replication: int = -1) -> dict[str, TopicSpec]:
    """Every topic the packs need, with what it is made of if it is missing."""
    inputs = TopicSpec(partitions=partitions, replication=replication)
    config = {"max.message.bytes": str(LARGEST_VERDICT)}
    outputs = TopicSpec(partitions=partitions, replication=replication, config=config)
    lists = TopicSpec(partitions=1, replication=replication, config={"cleanup.policy": "compact"})
    labels = TopicSpec(partitions=partitions, replication=replication, config={"cleanup.policy": "compact"})
    return {
        **dict.fromkeys(pack.topics_in, inputs),
        **({settings.labels_topic: labels} if settings.labels_topic in pack.topics_in else {}),
        **dict.fromkeys(pack.topics_of_lists, lists),
        **dict.fromkeys([*pack.topics_out, settings.dead_letter_topic], outputs),
        **({settings.alert_dead_letter_topic: outputs} if pack.alerts else {}),
    }
