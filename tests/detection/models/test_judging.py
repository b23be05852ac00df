"""Verdicts of packs with a model."""

import json
import math
from pathlib import Path
from typing import Any

import pytest

from detection.check import run_tests
from detection.errors import PackError
from detection.features import Plan
from detection.loading import parse
from detection.models.files import write_model
from detection.models.forest import Forest, Tree
from detection.models.loaded import load_model
from detection.models.rows import row_of
from detection.pack import Pack
from detection.program import Engine
from detection.records import Record, Verdict
from tests.detection.models.forests import manifest

NOW = 1_700_000_000_000  # ms
FEATURES = ["amount", "pays_10s", "pause", "flag", "x", "n"]
TEXT = f"""
[event.pay]
topic = "pays"
time = "at"
fields = {{ user = "str", amount = "money", flag = "bool?", x = "float?", n = "int?" }}
ADD
[feature.pays_10s]
on = "pay"
key = ["user"]
fn = "count"
window = "10s"
[feature.pause]
on = "pay"
key = ["user"]
fn = "gap"
window = "10s"
[model.payments]
on = "pay"
features = {json.dumps(FEATURES)}
file = "payments.model"
"""
ODD = """
[rule.odd]
on = "pay"
when = "model.payments > 0.8"
reason = "ML anomaly detection {model.payments}: {model.payments.top}"
score = 60
outcome = "OUTCOME"
"""


def text(outcome: str = "review", add: str = "", rule: str = ODD) -> str:
    return TEXT.replace("ADD", f"add = {{ {add} }}" if add else "") + rule.replace("OUTCOME", outcome)


def load(folder: Path, text: str = text()) -> Pack:
    return parse({str(folder / "p.toml"): text})


def stump(feature: str, threshold: float, low: float, high: float, cover: tuple[float, float] = (9.0, 1.0)) -> Tree:
    index = FEATURES.index(feature)
    return Tree([index], [threshold], [~0], [~1], [True], [low, high], [sum(cover)], list(cover))


MODEL = Forest("gradient_boosting", [stump("amount", 100.0, -3.0, 1.0), stump("pays_10s", 1.0, 0.0, 1.0)])
OTHER = Forest("gradient_boosting", [stump("amount", 100.0, -1.0, 0.0)])


def put(folder: Path, forest: Forest = MODEL, file: str = "payments.model", **changes: Any) -> str:
    """Train, so to speak."""
    (spec,) = load(folder).models
    told = {"event": "pay", "features": FEATURES, "definitions": spec.definitions, "reference": {}, **changes}
    return write_model(folder / file, manifest(kind=forest.kind, **told), forest)


def pay(amount: str, offset: int = 0, *, at: int = 0, **more: Any) -> Record:
    members = {"user": "a", "amount": amount, "at": NOW + at, **more}
    return Record("pays", 0, offset, NOW + at, b"a", json.dumps(members).encode())


def judged(engine: Engine, *records: Record) -> list[Any]:
    verdicts = [engine.judge(record) for record in records]
    assert all(isinstance(verdict, Verdict) for verdict in verdicts)
    return [json.loads(verdict.value) for verdict in verdicts]


def score(total: float) -> float:
    return round(1 / (1 + math.exp(-total)), 6)


def test_while_there_is_no_file_the_score_is_unknown_and_counted(tmp_path: Path) -> None:
    pack = load(tmp_path)
    engine = Engine(pack)

    (answer,) = judged(engine, pay("950"))

    assert [warning.message for warning in pack.warnings] == [
        "model payments: file payments.model is not there: its score is unknown until it is"
    ]
    assert (answer["verdict"]["decision"], answer["verdict"]["model"]) == ("accept", {"payments": None})
    assert engine.program.judges[0].counts.rules["odd"].unknowns == 1


def test_an_accepted_event_has_its_score_and_the_models_id(tmp_path: Path) -> None:
    identity = put(tmp_path)

    answer, _ = judged(Engine(load(tmp_path)), pay("99"), pay("100"))

    assert answer["verdict"]["model"] == {"payments": {"id": identity, "score": score(-3.0)}}
    assert list(answer["verdict"]) == ["decision", "score", "rules", "origin", "pack", "model", "late", "evidence"]


def test_what_is_not_accepted_is_explained(tmp_path: Path) -> None:
    identity = put(tmp_path)

    _, answer = judged(Engine(load(tmp_path)), pay("1"), pay("950", 1, at=5_000))

    (hit,) = answer["verdict"]["rules"]
    assert answer["verdict"]["decision"] == "review"
    assert hit["detail"] == answer["reason"][0] == f"ML anomaly detection {score(2.0)}: amount 950, pays_10s 2"
    assert hit["values"] == {"model.payments": score(2.0)}
    assert answer["verdict"]["model"] == {
        "payments": {
            "id": identity,
            "score": score(2.0),
            "top": [
                {"feature": "amount", "value": 950.0, "contribution": 3.6},
                {"feature": "pays_10s", "value": 2, "contribution": 0.9},
            ],
        }
    }


READING = ODD.replace("score = 60", "score = 0").replace("> 0.8", "> 0.7")
TELLING = READING.replace("model.payments > 0.7", "x < 0.0")
OTHERS = TELLING.replace("{model.payments}: {model.payments.top}", "")


@pytest.mark.parametrize(
    ("rule", "explained"), [(READING, True), (TELLING, True), (OTHERS, False)], ids=["when", "reason", "neither"]
)
@pytest.mark.parametrize(("outcome", "mode"), [("block", 'mode = "shadow"'), ("allow", "")])
def test_an_accepted_event_is_explained_where_a_rule_that_fired_reads_the_model(
    tmp_path: Path, outcome: str, mode: str, rule: str, *, explained: bool
) -> None:
    put(tmp_path)

    (answer,) = judged(Engine(load(tmp_path, text(outcome, rule=rule + mode))), pay("950", x=-1.0))

    assert (answer["verdict"]["decision"], len(answer["verdict"]["rules"])) == ("accept", 1)
    assert ("top" in answer["verdict"]["model"]["payments"]) == explained


def test_a_challenger_is_scored_and_no_rule_reads_it(tmp_path: Path) -> None:
    challenger = put(tmp_path, MODEL, "payments.challenger.model")
    champion = put(tmp_path, OTHER)

    quiet, full = judged(Engine(load(tmp_path)), pay("950"), pay("950", 1, at=-3_600_001))

    beside = {"id": challenger, "score": score(1.0)}
    assert quiet["verdict"]["model"] == {"payments": {"id": champion, "score": 0.5, "challenger": beside}}
    assert full["verdict"]["late"]
    assert full["verdict"]["model"] == quiet["verdict"]["model"]


def test_a_challenger_without_a_champion_decides_nothing(tmp_path: Path) -> None:
    challenger = put(tmp_path, file="payments.challenger.model")

    (answer,) = judged(Engine(load(tmp_path)), pay("950"))

    told = {"challenger": {"id": challenger, "score": score(1.0)}}
    assert (answer["verdict"]["decision"], answer["verdict"]["model"]) == ("accept", {"payments": told})


def test_the_quiet_and_the_full_way_write_the_same_bytes(tmp_path: Path) -> None:
    put(tmp_path, OTHER)
    engine = Engine(load(tmp_path, text(add='risk = "model.payments * 100.0"')))
    spaced = pay("950", 0)
    spaced = Record(spaced.topic, 0, 0, spaced.timestamp, spaced.key, (spaced.value or b"") + b" ")

    quiet, full = engine.judge(pay("950", 0)), engine.judge(spaced)

    assert quiet.value == full.value
    assert json.loads(full.value)["risk"] == 50.0


def test_two_models_may_score_one_event(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    first = put(tmp_path)
    more = '[model.second]\non = "pay"\nfeatures = ["amount"]\nfile = "second.model"\n'
    pack = load(tmp_path, text() + more)
    spec = next(model for model in pack.models if model.name == "second")
    one = manifest(name="second", event="pay", features=["amount"], definitions=spec.definitions, reference={})
    second = write_model(tmp_path / "second.model", one, OTHER)

    quiet, full = judged(Engine(load(tmp_path, text() + more)), pay("1"), pay("950", 1, at=5_000))

    assert quiet["verdict"]["model"] == {
        "payments": {"id": first, "score": score(-3.0)},
        "second": {"id": second, "score": score(-1.0)},
    }
    assert [name for name, told in full["verdict"]["model"].items() if "top" in told] == ["payments", "second"]


def test_another_model_is_used_from_the_next_event_on(tmp_path: Path) -> None:
    first = put(tmp_path)
    pack = load(tmp_path)
    engine = Engine(pack)
    slot = engine.program.models.slots["payments"]
    (before,) = judged(engine, pay("950"))
    second = put(tmp_path, OTHER)

    slot.put(load_model(tmp_path / "payments.model", slot.spec.purpose), None)
    (after,) = judged(engine, pay("950", 1))

    told = [answer["verdict"]["model"]["payments"] for answer in (before, after)]
    assert [(one["id"], one["score"]) for one in told] == [(first, score(1.0)), (second, 0.5)]


@pytest.mark.parametrize("unknown", [True, False])
def test_a_row_holds_plain_floats_money_in_units_and_durations_in_seconds(tmp_path: Path, *, unknown: bool) -> None:
    pack = load(tmp_path)
    engine = Engine(pack)
    (event,) = pack.events
    more = {} if unknown else {"flag": True, "x": -0.5, "n": 2**53 + 1}
    _, second = engine.enrich([pay("1"), pay("950.000001", 1, at=1_500, **more)])

    row = row_of(event, engine.program.plan, pack.models[0])(second)

    assert row == (950.000001, 2.0, 1.5, *((None,) * 3 if unknown else (1.0, -0.5, 2.0**53)))
    assert {type(value) for value in row} <= {float, type(None)}


def test_the_judge_scores_the_row_that_training_sees(tmp_path: Path) -> None:
    put(tmp_path)
    pack = load(tmp_path)
    engine, other = Engine(pack), Engine(pack)
    slot = engine.program.models.slots["payments"]
    seen = []
    answer = slot.score
    slot.score = lambda row: seen.append(row) or answer(row)  # type: ignore[func-returns-value]
    records = [pay(str(n), n, at=n * 700, x=n / 3, flag=None) for n in range(20)]

    for record in records:
        engine.judge(record)

    to_row = row_of(pack.events[0], Plan(pack), pack.models[0])
    assert seen == [to_row(event) for event in other.enrich(records)]


DERIVING = (
    TEXT.replace('"n"]', '"n", "share", "often", "slow"]')
    + """
[model.payments.derive]
share = "amount / 3"
often = "pays_10s > 1 && x > 0.5"
slow = "pause + pause"
"""
)


@pytest.mark.parametrize("known", [True, False])
def test_what_a_model_derives_is_a_part_of_its_row_live_and_in_training(tmp_path: Path, *, known: bool) -> None:
    pack = load(tmp_path, DERIVING.replace("ADD", ""))
    engine = Engine(pack)
    (event,) = pack.events
    more = {"x": 0.75} if known else {}

    first, second = engine.enrich([pay("1"), pay("300", 1, at=1_500, **more)])

    to_row = row_of(event, engine.program.plan, pack.models[0])
    assert to_row(first)[-3:] == (pytest.approx(1 / 3, abs=1e-6), 0.0, None)
    assert to_row(second)[-3:] == (100.0, 1.0 if known else None, 3.0)


def test_a_model_made_for_another_derivation_is_refused(tmp_path: Path) -> None:
    def definitions(text: str) -> str:
        return load(tmp_path, text.replace("ADD", "")).models[0].definitions

    assert definitions(DERIVING) == definitions(DERIVING)
    assert definitions(DERIVING) != definitions(DERIVING.replace("amount / 3", "amount / 4"))
    assert definitions(DERIVING) != definitions(DERIVING.replace('window = "10s"', 'window = "20s"'))


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"name": "other"}, "name: expected payments, got other"),
        ({"event": "click"}, "event: expected pay, got click"),
        ({"features": FEATURES[::-1]}, f"features: expected {', '.join(FEATURES)}, got n, "),
        ({"definitions": "0" * 64}, "definitions of its features: expected those of the pack ("),
    ],
)
def test_a_model_made_for_something_else_is_an_error_with_its_place(
    tmp_path: Path, changes: dict[str, Any], told: str
) -> None:
    put(tmp_path, **changes)

    with pytest.raises(PackError) as refusal:
        load(tmp_path)

    (problem,) = refusal.value.problems
    assert (problem.line, problem.column) == (20, 8)
    assert problem.message.startswith(f"model payments: {tmp_path / 'payments.model'}: {told}")


def test_a_wrong_challenger_is_a_warning_and_keeps_nobody_from_starting(tmp_path: Path) -> None:
    put(tmp_path)
    (tmp_path / "payments.challenger.model").write_bytes(b"\x80\x04")

    pack = load(tmp_path)

    (warning,) = pack.warnings
    assert warning.message.startswith("model payments: challenger: ")
    assert pack.models[0].challenger is None


ALIKE = [
    ("score = 60", "score = 61"),
    ('user = "str"', 'user = "str", more = "str"'),
    ('flag = "bool?"', 'flag = "bool"'),
    ('topic = "pays"', 'topic = "payments"'),
    ('file = "payments.model"', 'file = "other.model"'),
    ("[rule.odd]", '[feature.other]\non = "pay"\nkey = ["user"]\nfn = "count"\nwindow = "1h"\n[rule.odd]'),
]
UNLIKE = [
    ('amount = "money"', 'amount = "float"'),
    ('amount = "money"', 'amount = "money @ total"'),
    ('fn = "count"\nwindow = "10s"', 'fn = "count"\nwindow = "11s"'),
    ('fn = "count"\nwindow = "10s"', 'fn = "count"\nwindow = "10s"\ndelay = "1s"'),
    ('fn = "count"\nwindow = "10s"', 'fn = "count"\nwindow = "10s"\nwhere = "amount > 1"'),
    ('key = ["user"]\nfn = "count"', 'key = ["user", "n"]\nfn = "count"'),
    ('fn = "count"', 'fn = "distinct"\nof = "x"'),
    ('user = "str"', 'user = "str @ payer.id"'),
    (json.dumps(FEATURES), json.dumps(FEATURES[::-1])),
    ('n = "int?"', 'm = "int?"'),
]


@pytest.mark.parametrize(("old", "new"), ALIKE + UNLIKE)
def test_definitions_change_exactly_when_what_a_model_looks_at_does(tmp_path: Path, old: str, new: str) -> None:
    assert text().count(old) == 1
    changed = text().replace(old, new)
    if new.startswith("m ="):
        changed = changed.replace("ADD", "").replace('time = "at"', 'time = "at"\nderive = { n = "m + 1" }')

    before, after = (load(tmp_path, one).models[0].definitions for one in (text(), changed))

    assert (before == after) == ((old, new) in ALIKE)


def test_the_table_of_a_model_is_a_part_of_the_packs_hash_and_its_file_is_not(tmp_path: Path) -> None:
    without = load(tmp_path).hash
    put(tmp_path)

    assert load(tmp_path).hash == without
    assert load(tmp_path, text().replace('"payments.model"', '"other.model"')).hash != without


def test_inline_tests_say_what_a_model_said_whatever_lies_in_its_file(tmp_path: Path) -> None:
    put(tmp_path)
    given = '[{ user = "a", amount = 950 }]'
    cases = "".join(
        f"[[rule.odd.test]]\ngiven = {given}\nfires = [{fires}]\n{models}"
        for fires, models in (
            ("true", "models = { payments = 0.81 }\n"),
            ("false", "models = { payments = 0.8 }\n"),
            ("false", ""),
            ("true", "models = { payments = 0 }\n"),
            ("true", ""),
        )
    )
    whole = text(rule=ODD + cases)

    told = [problem.message for problem in run_tests(load(tmp_path, whole), {"p.toml": whole})]

    assert told == [
        "rule odd: test 4: event 1: expected it to fire, it did not (model.payments = 0.0)",
        "rule odd: test 5: event 1: expected it to fire, it did not (model.payments = unknown)",
    ]


def test_an_isolation_forest_explains_what_makes_an_event_strange(tmp_path: Path) -> None:
    short = Forest("isolation_forest", [stump("amount", 100.0, 8.0, 1.0)], scale=5.0)
    put(tmp_path, short)

    (answer,) = judged(Engine(load(tmp_path)), pay("950"))

    told = answer["verdict"]["model"]["payments"]
    assert told["score"] == round(2 ** (-1 / 5), 6)
    assert told["top"] == [{"feature": "amount", "value": 950.0, "contribution": 6.3}]
