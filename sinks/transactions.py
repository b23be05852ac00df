"""The fence: what sinks write belongs to transactions, so a process that was killed or replaced can write no more.

One transactional producer for each worker, shared by all sinks, named by the worker's number. Whoever starts under the
same name fences the older one: what that had not committed is taken back, and the brokers refuse what it still sends
(since Kafka 3.7 also what was on its way). So after `fence` the tails of the outputs stand still and can be read.

Promise, together with the resume filter: exactly once for `read_committed` readers, within the time between two
commits. Others see verdicts at once, and after a crash some of them twice.

A name is taken once in the life of a process, before anybody of its start has looked at the outputs. Taken again later
it could be a successor's, and that one would be shut out by an older start whose look is older too.
"""

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from time import monotonic
from typing import Any, Final

from bytewax.inputs import DynamicSource, StatelessSourcePartition
from confluent_kafka import KafkaError, KafkaException, Producer
from typing_extensions import override

from broker.client import TransactionalProducerClient
from broker.errors import BrokerError
from detection.records import Headers
from sinks.kafka import PATIENCE, DeliveryError, Outbox

EVERY: Final = 0.05
"""The least time between two commits, s."""

SHARE: Final = 4.0
"""The time between two commits is at least so many times what the last one took."""

BUSY: Final = 2_000
"""Records in one transaction from which on throughput counts more than latency, and"""

BUSY_SHARE: Final = 10.0
"""how many times what the last commit took then lie between two: they cost a tenth at most."""

_FENCE_SECONDS: Final = 30.0
_CONNECTION_SECONDS: Final = 5.0
_TICK: Final = timedelta(milliseconds=5)

_TAKEN_OVER: Final = frozenset(
    {
        KafkaError._FENCED,  # noqa: SLF001  (confluent_kafka names its own codes so)
        KafkaError.PRODUCER_FENCED,
        KafkaError.INVALID_PRODUCER_EPOCH,
    }
)

Client = Callable[[dict[str, Any]], TransactionalProducerClient]


def transactional_id(application: str, worker: int) -> str:
    """The name of a worker's producer, the same after each start."""
    return f"{application}-{worker}"


def fence(
    config: Mapping[str, Any], application: str, workers: Sequence[int], client: Client = Producer
) -> dict[int, TransactionalProducerClient]:
    """Shut out whoever wrote under the names of some workers before.

    Args:
        config: librdkafka's configuration, see `broker.config.producer_config`.
        application: APPLICATION_ID.
        workers: The numbers of the workers, at least one.
        client: Makes the Kafka client.

    Returns:
        The producers that shut them out, by worker. Until the next fence they may write, and nobody else may.

    Raises:
        BrokerError: The cluster does not answer in time, or refuses.
    """

    def shut_out(worker: int) -> TransactionalProducerClient:
        try:
            return _named(config, application, worker, client)
        except KafkaException as exception:
            raise BrokerError(_not_named(application, worker, exception)) from None

    with ThreadPoolExecutor(len(workers)) as pool:  # an open transaction takes half a second to be taken back
        return dict(zip(workers, pool.map(shut_out, workers), strict=True))


def _named(config: Mapping[str, Any], application: str, worker: int, client: Client) -> TransactionalProducerClient:
    producer = client({**config, "transactional.id": transactional_id(application, worker)})
    with suppress(KafkaException):  # the next call tells what is wrong
        # Two in five clients that look for their coordinator before they are connected look again only 0.5 s later.
        producer.list_topics(timeout=_CONNECTION_SECONDS)
    producer.init_transactions(_FENCE_SECONDS)
    return producer


def _not_named(application: str, worker: int, exception: KafkaException) -> str:
    return _told(f"{transactional_id(application, worker)}: its older transactions cannot be ended", exception)


def _told(subject: str, exception: KafkaException) -> str:
    error: KafkaError = exception.args[0]
    if error.code() in _TAKEN_OVER:
        # Brokers answer both with the same code.
        return (
            f"{subject}: another process has taken the name over (is APPLICATION_ID used twice?), or the transaction "
            "was open for more than 60 s and was taken back (did this process or its broker stand still?)"
        )
    return f"{subject}: {error.str()}"


class TransactionalOutboxes:
    """One transactional outbox for each worker, made when its ticks begin."""

    def __init__(
        self,
        fenced: Mapping[int, TransactionalProducerClient],
        worker: Callable[[], int] = threading.get_ident,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        """Make nothing yet.

        Args:
            fenced: What `fence` gave for the workers of this process.
            worker: Which worker calls.
            clock: Seconds that go by.
        """
        self._fenced = dict(fenced)
        self._worker = worker
        self._clock = clock
        self._outboxes: dict[int, TransactionalOutbox] = {}

    def mine(self) -> "TransactionalOutbox":
        """The outbox of the worker that asks."""
        outbox = self._outboxes.get(self._worker())
        if outbox is None:  # a producer without a name would write past the fence
            msg = "sinks: a worker asks for its outbox before its ticks have begun"
            raise RuntimeError(msg)
        return outbox

    def open(self, number: int) -> "TransactionalOutbox":
        """Make the outbox of the worker that calls, which is this one of the dataflow's."""
        producer = self._fenced.pop(number, None)
        if producer is None:
            msg = f"sinks: worker {number} has no producer: start it by `python -m bytewax.run` or `fraud run`"
            raise RuntimeError(msg)
        outbox = TransactionalOutbox(producer, self._clock)
        self._outboxes[self._worker()] = outbox
        return outbox


class TransactionalOutbox(Outbox):
    """The producer of one worker: what it produces counts when it is committed. Used by one thread only.

    An error of a transactional call is its end, also when time ran out: what became of the transaction is then unclear,
    and going on could decide it twice (KAFKA-17754). The process ends, and the next start fences.
    """

    def __init__(self, client: TransactionalProducerClient, clock: Callable[[], float]) -> None:
        super().__init__(client)
        self._transactions = client
        self._clock = clock
        self._open = False
        self._end: DeliveryError | None = None
        self._since = 0.0
        self._written = 0
        # The first tick after the first batch: behind a crash there is a backlog, and the next batch takes a while.
        self._every = 0.0

    @override
    def write(self, topic: str, messages: list[dict[str, Any]]) -> None:
        self._begin()
        self._written += len(messages)
        super().write(topic, messages)

    @override
    def write_one(self, topic: str, key: bytes | None, value: bytes | None, headers: Headers) -> None:
        self._begin()
        super().write_one(topic, key, value, headers)

    @override
    def confirm(self) -> None:
        """Commit what was written.

        Raises:
            DeliveryError: It was not, or it is unclear.
        """
        if self._end is not None:  # said once
            raise self._end
        try:
            self._commit()
        except DeliveryError as error:
            self._end = error
            raise

    def _commit(self) -> None:
        self._raise_failed()
        if not self._open:
            return
        began = self._clock()
        try:
            self._transactions.commit_transaction(PATIENCE)
        except KafkaException as exception:
            self._raise_failed()
            msg = "what was written cannot be committed"
            raise DeliveryError(_told(msg, exception)) from None
        self._open = False
        share = SHARE if self._written < BUSY else BUSY_SHARE
        self._every = max(EVERY, share * (self._clock() - began))
        self._written = 0
        self._raise_failed()

    @override
    def _fatal(self, subject: str, exception: KafkaException) -> str:
        return _told(subject, exception)

    @override
    def _refusal(self, topic: str, error: KafkaError) -> DeliveryError:
        if error.code() in {KafkaError._STATE, KafkaError._FATAL}:  # noqa: SLF001
            # The transaction has failed already: the commit knows why.
            try:
                self.confirm()
            except DeliveryError as reason:
                return reason
        return super()._refusal(topic, error)

    def tick(self) -> None:
        """Commit, when it is time.

        Raises:
            DeliveryError: As `confirm`.
        """
        if self._open and self._clock() - self._since >= self._every:
            self.confirm()

    def _begin(self) -> None:
        if self._open:
            return
        try:
            self._transactions.begin_transaction()
        except KafkaException as exception:
            msg = "no transaction can be begun"
            raise DeliveryError(_told(msg, exception)) from None
        self._open = True
        self._since = self._clock()


class Commits(DynamicSource[Any]):
    """Ticks on each worker, at which its outbox commits. No item ever comes out."""

    def __init__(self, outboxes: TransactionalOutboxes, stop: Callable[[], bool]) -> None:
        """Open nothing yet; `stop` is asked at each tick, True ends them."""
        self._outboxes = outboxes
        self._stop = stop

    @override
    def build(self, step_id: str, worker_index: int, worker_count: int) -> "Ticks":
        return Ticks(self._outboxes.open(worker_index), self._stop)


class Ticks(StatelessSourcePartition[Any]):
    """The ticks of one worker."""

    def __init__(self, outbox: TransactionalOutbox, stop: Callable[[], bool]) -> None:
        self._outbox = outbox
        self._stop = stop

    @override
    def next_batch(self) -> Iterable[Any]:
        if self._stop():
            raise StopIteration
        self._outbox.tick()
        return ()

    @override
    def next_awake(self) -> datetime | None:
        return datetime.now(UTC) + _TICK
