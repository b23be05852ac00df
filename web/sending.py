"""Records on their way to Kafka, each awaited by who answers for it."""

import asyncio
import threading
from typing import Any, Final

import structlog
from confluent_kafka import KafkaError, KafkaException, Message, Producer

from broker.config import producer_config
from broker.errors import error_in
from detection.settings import Settings

DELIVERY_SECONDS: Final = 4.0
"""How long a record may take until Kafka has confirmed it."""

_POLL_SECONDS: Final = 0.1
_WAITING_AT_MOST: Final = 10_000

_log = structlog.get_logger(__name__)


class NotDeliveredError(Exception):
    """Kafka has not confirmed a record."""


def config(settings: Settings) -> dict[str, Any]:
    """For a page: somebody waits for each record."""
    return {
        **producer_config(settings),
        # They are told that it does not count, so it must not be written minutes later. One that was
        # under way when the time was over may be in the topic all the same: then only the answer was lost.
        "message.timeout.ms": int(DELIVERY_SECONDS * 1_000),
        # Each record has somebody who waits for it.
        "delivery.report.only.error": False,
        "linger.ms": 0,
        # More than this wait for no broker: the next ones are told at once.
        "queue.buffering.max.messages": _WAITING_AT_MOST,
    }


class Sender:
    """A producer whose records are awaited. To be used in one event loop, the one that runs when it is made."""

    def __init__(self, settings: Settings) -> None:
        """Make the client; it looks for the broker by itself."""
        self._config = config(settings)
        self._producer = Producer(self._config)
        self._loop = asyncio.get_running_loop()
        self._waiting: set[asyncio.Future[KafkaError | None]] = set()
        self._stopping = threading.Event()
        self._reports = threading.Thread(target=self._take_reports, name="delivery reports", daemon=True)
        self._reports.start()

    async def send(self, topic: str, value: bytes, key: bytes | None = None) -> None:
        """Send one record and wait until it is written on all replicas in sync.

        Raises:
            NotDeliveredError: It is not, or nobody knows.
        """
        answer: asyncio.Future[KafkaError | None] = self._loop.create_future()

        def delivered(error: KafkaError | None, _: Message) -> None:  # in the thread of the reports
            self._loop.call_soon_threadsafe(_resolve, answer, error)

        self._waiting.add(answer)
        try:
            self._producer.produce(topic, value, key, on_delivery=delivered)
            error = await asyncio.wait_for(answer, DELIVERY_SECONDS + 1)  # the client's own limit comes first
        except TimeoutError:
            msg = "no report of its delivery came"
            raise NotDeliveredError(msg) from None
        except BufferError:
            msg = "too many records wait for the broker"
            raise NotDeliveredError(msg) from None
        except KafkaException as exception:
            raise NotDeliveredError(error_in(exception).str()) from None
        finally:
            self._waiting.discard(answer)
        if error is not None:
            raise NotDeliveredError(error.str())

    def give_up(self) -> None:
        """Tell all who wait that nothing comes any more."""
        for answer in self._waiting:
            _resolve(answer, KafkaError(KafkaError._PURGE_QUEUE))  # noqa: SLF001  public: marks the client's own errors

    def close(self) -> None:
        """End, without what is not delivered: nobody was told that it is."""
        self._stopping.set()
        self._reports.join()
        self._producer.purge()
        self._producer.flush(0)

    def _take_reports(self) -> None:
        while not self._stopping.is_set():
            try:
                self._producer.poll(_POLL_SECONDS)
            except KafkaException as error:  # fatal: this client sends nothing any more, and reports nothing
                _log.error("the Kafka client has failed, another takes its place", error=error_in(error).str())
                self._loop.call_soon_threadsafe(self.give_up)
                self._producer = Producer(self._config)


def _resolve(answer: asyncio.Future[KafkaError | None], error: KafkaError | None) -> None:
    if not answer.done():  # who is still there
        answer.set_result(error)
