import re
from pathlib import Path

PACK = """[event.pay]
topic = "pays"
fields = { user = "str", amount = "money" }

[rule.large]
on = "pay"
when = "amount > 400"
reason = "large"
score = 50
outcome = "block"

[[rule.large.test]]
given = [{ user = "a", amount = 400 }, { user = "a", amount = 401 }]
fires = [false, true]
"""


def write(folder: Path, text: str) -> str:
    (folder / "x.toml").write_text(text)
    return "x.toml"


def test_the_shipped_packs_are_checked_when_none_is_named(fraud) -> None:
    told = fraud("check").splitlines()

    assert told[0].split() == ["click_burst", "click", "live", "block", "score", "90", "3", "tests", "passed"]
    assert re.fullmatch(r"pack \w{12}: 4 events, 10 rules, \d+ tests passed: no problems", told[-1])


def test_a_pack_that_is_right_gives_a_line_a_rule_and_0(fraud, tmp_path: Path) -> None:
    first, cost, last = fraud("check", write(tmp_path, PACK)).splitlines()

    assert first == "large  pay  live  block  score 50  1 test passed"
    assert cost == "pay: about 3 µs an event"
    assert last.endswith(": 1 event, 1 rule, 1 test passed: no problems")


def test_all_that_is_wrong_is_told_with_its_place(fraud, tmp_path: Path) -> None:
    pack = PACK.replace("amount > 400", "amont > 400").replace('"block"', '"blok"').replace("score", "scor")

    told = fraud("check", write(tmp_path, pack), code=1)

    assert told == (
        "x.toml:5:2: rule.large.score: is missing\n"
        'x.toml:9:1: rule.large.scor: no such key (did you mean "score"?)\n'
        "x.toml:10:11: rule.large.outcome: expected 'allow', 'review' or 'block', got 'blok'\n"
        "3 problems\n"
    )


def test_an_unknown_name_is_told_with_a_hint(fraud, tmp_path: Path) -> None:
    told = fraud("check", write(tmp_path, PACK.replace("amount > 400", "amont > 400")), code=1).splitlines()

    assert told[0].startswith("x.toml:7:9: rule large: ")
    assert "amount" in told[0]
    assert told[1] == "1 problem"


def test_a_failing_inline_test_is_a_problem(fraud, tmp_path: Path) -> None:
    told = fraud("check", write(tmp_path, PACK.replace("[false, true]", "[false, false]")), code=1)

    assert told == (
        "x.toml:13:40: rule large: test 1: event 2: expected it not to fire, it fired (amount = 401)\n1 problem\n"
    )


def test_a_warning_is_told_and_no_reason_to_fail(fraud, tmp_path: Path) -> None:
    pack = PACK.partition("[[")[0].replace("amount > 400", "1 < 2")

    warning, rule, _, _ = fraud("check", write(tmp_path, pack)).splitlines()

    assert warning == "x.toml:7:8: warning: rule large: its condition reads nothing, so it is always the same"
    assert rule.endswith("no tests")


def test_a_file_that_is_not_there_is_told(fraud) -> None:
    assert fraud("check", "nowhere.toml", code=1).startswith("nowhere.toml: pack: cannot be read: ")


def test_a_pack_cannot_send_commands_to_the_terminal(fraud, tmp_path: Path) -> None:
    told = fraud("check", write(tmp_path, PACK.replace('"block"', '"\\u001b[2J"')), code=1)

    assert "\x1b" not in told
