import json
from collections import Counter
from weakref import WeakSet

import pytest
from prometheus_client import REGISTRY, generate_latest

from broker.vitals import Vitals
from dataflows.metrics import (
    GAUGES,
    METRICS,
    MODEL_GAUGES,
    ModelCollector,
    ProgramCollector,
    VitalsCollector,
    watch,
    watch_vitals,
)
from detection.loading import parse
from detection.program import Program
from tests.dataflows.examples import ENTRIES, Outputs, run, traffic, wide
from tests.dataflows.scored import put, scored


@pytest.fixture(autouse=True)
def only_ours(monkeypatch) -> None:
    """The programs of other tests are not ours."""
    monkeypatch.setattr("dataflows.metrics._programs", WeakSet())
    monkeypatch.setattr("dataflows.metrics._vitals", WeakSet())


def samples() -> Counter[tuple[str, ...]]:
    """What the collector says: name and label values, where it is not 0."""
    return Counter(
        {
            (sample.name, *sample.labels.values()): int(sample.value)
            for metric in ProgramCollector().collect()
            for sample in metric.samples
            if sample.value
        }
    )


def counted(outputs: Outputs) -> Counter[tuple[str, ...]]:
    """The same, counted in the verdicts themselves."""
    counts: Counter[tuple[str, ...]] = Counter()
    for verdict in outputs.fraud + outputs.review + outputs.legit:
        value = json.loads(verdict.value)["verdict"]
        event = verdict.topic.partition(".")[0].removesuffix("s")
        counts["fraud_verdicts_total", event, value["decision"]] += 1
        counts["fraud_late_events_total", event] += value["late"]
        for rule in value["rules"]:
            counts["fraud_rule_hits_total", event, rule["id"]] += 1
        if event == "payment" and json.loads(verdict.value).get("device") is None:
            counts["fraud_rule_unknowns_total", event, "shared_device"] += 1
    for letter in outputs.dead_letters:
        counts["fraud_dead_letters_total", letter.record.topic] += 1
    return +counts


@pytest.mark.parametrize("entry", ENTRIES)
def test_the_counters_say_what_the_verdicts_say(entry: str, monkeypatch) -> None:
    kept = []  # programs are watched as long as they live
    monkeypatch.setattr("dataflows.fraud.watch", lambda program: (kept.append(program), watch(program)))

    outputs = run(wide(), traffic(600), entry=entry)

    assert samples() == counted(outputs)
    absent = {"fraud_list_errors", "fraud_history_overflows"}  # the pack has no lists, and no key has too much
    absent |= {name for name in METRICS if name.startswith("fraud_model_")}  # and no model
    assert {name for name, *_ in samples()} == {f"{name}_total" for name in METRICS.keys() - absent}


def test_records_of_a_list_that_cannot_be_used_are_counted_by_list() -> None:
    pack = 'event.e = { topic = "t", fields = { a = "str" } }\nlist.some = { topic = "l" }\nlist.others = { topic = "m" }\n'
    program = Program(parse({"p.toml": pack}))
    watch(program)
    program.lists.refused["some"] += 2

    (found,) = [metric for metric in ProgramCollector().collect() if metric.name == "fraud_list_errors"]

    assert {sample.labels["list"]: sample.value for sample in found.samples} == {"some": 2, "others": 0}


def test_what_a_history_cannot_keep_is_counted_by_history() -> None:
    program = Program(wide())
    watch(program)
    step = program.steps[0]
    step.overflows[0] += 3

    (found,) = [metric for metric in ProgramCollector().collect() if metric.name == "fraud_history_overflows"]

    counted = {(sample.labels["step"], sample.labels["history"]): sample.value for sample in found.samples}
    assert counted[step.name, step.logs[0].name] == 3
    assert sum(counted.values()) == 3


def test_all_counters_are_there_before_the_first_event() -> None:
    program = Program(wide())
    watch(program)

    found = {metric.name: [sample.labels for sample in metric.samples] for metric in ProgramCollector().collect()}

    assert set(found) == set(METRICS)
    assert {"event": "ping", "decision": "review"} in found["fraud_verdicts"]
    assert {"topic": "payments"} in found["fraud_dead_letters"]
    assert {"event": "payment", "rule": "habit"} in found["fraud_rule_hits"]


def test_labels_and_meanings_are_those_of_the_table() -> None:
    program = Program(wide())
    watch(program)

    for metric in ProgramCollector().collect():
        meaning, labels = METRICS[metric.name]
        assert metric.documentation == meaning
        assert all(tuple(sample.labels) == labels for sample in metric.samples)


def test_a_program_that_is_gone_is_no_longer_counted() -> None:
    watch(Program(wide()))

    assert not samples()


def test_they_are_in_the_registry_that_is_served() -> None:
    program = Program(wide())
    watch(program)

    assert b'fraud_verdicts_total{decision="block",event="payment"} 0.0' in generate_latest(REGISTRY)


def test_the_vital_signs_are_shown_as_they_are_when_asked(monkeypatch) -> None:
    monkeypatch.setenv("FRAUD_RESTARTS", "4")
    vitals = Vitals()
    watch_vitals(vitals)
    vitals.follow([("a/b", 0), ("t", 11), ("t", 12)], {"t/11": 3, "a/b/0": 1, "t/12": 0})
    vitals.ends = {"t/11": 10, "a/b/0": 1}
    vitals.stalled = frozenset({"t/11"})

    found = {metric.name: metric.samples for metric in VitalsCollector().collect()}

    assert set(found) == set(GAUGES)
    assert {tuple(sample.labels.values()): sample.value for sample in found["fraud_lag"]} == {
        ("t", "11"): 7,
        ("a/b", "0"): 0,
    }
    assert [sample.value for sample in found["fraud_stalled_partitions"]] == [1]
    assert [sample.value for sample in found["fraud_restarts"]] == [4]
    assert 0 <= found["fraud_snapshot_age_seconds"][0].value < 60


def told_of(metric: str) -> dict[tuple[str, ...], float]:
    (found,) = [each for each in ModelCollector().collect() if each.name == metric]
    return {tuple(sample.labels.values()): sample.value for sample in found.samples}


def test_the_models_in_use_are_told_by_their_ids(tmp_path) -> None:
    first, second = put(tmp_path, 1), put(tmp_path, 2, "payments.challenger.model")
    program = Program(scored(tmp_path))
    watch(program)

    assert told_of("fraud_model_info") == {
        ("payments", "champion", first): 1,
        ("payments", "challenger", second): 1,
    }
    slot = program.models.slots["payments"]
    slot.put(slot.challenger, None)
    assert told_of("fraud_model_info") == {("payments", "champion", second): 1}


def test_one_score_in_ten_is_counted_by_its_offset(tmp_path, monkeypatch) -> None:
    put(tmp_path, 1)
    kept = []
    monkeypatch.setattr("dataflows.fraud.watch", lambda program: (kept.append(program), watch(program)))

    outputs = run(scored(tmp_path), traffic(600))

    expected: Counter[tuple[str, ...]] = Counter()
    for verdict in outputs.fraud + outputs.review + outputs.legit:
        value = json.loads(verdict.value)["verdict"]
        if value["model"] and value["origin"].endswith("0"):
            tenth = min(int(value["model"]["payments"]["score"] * 10), 9)
            expected["fraud_model_scores_total", "payments", str(tenth)] += 1
    assert sum(expected.values()) > 20
    assert (
        +Counter({name: number for name, number in samples().items() if name[0].startswith("fraud_model")}) == expected
    )


def test_what_a_model_sees_is_held_against_its_training(tmp_path) -> None:
    put(tmp_path, 1)
    program = Program(scored(tmp_path))
    watch(program)
    slot = program.models.slots["payments"]
    assert told_of("fraud_model_stability") == {}

    for _ in range(500):
        slot.look_at((1000.0, *[None] * 5), 0.9)

    found = told_of("fraud_model_stability")
    assert found.keys() == {("payments", "amount"), ("payments", "score")}
    assert min(found.values()) > 0.25


def test_the_gauges_of_models_are_those_of_the_table(tmp_path) -> None:
    put(tmp_path, 1)
    watch(program := Program(scored(tmp_path)))
    for _ in range(500):
        program.models.slots["payments"].look_at((1.0,) * 6, 0.5)

    found = {metric.name: metric for metric in ModelCollector().collect()}

    assert set(found) == set(MODEL_GAUGES)
    for name, (meaning, labels) in MODEL_GAUGES.items():
        assert found[name].documentation == meaning
        assert all(tuple(sample.labels) == labels for sample in found[name].samples)
