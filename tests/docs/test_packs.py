"""The packs, verdicts and dead letters in the documents are what the engine makes of them."""

import json
import tomllib
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from mmdb_writer import MMDBWriter
from netaddr import IPSet

from detection.aggregates import AGGREGATES
from detection.check import APART, EVENT, SINCE_START, TIMES, run_tests
from detection.codec import DEEPEST
from detection.errors import PackError
from detection.kinds import Kind
from detection.loading import load, parse
from detection.models.files import write_model
from detection.packfile import (
    AlertTable,
    CaseTable,
    EventTable,
    FeatureTable,
    ListTable,
    Mode,
    ModelTable,
    Outcome,
    PackTable,
    RuleTable,
    Table,
)
from detection.program import Engine
from detection.records import DeadLetter, Record, Verdict
from tests.detection.models.forests import FOREST, manifest

NOON = 1_767_268_800_000  # 2026-01-01T12:00:00Z
DOCUMENT = "docs/packs.md"


def test_a_pack_passes_its_own_tests_and_has_some(pack_text: str) -> None:
    pack = parse({"docs.toml": pack_text})

    assert run_tests(pack, {"docs.toml": pack_text}) == []
    assert [warning.message for warning in pack.warnings] == [
        f"model {model.name}: file models/{model.file.name} is not there: its score is unknown until it is"
        for model in pack.models
    ]
    rules = [rule for event in pack.events for rule in event.rules]
    assert [rule.name for rule in rules if not rule.tests] == []


def test_every_aggregate_has_an_example_that_fires(blocks: list[Any]) -> None:
    shown = set()
    for block in blocks:
        if block.document == DOCUMENT and block.info in {"toml", "toml part"}:
            data = tomllib.loads(block.text)
            fires = [case["fires"] for rule in data["rule"].values() for case in rule["test"]]
            if any(map(any, fires)):
                shown |= {feature["fn"] for feature in data.get("feature", {}).values()}

    assert shown == set(AGGREGATES)


def test_the_wrong_pack_gets_the_errors_shown_with_it(blocks: list[Any]) -> None:
    place = next(number for number, block in enumerate(blocks) if block.info == "toml wrong")
    wrong, told = blocks[place : place + 2]

    with pytest.raises(PackError) as raised:
        parse({"mine.toml": wrong.text})

    assert f"{raised.value}\n" == told.text


def test_what_is_too_costly_is_told_as_shown_and_mended_as_shown(blocks: list[Any]) -> None:
    costly, told = (block.text for block in blocks if block.info.endswith(" costly"))
    with pytest.raises(PackError) as raised:
        parse({"mine.toml": costly})

    assert f"{raised.value}\n" == told
    assert parse({"mine.toml": costly.replace('"30d"', '"30d"\nresolution = "1d"')})


def test_the_verdict_shown_is_the_one_the_engine_gives(blocks: list[Any], root: Any) -> None:
    (records,) = [block.text.splitlines() for block in blocks if block.info == "json lines"]
    (shown,) = [block.text for block in blocks if block.info == "json verdict"]
    engine = Engine(load([root / "packs" / "clicks.toml"]))

    answers = [
        engine.judge(Record("clicks", 0, offset, NOON, b"s-81", value.encode())) for offset, value in enumerate(records)
    ]

    assert [type(answer) for answer in answers] == [Verdict] * 3
    assert [answer.topic for answer in answers] == ["clicks.legit", "clicks.legit", "clicks.fraud"]
    got = answers[-1].value
    assert json.loads(shown, object_pairs_hook=list) == json.loads(got, object_pairs_hook=list), got.decode()


def test_every_member_of_a_verdict_is_in_the_table(
    table: Callable[[str, str], list[list[str]]], tmp_path: Path
) -> None:
    text = """
model.NAME = { on = "e", features = ["a"], file = "NAME.model" }
event.e = { topic = "t", fields = { a = "int" } }
rule.live = { on = "e", when = "a > 0", reason = "", score = 1, outcome = "block" }
rule.shadow = { on = "e", when = "a > 0", reason = "", score = 1, outcome = "block", mode = "shadow" }
"""
    feature = 'feature.f = { on = "e", key = ["a"], fn = "count", window = "1h" }\n'
    place = str(tmp_path / "p.toml")
    (model,) = parse({place: text}).models
    made = manifest(name="NAME", event="e", features=["a"], definitions=model.definitions, reference={})
    for file in (model.file, model.challenger_file):
        write_model(file, made, FOREST)
    before, after = Engine(parse({place: text})), Engine(parse({place: text + feature}))
    before.judge(Record("t", 0, 0, NOON, None, b'{"a": 1}'))
    after.restore(before.snapshot())
    answer = after.judge(Record("t", 0, 1, NOON, None, b'{"a": 1, "reason": 1}'))
    assert isinstance(answer, Verdict)

    documented = {name.strip("`") for name, _ in table(DOCUMENT, "## The verdict")}

    assert documented == set(_members(json.loads(answer.value))) - {"a", "verdict.model.NAME"}


def _members(value: dict[str, Any], prefix: str = "") -> Iterator[str]:
    for name, member in value.items():
        if prefix + name != "verdict":
            yield prefix + name
        if prefix + name == "verdict":
            yield from _members(member, "verdict.")
        if prefix + name == "verdict.model":
            yield from _members(member, "verdict.model.")
        if prefix + name == "verdict.model.NAME":
            yield from _members(member, "verdict.model.NAME.")
        if prefix + name == "verdict.rules":
            for hit in member:
                yield from (f"verdict.rules[].{part}" for part in hit)


def test_the_dead_letters_shown_are_those_the_engine_makes(tables: Callable[[str, str], list[list[list[str]]]]) -> None:
    headers, values = tables(DOCUMENT, "## Dead letters")
    text = 'event.e = { topic = "t", time = "at", fields = { user = "str", amount = "money", items = "int" } }'
    engine = Engine(parse({"p.toml": text}))

    for shown, error in values:
        value = shown.strip("`").encode() if shown.startswith("`") else None
        letter = engine.judge(Record("t", 0, 0, NOON, None, value))
        assert isinstance(letter, DeadLetter), shown
        assert letter.error == error
    cut = DeadLetter(Record("t", 0, 0, NOON, None, b"x" * 5_000), "too large").message(4_000)
    assert [name.strip("`") for name, _ in headers] == [name for name, _ in cut[2]]


@pytest.mark.parametrize(
    ("heading", "keys"),
    [
        ("## Pack", PackTable),
        ("## Event", EventTable),
        ("## Feature", FeatureTable),
        ("## Rule", RuleTable),
        ("### Tests", CaseTable),
        ("## List", ListTable),
        ("## Model", ModelTable),
        ("## Alert", AlertTable),
    ],
)
def test_the_keys_of_a_table_are_those_a_pack_may_have(
    heading: str, keys: type[Table], table: Callable[[str, str], list[list[str]]]
) -> None:
    shown = {name.strip("`"): default for name, default, _ in table(DOCUMENT, heading)}

    assert set(shown) == set(keys.model_fields)
    for name, field in keys.model_fields.items():
        if heading != "## Pack" or name == "lateness":
            assert (shown[name] == "required") == field.is_required(), name
        if isinstance(field.default, str):
            assert shown[name] == f'`"{field.default}"`', name


def test_every_key_of_a_pack_has_an_example(blocks: list[Any]) -> None:
    shown: dict[str, set[str]] = defaultdict(set)
    for block in blocks:
        if block.document == DOCUMENT and block.info in {"toml", "toml part", "toml mine.toml"}:
            data = tomllib.loads(block.text)
            shown["pack"] |= data.keys()
            for section in ("event", "feature", "rule", "list", "model", "alert"):
                for table in data.get(section, {}).values():
                    shown[section] |= table.keys()
            for event in data.get("event", {}).values():
                shown["kind"] |= {
                    kind.split(" @ ")[0].rstrip("?").partition(":")[0] for kind in event["fields"].values()
                }
            for rule in data.get("rule", {}).values():
                shown["outcome"].add(rule["outcome"])
                shown["mode"].add(rule.get("mode", "live"))
                for case in rule["test"]:
                    shown["test"] |= case.keys()
                    shown["given"] |= {name for given in case["given"] for name in given if not name.isidentifier()}
            for found in data.get("list", {}).values():
                shown["of"].add(found.get("of", "str"))

    assert shown["pack"] == set(PackTable.model_fields)
    assert shown["event"] == set(EventTable.model_fields)
    assert shown["feature"] == set(FeatureTable.model_fields)
    assert shown["rule"] == set(RuleTable.model_fields)
    assert shown["test"] == set(CaseTable.model_fields)
    assert shown["list"] == set(ListTable.model_fields)
    assert shown["model"] == set(ModelTable.model_fields)
    assert shown["alert"] == set(AlertTable.model_fields)
    assert shown["given"] == {SINCE_START, TIMES, APART, EVENT}
    assert shown["outcome"] == set(get_args(Outcome))
    assert shown["mode"] == set(get_args(Mode))
    assert shown["of"] == {"str", "int"}
    assert shown["kind"] == {kind for kind in Kind if kind not in {Kind.TIME, Kind.DURATION}}


def test_a_pack_with_files_beside_it_passes_its_tests(blocks: list[Any], tmp_path: Path) -> None:
    texts = {block.info.split()[-1]: block.text for block in blocks if block.document == DOCUMENT}
    texts["shop.toml"] = next(block.text for block in blocks if block.document == DOCUMENT and block.info == "toml")
    for name in ("shop.toml", "mine.toml", "partners.csv"):
        (tmp_path / name).write_text(texts[name])
    database = MMDBWriter(4, "Example")
    database.insert_network(IPSet(["192.0.2.0/24"]), {"country": {"iso_code": "DE"}})
    database.insert_network(IPSet(["198.51.100.0/24"]), {"country": {"iso_code": "US"}})
    database.to_db_file(str(tmp_path / "addresses.mmdb"))

    pack = load([tmp_path / "mine.toml"])

    assert run_tests(pack, {"mine.toml": texts["mine.toml"], "shop.toml": texts["shop.toml"]}) == []
    assert pack.warnings == ()


def test_the_aggregates_are_those_there_are(table: Callable[[str, str], list[list[str]]]) -> None:
    shown = {name.strip("`"): (of, unknown) for name, of, _, unknown in table(DOCUMENT, "### Aggregates")}

    assert list(shown) == list(AGGREGATES) or set(shown) == set(AGGREGATES)
    for name, aggregate in AGGREGATES.items():
        of, unknown = shown[name]
        takes = set(Kind) if of == "any kind" else {word.strip("`,") for word in of.split()} - {"none"}
        assert takes == aggregate.of, name
        assert (unknown == "never") != aggregate.optional, name


def test_the_kinds_are_those_a_field_may_have(table: Callable[[str, str], list[list[str]]]) -> None:
    shown = {name.strip("`") for name, *_ in table(DOCUMENT, "### Kinds")}

    for kind in Kind:
        text = f'event.e = {{ topic = "t", fields = {{ a = "{kind}" }} }}'
        if kind in shown:
            parse({"p.toml": text})
        else:
            with pytest.raises(PackError):
                parse({"p.toml": text})


def test_the_depth_that_is_told_is_the_one_that_is_taken(root: Any) -> None:
    assert f"inside each other {DEEPEST} deep" in " ".join((root / DOCUMENT).read_text().split())


def test_what_is_told_of_money_is_so() -> None:
    pack = parse({"p.toml": 'event.e = { topic = "t", fields = { a = "money" } }'})
    engine = Engine(pack)

    amounts = []
    for text in (b"0.0000005", b"0.0000015", b'"12.50"', b"9223372036854.775807", b"9223372036854.775808"):
        event = engine.decode(Record("t", 0, 0, NOON, None, b'{"a": %b}' % text))
        amounts.append(None if isinstance(event, DeadLetter) else event.f_a)

    assert amounts == [0, 2, 12_500_000, 2**63 - 1, None]
