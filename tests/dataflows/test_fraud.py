import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from bytewax.visualize import to_json

from dataflows.fraud import build
from dataflows.sinks import Sinks
from detection.loading import load, parse
from detection.pack import Pack
from detection.records import Record
from sinks.kafka import KafkaSink, Outboxes
from sources.kafka import KafkaSource
from tests.dataflows.examples import ENTRIES, START, Outputs, engine_says, looking, run, traffic, wide

PACKS = Path(__file__).parents[2] / "packs"
CLICKS = PACKS / "clicks.toml"
RECORDS = traffic(900)
EPOCHS = {"an epoch a batch": timedelta(0), "one epoch": timedelta(hours=1)}


def test_the_traffic_takes_every_way() -> None:
    said = engine_says(wide(), RECORDS)

    assert {branch for branch, *_ in said.values()} == {"fraud", "review", "legit", "dead_letters"}
    assert {topic for _, topic, *_ in said.values()} > {"payments.review", "logins.block", "pings.accept"}
    assert any(b'"late":true' in answer[3] for answer in said.values() if answer[3])
    assert any(b'"input":{' in answer[3] for answer in said.values() if answer[3])


@pytest.mark.parametrize("epoch", EPOCHS)
@pytest.mark.parametrize("batch", [1, 3, 1000])
@pytest.mark.parametrize("entry", ENTRIES)
@pytest.mark.parametrize("pack", [wide, looking])
def test_each_record_comes_out_once_and_as_the_engine_says(
    pack: Callable[[], Pack], entry: str, batch: int, epoch: str
) -> None:
    outputs = run(pack(), RECORDS, batch=batch, entry=entry, epoch=EPOCHS[epoch])

    assert outputs.by_origin() == engine_says(pack(), RECORDS)


@pytest.mark.parametrize("batch", [1, 3, 1000])
@pytest.mark.parametrize("entry", ENTRIES)
def test_events_of_several_keyed_steps_come_out_in_the_order_of_their_partition(entry: str, batch: int) -> None:
    outputs = run(wide(), RECORDS, batch=batch, entry=entry)

    for partition in range(3):
        for decision in ("block", "review", "accept"):
            offsets = outputs.partition("payments", partition, decision)
            assert len(offsets) > 1
            assert offsets == sorted(offsets)


@pytest.mark.parametrize("entry", ENTRIES)
def test_events_of_one_key_come_out_in_the_order_of_their_partition(entry: str) -> None:
    outputs = run(wide(), RECORDS, batch=7, entry=entry)
    order: dict[tuple[str, str], list[int]] = {}
    for verdict in outputs.legit:
        if verdict.topic == "logins.accept":
            value = json.loads(verdict.value)
            _, partition, offset = value["verdict"]["origin"].split("/")
            order.setdefault((partition, value["user"]), []).append(int(offset))

    assert max(map(len, order.values())) > 3
    assert all(offsets == sorted(offsets) for offsets in order.values())


def test_equal_times_in_one_batch_count_in_the_order_of_their_offsets() -> None:
    clicks = [
        Record("clicks", 0, offset, START, b"s", b'{"session_id":"s","url":"/ad","timestamp":%d}' % START)
        for offset in range(5)
    ]

    outputs = run(load([CLICKS]), clicks, batch=1000)

    assert [json.loads(verdict.value)["verdict"]["origin"] for verdict in outputs.legit] == ["clicks/0/0", "clicks/0/1"]
    assert len(outputs.fraud) == 3


def test_an_event_without_any_optional_key_is_judged_where_all_steps_agree_that_nothing_is_known() -> None:
    pack = parse(
        {
            "p": """
[event.e]
topic = "in"
fields = { a = "str?", b = "int?" }
[feature.by_a]
on = "e"
key = ["a"]
fn = "count"
window = "10s"
[feature.by_b]
on = "e"
key = ["b"]
fn = "count"
window = "10s"
[rule.r]
on = "e"
when = "by_a >= 1 && by_b >= 1"
reason = "{by_a} {by_b}"
score = 1
outcome = "block"
"""
        }
    )
    values = [b"{}", b'{"a":"x"}', b'{"b":7}', b'{"a":"x","b":7}', b'{"a":null,"b":null}', b'{"a":"","b":-1}']
    records = [Record("in", 0, offset, START, None, value) for offset, value in enumerate(values)]

    for entry in ENTRIES:
        outputs = run(pack, records, batch=4, entry=entry)

        assert outputs.by_origin() == engine_says(pack, records)
        assert [json.loads(verdict.value)["reason"] for verdict in outputs.fraud] == [["2 2"], ["1 1"]]


def test_a_lone_optional_key_may_be_missing() -> None:
    pack = parse(
        {
            "p": """
[event.e]
topic = "in"
fields = { a = "float?" }
[feature.by_a]
on = "e"
key = ["a"]
fn = "count"
window = "10s"
[rule.r]
on = "e"
when = "by_a >= 2"
reason = "{by_a}"
score = 1
outcome = "block"
"""
        }
    )
    records = [Record("in", 0, n, START, None, value) for n, value in enumerate([b"{}", b'{"a":1}', b'{"a":1.0}'] * 3)]

    outputs = run(pack, records, batch=1000)

    assert outputs.by_origin() == engine_says(pack, records)
    assert len(outputs.fraud) == 5


@pytest.mark.parametrize("entry", ENTRIES)
def test_a_pack_without_features_needs_no_state(entry: str) -> None:
    pack = load([PACKS / "transfers.toml"])
    records = [
        Record(
            "queuing.transactions",
            n % 2,
            n,
            START,
            None,
            b'{"source":"a","target":"b","amount":%d,"currency":"EUR"}' % amount,
        )
        for n, amount in enumerate([899, 900, 901, 0])
    ] + [Record("queuing.transactions", 0, 9, START, None, b"?")]

    outputs = run(pack, records, batch=3, entry=entry)

    assert outputs.by_origin() == engine_says(pack, records)
    assert (len(outputs.fraud), len(outputs.legit), len(outputs.dead_letters)) == (2, 2, 1)


def test_no_input_is_no_output() -> None:
    assert run(wide(), []) == Outputs()


def test_nothing_but_rubbish_is_nothing_but_dead_letters() -> None:
    records = [Record("payments", 0, n, START, None, b"rubbish", [("a", None)]) for n in range(10)]

    outputs = run(wide(), records, batch=4)

    assert [letter.record for letter in outputs.dead_letters] == records
    assert not outputs.fraud + outputs.review + outputs.legit


def test_all_shipped_packs_run_together() -> None:
    pack = load(sorted(PACKS.glob("*.toml")))
    records = [
        Record("clicks", 0, 0, START, b"s", b'{"session_id":"s","url":"/ad"}'),
        Record("fcd-producer", 0, 0, START, None, b'{"click_count":4}'),
        Record("queuing.transactions", 0, 0, START, None, b'{"source":"a","target":"b","amount":1,"currency":"EUR"}'),
        Record("transactions", 0, 0, START, None, b'{"user":"u","amount":401,"location":"US","merchant":"m","timestamp":"2026-01-01T00:00:00"}'),
    ]  # fmt: skip

    outputs = run(pack, records)

    assert outputs.by_origin() == engine_says(pack, records)
    assert len(outputs.fraud) == 2


# --- what is on disk -------------------------------------------------------------------------------------------------


STATEFUL = [
    "fraud.dead_letters_out.sink",
    "fraud.decode.source",
    "fraud.features.groups",
    "fraud.features.join",
    "fraud.fraud_out.sink",
    "fraud.legit_out.sink",
    "fraud.review_out.sink",
]


def core_steps(step: dict[str, Any]) -> Iterator[str]:
    """The ids of the steps that are no operators of other steps."""
    for inner in step["substeps"]:
        yield from core_steps(inner) if inner["substeps"] else [inner["step_id"]]


@pytest.mark.parametrize(("pack", "absent"), [("wide", set()), ("clicks", {"fraud.features.join"})])
def test_the_ids_of_stateful_steps_are_those_in_the_stores_of_our_users(pack: str, absent: set[str]) -> None:
    outboxes = Outboxes({})
    sinks = Sinks(*[KafkaSink(outboxes)] * 3, KafkaSink(outboxes, "dead"))
    flow = build(wide() if pack == "wide" else load([CLICKS]), KafkaSource({}, []), sinks)

    ids = set(core_steps(json.loads(to_json(flow))))

    assert sorted(step for step in ids if step.endswith((".source", ".groups", ".join", ".sink"))) == [
        step for step in STATEFUL if step not in absent
    ]


# --- importing -------------------------------------------------------------------------------------------------------


def test_importing_the_dataflow_opens_nothing_and_reads_no_setting() -> None:
    script = """
import os, socket, sys
import confluent_kafka

def refuse(*arguments, **options):
    raise AssertionError("opened")

socket.socket = refuse
import confluent_kafka.admin
confluent_kafka.Producer = confluent_kafka.Consumer = confluent_kafka.admin.AdminClient = refuse
import dataflows.fraud
assert callable(dataflows.fraud.flow)
assert "detection.settings" not in sys.modules, "settings"
assert "broker.config" not in sys.modules, "client configuration"
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)

    assert done.returncode == 0, done.stderr
