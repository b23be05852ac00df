"""Settings, topics, metrics and steps in the documents are those there are."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from bytewax.testing import TestingSink, TestingSource
from bytewax.visualize import to_mermaid
from pydantic import AliasChoices

from broker.config import _OURS, LARGEST_VERDICT, passed_through
from dataflows.fraud import build
from dataflows.metrics import GAUGES, METRICS, MODEL_GAUGES
from dataflows.sinks import Sinks
from detection import features
from detection.loading import load
from detection.pack import Pack
from detection.settings import Settings
from sinks import kafka as sinks_kafka
from sources import kafka as sources_kafka

OPERATING = "docs/operating.md"


@pytest.fixture(scope="module")
def settings() -> Settings:
    return Settings.model_construct()  # the defaults, whatever the environment says


@pytest.fixture(scope="module")
def pack(settings: Settings) -> Pack:
    return load(settings.fraud_packs, settings.topics)


def test_the_settings_are_those_there_are_with_their_defaults(
    table: Callable[[str, str], list[list[str]]], settings: Settings
) -> None:
    rows = table(OPERATING, "## Settings")
    shown = {name.strip("`"): default.strip("`") for name, default, _ in rows}
    expected = {name.upper(): str(getattr(settings, name)) for name in Settings.model_fields}
    del expected["KAFKA"], expected["ALERTS"]

    assert shown == {**expected, "FRAUD_PACKS": "the three that ship", "KAFKA_…": "none", "ALERTS_…": "none"}


def test_every_other_name_of_a_setting_is_told(root: Path) -> None:
    text = (root / OPERATING).read_text()

    for name, field in Settings.model_fields.items():
        if isinstance(field.validation_alias, AliasChoices):
            assert all(f"`{str(choice).upper()}`" in text for choice in field.validation_alias.choices), name


def test_every_kafka_variable_in_the_documents_is_one_the_client_knows(document: Path) -> None:
    found = set(re.findall(r"\bKAFKA_[A-Z_]*[A-Z]\b", document.read_text())) - {"KAFKA_PORT"}  # shown as an unknown one
    ours = {"KAFKA_BROKER_URL", "KAFKA_TRANSACTIONS_TOPIC"}

    for name in sorted(found - ours):
        setting = name.removeprefix("KAFKA_").lower().replace("_", ".")
        value = {
            "message.max.bytes": "2097152",
            "receive.message.max.bytes": "100000000",
            "security.protocol": "ssl",
        }.get(setting, "x")
        assert passed_through(Settings.model_construct(kafka={setting: value})), name


def test_the_settings_of_the_client_told_to_be_refused_are(root: Path) -> None:
    text = " ".join((root / OPERATING).read_text().split())
    sentence = text.partition("is refused: ")[2].partition(" and their like")[0]
    named = re.findall(r"`([a-z.]+)`", sentence)

    assert len(named) > 5
    assert set(named) <= set(_OURS)


def test_the_topics_are_those_of_the_shipped_packs(
    table: Callable[[str, str], list[list[str]]], settings: Settings, pack: Pack
) -> None:
    shown = [(name.strip("`"), direction) for name, direction, _ in table(OPERATING, "## Topics")]
    out = {*pack.topics_out, settings.dead_letter_topic}

    assert sorted(shown) == sorted([*((name, "in") for name in pack.topics_in), *((name, "out") for name in out)])


def test_the_metrics_are_those_that_are_served(table: Callable[[str, str], list[list[str]]]) -> None:
    shown = {
        name.strip("`"): tuple(re.findall(r"`(\w+)`", labels)) for name, labels, _ in table(OPERATING, "## Metrics")
    }

    counters = {f"{name}_total": labels for name, (_, labels) in METRICS.items()}
    assert shown == counters | {name: labels for name, (_, labels) in (GAUGES | MODEL_GAUGES).items()}


def test_the_rules_for_prometheus_are_about_metrics_that_there_are(blocks: list[Any]) -> None:
    known = {f"{name}_total": labels for name, (_, labels) in METRICS.items()}
    known |= {name: labels for name, (_, labels) in (GAUGES | MODEL_GAUGES).items()}
    (rules,) = [yaml.safe_load(block.text) for block in blocks if block.info == "yaml"]

    for rule in (rule for group in rules["groups"] for rule in group["rules"]):
        (metric,) = set(re.findall(r"fraud_\w+", rule["expr"]))
        grouped = re.findall(r"\w+", " ".join(re.findall(r"by \((.*?)\)", rule["expr"])))
        told = re.findall(r"\$labels\.(\w+)", rule["annotations"]["summary"])
        assert {*grouped, *told} <= set(known[metric]), rule["alert"]


def test_the_picture_in_the_readme_is_the_dataflow_with_its_topics(
    blocks: list[Any], settings: Settings, pack: Pack
) -> None:
    (picture,) = [block.text for block in blocks if block.info == "mermaid"]
    sink = TestingSink[Any]([])
    flow = build(pack, TestingSource([]), Sinks(sink, sink, sink, sink))  # type: ignore[arg-type]
    wired = set(re.findall(r"^fraud\.(\w+) -- .* --> fraud\.(\w+)$", to_mermaid(flow), re.MULTILINE))

    drawn = set(re.findall(r"^\s*(\w+).*?-->(?:\|[^|]*\|)? (\w+)", picture, re.MULTILINE))

    assert drawn - {("source", "decode")} == wired
    words = set(re.split(r"[\s,()\[\]\"]+|<br>", picture))
    assert {*pack.topics_in, *pack.topics_out, settings.dead_letter_topic} <= words


def test_the_step_ids_on_disk_are_all_named(root: Path, pack: Pack) -> None:
    sink = TestingSink[Any]([])
    flow = build(pack, TestingSource([]), Sinks(sink, sink, sink, sink))  # type: ignore[arg-type]
    section = (root / OPERATING).read_text().partition("## What is on disk")[2].partition("\n## ")[0]
    keeping = {"decode", "features", "fraud_out", "review_out", "legit_out", "dead_letters_out"}

    assert set(re.findall(r"`(\w+)`", section.partition("\n- The 32")[0])) == {flow.flow_id, *keeping}
    assert keeping <= {step.step_id.split(".")[1] for step in flow.substeps}


def test_the_numbers_that_are_told_are_those_of_the_code(root: Path) -> None:
    from dataflows.keygroups import GROUPS  # noqa: PLC0415

    section = " ".join((root / OPERATING).read_text().partition("## What is on disk")[2].split())
    numbers = (
        f"{sources_kafka.LANES} lanes of the source, the {sinks_kafka.LANES} lanes of a sink, the {GROUPS} key groups"
    )
    assert numbers in section
    assert f"takes up to {LARGEST_VERDICT // 2**20} MiB" in " ".join((root / OPERATING).read_text().split())
    assert f"the origins of the newest {features.EVIDENCE}" in (root / "docs" / "packs.md").read_text()
