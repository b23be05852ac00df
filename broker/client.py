"""The seam: what our source and sink ask of a Kafka client, and nothing else.

`confluent_kafka.Consumer` and `Producer` satisfy it as they are; the type checker holds them to it below. There is no
clock and no thread in it: nothing happens between two calls that a caller could not have been told by the next one.
So a simulator in pure Python can stand in for Kafka, and decide by a seed which call is slow, fails or comes twice.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal, Protocol, overload

from confluent_kafka import Consumer, KafkaError, Producer, TopicPartition

Headers = list[tuple[str, str | bytes | None]]


class Message(Protocol):
    """One record as it was read, or an error in its place: ask `error()` first."""

    def error(self) -> KafkaError | None:
        """What went wrong, None for a record."""

    def topic(self) -> str | None:
        """Where it was read."""

    def partition(self) -> int | None:
        """Where it was read."""

    def offset(self) -> int | None:
        """Where it was read."""

    def timestamp(self) -> tuple[int, int]:
        """Kind, and milliseconds since the epoch: when it was written, not when it happened."""

    def key(self) -> bytes | None:
        """The record's key."""

    def value(self) -> bytes | None:
        """The record's value, None for a tombstone."""

    def headers(self) -> Any:
        """Pairs of name and bytes in their order, None where there are none (the client's stubs say: or a dict)."""


class ConsumerClient(Protocol):
    """What the source and the resume filter need."""

    def assign(self, partitions: list[TopicPartition], /) -> None:
        """Read these, each from its offset, and no others."""

    def incremental_assign(self, partitions: list[TopicPartition], /) -> None:
        """Read these too."""

    def consume(self, num_messages: int = ..., timeout: float = ...) -> Sequence[Message]:
        """What has arrived, at most so many, waiting so many seconds for them."""

    def committed(self, partitions: list[TopicPartition], timeout: float = ...) -> list[TopicPartition]:
        """The group's offsets; `OFFSET_INVALID` where there is none."""

    @overload
    def commit(self, *, offsets: list[TopicPartition], asynchronous: Literal[True] = ...) -> None: ...

    @overload
    def commit(self, *, offsets: list[TopicPartition], asynchronous: Literal[False]) -> list[TopicPartition]: ...

    def commit(self, *, offsets: list[TopicPartition], asynchronous: bool = True) -> list[TopicPartition] | None:
        """Set the group's offsets, the next ones to read: on the way, or done with an error each."""

    def get_watermark_offsets(self, partition: TopicPartition, timeout: float = ...) -> tuple[int, int] | None:
        """The first offset that is there and the one after the last; None when the time is over."""

    def list_topics(self, topic: str | None = ..., timeout: float = ...) -> Any:
        """The cluster's `ClusterMetadata`."""

    def close(self) -> None:
        """Leave."""


class ProducerClient(Protocol):
    """What the sinks need."""

    def produce(
        self,
        topic: str,
        value: bytes | None = ...,
        key: bytes | None = ...,
        *,
        on_delivery: Callable[[KafkaError | None, Any], None] | None = ...,
        headers: Headers | None = ...,
    ) -> None:
        """Queue one record.

        Raises:
            BufferError: The queue is full: poll, then try again.
        """

    def produce_batch(
        self,
        topic: str,
        messages: list[dict[str, Any]],
        *,
        on_delivery: Callable[[KafkaError | None, Any], None] | None = ...,
    ) -> int:
        """Queue many: returns how many fitted, and puts `_error` into the others. Drops headers."""

    def __len__(self) -> int:
        """How many records are not confirmed yet."""

    def poll(self, timeout: float = ...) -> int:
        """Take delivery reports."""

    def flush(self, timeout: float = ...) -> int:
        """Wait until all is delivered: returns how many records are not."""

    def list_topics(self, topic: str | None = ..., timeout: float = ...) -> Any:
        """The cluster's `ClusterMetadata`."""


class TransactionalProducerClient(ProducerClient, Protocol):
    """What the fence needs on top. An error of any of these is the end of the producer: make a new one."""

    def init_transactions(self, timeout: float = ...) -> None:
        """Fence every older producer of this transactional id."""

    def begin_transaction(self) -> None:
        """Open a transaction: what is produced from here on belongs to it."""

    def commit_transaction(self, timeout: float = ...) -> None:
        """Flush, and make it visible to `read_committed` readers."""

    def abort_transaction(self, timeout: float = ...) -> None:
        """Take back what was produced in it."""


if TYPE_CHECKING:

    def _as_they_are(consumer: Consumer, producer: Producer) -> tuple[ConsumerClient, TransactionalProducerClient]:
        return consumer, producer
