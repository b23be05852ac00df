"""From settings to a dataflow ready to run.

Every reason not to start is one clear line and an exit code that is not 0.
"""

import atexit
import gc
import os
import sys
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn, Protocol

import structlog
from bytewax.dataflow import Dataflow
from bytewax.inputs import FixedPartitionedSource
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from broker.client import TransactionalProducerClient
from broker.cluster import MOCK_CLUSTER, ClusterWatch, ends_now, places
from broker.config import consumer_config, producer_config, watching_config
from broker.ends import Ends
from broker.errors import BrokerError
from broker.group import commit, committed
from broker.logs import logs_to_stderr
from broker.topics import Look, look
from broker.vitals import Vitals
from dataflows.metrics import watch_vitals
from dataflows.sinks import Sinks
from dataflows.store.deployment import Arguments, StoreError, arguments
from dataflows.store.opening import Store
from dataflows.store.quarantine import InHand, Journal, Quarantine, QuarantineError
from dataflows.store.skips import SkipError, Skips
from dataflows.store.state import offsets_of
from dataflows.supervision.environment import CAREFUL, LOGS, PROCESS, STATUS_FILE
from dataflows.supervision.reporter import Reporter
from dataflows.supervision.stopping import on_signals
from detection.errors import PackError
from detection.loading import load
from detection.pack import Pack
from detection.program import Program
from detection.records import Record
from detection.settings import Settings, SettingsError
from sinks.kafka import KafkaSink, Outboxes, PerWorker
from sinks.transactions import Commits, TransactionalOutboxes, fence
from sources.answered import Answered, Tails
from sources.kafka import KafkaSource
from sources.lists import KafkaLists
from sources.models import ModelFiles

_log = structlog.get_logger(__name__)

_stores: list[Store] = []
"""Held until the process ends."""


class Build(Protocol):
    """`dataflows.fraud.build`."""

    def __call__(
        self,
        pack: Pack,
        source: FixedPartitionedSource[Record, Any],
        sinks: Sinks,
        refresh: Callable[[Program], None],
        answered: Answered,
        *,
        quarantine: Quarantine,
    ) -> Dataflow:
        """Wire the dataflow."""
        ...


def start(build: Build) -> Dataflow:
    """Read settings and packs, look at the broker, and build the dataflow between Kafka and Kafka.

    All processes of a cluster come here before any of them judges, since Bytewax connects them only afterwards. So this
    is where those who wrote before are shut out, by each process those who had the names of its own workers.

    Exits with one line when there is no broker, a topic is missing, or a setting, pack or recovery store is wrong.
    """
    stop = on_signals()
    start_logs()
    given = arguments()
    answered, vitals = Answered(), Vitals()
    try:
        settings = Settings()
        pack = load(settings.fraud_packs, settings.topics)
        consumer, producer = consumer_config(settings), producer_config(settings)
        _start_reporter(vitals, settings)  # shutting out who wrote before may take a while
        outputs = [*pack.topics_out, settings.dead_letter_topic]
        found = look(settings, [*pack.topics_in, *pack.topics_of_lists, *outputs])
        watched = {topic: found.partitions[topic] for topic in (*pack.topics_in, *outputs)}
        quarantine = _quarantine(given, settings, vitals)
        tails, began, fenced = _fenced(settings, pack, given, found, outputs)
    except (SettingsError, PackError, BrokerError, StoreError, QuarantineError, SkipError) as error:
        refuse(error)
    for warning in pack.warnings:
        _log.warning(str(warning))
    if given.store is None:
        _log.warning(
            "no recovery store (-r): windows start empty, and after a stop or kill the newest verdicts may come twice"
        )
    source = KafkaSource(
        consumer,
        pack.topics_in,
        stop=stop,
        tails=tails,
        answered=answered,
        cluster=lambda: ClusterWatch(settings, watched, outputs),
        vitals=vitals,
        began=began,
        skip=quarantine.skip,
    )
    if settings.delivery == "exactly_once":
        transactional = TransactionalOutboxes(fenced)
        outboxes: PerWorker = transactional
        commits = Commits(transactional, stop)
    else:
        outboxes, commits = Outboxes(producer), None
    sink = KafkaSink(outboxes)
    sinks = Sinks(sink, sink, sink, KafkaSink(outboxes, settings.dead_letter_topic), commits)
    lists, models = KafkaLists(consumer, pack.topics_of_lists), ModelFiles(pack.models)

    def refresh(program: Program) -> None:
        lists(program.lists)
        models(program.models)

    if given.store is not None and given.together:
        atexit.register(_tell_group, consumer, given.store, pack.topics_in, stop)
    flow = build(pack, source, sinks, refresh, answered, quarantine=quarantine)
    models.start()
    _calm_garbage_collector()
    return flow


def start_logs() -> None:
    """Log to stderr, as text or JSON."""
    rank = os.environ.get(PROCESS, "")
    wanted = os.environ.get(LOGS) or ("text" if sys.stderr.isatty() else "json")
    logs_to_stderr(structured=wanted != "text", process=int(rank) if rank.isdecimal() else None)


def _quarantine(given: Arguments, settings: Settings, vitals: Vitals) -> Quarantine:
    journal = None if given.store is None else Journal(given.store)
    careful = os.environ.get(CAREFUL)
    in_hand = InHand(Path(careful)) if careful else None
    skips = None if given.store is None else Skips.read(given.store)
    return Quarantine(journal, tries=settings.quarantine_tries, in_hand=in_hand, vitals=vitals, skips=skips)


def _start_reporter(vitals: Vitals, settings: Settings) -> None:
    watch_vitals(vitals)
    admin = AdminClient(watching_config(settings))
    path = os.environ.get(STATUS_FILE)
    reporter = Reporter(vitals, Ends(admin, []), Ends(admin, [], beginnings=True), Path(path) if path else None)
    reporter.start()
    atexit.register(reporter.stop)


def _tell_group(consumer: Mapping[str, Any], store: Path, topics: Iterable[str], stopped: Callable[[], bool]) -> None:
    """After a graceful stop, have the group say what the last snapshot says.

    While running it is told of a snapshot with the next one. Without a next one a run that ended well would leave no
    trace in the group, and a store that is lost afterwards would not be missed.
    """
    if not stopped():
        return
    wanted = frozenset(topics)
    try:
        offsets = {place: next_ for place, next_ in offsets_of(store).items() if place.rpartition("/")[0] in wanted}
        commit(consumer, offsets)
    except (StoreError, BrokerError, KafkaException) as error:
        _log.warning("the group's offsets are one snapshot behind", error=str(error))


def _fenced(
    settings: Settings,
    pack: Pack,
    given: Arguments,
    found: Look,
    outputs: Iterable[str],
) -> tuple[Tails, dict[str, int] | None, dict[int, TransactionalProducerClient]]:
    """Shut out who wrote to the outputs before, under the names of this process' workers and of workers that are gone.

    Args:
        settings: Where the broker is, and how to talk to it.
        pack: What is read, and written.
        given: What Bytewax was started with.
        found: What the cluster told.
        outputs: The topics that are written to.

    Returns:
        The tails of the outputs, where the inputs begin, and the producers of this process' workers, which may write.
    """
    first: dict[str, int] | None = None
    began: dict[str, int] | None = None
    workers = given.total_workers
    cluster, topics, admin = found
    inputs = {topic: topics[topic] for topic in pack.topics_in}
    if settings.delivery == "exactly_once" and cluster.startswith(MOCK_CLUSTER):
        where = settings.kafka_broker_url
        msg = f"{where}: is an embedded broker, whose transactions isolate nothing: set DELIVERY=at_least_once"
        raise BrokerError(msg)
    store: Store | None = None
    if given.store is not None:
        store = Store.open(
            given,
            application=settings.application_id,
            cluster=cluster,
            pack=pack.hash,
            topics=pack.topics_in,
            fresh=settings.fraud_fresh,
            committed=lambda: committed(consumer_config(settings), places(inputs)),
        )
        _stores.append(store)
        began = store.deployment.began_at
        workers = store.deployment.fence_up_to(workers)
        first = store.deployment.ends(
            outputs, lambda new: ends_now(settings, places({topic: topics[topic] for topic in new}), admin)
        )
    mine = given.own_workers
    gone = range(given.total_workers, workers)
    fenced: dict[int, TransactionalProducerClient] = {}
    with ThreadPoolExecutor(2) as meanwhile:  # the brokers take half a second to end what was open
        prepared = None if store is None else meanwhile.submit(store.prepare)
        if store is not None and given.process == 0 and given.together and not store.contents.empty:
            meanwhile.submit(_tell_if_older, settings, store, inputs)
        if settings.delivery == "exactly_once":
            fenced = fence(producer_config(settings), settings.application_id, [*mine, *gone])
        if prepared is not None:
            prepared.result()
    # Also where another pack wrote: what it answered must not be answered again.
    earlier = {address.rpartition("/")[0] for address in first or ()} & topics.keys()
    ending = places({topic: topics[topic] for topic in {*outputs, *earlier}})
    tails = Tails(consumer_config(settings), lambda: ends_now(settings, ending, admin), first)
    # Those of workers that are gone have done what they were made for: nobody uses them, whichever process made them.
    return tails, began, {worker: fenced[worker] for worker in mine if fenced}


def _tell_if_older(settings: Settings, store: Store, partitions: Mapping[str, int]) -> None:
    """Say so if a store is not as far as the group. It is gone on from all the same: nothing is answered twice."""
    with suppress(BrokerError, StoreError):  # a warning is not worth a start
        stored = offsets_of(store.contents.folder)
        group = committed(consumer_config(settings), places(partitions))
        behind = sum(max(0, offset - stored.get(place, 0)) for place, offset in group.items())
        if behind:
            _log.warning(
                "the recovery store is behind what the group has committed: is it an older copy? What came since is "
                "read again; what has its answer gets no second one",
                records=behind,
            )


def refuse(error: Exception) -> NoReturn:
    """End with an error for people, a line for each thing that is wrong."""
    sys.stderr.write("".join(f"fraud: {line}\n" for line in str(error).splitlines()))
    sys.exit(1)


def _calm_garbage_collector() -> None:
    """Look for garbage among young objects only.

    The state is millions of lists without a cycle, and going through them is a pause.
    """
    gc.freeze()  # without a look at what the imports left: it finds 285 objects in 33 ms
    gc.set_threshold(50_000, 10, 2**31 - 1)
