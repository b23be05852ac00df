"""Verdicts: the input's own bytes with the answer behind them."""

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detection.judge import show, text
from detection.kinds import Kind
from detection.loading import parse
from detection.program import Engine
from detection.records import DeadLetter, Record, Verdict

NOW = 1_700_000_000_000  # ms
EVENT = """
lateness = "5s"
[event.pay]
topic = "pays"
time = "at?"
fields = { amount = "money?", user = "str?", n = "int?", x = "float?", flag = "bool?" }
accept_topic = "accepted"
review_topic = "reviewed"
block_topic = "blocked"
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
"""


def rule(
    name: str, when: str, *, score: int = 10, outcome: str = "block", mode: str = "live", reason: str = "because"
) -> str:
    return (
        f"[rule.{name}]\non = 'pay'\nwhen = '''{when}'''\nreason = '''{reason}'''\n"
        f"score = {score}\noutcome = '{outcome}'\nmode = '{mode}'\n"
    )


def engine(*rules: str, add: str = "") -> Engine:
    return Engine(parse({"x.toml": EVENT.replace("ADD", f"add = {{ {add} }}" if add else "") + "".join(rules)}))


def record(value: bytes | str, offset: int = 7, partition: int = 3, timestamp: int = NOW) -> Record:
    raw = value.encode() if isinstance(value, str) else value
    return Record("pays", partition, offset, timestamp, b"k", raw)


def judged(program: Engine, value: bytes | str, **place: int) -> Verdict:
    verdict = program.judge(record(value, **place))
    assert isinstance(verdict, Verdict), verdict
    return verdict


def answer(program: Engine, value: bytes | str, **place: int) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(judged(program, value, **place).value, parse_float=Decimal)
    return found


BIG = rule("big", "amount > 400", score=60, reason="{amount} is big")

# --- the record --------------------------------------------------------------------------------------------------


def test_a_verdict_is_the_input_and_three_members_to_the_byte() -> None:
    program = engine(BIG)
    quiet = judged(program, '{"user":"é","amount":1}')
    loud = judged(program, '{"amount": 400.010, "user":"a"}', offset=8)

    version = program.program.pack.events[0].rules[0].version
    pack = program.program.pack.hash
    assert quiet.value.decode() == (
        '{"user":"é","amount":1,"fraudulent":false,"reason":[],"verdict":{"decision":"accept","score":0,"rules":[],'
        f'"origin":"pays/3/7","pack":"{pack}","model":null,"late":false,"evidence":{{}}}}}}'
    )
    assert loud.value.decode() == (
        '{"amount": 400.010, "user":"a","fraudulent":true,"reason":["400.01 is big"],"verdict":{"decision":"block",'
        f'"score":60,"rules":[{{"id":"big","version":"{version}","detail":"400.01 is big","values":{{"amount":400.01}}}}],'
        f'"origin":"pays/3/8","pack":"{pack}","model":null,"late":false,"evidence":{{}}}}}}'
    )
    assert (quiet.blocked, quiet.decision, quiet.topic, quiet.key) == (False, "accept", "accepted", b"k")
    assert (loud.blocked, loud.decision, loud.topic, loud.key) == (True, "block", "blocked", b"k")


@pytest.mark.parametrize(
    "value",
    [
        "{}",
        "{ }",
        "{ \n}",
        " {}",
        ' {"user":"a"} ',
        '{"user":"a"}\n',
        '{"user":"a" }',
        '{"user":"a"\r\n\t}',
        '{"n":1}',
        '{"x":1E-7,"z":[1,{"a":"}"}]}',
        '{"z":"\\u0000\\ud83d\\ude00"}',
        '{"":0}',
        '{"user":null}',
        '{"z":%s}' % ("9" * 5000),
        '{"z":1e99999999999999999999}',
        '{"z":"]","z":"}"}',
    ],
)
@pytest.mark.parametrize("loud", [False, True])
def test_the_inputs_bytes_stand_first_and_the_whole_is_json(value: str, *, loud: bool) -> None:
    program = engine(rule("all", "true")) if loud else engine()

    found = judged(program, value).value.decode()

    assert found.startswith(value.rstrip()[:-1])
    members = json.loads(found, parse_int=str, parse_float=str)
    assert list(members)[-3:] == ["fraudulent", "reason", "verdict"]
    own = json.loads(value, parse_int=str, parse_float=str)
    assert {name: members[name] for name in own} == own
    assert members["fraudulent"] is loud


names = st.sampled_from(["user", "z", "fraudulent", "reason", "verdict", "label", "", "rea\x00son", "é"])
members = st.dictionaries(names, st.none() | st.text(max_size=3) | st.lists(st.booleans(), max_size=2), max_size=6)
gaps = st.sampled_from(["", " ", "\n\t"])


@settings(max_examples=300, deadline=None)
@given(given=members, gap=gaps, comma=st.sampled_from([",", " , "]), ascii_only=st.booleans(), loud=st.booleans())
def test_whatever_comes_in_the_verdict_is_json_and_holds_all_of_it(
    *,
    given: dict[str, Any],
    gap: str,
    comma: str,
    ascii_only: bool,
    loud: bool,
) -> None:
    if not isinstance(given.get("user", ""), str | None):
        return
    value = gap + json.dumps(given, separators=(comma, ":"), ensure_ascii=ascii_only) + gap
    program = engine(*([rule("all", "true")] if loud else []), add='label = "score"')

    found = json.loads(judged(program, value).value)

    reserved = {"fraudulent", "reason", "verdict", "label"}
    assert {name: found[name] for name in given if name not in reserved} == {
        name: item for name, item in given.items() if name not in reserved
    }
    moved = {name: item for name, item in given.items() if name in reserved}
    assert found["verdict"].get("input", {}) == moved
    assert (found["fraudulent"], found["label"]) == (loud, 10 if loud else 0)


def test_the_quiet_and_the_full_way_write_the_same_bytes() -> None:
    program = engine(BIG, add='label = "fraudulent ? \\"Yes\\" : decision", points = "score", cost = "amount"')
    same = engine(BIG, add='label = "fraudulent ? \\"Yes\\" : decision", points = "score", cost = "amount"')
    # A line break behind the object is one of the things that the quiet way leaves to the full one.
    for value in ('{"user":"a","amount":400}', '{"user":"b"}', '{"amount":1,"z":"reason"}'):
        assert judged(program, value).value == judged(same, value + "\n").value
    assert program.program.judges[0].counts == same.program.judges[0].counts


# --- members of the verdict's names ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "own", "moved"),
    [
        ('{"reason":"x"}', {}, {"reason": "x"}),
        ('{"a":1,"verdict":{"decision":"mine"},"b":2}', {"a": 1, "b": 2}, {"verdict": {"decision": "mine"}}),
        ('{"r\\u0065ason":null,"fraudulent":[1]}', {}, {"reason": None, "fraudulent": [1]}),
        ('{"label":"L","user":"a"}\n', {"user": "a"}, {"label": "L"}),
        ('{"a":{"reason":1},"user":"verdict"}', {"a": {"reason": 1}, "user": "verdict"}, {}),
    ],
)
def test_members_of_the_inputs_that_the_verdict_adds_move_into_it(
    value: str, own: dict[str, Any], moved: dict[str, Any]
) -> None:
    found = answer(engine(add='label = "decision"'), value)

    verdict = found.pop("verdict")
    assert verdict.get("input", {}) == moved
    assert found == {**own, "fraudulent": False, "reason": [], "label": "accept"}


def test_a_moved_member_keeps_its_text_and_so_do_the_others() -> None:
    found = judged(engine(), '{"z": 1.50e1 ,"reason":[ 1.0,2 ],"y":%s}' % ("9" * 5000)).value.decode()

    assert found.startswith('{"z":1.50e1,"y":999')
    assert '"input":{"reason":[ 1.0,2 ]}' in found


def test_a_field_that_the_pack_names_may_have_the_name_of_a_verdicts_member() -> None:
    text = '[event.x]\ntopic = "pays"\nfields = { reason = "str" }\n'
    text += "[rule.r]\non = 'x'\nwhen = 'reason == \"bad\"'\nreason = '{reason}!'\nscore = 1\noutcome = 'block'\n"
    for value, fraudulent in (('{"reason":"bad"}', True), ('{"reason":"good"}', False)):
        verdict = Engine(parse({"x.toml": text})).judge(record(value))
        assert isinstance(verdict, Verdict)
        pairs = json.loads(verdict.value, object_pairs_hook=list)
        assert [name for name, _ in pairs] == ["fraudulent", "reason", "verdict"]
        assert json.loads(verdict.value)["fraudulent"] is fraudulent
        assert json.loads(verdict.value)["verdict"]["input"] == json.loads(value)


# --- decisions ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("outcomes", "decision", "topic"),
    [
        ((), "accept", "accepted"),
        (("review",), "review", "reviewed"),
        (("block",), "block", "blocked"),
        (("review", "block"), "block", "blocked"),
        (("block", "review"), "block", "blocked"),
        (("review", "block", "review"), "block", "blocked"),
    ],
)
def test_block_goes_before_review_before_accept(outcomes: tuple[str, ...], decision: str, topic: str) -> None:
    program = engine(*(rule(f"r{number}", "true", outcome=outcome) for number, outcome in enumerate(outcomes)))

    verdict = judged(program, "{}")

    assert (verdict.decision, verdict.topic, verdict.blocked) == (decision, topic, decision == "block")
    assert program.program.judges[0].counts.decisions == {"accept": 0, "review": 0, "block": 0} | {decision: 1}


@pytest.mark.parametrize(("scores", "total"), [([0], 0), ([60, 40], 100), ([60, 41], 100), ([100, 100, 100], 100)])
def test_a_score_is_the_sum_of_its_rules_up_to_a_hundred(scores: list[int], total: int) -> None:
    program = engine(*(rule(f"r{number}", "true", score=score) for number, score in enumerate(scores)))

    assert answer(program, "{}")["verdict"]["score"] == total


def test_a_shadow_rule_is_recorded_and_decides_nothing() -> None:
    program = engine(rule("s", "true", mode="shadow", score=90), rule("r", "true", outcome="review", reason="look"))

    found = answer(program, "{}")

    assert (found["fraudulent"], found["reason"]) == (False, ["look"])
    assert (found["verdict"]["decision"], found["verdict"]["score"]) == ("review", 10)
    assert [(hit["id"], hit.get("shadow")) for hit in found["verdict"]["rules"]] == [("s", True), ("r", None)]
    assert program.program.judges[0].counts.rules["s"].hits == 1


def test_shadow_rules_alone_accept() -> None:
    verdict = judged(engine(rule("s", "true", mode="shadow")), "{}")

    assert (verdict.decision, verdict.topic) == ("accept", "accepted")
    assert json.loads(verdict.value)["reason"] == []


def test_a_rule_that_is_off_is_not_even_recorded() -> None:
    program = engine(rule("o", "true", mode="off"))

    assert answer(program, "{}")["verdict"]["rules"] == []
    assert program.program.judges[0].counts.rules == {}


def test_an_unknown_condition_is_no_hit_and_is_counted() -> None:
    program = engine(BIG, rule("either", "amount > 400 || flag", outcome="review"))

    assert answer(program, '{"user":"a"}')["verdict"]["decision"] == "accept"
    assert answer(program, '{"flag":true}')["verdict"]["decision"] == "review"
    assert answer(program, '{"amount":401}')["verdict"]["score"] == 70
    counts = program.program.judges[0].counts.rules
    assert (counts["big"].hits, counts["big"].unknowns) == (1, 2)
    assert (counts["either"].hits, counts["either"].unknowns) == (2, 1)


def test_reasons_stand_in_the_order_of_the_rules() -> None:
    program = engine(*(rule(name, "true", reason=name) for name in "zam"))

    assert answer(program, "{}")["reason"] == ["z", "a", "m"]


# --- reasons and values ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reason", "value", "expected"),
    [
        ("{amount}", '{"amount":400.010}', "400.01"),
        ("{amount}", '{"amount":"9223372036854.775807"}', "9223372036854.775807"),
        ("{amount}", '{"amount":-0.0000001}', "0"),
        ("{flag}", '{"flag":true}', "true"),
        ("{flag}", '{"flag":false}', "false"),
        ("{x} {n}", '{"x":1,"n":-5}', "1.0 -5"),
        ("{user}", "{}", "unknown"),
        ("{{{user}}} {{user}}", '{"user":"a"}', "{a} {user}"),
        ("{user}", '{"user":"{n} \\" \\u0000 é"}', '{n} " \0 é'),
        ("", "{}", ""),
        ("100 %b %s", "{}", "100 %b %s"),
        ("{pays_10s} {pause}", '{"user":"a"}', "1 unknown"),
        ("{pays_10s}", "{}", "unknown"),
    ],
)
def test_a_reason_tells_values_as_people_write_them(reason: str, value: str, expected: str) -> None:
    found = answer(engine(rule("r", "true", reason=reason)), value)

    assert found["reason"] == [expected]
    assert found["verdict"]["rules"][0]["detail"] == expected


def test_the_values_of_a_hit_are_those_that_its_condition_and_reason_read() -> None:
    program = engine(
        rule("r", "pays_10s >= 2 && (flag || n == 1)", reason="{amount} {user} {pause}"), rule("s", "x < 1.0")
    )
    judged(program, '{"user":"a","at":0}')

    found = answer(program, '{"user":"a","at":1500,"amount":"0.10","flag":true,"n":null,"x":0.5}')

    assert [hit["values"] for hit in found["verdict"]["rules"]] == [
        {"pays_10s": 2, "flag": True, "n": None, "amount": Decimal("0.1"), "user": "a", "pause": Decimal("1.5")},
        {"x": Decimal("0.5")},
    ]
    assert list(found["verdict"]["rules"][0]["values"]) == ["pays_10s", "flag", "n", "amount", "user", "pause"]


def test_a_number_that_json_cannot_write_is_null() -> None:
    assert show(Kind.FLOAT, None) is None
    found = answer(engine(rule("r", "x * 2.0 > 0.0"), add='twice = "x * 1e300 * 1e300"'), '{"x":1e308}')

    assert (found["twice"], found["verdict"]["rules"][0]["values"]) == (None, {"x": Decimal("1e308")})


@pytest.mark.parametrize(
    ("kind", "value", "shown", "told"),
    [
        (Kind.TIME, 0, "1970-01-01T00:00:00+00:00", "1970-01-01T00:00:00+00:00"),
        (Kind.TIME, -1, "1969-12-31T23:59:59.999999+00:00", "1969-12-31T23:59:59.999999+00:00"),
        (Kind.TIME, 2**63 - 1, None, "unknown"),
        (Kind.TIME, -(2**63), None, "unknown"),
        (Kind.DURATION, 1_500_000, 1.5, "1.5"),
        (Kind.STR, "a", "a", "a"),
    ],
)
def test_times_are_shown_in_iso_8601_and_durations_in_seconds(kind: Kind, value: int, shown: Any, told: str) -> None:
    assert (show(kind, value), text(kind, value)) == (shown, told)


# --- evidence ----------------------------------------------------------------------------------------------------


def test_evidence_is_of_the_features_that_rules_hit_have_read() -> None:
    program = engine(rule("often", "pays_10s > 2"), rule("quick", 'pause < duration("1s")', outcome="review"))
    first = answer(program, '{"user":"a","at":0}', offset=0)["verdict"]
    answer(program, '{"user":"b","at":0}', offset=1)
    second = answer(program, '{"user":"a","at":2000}', offset=2)["verdict"]
    third = answer(program, '{"user":"a","at":4000}', offset=3)["verdict"]

    assert (first["evidence"], second["evidence"]) == ({}, {})
    assert third["evidence"] == {"pays_10s": {"total": 3, "newest": ["pays/3/0", "pays/3/2", "pays/3/3"]}}


def test_a_feature_that_only_the_reason_reads_has_evidence_and_one_unknown_has_none() -> None:
    program = engine(rule("r", "true", reason="{pays_10s}"))

    assert answer(program, '{"user":"a"}')["verdict"]["evidence"] == {"pays_10s": {"total": 1, "newest": ["pays/3/7"]}}
    assert answer(program, "{}")["verdict"]["evidence"] == {"pays_10s": {"total": 0, "newest": []}}


# --- late --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("at", "late"), [(5_000, False), (4_999, True), (0, True), (10_000, False)])
def test_an_event_is_late_behind_its_partitions_newest_time_less_the_lateness(at: int, *, late: bool) -> None:
    program = engine()
    judged(program, '{"at":10000}')

    assert answer(program, f'{{"at":{at}}}')["verdict"]["late"] is late
    assert answer(program, f'{{"at":{at}}}', partition=4)["verdict"]["late"] is False
    assert program.program.judges[0].counts.late == late


def test_a_late_event_is_judged_all_the_same() -> None:
    program = engine(BIG)
    judged(program, '{"at":10000}')

    found = answer(program, '{"at":0,"amount":401}')

    assert (found["fraudulent"], found["verdict"]["late"]) == (True, True)


# --- added members -----------------------------------------------------------------------------------------------


def test_added_members_stand_behind_the_verdict_in_the_packs_order() -> None:
    program = engine(
        BIG,
        add='zero = "score", answer = "fraudulent ? \\"Yes\\" : \\"No\\"", cost = "amount * 2", why = "decision", '
        'seen = "pays_10s", since = "pause", until = "timestamp(\\"2026-01-01T00:00:00Z\\")"',
    )
    quiet = judged(program, '{"amount":0.1,"user":"a","at":0}')
    loud = judged(program, '{"amount":500,"user":"a","at":2000}')

    assert quiet.value.endswith(
        b'}},"zero":0,"answer":"No","cost":0.2,"why":"accept","seen":1,"since":null,"until":"2026-01-01T00:00:00+00:00"}'
    )
    assert loud.value.endswith(
        b'}},"zero":60,"answer":"Yes","cost":1000,"why":"block","seen":2,"since":2.0,"until":"2026-01-01T00:00:00+00:00"}'
    )


def test_a_time_beyond_the_calendar_is_null_and_no_crash() -> None:
    program = engine(add='end = "timestamp(\\"9999-12-31T23:59:59Z\\") + duration(\\"1d\\")"')

    assert answer(program, "{}")["end"] is None


# --- whatever it is, one out ---------------------------------------------------------------------------------------


def test_what_is_no_event_is_a_dead_letter_with_its_record() -> None:
    program = engine(BIG)
    given = record(b"\xff")

    letter = program.judge(given)

    assert isinstance(letter, DeadLetter)
    assert letter.record is given
    assert program.program.dead_letters == {"pays": 1}


def test_a_verdict_repeats_only_a_glimpse_of_a_long_text() -> None:
    program = engine(rule("long", "true", reason="by {user}"))
    long = "u" * 500_000

    value = judged(program, json.dumps({"user": long, "amount": 1})).value

    assert len(value) < len(long) + 3_000
    assert json.loads(value)["reason"] == [f"by {'u' * 256}…"]


@pytest.mark.parametrize(
    ("at", "fires"), [("2026-07-01T03:59:59Z", True), ("2026-07-01T04:00:00Z", False), (None, False)]
)
def test_a_rule_reads_the_event_time_in_a_named_zone(at: str | None, *, fires: bool) -> None:
    program = engine(rule("night", 'at.getHours("Europe/Berlin") < 6', reason="at {at}"))
    event = {"user": "a"} if at is None else {"user": "a", "at": at}

    # A missing time is the record's, here 2026-07-01 12:00 UTC.
    found = json.loads(judged(program, json.dumps(event), timestamp=1_782_907_200_000).value)

    assert bool(found["reason"]) is fires
