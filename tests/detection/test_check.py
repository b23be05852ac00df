from pathlib import Path

import pytest

from detection.check import run_tests
from detection.loading import load, parse

SHIPPED = sorted((Path(__file__).parents[2] / "packs").glob("*.toml"))

PACK = """
[event.pay]
topic = "pays"
time = "at?"
fields = { user = "str", amount = "money" }

[feature.pays_10s]
on = "pay"
key = ["user"]
fn = "count"
window = "10s"

[rule.large]
on = "pay"
when = "amount > 400"
reason = "{amount}"
score = 50
outcome = "block"
mode = "MODE"

[rule.often]
on = "pay"
when = "pays_10s > 1"
reason = "{pays_10s} for {user}"
score = 50
outcome = "review"
"""


def problems(tests: str, mode: str = "live") -> list[str]:
    text = PACK.replace("MODE", mode) + tests
    return [str(problem) for problem in run_tests(parse({"x.toml": text}), {"x.toml": text})]


def test_the_shipped_packs_pass_their_own_tests() -> None:
    assert run_tests(load(SHIPPED), {str(path): path.read_text() for path in SHIPPED}) == []


def test_every_shipped_rule_has_a_test() -> None:
    untested = {rule.name for event in load(SHIPPED).events for rule in event.rules if not rule.tests}
    assert untested == set()


def test_a_failure_names_rule_test_and_event_with_their_place_and_what_the_rule_saw() -> None:
    tests = """
[[rule.large.test]]
given = [{ user = "a", amount = 400 }]
fires = [false]

[[rule.large.test]]
given = [
  { user = "a", amount = 401 },
  { user = "a", amount = 399.99 },
  { user = "a", amount = 401 },
]
fires = [true, true, false]
"""
    assert problems(tests) == [
        "x.toml:35:3: rule large: test 2: event 2: expected it to fire, it did not (amount = 399.99)",
        "x.toml:36:3: rule large: test 2: event 3: expected it not to fire, it fired (amount = 401)",
    ]


def test_the_value_of_a_feature_is_told() -> None:
    tests = '[[rule.often.test]]\ngiven = [{ user = "a", amount = 1 }]\nfires = [true]'
    (problem,) = problems(tests)
    assert problem.endswith('expected it to fire, it did not (pays_10s = 1, user = "a")')


def test_events_without_a_time_happen_when_the_one_before_them_did() -> None:
    tests = """
[[rule.often.test]]
given = [
  { user = "a", amount = 1 },
  { "@" = "10s", user = "a", amount = 1 },
  { user = "a", amount = 1 },
  { at = "2026-01-01T00:01:00", user = "a", amount = 1 },
  { user = "a", amount = 1 },
  { "@" = "1m9.999s", user = "a", amount = 1 },
]
fires = [false, false, true, false, true, true]
"""
    assert problems(tests) == []


def test_an_event_may_lie_years_ahead_of_the_one_before_it() -> None:
    tests = """
[[rule.often.test]]
given = [{ user = "a", amount = 1 }, { at = 2040-01-01T00:00:00Z, user = "a", amount = 1 }]
fires = [false, false]
"""
    assert problems(tests) == []


def test_each_test_begins_with_empty_windows() -> None:
    test = '[[rule.often.test]]\ngiven = [{ user = "a", amount = 1 }]\nfires = [false]\n'
    assert problems(test + test) == []


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ('{ "@" = 5, user = "a", amount = 1 }', '"@": expected a duration such as "10s", got 5'),
        ('{ "@" = "soon", user = "a", amount = 1 }', '"@": expected a duration such as "10s"'),
        ('{ "@" = "5us", user = "a", amount = 1 }', '"@": expected whole milliseconds'),
        ("{ user = 7, amount = 1 }", "expected an event, got a dead letter: "),
        ('{ user = "a", amount = 99999999999999999999999 }', "expected an event, got a dead letter: "),
        ('{ at = 2026-01-01, user = "a", amount = 1 }', "expected a date with its time such as 2026-01-01T12:00:00Z"),
        ('{ at = 12:00:00, user = "a", amount = 1 }', "expected a date with its time such as 2026-01-01T12:00:00Z"),
        ('{ user = "a", amount = 1, more = [{ x = 12:00:00 }] }', "expected a date with its time"),
        ("{ user = " + f"0x{'f' * 4_000}" + ", amount = 1 }", "Exceeds the limit"),
        ("{ amount = 1 }", "expected an event, got a dead letter: "),
    ],
)
def test_a_given_that_is_no_event_is_a_failure_and_says_why(given: str, expected: str) -> None:
    (problem,) = problems(f"[[rule.large.test]]\ngiven = [{given}]\nfires = [false]")
    assert problem.startswith(f"x.toml:28:10: rule large: test 1: event 1: {expected}")


def test_a_shadow_rule_is_tested_and_one_that_is_off_is_not() -> None:
    wrong = '[[rule.large.test]]\ngiven = [{ user = "a", amount = 1 }]\nfires = [true]'
    right = wrong.replace("[true]", "[false]").replace("amount = 1", "amount = 400")
    assert len(problems(wrong, "shadow")) == 1
    assert problems(right, "shadow") == []
    assert problems(wrong, "off") == []


def test_a_failure_is_placed_in_the_file_that_declares_the_rule() -> None:
    first = PACK.replace("MODE", "live")
    second = '[rule.tiny]\non = "pay"\nwhen = "amount < 1"\nreason = "-"\nscore = 1\noutcome = "review"\n'
    second += '[[rule.tiny.test]]\ngiven = [{ user = "a", amount = 1 }]\nfires = [true]'
    texts = {"first.toml": first, "second.toml": second}
    (problem,) = run_tests(parse(texts), texts)
    assert (problem.file, problem.line, problem.column) == ("second.toml", 8, 10)


def test_the_events_after_a_date_without_a_time_are_still_judged() -> None:
    tests = """
[[rule.large.test]]
given = [
  { at = 2026-01-01, user = "a", amount = 1 },
  { at = 2026-01-01T12:00:00, user = "a", amount = 1 },
  { user = "a", amount = 1 },
]
fires = [false, false, true]
"""
    assert [problem.split(": ")[3] for problem in problems(tests)] == ["event 1", "event 3"]


REPEATED = """
[[rule.often.test]]
given = [{ "*" = TIMES, "+" = "APART", user = "USER", amount = 1 }]
fires = [FIRES]
"""


@pytest.mark.parametrize(
    ("times", "apart", "user", "fires", "expected"),
    [
        ("2", "9.999s", "a", "true", ""),
        ("2", "10s", "a", "false", ""),
        ("300", "1ms", "user {n}", "false", ""),
        ("300", "10s", "a", "true", "expected it to fire at number 300 of 300, it did not"),
        ("3", "1s", "a", "true", "expected it not to fire at number 2 of 3, it fired"),
        ("2", "1s", "a", "false", "expected it not to fire at number 2 of 2, it fired"),
        ("0", "1s", "a", "false", '"*": expected a number from 1 to 10,000, got 0'),
        ("10001", "1s", "a", "false", '"*": expected a number from 1 to 10,000, got 10001'),
        ("true", "1s", "a", "false", '"*": expected a number from 1 to 10,000, got True'),
        ("2", "1", "a", "false", '"+": expected a duration such as "10s"'),
    ],
)
def test_an_event_that_comes_often_fires_at_the_last_and_at_none_before(
    times: str, apart: str, user: str, fires: str, expected: str
) -> None:
    text = REPEATED.replace("TIMES", times).replace("APART", apart).replace("USER", user).replace("FIRES", fires)
    found = problems(text)
    assert len(found) == bool(expected)
    assert expected in "".join(found)


OTHER = """
[event.seen]
topic = "seens"
fields = { user = "str" }

[feature.seen_10s]
on = "pay"
key = ["user"]
over = "seen"
fn = "count"
window = "10s"

[rule.unseen]
on = "pay"
when = "seen_10s == 0"
reason = ""
score = 1
outcome = "review"
"""


def test_events_of_other_types_may_be_given() -> None:
    tests = """
[[rule.unseen.test]]
given = [
  { user = "a", amount = 1 },
  { "#" = "seen", user = "a" },
  { "#" = "pay", user = "a", amount = 1 },
  { user = "b", amount = 1 },
  { "@" = "10s", user = "a", amount = 1 },
]
fires = [true, false, false, true, true]
"""
    assert problems(OTHER + tests) == []


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ('{ "#" = "sean", user = "a" }', '"#": expected one of pay, seen, got sean'),
        ('{ "#" = 1, user = "a" }', '"#": expected one of pay, seen, got 1'),
        ('{ "#" = "seen", user = "a" }', "expected pay events where the rule fires, got seen"),
    ],
)
def test_what_is_given_of_other_types_must_be_one_that_does_not_fire(given: str, told: str) -> None:
    (problem,) = problems(f"{OTHER}[[rule.unseen.test]]\ngiven = [{given}]\nfires = [true]\n")

    assert problem.endswith(f"rule unseen: test 1: event 1: {told}")
