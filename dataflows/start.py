"""From settings to a dataflow ready to run.

Every reason not to start is one clear line and an exit code that is not 0.
"""

import gc
import os
import sys
from collections.abc import Callable
from typing import Any, NoReturn, Protocol

import structlog
from bytewax.dataflow import Dataflow
from bytewax.inputs import FixedPartitionedSource

from broker.config import consumer_config, producer_config
from broker.errors import BrokerError
from broker.logs import logs_to_stderr
from broker.topics import preflight
from dataflows.sinks import Sinks
from dataflows.stopping import on_signals
from detection.errors import PackError
from detection.lists import Lists
from detection.loading import load
from detection.pack import Pack
from detection.records import Record
from detection.settings import Settings, SettingsError
from sinks.kafka import KafkaSink, Outboxes
from sources.kafka import KafkaSource
from sources.lists import KafkaLists

_log = structlog.get_logger(__name__)


class Build(Protocol):
    """`dataflows.fraud.build`."""

    def __call__(
        self,
        pack: Pack,
        source: FixedPartitionedSource[Record, Any],
        sinks: Sinks,
        refresh: Callable[[Lists], None],
    ) -> Dataflow:
        """Wire the dataflow."""
        ...


def start(build: Build) -> Dataflow:
    """Read settings and packs, look at the broker, and build the dataflow between Kafka and Kafka.

    Exits with one line when there is no broker, a topic is missing, or a setting or pack is wrong.
    """
    stop = on_signals()
    logs_to_stderr()
    try:
        settings = Settings()
        pack = load(settings.fraud_packs, settings.topics)
        consumer, producer = consumer_config(settings), producer_config(settings)
        preflight(settings, [*pack.topics_in, *pack.topics_of_lists, *pack.topics_out, settings.dead_letter_topic])
    except (SettingsError, PackError, BrokerError) as error:
        _refuse(error)
    for warning in pack.warnings:
        _log.warning(str(warning))
    if not _has_recovery_store():
        _log.warning(
            "no recovery store (-r): windows start empty, and after a stop or kill the newest verdicts may come twice"
        )
    outboxes = Outboxes(producer)
    sink = KafkaSink(outboxes)
    dead_letters = KafkaSink(outboxes, settings.dead_letter_topic)
    source = KafkaSource(consumer, pack.topics_in, stop=stop)
    lists = KafkaLists(consumer, pack.topics_of_lists)
    flow = build(pack, source, Sinks(sink, sink, sink, dead_letters), lists)
    _calm_garbage_collector()
    return flow


def _refuse(error: Exception) -> NoReturn:
    sys.stderr.write("".join(f"fraud: {line}\n" for line in str(error).splitlines()))
    sys.exit(1)


def _has_recovery_store() -> bool:
    """Whether `bytewax.run` was given one; it does not tell the dataflow."""
    given = any(argument.startswith(("-r", "--recovery-directory")) for argument in sys.argv[1:])
    return given or "BYTEWAX_RECOVERY_DIRECTORY" in os.environ


def _calm_garbage_collector() -> None:
    """Look for garbage among young objects only.

    The state is millions of lists without a cycle, and going through them is a pause.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 10, 2**31 - 1)
