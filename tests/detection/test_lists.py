"""Lists: from packs, files and records, and what rules make of them."""

import json
import re
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from detection.errors import PackError
from detection.kinds import Kind
from detection.lists import ALWAYS, Lists, entries_of, read_file
from detection.loading import load, parse
from detection.pack import MemberList
from detection.program import Engine
from detection.records import Record, Verdict

NAMES = MemberList("names", Kind.STR)
NUMBERS = MemberList("numbers", Kind.INT)
SCORES = MemberList("scores", Kind.STR, Kind.FLOAT)
FLAGS = MemberList("flags", Kind.STR, Kind.BOOL)
MONTH = 2_678_400_000_000


def of(item: MemberList, **said: Any) -> Lists:
    """A list that a record has been put on, with this value; its member is 7."""
    lists = kept(item)
    lists.put(item.name, b"7", json.dumps(said).encode())
    return lists


def kept(item: MemberList) -> Lists:
    value = f'value = "{item.value}"' if item.value else ""
    return Lists(
        parse(
            {
                "p.toml": f"""
event.e = {{ topic = "t", fields = {{ a = "str" }} }}
[list.{item.name}]
of = "{item.kind}"
topic = "lists"
{value}
"""
            }
        )
    )


def test_a_record_puts_its_key_on_the_list_and_one_without_a_value_takes_it_off() -> None:
    lists = kept(NAMES)
    entries = lists.entries["names"]

    lists.put("names", b"a", b"{}")
    lists.put("names", "é\n".encode(), b'{"note": "whatever", "value": 3}')
    assert entries == {"a": (*ALWAYS, None), "é\n": (*ALWAYS, None)}

    lists.put("names", b"a", None)
    lists.put("names", b"never there", b"")
    assert entries == {"é\n": (*ALWAYS, None)}
    assert lists.entries["names"] is entries  # the judges hold it


@pytest.mark.parametrize(
    ("item", "said", "entry"),
    [
        (NAMES, {"since": "1970-01-01T00:00:01Z"}, (1_000_000, ALWAYS[1], None)),
        (NAMES, {"until": 1_000}, (ALWAYS[0], 1_000_000, None)),
        (NAMES, {"since": None, "until": "1970-02-01T00:00:00"}, (ALWAYS[0], MONTH, None)),
        (NAMES, {"since": "1970-01-01T01:00:00+01:00", "until": 1}, (0, 1_000, None)),
        (SCORES, {"value": 1}, (*ALWAYS, 1.0)),
        (SCORES, {"value": 0.5}, (*ALWAYS, 0.5)),
        (FLAGS, {"value": False}, (*ALWAYS, False)),
    ],
)
def test_a_value_says_from_when_until_when_and_what(
    item: MemberList, said: dict[str, Any], entry: tuple[int, int, Any]
) -> None:
    assert of(item, **said).entries[item.name] == {"7": entry}


@pytest.mark.parametrize(
    ("item", "key", "value", "message"),
    [
        (NAMES, None, b"{}", "key: expected str, got nothing"),
        (NAMES, b"", b"{}", "key: expected str, got nothing"),
        (NAMES, b"\xff", b"{}", "key: expected UTF-8"),
        (NUMBERS, b"x", b"{}", "key: expected int, got 'x'"),
        (NUMBERS, b"1.0", b"{}", "key: expected int, got '1.0'"),
        (NAMES, b"a", b"yes", "value: not JSON: JSON is malformed: invalid character (byte 0)"),
        (NAMES, b"a", b"[1]", """value: expected an object such as {"until": "2026-01-31T00:00:00Z"}, got b'[1]'"""),
        (NAMES, b"a", b'{"until": "soon"}', "until: expected a time such as 2026-01-31T00:00:00Z, or ms since 1970, got 'soon'"),
        (NAMES, b"a", b'{"since": true}', "since: expected a time such as 2026-01-31T00:00:00Z, or ms since 1970, got True"),
        (NAMES, b"a", b'{"since": 1e300}', "since: expected a time such as 2026-01-31T00:00:00Z, or ms since 1970, got 1e+300"),
        (NAMES, b"a", b'{"since": 5, "until": 5}', "expected since before until, got 5 and 5"),
        (SCORES, b"a", b"{}", "value: expected float, got nothing"),
        (SCORES, b"a", b'{"value": "1"}', "value: expected float, got '1'"),
        (SCORES, b"a", b'{"value": true}', "value: expected float, got True"),
        (FLAGS, b"a", b'{"value": 1}', "value: expected bool, got 1"),
    ],
)  # fmt: skip
def test_a_record_that_is_wrong_is_told_and_changes_nothing(
    item: MemberList, key: bytes | None, value: bytes, message: str
) -> None:
    lists = kept(item)

    with pytest.raises(ValueError, match=r"expected|not JSON") as caught:
        lists.put(item.name, key, value)

    assert str(caught.value) == message
    assert lists.entries == {item.name: {}}


def test_files_are_read(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("\ufeff# remarks\n\n a b \n7\r\nx#y\n7\n")
    (tmp_path / "b.csv").write_text('member,note,value,until\n"a,b","two\nlines",1.5,\nc,,2,1000\n')

    assert read_file(NAMES, tmp_path / "a.txt") == dict.fromkeys(["a b", "7", "x#y"], (*ALWAYS, None))
    assert read_file(SCORES, tmp_path / "b.csv") == {"a,b": (*ALWAYS, 1.5), "c": (ALWAYS[0], 1_000_000, 2.0)}


@pytest.mark.parametrize(
    ("item", "name", "text", "message"),
    [
        (NUMBERS, "a.txt", "1\n\ntwo\n", "a.txt:3: member: expected int, got 'two'"),
        (NUMBERS, "a.txt", "99999999999999999999\n", "a.txt:1: member: expected int, got '99999999999999999999'"),
        (NAMES, "a.csv", "name\nx\n", "a.csv:1: expected a column member, got name"),
        (NAMES, "a.csv", "", "a.csv:1: expected a column member, got nothing"),
        (NAMES, "a.csv", "member,until\nx,1\ny,never\n", "a.csv:3: until: expected a time such as 2026-01-31T00:00:00Z, or ms since 1970, got 'never'"),
        (NAMES, "a.csv", "note,member\nx\n", "a.csv:2: member: expected str, got nothing"),
        (NAMES, "a.csv", 'member\n"x\n', "a.csv:1: unexpected end of data"),
        (SCORES, "a.csv", "member,value\nx,\n", "a.csv:2: value: expected float, got nothing"),
        (FLAGS, "a.csv", "member,value\nx,True\n", "a.csv:2: value: expected bool, got 'True'"),
        (NAMES, "a.json", "[]", "file: expected a .txt, .csv or .mmdb, got 'a.json'"),
        (NAMES, "gone.txt", None, "file gone.txt: cannot be read: No such file or directory"),
        (NAMES, "a.txt", b"\xff", "a.txt:1: "),
    ],
)  # fmt: skip
def test_a_file_that_is_wrong_is_told_with_its_line(
    tmp_path: Path, item: MemberList, name: str, text: str | bytes | None, message: str
) -> None:
    if text is not None:
        (tmp_path / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    value = f'value = "{item.value}"' if item.value else ""
    (tmp_path / "p.toml").write_text(
        f'event.e = {{ topic = "t", fields = {{ a = "str" }} }}\n'
        f'[list.l]\nof = "{item.kind}"\nfile = "{name}"\n{value}\n'
    )

    with pytest.raises(PackError) as caught:
        load([tmp_path / "p.toml"])

    (problem,) = caught.value.problems
    assert (problem.line, problem.column) == (4, 8)
    assert problem.message.startswith(f"list l: {message}")


def test_a_file_stands_beside_its_pack_and_is_part_of_its_hash(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("x\n")
    (tmp_path / "p.toml").write_text(
        'event.e = { topic = "t", fields = { a = "str" } }\nlist.l = { file = "a.txt" }\n'
        'rule.r = { on = "e", when = "a in l", reason = "", score = 1, outcome = "block" }\n'
    )
    first = load([tmp_path / "p.toml"])
    (tmp_path / "a.txt").write_text("y\n")
    second = load([tmp_path / "p.toml"])

    assert [item.entries for item in first.lists] == [{"x": (*ALWAYS, None)}]
    assert first.hash != second.hash
    assert first.events[0].rules[0].version == second.events[0].rules[0].version


def test_members_of_a_pack_may_be_on_the_list_for_a_time() -> None:
    noon = datetime(2026, 1, 1, 12)  # noqa: DTZ001  (as TOML gives it: without a zone it is UTC)
    at = 1_767_268_800_000_000

    assert dict(entries_of(NAMES, {"a": {"since": noon}, "b": {"until": "2026-01-01T13:00:00+01:00"}, "c": {}})) == {
        "a": (at, ALWAYS[1], None),
        "b": (ALWAYS[0], at, None),
        "c": (*ALWAYS, None),
    }
    assert dict(entries_of(SCORES, {"a": {"since": noon, "value": 2}, "b": 3})) == {
        "a": (at, ALWAYS[1], 2.0),
        "b": (*ALWAYS, 3.0),
    }
    for item, said, error in (
        (NAMES, {"value": 1}, "a: expected since, until, got value"),
        (SCORES, {"till": noon, "value": 1}, "a: expected since, until, value, got till"),
        (SCORES, {"since": noon}, "value: expected float, got nothing"),
        (NAMES, {"since": "noon"}, "since: expected a time such as 2026-01-31T00:00:00Z, or ms since 1970, got 'noon'"),
        (NAMES, {"since": noon, "until": noon}, "expected since before until"),
    ):
        with pytest.raises(ValueError, match=re.escape(error)):
            dict(entries_of(item, {"a": said}))


def test_members_of_a_pack_have_the_lists_kinds() -> None:
    assert dict(entries_of(NUMBERS, [1, -2])) == {1: (*ALWAYS, None), -2: (*ALWAYS, None)}
    assert dict(entries_of(MemberList("m", Kind.INT, Kind.STR), {"5": "x"})) == {5: (*ALWAYS, "x")}
    for item, members in ((NUMBERS, ["1"]), (NAMES, [1]), (NAMES, {"a": 1}), (SCORES, ["a"]), (SCORES, {"a": "b"})):
        with pytest.raises(ValueError, match="expected"):
            dict(entries_of(item, members))


# --- in rules ---------------------------------------------------------------------------------------------------------

PACK = """
[event.pay]
topic = "pays"
time = "at"
fields = { user = "str", amount = "int" }
add = { rank = "ranks[user]" }

[list.trusted]
topic = "trusted"

[list.blocked]
members = ["b"]

[list.ranks]
members = { a = 3 }
value = "int"

[rule.large]
on = "pay"
when = "amount > 10"
reason = "large"
score = 30
outcome = "review"

[rule.is_trusted]
on = "pay"
when = "user in trusted"
reason = "trusted"
score = 0
outcome = "allow"

[rule.is_blocked]
on = "pay"
when = "user in blocked"
reason = "blocked"
score = 100
outcome = "block"
"""


def judged(engine: Engine, user: str, amount: int, at: int = 0) -> dict[str, Any]:
    value = json.dumps({"user": user, "amount": amount, "at": at}).encode()
    verdict = engine.judge(Record("pays", 0, 0, -1, None, value))
    assert isinstance(verdict, Verdict)
    assert verdict.blocked == (verdict.decision == "block")
    answer: dict[str, Any] = json.loads(verdict.value)
    assert answer["verdict"]["decision"] == verdict.decision
    return answer


def test_who_is_allowed_is_not_reviewed_but_blocked_all_the_same() -> None:
    engine = Engine(parse({"p.toml": PACK}))
    engine.program.lists.put("trusted", b"a", b"{}")
    engine.program.lists.put("trusted", b"b", b"{}")

    allowed = judged(engine, "a", 11)
    assert (allowed["verdict"]["decision"], allowed["verdict"]["score"]) == ("accept", 30)
    assert allowed["reason"] == ["large", "trusted"]
    assert allowed["fraudulent"] is False
    assert judged(engine, "b", 11)["verdict"]["decision"] == "block"
    assert judged(engine, "c", 11)["verdict"]["decision"] == "review"


def test_a_shadow_rule_allows_nothing() -> None:
    engine = Engine(parse({"p.toml": PACK.replace('outcome = "allow"', 'outcome = "allow"\nmode = "shadow"')}))
    engine.program.lists.put("trusted", b"a", b"{}")

    assert judged(engine, "a", 11)["verdict"]["decision"] == "review"


def test_a_list_counts_as_it_was_at_the_time_of_the_event() -> None:
    engine = Engine(parse({"p.toml": PACK}))
    engine.program.lists.put("trusted", b"a", b'{"since": 1000, "until": 2000}')

    decisions = [judged(engine, "a", 11, at)["verdict"]["decision"] for at in (999, 1_000, 1_999, 2_000)]

    assert decisions == ["review", "accept", "accept", "review"]


def test_added_members_read_lists_too() -> None:
    engine = Engine(parse({"p.toml": PACK}))

    assert (judged(engine, "a", 1)["rank"], judged(engine, "b", 1)["rank"]) == (3, None)


def test_two_engines_of_one_pack_have_lists_of_their_own() -> None:
    pack = parse({"p.toml": PACK})
    one, other = Engine(pack), Engine(pack)
    one.program.lists.put("trusted", b"a", b"{}")

    assert judged(one, "a", 11)["verdict"]["decision"] == "accept"
    assert judged(other, "a", 11)["verdict"]["decision"] == "review"
