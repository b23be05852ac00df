"""What the demo is made of beside its broker: the traffic, the dataflow's process, and the reader that keeps score."""

import os
import subprocess
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from confluent_kafka import OFFSET_BEGINNING, Consumer, Message, Producer, TopicPartition

import dataflows
from broker.config import consumer_config, producer_config
from broker.topics import preflight
from cli.score import Score
from cli.terminal import clean
from dataflows.supervision.launcher import Patience, dataflow_command, die_with_parent, prepare_store
from detection.pack import Pack
from detection.settings import Settings
from simulation import DEFAULT_FRAUD_SHARE, TRAFFIC
from simulation.produce import run
from sources.reading import headers_of
from sources.verdicts import OtherError, read_dead_letter

_SHARES: Final = {"clicks": 0.4, "counter": 0.1, "transfers": 0.2, "payments": 0.3}
"""Of the rate, by kind of traffic."""

_BATCH: Final = 5_000
_STORE_PARTS: Final = 4
_SNAPSHOT_SECONDS: Final = 5
_LAST_LINES: Final = 20


class DataflowError(Exception):
    """The dataflow's process ended, or never began to judge."""


class Traffic:
    """Sends all kinds of traffic, each in a thread of its own."""

    def __init__(self, settings: Settings, seed: int) -> None:
        self._config = producer_config(settings)
        self._seed = seed
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []
        self._sent = 0
        self._failures: list[Exception] = []

    def first_event(self) -> None:
        """Send one event: its verdict tells that the dataflow is up."""
        self._send("counter", rate=1.0, count=1)

    def start(self, rate: float) -> None:
        """Send `rate` events a second, of all kinds together, until `end`."""
        self._threads = [
            threading.Thread(target=self._send, args=(kind, rate * share), daemon=True)
            for kind, share in _SHARES.items()
        ]
        for thread in self._threads:
            thread.start()

    def end(self) -> int:
        """Stop, and return how many events were delivered in all.

        Raises:
            Exception: What stopped a thread before its time.
        """
        self.close()
        for failure in self._failures:
            raise failure
        return self._sent

    def close(self) -> None:
        """Stop sending."""
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _send(self, kind: str, rate: float, count: int | None = None) -> None:
        traffic = TRAFFIC[kind]
        generate = traffic.generator(self._seed, DEFAULT_FRAUD_SHARE)
        try:
            done = run(generate, Producer(self._config), traffic.topic, rate=rate, count=count, stop=self._stop)
        except Exception as error:  # noqa: BLE001  (raised again by `end`, where somebody can act on it)
            self._failures.append(error)
        else:
            self._sent += done.sent


class DataflowProcess:
    """`python -m bytewax.run dataflows.fraud`, as an operator starts it, with a recovery store that goes with it."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        store = folder / "recovery"
        prepare_store(store, _STORE_PARTS)
        self._log = folder / "dataflow.log"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(  # noqa: S603  (our own command)
                dataflow_command(0, [], recovery=store, snapshot_seconds=_SNAPSHOT_SECONDS),
                cwd=folder,  # there is no .env
                env={
                    **_neutral(os.environ),
                    "KAFKA_BROKER_URL": settings.kafka_broker_url,
                    "DELIVERY": settings.delivery,
                },
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is for us: the dataflow stops after those who send to it
                preexec_fn=die_with_parent,  # noqa: PLW1509  (one system call, prepared before the fork)
            )

    def check(self) -> None:
        """Raise if the process has ended."""
        code = self._process.poll()
        if code is not None:
            msg = f"the dataflow: expected it to run, it ended with exit code {code}{self.last_lines()}"
            raise DataflowError(msg)

    def stop(self) -> None:
        """Ask it to end, and raise if it does not do so in good order."""
        self._process.terminate()
        try:
            code = self._process.wait(Patience().stop)
        except subprocess.TimeoutExpired:
            code = None
        if code != 0:
            told = "it did not end" if code is None else f"it ended with exit code {code}"
            msg = f"the dataflow: expected it to end with 0 when asked, {told}{self.last_lines()}"
            raise DataflowError(msg)

    def last_lines(self) -> str:
        """The end of its log, to be added to a message."""
        lines = self._log.read_text("utf-8", "replace").splitlines()[-_LAST_LINES:]
        return "".join(f"\n  {clean(line)}" for line in lines)

    def close(self) -> None:
        """Kill the process, if it is still there."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()


class Reader:
    """Reads all that goes in and all that comes out.

    Attributes:
        score: What it has counted.
    """

    def __init__(self, settings: Settings, pack: Pack) -> None:
        self.score = Score()
        self._inputs = frozenset(pack.topics_in)
        self._dead_letters = settings.dead_letter_topic
        topics = [*pack.topics_in, *pack.topics_out, settings.dead_letter_topic]
        partitions = preflight(settings, topics)
        # Names no group that anybody commits to: the offsets of the dataflow are its own.
        self._consumer = Consumer({**consumer_config(settings), "group.id": f"{settings.application_id}-demo"})
        self._consumer.assign(
            [
                TopicPartition(topic, number, OFFSET_BEGINNING)
                for topic, count in partitions.items()
                for number in range(count)
            ]
        )

    def read(self, seconds: float) -> None:
        """Count what has arrived, and wait at most `seconds` for something."""
        for message in self._consumer.consume(_BATCH, seconds):
            if message.error() is None:
                try:
                    self._take(message)
                except OtherError:
                    self.score.others += 1

    def close(self) -> None:
        """Read no more."""
        self._consumer.close()

    def _take(self, message: Message) -> None:
        topic, at = str(message.topic()), message.timestamp()[1]
        if topic in self._inputs:
            origin = f"{topic}/{message.partition()}/{message.offset()}"
            self.score.take_event(origin, at, fraud=_labelled_fraud(message))
        elif topic == self._dead_letters:
            self.score.take_dead_letter(read_dead_letter(message)[0], at)
        else:
            self.score.take_verdict(topic, message.key(), message.value() or b"", at)


def _labelled_fraud(message: Message) -> bool:
    return dict(headers_of(message) or ()).get("label") == b"fraud"


def _neutral(environment: Mapping[str, str]) -> dict[str, str]:
    """An environment without settings of ours or of Bytewax, in which our packages are found from any folder."""
    ours = {name.upper() for name in Settings.model_fields}
    kept = {
        name: value
        for name, value in environment.items()
        if name.upper() not in ours and not name.upper().startswith(("KAFKA_", "BYTEWAX_"))
    }
    root = str(Path(dataflows.__path__[0]).parent)
    return {**kept, "PYTHONPATH": os.pathsep.join([root, *filter(None, [kept.get("PYTHONPATH")])])}
