"""Metrics in the Prometheus registry, which Bytewax serves at `/metrics` when `BYTEWAX_DATAFLOW_API_ENABLED` is set."""

import os
from collections.abc import Iterable, Mapping
from time import monotonic
from weakref import WeakSet

from prometheus_client import REGISTRY
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from typing_extensions import override

from broker.vitals import Vitals
from dataflows.supervision.environment import RESTARTS
from detection.program import Program

METRICS: dict[str, tuple[str, tuple[str, ...]]] = {
    "fraud_verdicts": ("Events judged.", ("event", "decision")),
    "fraud_late_events": (
        "Verdicts on events older than their partition's newest by more than the lateness.",
        ("event",),
    ),
    "fraud_rule_hits": ("Events at which a rule fired.", ("event", "rule")),
    "fraud_rule_unknowns": ("Events at which a rule's condition was unknown.", ("event", "rule")),
    "fraud_history_overflows": (
        "Entries that a history dropped, or took out of their place, because its key has more than a key may keep.",
        ("step", "history"),
    ),
    "fraud_list_errors": ("Records of a list's topic that could not be used.", ("list",)),
    "fraud_model_swaps": ("How often another model was put in its place.", ("model",)),
    "fraud_model_refused_files": ("Files of models that could not be used.", ("model",)),
    "fraud_model_scores": (
        "Scores of a model, of one event in ten, by tenths: 0.9 and above is tenth 9.",
        ("model", "tenth"),
    ),
    "fraud_dead_letters": ("Records that could not be judged.", ("topic",)),
}
"""Name (Prometheus adds `_total`), meaning and labels of each metric."""

GAUGES: dict[str, tuple[str, tuple[str, ...]]] = {
    "fraud_lag": ("Offsets between our position in an input partition and its end.", ("topic", "partition")),
    "fraud_snapshot_age_seconds": ("Seconds since the last snapshot, or since the start before the first one.", ()),
    "fraud_stalled_partitions": ("Input partitions that grow and are not read on.", ()),
    "fraud_restarts": ("How often the supervisor has started all processes again.", ()),
}
"""Name, meaning and labels of each metric that may also fall."""

MODEL_GAUGES: dict[str, tuple[str, tuple[str, ...]]] = {
    "fraud_model_info": ("1 for each model that is in use.", ("model", "role", "id")),
    "fraud_model_stability": (
        "Population stability index of what a model sees, and of its score, against its training.",
        ("model", "feature"),
    ),
}
"""The same, of models."""

_programs: WeakSet[Program] = WeakSet()
_vitals: WeakSet[Vitals] = WeakSet()


def watch(program: Program) -> None:
    """Count what the program does from now on."""
    _programs.add(program)


def watch_vitals(vitals: Vitals) -> None:
    """Show these vital signs from now on."""
    _vitals.add(vitals)


class ProgramCollector(Collector):
    """Reads the plain counters of the running programs when somebody asks: counting costs the hot path no lock."""

    @override
    def collect(self) -> Iterable[Metric]:
        families = {
            name: CounterMetricFamily(name, meaning, labels=labels) for name, (meaning, labels) in METRICS.items()
        }
        for program in _programs:
            for judge in program.judges:
                event, counts = judge.event.name, judge.counts
                for decision, number in counts.decisions.items():
                    families["fraud_verdicts"].add_metric((event, decision), number)
                families["fraud_late_events"].add_metric((event,), counts.late)
                for rule, rule_counts in counts.rules.items():
                    families["fraud_rule_hits"].add_metric((event, rule), rule_counts.hits)
                    families["fraud_rule_unknowns"].add_metric((event, rule), rule_counts.unknowns)
            for step in program.steps:
                for log, number in zip(step.logs, step.overflows, strict=True):
                    families["fraud_history_overflows"].add_metric((step.name, log.name), number)
            for name, number in program.lists.refused.items():
                families["fraud_list_errors"].add_metric((name,), number)
            _count_models(program, families)
            for topic, number in program.dead_letters.items():
                families["fraud_dead_letters"].add_metric((topic,), number)
        return families.values()


def _count_models(program: Program, families: Mapping[str, CounterMetricFamily]) -> None:
    for name, slot in program.models.slots.items():
        families["fraud_model_swaps"].add_metric((name,), slot.swaps)
        families["fraud_model_refused_files"].add_metric((name,), slot.refused)
        for tenth, number in enumerate(slot.scores):
            families["fraud_model_scores"].add_metric((name, str(tenth)), number)


class ModelCollector(Collector):
    """Tells which models the running programs use, and whether these still see what they were trained on."""

    @override
    def collect(self) -> Iterable[Metric]:
        families = {
            name: GaugeMetricFamily(name, meaning, labels=labels) for name, (meaning, labels) in MODEL_GAUGES.items()
        }
        for name, slot in (item for program in _programs for item in program.models.slots.items()):
            for role, model in (("champion", slot.champion), ("challenger", slot.challenger)):
                if model is not None:
                    families["fraud_model_info"].add_metric((name, role, model.id), 1)
            for feature, index in slot.seen.stability().items():
                families["fraud_model_stability"].add_metric((name, feature), index)
        return families.values()


class VitalsCollector(Collector):
    """Reads the vital signs of this process when somebody asks."""

    @override
    def collect(self) -> Iterable[Metric]:
        families = {name: GaugeMetricFamily(name, meaning, labels=labels) for name, (meaning, labels) in GAUGES.items()}
        for vitals in _vitals:
            for address, lag in vitals.lag().items():
                if lag is not None:
                    families["fraud_lag"].add_metric(address.rsplit("/", 1), lag)
            families["fraud_snapshot_age_seconds"].add_metric((), vitals.snapshot_age(monotonic()))
            families["fraud_stalled_partitions"].add_metric((), len(vitals.stalled))
            families["fraud_restarts"].add_metric((), int(os.environ.get(RESTARTS, "0")))
        return families.values()


REGISTRY.register(ProgramCollector())
REGISTRY.register(ModelCollector())
REGISTRY.register(VitalsCollector())
