"""What a running dataflow keeps asking the cluster: have topics gained partitions, and where do partitions end?"""

from collections.abc import Iterable, Mapping
from contextlib import suppress
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any, Final

import structlog
from confluent_kafka import KafkaError, KafkaException, TopicCollection, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec  # type: ignore[attr-defined]

from broker.config import admin_config, watching_config
from broker.ends import ANSWER_SECONDS, Ends
from broker.errors import MOVING, BrokerError, error_in
from detection.settings import Settings

if TYPE_CHECKING:
    from concurrent.futures import Future

MOCK_CLUSTER: Final = "mockCluster"
"""How the id of a cluster of `broker.embedded` begins."""

_ROUNDS: Final = 10
"""Partitions are asked for once in so many rounds: they change once a year."""

_PATIENCE_SECONDS: Final = 30.0
_RETRY_SECONDS: Final = 0.1
_YOUNG: Final = MOVING | {
    KafkaError.UNKNOWN_TOPIC_OR_PART,
    KafkaError.FENCED_LEADER_EPOCH,
    KafkaError.UNKNOWN_LEADER_EPOCH,
}

_log = structlog.get_logger(__name__)


class ClusterWatch:
    """The partitions of some topics, and the ends of some of them, as the cluster last told. Used by one thread only.

    Attributes:
        partitions: How many partitions each topic has.
    """

    def __init__(self, settings: Settings, partitions: Mapping[str, int], ending: Iterable[str]) -> None:
        """Ask nothing yet.

        Args:
            settings: Where the broker is, and how to talk to it.
            partitions: How many partitions the topics had a moment ago.
            ending: The topics whose ends somebody wants.
        """
        self.partitions = dict(partitions)
        self._admin = AdminClient(watching_config(settings))
        self._ending = frozenset(ending)
        self._ends = Ends(self._admin, places({topic: partitions[topic] for topic in self._ending}))
        self._asked: dict[str, Future[Any]] = {}
        self._round = 0

    @property
    def ends(self) -> Mapping[str, int]:
        """The offset after the last record, by `topic/partition`; a partition not yet answered is missing."""
        return self._ends.latest

    @property
    def answers(self) -> int:
        """How many rounds in which every end was told."""
        return self._ends.answers

    def refresh(self) -> None:
        """Take what was answered, and ask anew. Never waits."""
        self._ends.refresh()
        if self._asked and all(future.done() for future in self._asked.values()):
            self._take()
        self._round += 1
        if self._round % _ROUNDS == 0 and not self._asked:
            self._asked = self._admin.describe_topics(
                TopicCollection(list(self.partitions)), request_timeout=ANSWER_SECONDS
            )

    def _take(self) -> None:
        for topic, future in self._asked.items():
            try:
                count = len(future.result(timeout=0).partitions)
            except KafkaException as exception:
                _log.debug("the partitions of a topic are not told", topic=topic, error=error_in(exception).str())
                continue
            if count > self.partitions[topic]:
                self.partitions[topic] = count
                if topic in self._ending:
                    self._ends.watch(places({topic: count}))
        self._asked = {}


def places(partitions: Mapping[str, int]) -> list[tuple[str, int]]:
    """All partitions of topics with so many."""
    return [(topic, number) for topic, count in partitions.items() for number in range(count)]


def ends_now(
    settings: Settings, partitions: Iterable[tuple[str, int]], admin: AdminClient | None = None
) -> dict[str, int]:
    """The offset after the last record of each of the partitions, by `topic/partition`.

    Args:
        settings: Where the broker is, and how to talk to it.
        partitions: Topics and partition numbers.
        admin: A client that has had an answer before; without one it is made.

    Raises:
        BrokerError: The cluster does not tell.
    """
    latest = OffsetSpec.latest()  # type: ignore[no-untyped-call]
    wanted = {TopicPartition(topic, number): latest for topic, number in partitions}
    if not wanted:
        return {}
    if admin is None:
        admin = AdminClient(admin_config(settings))
        with suppress(KafkaException):  # the question itself tells what is wrong
            # One in fifteen clients that are asked before they are connected asks the broker only 3 s later.
            admin.list_topics(timeout=_PATIENCE_SECONDS)
    deadline = monotonic() + _PATIENCE_SECONDS
    while True:
        found: Mapping[TopicPartition, Future[Any]] = admin.list_offsets(wanted, request_timeout=_PATIENCE_SECONDS)
        try:
            return {f"{part.topic}/{part.partition}": int(future.result().offset) for part, future in found.items()}
        except KafkaException as exception:
            error = error_in(exception)
        # A partition that was made a moment ago, or whose leader just went or woke up, has one in a moment.
        if error.code() not in _YOUNG or monotonic() > deadline:
            msg = f"{settings.kafka_broker_url}: does not tell where its topics end: {error.str()}"
            raise BrokerError(msg)
        sleep(_RETRY_SECONDS)
        with suppress(KafkaException):  # the client may still have the leader's epoch from before it went
            admin.list_topics(timeout=_PATIENCE_SECONDS)
