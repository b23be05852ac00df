"""Topics read in a thread of its own, which goes on trying while the broker is away."""

import threading
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Mapping
from time import monotonic
from typing import Final

import structlog
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, TopicPartition

from broker.cluster import ClusterWatch
from broker.errors import BrokerError, error_in
from detection.settings import Settings

ANSWER_SECONDS: Final = 1.0
_RETRY_SECONDS: Final = 1.0
_LOOK_SECONDS: Final = 1.0
_END_SECONDS: Final = 1.0
_ENDED: Final = "nothing is read any more, the log says why"

_log = structlog.get_logger(__name__)


class Following(ABC):
    """What each reader of a page does, whatever it reads: begin, try again, say what is wrong, end."""

    def __init__(self, settings: Settings, *, name: str, warning: str, problem: str) -> None:
        """Open nothing yet.

        Args:
            settings: Which cluster.
            name: Of the thread.
            warning: What the log says when it cannot read.
            problem: What is wrong until it reads.
        """
        self._settings = settings
        self._warning = warning
        self._problem = problem
        self._stop = threading.Event()
        self._away = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    @property
    def problem(self) -> str:
        """Why not all that there is has been read; empty if all is well."""
        return self._problem

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def close(self) -> None:
        """Read no more. Waits for a moment only: a client that looks for its broker does so for seconds."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(_END_SECONDS)

    @abstractmethod
    def _follow(self) -> None:
        """Read until `_stop` is set.

        Raises:
            BrokerError: There is no broker, or a topic is missing.
        """

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                self._try()
        finally:  # also by what nobody thought of: then nothing may be taken for the newest
            self._problem = _ENDED

    def _try(self) -> None:
        self._away.clear()
        try:
            self._follow()
        except (BrokerError, KafkaException) as error:
            told = error_in(error).str() if isinstance(error, KafkaException) else str(error)
            if told != self._problem:
                _log.warning(self._warning, problem=told)
            self._problem = told
            self._stop.wait(_RETRY_SECONDS)

    def _hear(self, error: KafkaError) -> None:
        """Be told by the client (`error_cb`) that all brokers are away."""
        if error.code() == KafkaError._ALL_BROKERS_DOWN:  # noqa: SLF001  (public: see broker.errors)
            self._away.set()

    @property
    def _nobody(self) -> str:
        return f"no broker answers at {self._settings.kafka_broker_url}"

    def _ends(self, consumer: Consumer, part: TopicPartition) -> tuple[int, int]:
        """The first offset of a partition, and the one after the last.

        Raises:
            BrokerError: It does not tell, or somebody does not want to know any more.
        """
        found = consumer.get_watermark_offsets(part, timeout=ANSWER_SECONDS)
        if found is None or self._stop.is_set():
            msg = f"{part.topic}/{part.partition}: does not tell its end"
            raise BrokerError(msg)
        return found


class Growth:
    """The partitions that topics gain while they are read, and where some of them end. Used by one thread."""

    def __init__(self, settings: Settings, parts: Iterable[TopicPartition], ending: Iterable[str] = ()) -> None:
        """Ask nothing yet.

        Args:
            settings: Which cluster.
            parts: Those that are read.
            ending: The topics whose ends somebody wants.
        """
        self._known: dict[str, int] = Counter(part.topic for part in parts)
        self._watch = ClusterWatch(settings, self._known, ending)
        self._next_look = 0.0

    @property
    def ends(self) -> Mapping[str, int]:
        """The offset after the last record, by `topic/partition`, as far as it was told."""
        return self._watch.ends

    @property
    def answers(self) -> int:
        """How many rounds in which every end was told."""
        return self._watch.answers

    def look(self) -> bool:
        """Take what was answered, and ask anew, once a second: says whether a second is over. Never waits."""
        now = monotonic()
        if now < self._next_look:
            return False
        self._next_look = now + _LOOK_SECONDS
        self._watch.refresh()
        return True

    def take(self) -> list[TopicPartition]:
        """What is new since the last time, to be read from its beginning."""
        now = dict(self._watch.partitions)
        new = [
            TopicPartition(topic, number, OFFSET_BEGINNING)
            for topic, count in now.items()
            for number in range(self._known[topic], count)
        ]
        self._known = now
        return new
