"""The dataflow that tells people of verdicts. One of its own: whoever is slow to hear never slows detection.

python -m bytewax.run dataflows.alerts -r recovery-alerts -s 10 -b 0
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import bytewax.operators as op
import msgspec
from bytewax.dataflow import Dataflow, Stream
from bytewax.inputs import DynamicSource, FixedPartitionedSource
from bytewax.outputs import Sink
from confluent_kafka import Producer

from broker.cluster import ClusterWatch, ends_now, places
from broker.config import consumer_config, producer_config
from broker.errors import BrokerError
from broker.group import committed
from broker.topics import Look, look
from dataflows.alerting import only_news, read_verdicts, topics_of
from dataflows.store.deployment import StoreError, arguments
from dataflows.store.opening import Store
from dataflows.supervision.stopping import on_signals
from detection.alerting.alert import Alert
from detection.alerting.outbox import Patience
from detection.errors import PackError
from detection.loading import load
from detection.pack import Pack
from detection.program import Program
from detection.records import Headers, Record
from detection.settings import Settings, SettingsError
from sinks.kafka import KafkaSink, Outbox, Outboxes, write
from sinks.notify import PART, Bury, NotifySink, NotifyTicks, Way
from sinks.receivers import receivers
from sources.kafka import KafkaSource


def build(
    pack: Pack,
    source: FixedPartitionedSource[Record, Any],
    notify: Sink[Any],
    dead_letters: Sink[Any],
    ticks: DynamicSource[tuple[str, None]] | None = None,
) -> Dataflow:
    """Wire the dataflow. Reads no settings and opens no connection.

    Args:
        pack: Whom to tell of what.
        source: Verdicts, as records of the output topics.
        notify: Gets the alerts that are news, with a key.
        dead_letters: Gets what is no verdict.
        ticks: What `notify` gets besides, so that its state is kept when no alert comes.
    """
    program = Program(pack)
    flow = Dataflow("alerts")
    verdicts = op.input("verdicts_in", flow, source)
    read = read_verdicts("verdicts", verdicts, program)
    news = only_news("news", read.alerts, pack)

    told: Stream[Any] = op.map("to_receivers", news, _keyed)
    if ticks is not None:
        told = op.merge("with_ticks", told, op.input("ticks", flow, ticks))
    op.output("alerts_out", told, notify)
    write("dead_letters_out", read.dead_letters, dead_letters)
    return flow


def _keyed(alert: Alert) -> tuple[str, Alert]:
    return PART, alert


def burier(config: dict[str, Any], topic: str) -> Callable[[], Bury]:
    """Makes what writes alerts that nobody took to a topic, each with its reason, and waits until they are there."""

    def make() -> Bury:
        outbox = Outbox(Producer(dict(config)))

        def bury(alerts: Sequence[Alert], reason: str) -> None:
            for alert in alerts:
                headers: Headers = [
                    ("fraud.error", reason.encode("utf-8", "backslashreplace")),
                    ("fraud.origin", alert.origin.encode("utf-8", "backslashreplace")),
                ]
                outbox.write_one(topic, alert.origin.encode(), msgspec.json.encode(alert), headers)
            outbox.confirm()

        return bury

    return make


def flow() -> Dataflow:
    """The dataflow as the settings want it.

    Exits with one line when a setting or pack is wrong, there is no broker or no recovery store.
    """
    from dataflows.start import refuse, start_logs  # noqa: PLC0415  importing a dataflow opens nothing

    stop = on_signals()
    start_logs()
    try:
        settings = Settings()
        pack = load(settings.fraud_packs, settings.topics, model_files=False)
        topics = topics_of(pack)
        known = receivers([name for spec in pack.alerts for name in spec.to], settings.alerts)
        settings = settings.model_copy(update={"application_id": f"{settings.application_id}-alerts"})
        consumer, producer = consumer_config(settings), producer_config(settings)
        found = look(settings, [*topics, settings.alert_dead_letter_topic])
        watched = {topic: found.partitions[topic] for topic in topics}
        began = _take_store(settings, pack, found, watched)
    except (SettingsError, PackError, BrokerError, StoreError) as error:
        refuse(error)
    ways = [
        Way(alert=spec.name, receiver=receiver, group=spec.group, limit=spec.limit)
        for spec in pack.alerts
        for name in dict.fromkeys(spec.to)
        for receiver in known[name]
    ]
    notify = NotifySink(
        ways,
        burier(producer, settings.alert_dead_letter_topic),
        patience=Patience(tries=settings.alert_tries),
        stop=stop,
    )
    source = KafkaSource(
        consumer,
        topics,
        stop=stop,
        pause=notify.is_full,
        cluster=lambda: ClusterWatch(settings, watched, []),
        began=began,
    )
    dead_letters = KafkaSink(Outboxes(producer), settings.alert_dead_letter_topic)
    return build(pack, source, notify, dead_letters, NotifyTicks(stop))


def _take_store(settings: Settings, pack: Pack, found: Look, partitions: Mapping[str, int]) -> dict[str, int]:
    """Take the recovery store; it may not be the one of the dataflow that judges.

    Returns:
        Where partitions that are in no snapshot begin. It is in the store from the first start on, so a crash before
        the first snapshot leaves out nothing.

    Raises:
        SettingsError: The packs have no alert.
        StoreError: There is no store, it may not be gone on from, or another process has it.
    """
    given = arguments()
    if not pack.alerts:
        raise SettingsError(["FRAUD_PACKS: expected a pack with an [alert.NAME], got none"])
    if given.store is None:
        # What waits to be sent is in its snapshots, and nowhere else once the group's offsets are past it.
        msg = "alerts: expected a recovery store of their own, got none: start with -r DIR -s 10 -b 0"
        raise StoreError(msg)
    if given.processes > 1:
        msg = f"alerts: expected one process, got {given.processes}: the others would read on while receivers cannot"
        raise StoreError(msg)
    store = Store.open(
        given,
        application=settings.application_id,
        cluster=found.cluster,
        pack=pack.hash,
        topics=tuple(partitions),
        fresh=settings.fraud_fresh,
        committed=lambda: committed(consumer_config(settings), places(partitions)),
    )
    _stores.append(store)
    store.prepare()

    began = store.deployment.began_at

    def begin(new: list[str]) -> Mapping[str, int]:
        if settings.alert_start == "beginning":
            return {}
        # A store that was begun anew goes on where the group is: a partition of its topics that has no offset had no
        # record. A topic of which none has one is new to the group.
        known = {place.rpartition("/")[0] for place in began}
        return ends_now(
            settings, places({topic: partitions[topic] for topic in new if topic not in known}), found.admin
        )

    return {**store.deployment.ends(partitions, begin), **began}


_stores: list[Store] = []
"""Held until the process ends."""
