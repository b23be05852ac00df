"""Writing verdicts and dead letters to Kafka: nothing counts as written before the broker has confirmed it.

Bytewax does not wait for a stateless sink when it commits a snapshot. So this sink is a stateful one: `snapshot()`
flushes, and raises if a delivery failed. Its parts are lanes, fixed in number; the lanes of one worker, of all sinks,
share one producer.

Promise: at least once. What was produced since the last snapshot is produced again after a crash, unless the source
found it in the output (`sources.answered`); what a killed process still had on its way can come behind that look. With
the outboxes of `sinks.transactions`: exactly once.
"""

import threading
from collections.abc import Callable, Mapping
from time import monotonic
from typing import Any, Final, Protocol, TypeAlias

import structlog
from bytewax.dataflow import Stream, operator
from bytewax.operators import KeyedStream, flat_map_batch, output
from bytewax.outputs import FixedPartitionedSink, Sink, StatefulSinkPartition
from confluent_kafka import KafkaError, KafkaException, Producer
from typing_extensions import override

from broker.client import ProducerClient
from detection.records import DeadLetter, Headers, Verdict

LANES: Final = 8
IN_FLIGHT: Final = 100_000
"""Records that may wait for their confirmation before the dataflow waits for them."""

LARGEST_DEAD_LETTER: Final = 1_000_000
"""Bytes: what any topic takes, unless somebody made it smaller than Kafka's default."""

PATIENCE: Final = 300.0
"""How long no record at all may be confirmed before the worker gives up, s."""

Written: TypeAlias = tuple[str, list[dict[str, Any]]]
"""A topic and messages for it, as `produce_batch` takes them."""

_log = structlog.get_logger(__name__)


class DeliveryError(RuntimeError):
    """A record could not be delivered: the epoch must not be committed. Logged as well, as one line."""

    def __init__(self, message: str) -> None:
        _log.error(message)
        super().__init__(message)


class KafkaSink(FixedPartitionedSink["Written | DeadLetter", None]):
    """Writes verdicts to the topics they name. Use `write`, which brings the items into its lanes."""

    def __init__(self, outboxes: "PerWorker", dead_letter_topic: str | None = None) -> None:
        """Open nothing yet.

        Args:
            outboxes: Shared by all sinks of a dataflow.
            dead_letter_topic: Where dead letters go, for the sink that gets them.
        """
        self._outboxes = outboxes
        self._dead_letter_topic = dead_letter_topic

    @override
    def list_parts(self) -> list[str]:
        return [f"lane-{number:02}" for number in range(LANES)]

    @override
    def part_fn(self, item_key: str) -> int:
        return int(item_key)

    @override
    def build_part(self, step_id: str, for_part: str, resume_state: None) -> "Lane":
        return Lane(self._outboxes.mine(), self._dead_letter_topic)


class PerWorker(Protocol):
    """`Outboxes`, or those of `sinks.transactions`."""

    def mine(self) -> "Outbox":
        """The outbox of the worker that asks."""
        ...


class Outboxes:
    """One outbox for each worker, made when the worker first asks."""

    def __init__(
        self,
        config: Mapping[str, Any],
        client: Callable[[dict[str, Any]], ProducerClient] = Producer,
        worker: Callable[[], int] = threading.get_ident,
    ) -> None:
        """Open nothing yet.

        Args:
            config: librdkafka's configuration, see `broker.config.producer_config`.
            client: Makes the Kafka client.
            worker: Which worker calls.
        """
        self._config = dict(config)
        self._client = client
        self._worker = worker
        # By thread, not in a `threading.local`: of a thread that is not Python's own, such as a worker's, one is gone
        # after each call.
        self._outboxes: dict[int, Outbox] = {}

    def mine(self) -> "Outbox":
        """The outbox of the worker that asks."""
        worker = self._worker()
        outbox = self._outboxes.get(worker)
        if outbox is None:
            outbox = self._outboxes[worker] = Outbox(self._client(dict(self._config)))
        return outbox


class Outbox:
    """The producer of one worker: produces, confirms, and remembers what failed. Used by one thread only."""

    def __init__(self, client: ProducerClient) -> None:
        self._client = client
        self._failed: list[str] = []

    def write(self, topic: str, messages: list[dict[str, Any]]) -> None:
        """Produce messages, waiting while too many are unconfirmed.

        Raises:
            DeliveryError: The client refuses one.
        """
        self._make_room(len(messages))
        if self._client.produce_batch(topic, messages, on_delivery=self._delivered) != len(messages):
            self._retry(topic, [message for message in messages if "_error" in message])

    def write_one(self, topic: str, key: bytes | None, value: bytes | None, headers: Headers) -> None:
        """Produce one message with headers, which `produce_batch` would drop.

        Raises:
            DeliveryError: The client refuses it.
        """
        self._make_room(1)
        while True:
            try:
                self._client.produce(topic, value, key, on_delivery=self._delivered, headers=list(headers))
            except BufferError:
                self._wait_for_one()
            except KafkaException as exception:
                raise self._refusal(topic, exception.args[0]) from None
            else:
                break

    def poll(self) -> None:
        """Hear of failures.

        Raises:
            DeliveryError: A delivery failed.
        """
        self._hear(0.0)
        self._raise_failed()

    def confirm(self) -> None:
        """Wait until everything is confirmed.

        Raises:
            DeliveryError: A delivery failed, or nothing was confirmed for a long time.
        """
        self._wait_for(0)
        self._raise_failed()

    def _make_room(self, messages: int) -> None:
        if len(self._client) > IN_FLIGHT:
            self._wait_for(max(IN_FLIGHT - messages, 0))

    def _wait_for_one(self) -> None:
        """Wait until there is room in the client's queue for another."""
        self._wait_for(max(len(self._client) - 1, 0))
        self._raise_failed()

    def _wait_for(self, most: int) -> None:
        """Wait until at most so many records are unconfirmed; patience begins anew with every confirmation."""
        left = len(self._client)
        since = monotonic()
        while left > most and not self._failed:
            self._hear(1.0 if most == 0 else 0.1, flush=most == 0)
            now_left = len(self._client)
            if now_left < left:
                since = monotonic()
            elif monotonic() - since > PATIENCE:
                msg = f"{now_left} records: no delivery was confirmed for {PATIENCE:.0f} s; is the broker there?"
                raise DeliveryError(msg)
            left = now_left

    def _hear(self, seconds: float, *, flush: bool = False) -> None:
        """Take delivery reports. A fatal error of the client comes up here once, whoever caused it."""
        try:
            if flush:
                self._client.flush(seconds)
            else:
                self._client.poll(seconds)
        except KafkaException as exception:
            self._failed.append(self._fatal("nothing can be delivered any more", exception))
        except SystemError as error:  # the client met the fatal error while it called us back
            self._failed.append(f"nothing can be delivered any more: {error}")

    def _fatal(self, subject: str, exception: KafkaException) -> str:
        """What a fatal error says."""
        error: KafkaError = exception.args[0]
        return f"{subject}: {error.str()}"

    def _retry(self, topic: str, refused: list[dict[str, Any]]) -> None:
        """Produce again what did not fit into the queue; anything else that is refused is an error."""
        while refused:
            for message in refused:
                error = message.pop("_error")
                if error.code() != KafkaError._QUEUE_FULL:  # noqa: SLF001  (confluent_kafka names its own codes so)
                    raise self._refusal(topic, error)
            self._wait_for_one()
            self._client.produce_batch(topic, refused, on_delivery=self._delivered)
            refused = [message for message in refused if "_error" in message]

    def _delivered(self, error: KafkaError | None, message: Any) -> None:
        if error is not None:
            self._failed.append(f"{message.topic()}: a record could not be delivered: {error.str()}")

    def _raise_failed(self) -> None:
        if self._failed:
            raise DeliveryError(self._failed[0])

    def _refusal(self, topic: str, error: KafkaError) -> DeliveryError:
        """Why the client does not take a record."""
        return DeliveryError(f"{topic}: a record is refused: {error.str()}")


class Lane(StatefulSinkPartition["Written | DeadLetter", None]):
    """A part of a sink: writes through its worker's outbox and confirms at each snapshot."""

    def __init__(self, outbox: Outbox, dead_letter_topic: str | None) -> None:
        self._outbox = outbox
        self._dead_letter_topic = dead_letter_topic

    @override
    def write_batch(self, values: list[Written | DeadLetter]) -> None:
        for value in values:
            if isinstance(value, DeadLetter):
                assert self._dead_letter_topic is not None
                self._outbox.write_one(self._dead_letter_topic, *value.message(LARGEST_DEAD_LETTER))
            else:
                self._outbox.write(*value)
        self._outbox.poll()

    @override
    def snapshot(self) -> None:
        self._outbox.confirm()

    @override
    def close(self) -> None:
        self._outbox.confirm()


@operator
def write(
    step_id: str,  # noqa: ARG001  Bytewax reads it
    up: Stream[Any],
    sink: Sink[Any],
) -> None:
    """Write verdicts or dead letters to a sink: to a Kafka sink through its lanes, to any other one by one."""
    if not isinstance(sink, KafkaSink):
        output("sink", up, sink)
        return
    lanes: KeyedStream[Written | DeadLetter] = flat_map_batch("lanes", up, _lanes)
    output("sink", lanes, sink)


def _lanes(items: list[Verdict | DeadLetter]) -> list[tuple[str, Written | DeadLetter]]:
    """Sort items into lanes. Verdicts that must stay in order share one."""
    topics: dict[str, list[list[dict[str, Any]]]] = {}
    out: list[tuple[str, Written | DeadLetter]] = []
    for item in items:
        if isinstance(item, DeadLetter):
            out.append((_NAMES[item.record.partition % LANES], item))
            continue
        try:
            lanes = topics[item.topic]
        except KeyError:
            lanes = topics[item.topic] = [[] for _ in _NAMES]
        lanes[item.lane % LANES].append({"key": item.key, "value": item.value})
    for topic, lanes in topics.items():
        out += [(name, (topic, messages)) for name, messages in zip(_NAMES, lanes, strict=True) if messages]
    return out


_NAMES: Final = [str(number) for number in range(LANES)]
