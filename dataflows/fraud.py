"""The dataflow: records from Kafka, judged by packs, branched to separate topics.

python -m bytewax.run dataflows.fraud
"""

from collections.abc import Callable
from operator import attrgetter
from typing import Any

import bytewax.operators as op
from bytewax.dataflow import Dataflow, Stream, operator
from bytewax.inputs import FixedPartitionedSource

from dataflows.decoding import decode
from dataflows.keygroups import windowed_features
from dataflows.metrics import watch
from dataflows.sinks import Sinks
from dataflows.store.quarantine import Guard, Quarantine
from detection.codec import Event
from detection.pack import Pack
from detection.program import Program
from detection.records import Record, Verdict
from sinks.kafka import write
from sources.answered import Answered


def unchanged(program: Program) -> None:
    """Leave the lists and models of a pack as they were loaded."""


def build(
    pack: Pack,
    source: FixedPartitionedSource[Record, Any],
    sinks: Sinks,
    refresh: Callable[[Program], None] = unchanged,
    answered: Answered | None = None,
    *,
    quarantine: Quarantine | None = None,
) -> Dataflow:
    """Wire the dataflow. Reads no settings and opens no connection.

    Args:
        pack: What the records mean.
        source: Where they come from.
        sinks: Where the answers go.
        refresh: Brings the pack's lists and models up to date, before each batch of events is judged.
        answered: Where the source marks the records that were answered before a restart.
        quarantine: What is known of records that crash the dataflow.
    """
    program = Program(pack)
    watch(program)
    guard = Guard(program, quarantine)
    flow = Dataflow("fraud")
    decoded = decode("decode", flow, source, program, answered, guard)
    enriched = windowed_features("features", decoded.events, program, guard)
    verdicts = judge("judge", enriched, program, refresh, guard)
    fraud = op.branch("is_fraud", verdicts, attrgetter("blocked"))
    review = op.branch("is_review", fraud.falses, is_review)

    write("fraud_out", fraud.trues, sinks.fraud)
    write("review_out", review.trues, sinks.review)
    write("legit_out", review.falses, sinks.legit)
    write("dead_letters_out", decoded.dead_letters, sinks.dead_letters)
    if sinks.commits is not None:
        op.input("commits", flow, sinks.commits)
    return flow


@operator
def judge(
    step_id: str,  # noqa: ARG001  Bytewax reads it
    up: Stream[Event],
    program: Program,
    refresh: Callable[[Program], None],
    guard: Guard,
) -> Stream[Verdict]:
    """Judge each event by the rules of its type, unless it has its verdict already."""
    judges = [judge.judge for judge in program.judges]

    def judged(events: list[Event]) -> list[Verdict]:
        return [judges[event.kind](event) for event in events if not event.answered]

    guarded = guard.over("rules", judged)

    def verdicts(events: list[Event]) -> list[Verdict]:
        refresh(program)
        return guarded(events)

    return op.flat_map_batch("rules", up, verdicts)


def is_review(verdict: Verdict) -> bool:
    """Whether a person should look at the event."""
    return verdict.decision == "review"


def flow() -> Dataflow:
    """The dataflow as the settings want it: what `python -m bytewax.run dataflows.fraud` runs."""
    from dataflows.start import start  # noqa: PLC0415  importing a dataflow opens nothing and reads no setting

    return start(build)
