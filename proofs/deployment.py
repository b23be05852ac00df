"""One deployment on a real Kafka: its topics, the records it gets, and what must have become of them."""

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from threading import Event, Thread
from time import monotonic, sleep, time_ns
from typing import Any, Final, NamedTuple

from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition

from broker.cluster import ends_now, places
from broker.config import consumer_config, producer_config
from broker.group import committed_to
from broker.topics import create_missing, preflight
from cli.project import topics_of
from detection.ledger import Ledger, Report
from detection.loading import load
from detection.pack import Pack
from detection.program import Engine
from detection.records import DeadLetter, Record
from detection.settings import Settings
from proofs.traffic import Source, Traffic
from sinks.kafka import LARGEST_DEAD_LETTER
from sources.audit import audit
from sources.reading import headers_of
from sources.through import bounds

ROOT: Final = Path(__file__).parent.parent
PARTITIONS: Final = 4
STEP: Final = 100
"""Event time from one record to the next, us: whatever the rate, a seed decides which rules fire."""

_ENDS_SECONDS: Final = 30.0

_OWN_TOPICS: Final = re.compile(r"^(?:block|review|accept)_topic = .*\n", re.MULTILINE)
_INPUTS: Final = ("clicks", "fcd-producer", "transactions")

# Verdicts of payments depend on how the partitions interleave: devices are shared by users of several of them.
_DEVICES: Final = """
[feature.device_users]
on = "transaction"
key = ["device"]
fn = "distinct"
of = "user"
window = "2s"

[rule.crowded_device]
on = "transaction"
when = "device_users > 100"
reason = "{device_users} users of {device} within 2 s"
score = 30
outcome = "review"
"""


class Answer(NamedTuple):
    """What becomes of a record: the key and the value of its verdict or dead letter, and the error of the latter."""

    key: bytes | None
    value: bytes | None
    error: bytes | None = None


def answers(pack: Pack, records: Iterable[Record]) -> Iterator[Answer]:
    """The naive oracle: one thread, one partition in its order. Right where the rules are keyed like the topic."""
    engine = Engine(pack)  # no key and no watermark is in two partitions
    for record in records:
        verdict = engine.judge(record)
        if isinstance(verdict, DeadLetter):
            key, value, _ = verdict.message(LARGEST_DEAD_LETTER)
            yield Answer(key, value, dict(verdict.headers())["fraud.error"])
        else:
            yield Answer(verdict.key, verdict.value)


class Deployment:
    """Topics, settings and packs under a name that nobody else has.

    Attributes:
        settings: As the dataflow gets them from `environment`.
        pack: What they load: clicks, whose rules are keyed like the topic, and payments, where some are not.
        clicks: The topic of the clicks.
        payments: The topic of the payments.
    """

    def __init__(
        self, folder: Path, address: str, name: str, *, inputs: str = "", delivery: str = "exactly_once"
    ) -> None:
        """Write the packs.

        Args:
            folder: For packs and store; made if it is missing.
            address: Where the broker is.
            name: The beginning of its topics' names, and its APPLICATION_ID.
            inputs: The deployment whose inputs it reads; without one it has its own.
            delivery: The setting DELIVERY.
        """
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._begin = inputs or name
        self._names = {
            "KAFKA_BROKER_URL": address,
            "APPLICATION_ID": name,
            "DELIVERY": delivery,
            "FRAUD_TOPIC": f"{name}.fraud",
            "REVIEW_TOPIC": f"{name}.review",
            "LEGIT_TOPIC": f"{name}.legit",
            "DEAD_LETTER_TOPIC": f"{name}.dead",
            "FRAUD_PACKS": ",".join(str(self._write_pack(pack)) for pack in ("clicks", "payments")),
        }
        known: dict[str, Any] = {name.lower(): value for name, value in self._names.items()}
        known["fraud_packs"] = packs = tuple(Path(path) for path in self._names["FRAUD_PACKS"].split(","))
        self.settings = Settings.model_construct(**known)
        self.pack = load(packs, self.settings.topics)
        self.clicks, self.payments = (f"{self._begin}.{topic}" for topic in ("clicks", "transactions"))

    def environment(self, **more: str) -> dict[str, str]:
        """The environment of its processes: nothing of ours or of Bytewax from outside."""
        names = {name.upper() for name in Settings.model_fields}
        kept = {
            name: value
            for name, value in os.environ.items()
            if name not in names and not name.startswith(("KAFKA_", "BYTEWAX_", "FRAUD_"))
        }
        path = os.pathsep.join([str(ROOT), *filter(None, [kept.get("PYTHONPATH")])])
        return {**kept, "PYTHONPATH": path, **self._names, **more}

    def create(self) -> None:
        """Make its topics."""
        specs = topics_of(self.settings, self.pack, partitions=PARTITIONS)
        create_missing(self.settings, specs)
        ends_now(
            self.settings, places({topic: spec.partitions for topic, spec in specs.items()})
        )  # each has its leader

    def at(self, address: str) -> Settings:
        """Its settings with another address of the broker."""
        return self.settings.model_copy(update={"kafka_broker_url": address})

    def count(self, *, since: Mapping[str, int] | None = None, settle: float = 0.0) -> Report:
        """What became of its records, by `fraud audit`'s own counting."""
        return audit(self.settings, self.pack.topics_in, self.pack.topics_out, since=since, settle=settle)

    def expected(self, first: Mapping[str, int] | None = None) -> Report:
        """What had to become of its clicks, by the naive oracle."""
        ledger = Ledger({})
        for number in range(self.partitions(self.clicks)):
            address, records = f"{self.clicks}/{number}", list(self.records(self.clicks, number))
            end = records[-1].offset + 1 if records else 0
            part = Ledger({address: ((first or {}).get(address, 0), end)})
            ledger.accounts[address] = part.accounts[address]
            for record, answer in zip(records, answers(self.pack, records), strict=True):
                part.accounts[address].record(record.offset)
                part.answer("oracle/0", record.offset, record.origin, **answer._asdict())
        return ledger.report({}, [], [])

    def partitions(self, topic: str) -> int:
        """How many partitions one of its topics has."""
        return preflight(self.settings, [topic])[topic]

    def records(self, topic: str, number: int) -> Iterator[Record]:
        """The committed records of a partition from its beginning to its end."""
        consumer = Consumer({**consumer_config(self.settings), "auto.offset.reset": "earliest"})
        try:
            _, end = bounds(consumer, (topic, number))
            consumer.assign([TopicPartition(topic, number, 0)])
            place = 0
            while place < end:  # our own inputs have no gaps
                for message in consumer.consume(10_000, 1.0):
                    if message.error() is not None:
                        raise KafkaException(message.error())
                    place = (message.offset() or 0) + 1
                    kind, timestamp = message.timestamp()
                    headers = headers_of(message)
                    yield Record(
                        topic, number, place - 1, timestamp if kind else -1, message.key(), message.value(), headers
                    )
        finally:
            consumer.close()

    def _write_pack(self, pack: str) -> Path:
        """A shipped pack on topics of ours. Outputs are those of the settings, so that they do not change its hash."""
        text = _OWN_TOPICS.sub("", (ROOT / "packs" / f"{pack}.toml").read_text())
        for topic in _INPUTS:
            text = text.replace(f'\ntopic = "{topic}"', f'\ntopic = "{self._begin}.{topic}"')
        path = self.folder / f"{pack}.toml"
        path.write_text(f'lateness = "30s"\n{text}{_DEVICES}' if pack == "payments" else text)
        return path


class Meter:
    """How far a deployment is, asked of the broker without reading a record."""

    def __init__(self, deployment: Deployment) -> None:
        settings = deployment.settings
        self._consumer = Consumer({**consumer_config(settings), "isolation.level": "read_committed"})
        outputs = dict.fromkeys([*deployment.pack.topics_out, settings.dead_letter_topic])
        partitions = preflight(settings, [*deployment.pack.topics_in, *outputs])
        self._inputs = [(topic, n) for topic in deployment.pack.topics_in for n in range(partitions[topic])]
        self._outputs = [(topic, n) for topic in outputs for n in range(partitions[topic])]

    def written(self) -> int:
        """The ends of all outputs together: it grows when something is committed, or taken back."""
        return sum(self._end(place) for place in self._outputs)

    def grows(self, seconds: float, beyond: int | None = None) -> bool:
        """Wait until more is written than now, or than `beyond`; False if that takes longer than so long."""
        return _grows(self.written, beyond, seconds)

    def goes_on(self, seconds: float) -> bool:
        """Wait until the group has committed anew: whoever started has judged, and taken a snapshot."""
        return _grows(self._committed, None, seconds)

    def behind(self) -> int:
        """How many input offsets the group has not yet committed."""
        return sum(map(self._end, self._inputs)) - self._committed()

    def _committed(self) -> int:
        parts = [TopicPartition(topic, number) for topic, number in self._inputs]
        # Asks again: a broker that was frozen just now has work to catch up.
        return sum(committed_to(self._consumer, parts).values())

    def ends(self) -> dict[str, int]:
        """Where the inputs end; asked again for a while: a topic may be young, or a broker busy."""
        deadline = monotonic() + _ENDS_SECONDS
        while True:
            try:
                return {f"{topic}/{number}": self._end((topic, number)) for topic, number in self._inputs}
            except KafkaException:
                if monotonic() > deadline:
                    raise

    def close(self) -> None:
        """Leave."""
        self._consumer.close()

    def _end(self, place: tuple[str, int]) -> int:
        try:
            return bounds(self._consumer, place)[1]
        except KafkaException:
            # A broker that was back a moment ago may have told of fewer partitions, and the client keeps that.
            with suppress(KafkaException):
                self._consumer.list_topics(timeout=_ENDS_SECONDS)
            raise


def _grows(count: Callable[[], int], beyond: int | None, seconds: float) -> bool:
    deadline = monotonic() + seconds
    while monotonic() < deadline:
        try:
            now = count()
        except KafkaException:  # the broker is away
            continue
        beyond = now if beyond is None else beyond
        if now > beyond:
            return True
        sleep(0.05)
    return False


class Feed:
    """Sends records at a rate until told to end, in a thread of its own; which records is decided by a seed alone.

    Attributes:
        sent: How many records were queued so far.
    """

    def __init__(
        self, deployment: Deployment, seed: int, rate: float, *, traffic: Source | None = None, step: int = STEP
    ) -> None:
        """Begin to send.

        Args:
            deployment: To whose topics.
            seed: Of the traffic, if none is given.
            rate: Records a second.
            traffic: What to send.
            step: Event time from one record to the next, us.
        """
        self.sent = 0
        self._rate = rate
        self._step = step
        self._traffic = traffic or Traffic(seed)
        self._topics = {"clicks": deployment.clicks, "payments": deployment.payments}
        # Its own messages may wait for a broker that is down, for ever.
        self._producer = Producer({**producer_config(deployment.settings), "client.id": "feed"})
        self._at = time_ns() // 1_000
        self._least = self._burst = 0
        self._end = Event()
        self._failure: BaseException | None = None
        self._thread = Thread(target=self._run, daemon=True)
        self._thread.start()

    def finish(self, least: int = 0) -> int:
        """Send what is missing to so many records, and wait until all are delivered; gives how many."""
        self._least = least
        self._end.set()
        self._thread.join()
        if self._failure is not None:
            raise self._failure
        while self._producer.flush(1.0):
            pass
        return self.sent

    def burst(self, records: int) -> None:
        """Send so many as fast as it goes, and wait until they are queued."""
        self._burst = self.sent + records
        while self.sent < self._burst and self._thread.is_alive():
            sleep(0.005)

    def _run(self) -> None:
        try:
            due = monotonic()
            while not self._end.is_set() or self.sent < self._least:
                self._send(200)
                if self.sent < self._burst:
                    due = monotonic()
                elif not self._end.is_set():
                    due += 200 / self._rate
                    self._end.wait(max(0.0, due - monotonic()))
        except BaseException as error:  # noqa: BLE001  (raised again by `finish`)
            self._failure = error

    def _send(self, number: int) -> None:
        for _ in range(number):
            self._at += self._step
            for kind, key, value in self._traffic.next(self._at):
                while True:
                    try:
                        self._producer.produce(self._topics[kind], value, key)
                    except BufferError:
                        self._producer.poll(0.1)
                    else:
                        break
                self.sent += 1
        self._producer.poll(0)


def wait_until_done(meter: Meter, alive: "Event | None" = None, patience: float = 120.0) -> bool:
    """Wait until the group has committed all that is in the inputs. False if that stands still for so long, s."""
    left, since = -1, monotonic()
    while True:
        try:
            now_left = meter.behind()
        except KafkaException:
            now_left = left
        if now_left == 0:
            return True
        if now_left != left:
            left, since = now_left, monotonic()
        if monotonic() - since > patience or (alive is not None and alive.is_set()):
            return False
        sleep(0.3)
