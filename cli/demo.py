"""`fraud demo`: a broker, traffic of all kinds, the dataflow as a process of its own, and what comes out of it."""

import json
import os
import secrets
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from types import FrameType, TracebackType
from typing import Annotated, Literal, Self

from cyclopts import Parameter, validators
from rich.live import Live

from broker.apache import ApacheKafka
from broker.embedded import EmbeddedBroker
from broker.logs import logs_to_stderr
from broker.topics import create_missing
from cli import board
from cli.demo_page import live_page
from cli.demo_parts import DataflowError, DataflowProcess, Reader, Traffic
from cli.errors import PROBLEMS, UsageError
from cli.project import topics_of
from cli.score import Score
from cli.terminal import Terminal, stdout
from detection.loading import load
from detection.pack import Pack
from detection.settings import Settings

_PARTITIONS = 4
_HIGHEST_RATE = 5_000.0
"""Events a second that this process can send, read and count beside the dataflow, on two cores."""

_HIGHEST_PORT = 65_535
_READY_SECONDS = 60.0
_STRAGGLER_SECONDS = 5.0
_READ_SECONDS = 0.1
_CONNECTING_MS = 1_000
"""Clients that have just been made look for their brokers: what is sent meanwhile would show how long that takes."""

_DRAW_SECONDS = 0.25
_LINE_SECONDS = 2.0

BrokerKind = Literal["embedded", "kafka"]
Positive = Annotated[float, Parameter(validator=validators.Number(gt=0))]


def demo(
    *,
    broker: BrokerKind = "embedded",
    seconds: Positive | None = None,
    summary: Path | None = None,
    rate: Annotated[float, Parameter(validator=validators.Number(gte=1, lte=_HIGHEST_RATE))] = 500.0,
    port: Annotated[int, Parameter(validator=validators.Number(gte=0, lte=_HIGHEST_PORT))] = 5000,
) -> int:
    """Show everything at work.

    The shipped packs run with the settings they ship with, whatever the environment says.

    Args:
        broker: One inside this process, or a real Apache Kafka.
        seconds: End after so long. Without it: at Ctrl-C.
        summary: Write what was counted to this file, as JSON.
        rate: Events per second, of all kinds together.
        port: Where on 127.0.0.1 the live page is; 0 for any that is free.
    """
    _check_summary(summary)
    logs_to_stderr()
    console = stdout()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with ExitStack() as opened:
            settings, pack = _stage(opened, broker, console)
            opened.enter_context(live_page(settings, pack, port, console))
            reader = opened.enter_context(closing(Reader(settings, pack)))
            dataflow = opened.enter_context(closing(DataflowProcess(settings, _temporary_folder(opened))))
            traffic = opened.enter_context(closing(Traffic(settings, secrets.randbits(32))))
            traffic.first_event()
            _wait_for_first_verdict(reader, dataflow)
            with _asked_to_stop() as stopped:
                began = time.monotonic()
                reader.score.measure_from(time.time_ns() // 1_000_000 + _CONNECTING_MS)
                traffic.start(rate)
                _watch(_View(console, reader.score, settings.kafka_broker_url), reader, dataflow, seconds, stopped)
                lasted = time.monotonic() - began
                _collect(reader, traffic.end())
                dataflow.stop()
                reader.read(_READ_SECONDS)  # what came twice would be there now
    except DataflowError as error:
        sys.stderr.write(f"fraud: {error}\n")
        return PROBLEMS
    except KeyboardInterrupt:
        console.print("stopped without a summary")
        return 0
    console.print(board.closing(reader.score, lasted), soft_wrap=False)
    if summary is not None:
        told = board.summary(reader.score, seconds=lasted, broker=broker)
        summary.write_text(json.dumps(told, indent=2) + "\n", "utf-8")
    return 0


def _check_summary(path: Path | None) -> None:
    """Say now, not at the end, that the summary could not be written."""
    if path is None:
        return
    place = path if path.exists() else path.parent
    if path.is_dir() or not path.parent.is_dir() or not os.access(place, os.W_OK):
        msg = f"--summary: expected a file that can be written, in a folder that exists, got {path}"
        raise UsageError(msg)


def _stage(opened: ExitStack, kind: BrokerKind, console: Terminal) -> tuple[Settings, Pack]:
    """Start the broker, and make the topics."""
    if kind == "embedded":
        embedded = opened.enter_context(EmbeddedBroker())
        settings, pack = _defaults(embedded.address, "at_least_once")  # its transactions isolate nothing
        # `fraud web` makes its topics itself, which this broker cannot do for it.
        for topic in (*topics_of(settings, pack), settings.labels_topic, settings.audit_topic):
            embedded.create_topic(topic, _PARTITIONS)
    else:
        kafka = opened.enter_context(ApacheKafka(progress=console.print))
        settings, pack = _defaults(kafka.address, "exactly_once")
        create_missing(settings, topics_of(settings, pack, partitions=_PARTITIONS))
    console.print(f"Kafka is at {settings.kafka_broker_url}, until the demo ends. To look inside:")
    console.print(f"  {_kcat(settings.kafka_broker_url)}")
    return settings, pack


def _defaults(address: str, delivery: Literal["exactly_once", "at_least_once"]) -> tuple[Settings, Pack]:
    # Reads no environment: the rest are the defaults.
    settings = Settings.model_construct(kafka_broker_url=address, delivery=delivery)
    return settings, load(settings.fraud_packs, settings.topics)


def _kcat(address: str) -> str:
    return f"kcat -b {address} -t clicks.fraud -C"


def _temporary_folder(opened: ExitStack) -> Path:
    return Path(opened.enter_context(tempfile.TemporaryDirectory(prefix="fraud-demo-")))


def _wait_for_first_verdict(reader: Reader, dataflow: DataflowProcess) -> None:
    deadline = time.monotonic() + _READY_SECONDS
    while not reader.score.verdicts:
        dataflow.check()
        if time.monotonic() > deadline:
            msg = f"the dataflow: expected a first verdict within {_READY_SECONDS:g} s, got none{dataflow.last_lines()}"
            raise DataflowError(msg)
        reader.read(_READ_SECONDS)


@contextmanager
def _asked_to_stop() -> Iterator[threading.Event]:
    """Set at the first SIGINT or SIGTERM; another one interrupts whatever is going on."""
    stopped = threading.Event()

    def stop(number: int, frame: FrameType | None) -> None:
        if stopped.is_set():
            signal.default_int_handler(number, frame)
        stopped.set()

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stopped
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class _View:
    """Draws the score: on a terminal four times a second, elsewhere a line every two."""

    def __init__(self, console: Terminal, score: Score, address: str) -> None:
        self._console = console
        self._score = score
        self._title = f"Kafka at {address}, Ctrl-C to end.  {_kcat(address)}"
        self._live = Live(console=console, auto_refresh=False) if console.is_terminal else None
        self.every = _LINE_SECONDS if self._live is None else _DRAW_SECONDS

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def draw(self, seconds: float) -> None:
        if self._live is None:
            self._console.print(board.line(self._score, seconds))
        else:
            self._live.update(board.page(self._score, self._title), refresh=True)


def _watch(
    view: _View, reader: Reader, dataflow: DataflowProcess, seconds: float | None, stopped: threading.Event
) -> None:
    """Read and show, until the time is over or somebody asks to stop."""
    began = drawn = time.monotonic()
    with view:
        while not stopped.is_set() and (seconds is None or time.monotonic() - began < seconds):
            reader.read(_READ_SECONDS)
            dataflow.check()
            if time.monotonic() - drawn >= view.every:
                drawn = time.monotonic()
                view.draw(drawn - began)


def _collect(reader: Reader, sent: int) -> None:
    """Wait for the verdicts that are still on their way."""
    deadline = time.monotonic() + _STRAGGLER_SECONDS
    while (reader.score.events < sent or reader.score.missing) and time.monotonic() < deadline:
        reader.read(_READ_SECONDS)
