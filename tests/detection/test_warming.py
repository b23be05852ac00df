"""Windows that have not yet seen their whole length say so, and no others do."""

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from detection.loading import parse
from detection.pack import Pack
from detection.program import Engine
from detection.records import Record, Verdict

LATENESS = 5
EVENT = f"""lateness = "{LATENESS}s"
[event.pay]
topic = "pays"
time = "at"
fields = {{ user = "str", shop = "str", n = "int", x = "float" }}
"""
START = 1_000_000_000
FEATURES = {
    "count_2": 'fn = "count"\nkey = ["user"]\nwindow = "2s"',
    "count_9": 'fn = "count"\nkey = ["user"]\nwindow = "9s"',
    "sum_n": 'fn = "sum"\nof = "n"\nkey = ["user"]\nwindow = "4s"',
    "max_n": 'fn = "max"\nof = "n"\nkey = ["user"]\nwindow = "6s"',
    "avg_x": 'fn = "avg"\nof = "x"\nkey = ["user"]\nwindow = "6s"',
    "before": 'fn = "count"\nkey = ["user"]\nwindow = "3s"\ndelay = "4s"',
    "where": 'fn = "count"\nkey = ["user"]\nwindow = "5s"\nwhere = "n > 0"',
    "shops": 'fn = "distinct"\nof = "shop"\nkey = ["user"]\nwindow = "5s"',
    "at_shop": 'fn = "count"\nkey = ["shop"]\nwindow = "5s"',
    "pair": 'fn = "sum"\nof = "n"\nkey = ["shop", "user"]\nwindow = "8s"',
    "panes": 'fn = "stddev"\nof = "n"\nkey = ["user"]\nwindow = "6s"\nresolution = "2s"',
    "panes_count": 'fn = "count"\nkey = ["user"]\nwindow = "8s"\nresolution = "2s"',
    "looking": 'fn = "count"\nkey = ["shop"]\nover_key = ["user"]\nwindow = "7s"',
}
Pay = tuple[float, str, str, int]  # seconds since the start, user, shop, n


def pack_of(*names: str) -> Pack:
    lines = [f'[feature.{name}]\non = "pay"\n{FEATURES[name]}\n' for name in names]
    reads = " ".join(f"{{{name}}}" for name in names)
    rule = f'[rule.r]\non = "pay"\nwhen = "true"\nreason = "{reads}"\nscore = 1\noutcome = "review"\n'
    return parse({"p.toml": EVENT + "".join(lines) + rule})


def record(offset: int, pay: Pay) -> Record:
    second, user, shop, n = pay
    members = {"user": user, "shop": shop, "n": n, "x": n / 4, "at": START + round(second * 1000)}
    return Record("pays", 0, offset, -1, None, json.dumps(members).encode())


def judged(engine: Engine, pays: list[Pay], first: int = 0) -> list[tuple[dict[str, Any], list[str]]]:
    """The values at each event, and the features that are warming."""
    answers = []
    for offset, pay in enumerate(pays, first):
        verdict = engine.judge(record(offset, pay))
        assert isinstance(verdict, Verdict), verdict
        answer = json.loads(verdict.value)["verdict"]
        answers.append((answer["rules"][0]["values"], answer.get("warming", [])))
    return answers


def changed(engine: Engine, pack: Pack) -> Engine:
    """The engine after a restart with another pack."""
    after = Engine(pack)
    after.restore(engine.snapshot())
    return after


def steady(*seconds: float) -> list[Pay]:
    return [(second, "a", "s", 1) for second in seconds]


def warming(before: Pack, after: Pack, change: float, *seconds: float) -> list[list[str]]:
    engine = Engine(before)
    judged(engine, steady(0, change))
    return [names for _, names in judged(changed(engine, after), steady(*seconds), 2)]


@st.composite
def streams(draw: st.DrawFn) -> list[Pay]:
    newest = 0.0
    pays = []
    steps = st.tuples(st.integers(-30, 6), st.sampled_from("ab"), st.sampled_from("abs"), st.integers(-1, 2))
    for step, user, shop, n in draw(st.lists(steps, max_size=30)):
        newest += max(step, 0) / 2
        pays.append((newest + min(step, 0) / 2, user, shop, n))
    return pays


packs = st.sets(st.sampled_from(sorted(FEATURES)), min_size=1)


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    pays=streams(),
    packs=st.lists(packs, min_size=2, max_size=4),
    cuts=st.lists(st.integers(0, 30), min_size=3, max_size=3),
)
def test_a_value_that_is_not_called_warming_is_the_one_of_a_pack_that_never_changed(
    pays: list[Pay], packs: list[set[str]], cuts: list[int]
) -> None:
    bounds = [0, *sorted(min(cut, len(pays)) for cut in cuts[: len(packs) - 1]), len(pays)]
    engine = Engine(pack_of(*sorted(packs[0])))
    for number, names in enumerate(packs):
        engine = changed(engine, pack_of(*sorted(names))) if number else engine
        part = pays[bounds[number] : bounds[number + 1]]
        expected = judged(Engine(pack_of(*sorted(names))), pays[: bounds[number + 1]])[bounds[number] :]
        for (values, warm), (whole, none) in zip(judged(engine, part, bounds[number]), expected, strict=True):
            assert none == []
            assert {name: value for name, value in values.items() if name not in warm} == {
                name: value for name, value in whole.items() if name not in warm
            }


def test_a_new_feature_is_warming_until_its_window_begins_behind_the_change() -> None:
    found = warming(pack_of("count_2"), pack_of("count_2", "sum_n"), 10, 10, 13.999, 14, 20)
    assert found == [["sum_n"], ["sum_n"], [], []]


def test_a_new_key_is_warming_as_well_also_for_keys_never_seen() -> None:
    engine = Engine(pack_of("count_2"))
    judged(engine, [(0, "a", "s", 1)])
    found = judged(changed(engine, pack_of("count_2", "at_shop")), [(1, "b", "t", 1), (6, "b", "t", 1)], 1)
    assert [names for _, names in found] == [["at_shop"], []]


def test_a_longer_window_has_what_was_kept_for_the_shorter_one() -> None:
    # The shorter one and the lateness kept 7 s: from second 13 on, when the change is at 20.
    found = warming(pack_of("count_2"), pack_of("count_9"), 20, 20, 21.999, 22)
    assert found == [["count_9"], ["count_9"], []]


def test_a_delayed_window_is_warming_until_its_end_is_so_old() -> None:
    assert warming(pack_of("avg_x"), pack_of("avg_x", "where"), 10, 14.999, 15) == [["where"], []]
    assert warming(pack_of("where"), pack_of("where", "before"), 10, 16.999, 17) == [["before"], []]


def test_a_renamed_or_shorter_feature_an_unchanged_pack_and_another_rule_are_not_warming() -> None:
    text = EVENT + '[feature.other]\non = "pay"\nfn = "count"\nkey = ["user"]\nwindow = "4s"\n'
    rule = '[rule.x]\non = "pay"\nwhen = "other > 0"\nreason = ""\nscore = 2\noutcome = "block"\n'

    assert warming(pack_of("count_9"), parse({"p.toml": text + rule}), 10, 10, 11) == [[], []]
    assert warming(pack_of("count_9"), pack_of("count_9"), 10, 10, 11) == [[], []]
    assert warming(pack_of("count_9"), pack_of("count_2"), 10, 10, 11) == [[], []]


def test_a_first_start_is_not_warming() -> None:
    assert all(names == [] for _, names in judged(Engine(pack_of(*FEATURES)), steady(0, 1, 20)))


def test_a_second_change_does_not_forget_the_first() -> None:
    engine = Engine(pack_of("count_2"))
    judged(engine, steady(10))
    engine = changed(engine, pack_of("count_2", "pair"))
    judged(engine, steady(12))
    engine = changed(engine, pack_of("count_2", "pair", "sum_n"))

    found = [names for _, names in judged(engine, steady(15.999, 16, 17.999, 18))]
    assert found == [["pair", "sum_n"], ["pair"], ["pair"], []]


def test_partitions_are_told_apart_and_one_that_is_new_is_whole() -> None:
    engine = Engine(pack_of("count_2"))
    judged(engine, steady(10))
    engine = changed(engine, pack_of("count_2", "sum_n"))
    verdicts = [
        engine.judge(item)
        for item in (record(1, (11, "a", "s", 1)), Record("pays", 1, 0, -1, None, record(0, (11, "a", "s", 1)).value))
    ]

    assert [b'"warming"' in verdict.value for verdict in verdicts if isinstance(verdict, Verdict)] == [True, False]


def test_the_snapshot_forgets_what_is_whole_for_every_event_in_time() -> None:
    engine = Engine(pack_of("count_2"))
    judged(engine, steady(10))
    engine = changed(engine, pack_of("count_2", "sum_n"))

    assert list(engine.snapshot()[0]["since"]) == ["pays"]
    judged(engine, steady(10 + 4 + LATENESS - 0.001))
    assert list(engine.snapshot()[0]["since"]) == ["pays"]
    judged(engine, steady(10 + 9 + LATENESS))
    judged(engine, steady(10 + 9 + LATENESS))
    assert engine.snapshot()[0]["since"] == {}


def test_a_snapshot_that_says_nothing_of_what_was_kept_warms_nothing() -> None:
    engine = Engine(pack_of("count_2"))
    judged(engine, steady(10))
    decoder, states = engine.snapshot()
    after = Engine(pack_of("count_9"))
    after.restore(({"watermarks": decoder["watermarks"]}, states))

    assert judged(after, steady(11))[0][1] == []


@pytest.mark.parametrize("at", [0, 1, 2])
def test_a_snapshot_in_the_midst_changes_no_verdict(at: int) -> None:
    def run(stops: set[int]) -> list[Any]:
        engine = Engine(pack_of("count_2"))
        judged(engine, steady(10))
        pack = pack_of("count_2", "pair", "panes")
        engine = changed(engine, pack)
        out = []
        for number, pay in enumerate(steady(12, 16, 18, 30)):
            engine = changed(engine, pack) if number in stops else engine
            out += judged(engine, [pay], number + 1)
        return out

    assert run({at}) == run(set())
