"""Where partitions end, asked again and again without ever waiting for an answer."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final, Protocol

import structlog
from confluent_kafka import IsolationLevel, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec  # type: ignore[attr-defined]  # the stubs leave it out

from broker.errors import error_in

if TYPE_CHECKING:
    from concurrent.futures import Future

ANSWER_SECONDS: Final = 5.0
"""An answer that does not come within so long is asked for again."""

_log = structlog.get_logger(__name__)


class Admin(Protocol):
    """What is asked of an admin client; `confluent_kafka.admin.AdminClient` satisfies it as it is."""

    def list_offsets(
        self, topic_partition_offsets: dict[TopicPartition, Any], **kwargs: Any
    ) -> dict[TopicPartition, "Future[Any]"]:
        """One future for each partition."""


class Ends:
    """The ends of some partitions, as the brokers last told them.

    An end is never ahead of the truth at the moment it is read, so it serves as a lower bound of where the next record
    is written. Used by one thread; an answer that arrives is taken at the next `refresh`.

    Attributes:
        latest: The offset after the last record, by `topic/partition`; a partition without an answer yet is missing.
        answers: How many rounds in which every partition was answered.
    """

    def __init__(
        self,
        admin: Admin,
        partitions: Iterable[tuple[str, int]],
        *,
        isolation: IsolationLevel = IsolationLevel.READ_UNCOMMITTED,
        beginnings: bool = False,
    ) -> None:
        """Ask nothing yet.

        Args:
            admin: An admin client; it may have other uses.
            partitions: Topics and partition numbers.
            isolation: `READ_COMMITTED` for the last stable offsets, before the first open transaction.
            beginnings: Ask for the other end, the first offset that is there.
        """
        self.latest: dict[str, int] = {}
        self.answers = 0
        self._admin = admin
        self._partitions = dict.fromkeys(partitions)
        self._isolation = isolation
        self._spec = OffsetSpec.earliest() if beginnings else OffsetSpec.latest()  # type: ignore[no-untyped-call]
        self._asked: dict[TopicPartition, Future[Any]] = {}
        self._complained = False

    def watch(self, partitions: Iterable[tuple[str, int]]) -> None:
        """Ask for these as well, from the next round on."""
        self._partitions.update(dict.fromkeys(partitions))

    def refresh(self) -> None:
        """Take the answers that have arrived, and ask anew once all of them have. Never waits."""
        if not all(future.done() for future in self._asked.values()):
            return
        if self._asked:
            self._take()
        if self._partitions:
            wanted = {TopicPartition(topic, partition): self._spec for topic, partition in self._partitions}
            self._asked = self._admin.list_offsets(
                wanted, isolation_level=self._isolation, request_timeout=ANSWER_SECONDS
            )

    def _take(self) -> None:
        complete = True
        for part, future in self._asked.items():
            place = f"{part.topic}/{part.partition}"
            try:
                end = future.result(timeout=0).offset
            except KafkaException as exception:
                complete = False
                if not self._complained:  # once until all is well again: this is asked every second
                    self._complained = True
                    _log.warning("the end of a partition is not told", place=place, error=error_in(exception).str())
                continue
            # Seen when the broker went away meanwhile: no error, and no offset either (-1001).
            if end < 0:
                complete = False
            else:
                self.latest[place] = end
        if complete:
            self.answers += 1
            self._complained = False


if TYPE_CHECKING:

    def _as_it_is(admin: AdminClient) -> Admin:
        return admin
