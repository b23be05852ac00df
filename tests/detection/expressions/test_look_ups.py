"""Looking members up in the lists of a pack."""

from types import SimpleNamespace
from typing import Any

import pytest

from detection.expressions import Constants, ExpressionError, Language, ListSymbol, Symbol
from detection.expressions.language import ROWS
from detection.kinds import Kind

ALWAYS = (-(2**63), 2**63)
LOOK_UPS = [row.operands for row in ROWS.values() if row.function == "_[_]"]
VALUES = {Kind.STR: "x", Kind.INT: 7, Kind.FLOAT: 0.5, Kind.BOOL: False}
MEMBERS = {Kind.STR: "a", Kind.INT: 3}


def language(member: Kind = Kind.STR, value: Kind | None = None) -> Language:
    return Language(
        {
            "who": Symbol(member, "e.who", optional=True),
            "here": Symbol(member, "e.here"),
            "other": Symbol(Kind.FLOAT, "e.other"),
            "names": ListSymbol(member, value, "LIST", "e.time"),
        }
    )


def evaluate(text: str, entries: dict[Any, tuple[int, int, Any]], *, time: int = 0, **names: Any) -> Any:
    member = Kind.INT if isinstance(next(iter(names.values()), ""), int) else Kind.STR
    found = next((value for _, _, value in entries.values() if value is not None), None)
    value = next((kind for kind, example in VALUES.items() if type(example) is type(found)), None)
    constants = Constants()
    expression = language(member, value).compile(text, constants)
    event = SimpleNamespace(**{"who": None, "here": MEMBERS[member], "other": 1.0, "time": time} | names)
    return eval(expression.source, {**constants.values, "e": event, "LIST": entries})


@pytest.mark.parametrize(
    ("since", "until", "time", "there"),
    [
        (*ALWAYS, -(2**63), True),
        (*ALWAYS, 2**63 - 1, True),
        (10, 20, 9, False),
        (10, 20, 10, True),
        (10, 20, 19, True),
        (10, 20, 20, False),
    ],
)
def test_a_member_is_on_a_list_from_its_beginning_to_before_its_end(
    since: int, until: int, time: int, *, there: bool
) -> None:
    assert evaluate("who in names", {"a": (since, until, None)}, time=time, who="a") is there
    assert evaluate("names[who] == 7", {"a": (since, until, 7)}, time=time, who="a") is (True if there else None)


@pytest.mark.parametrize(("value", "member"), LOOK_UPS)
def test_what_a_list_says_has_its_kind_and_is_unknown_for_others(value: Kind, member: Kind) -> None:
    entries = {MEMBERS[member]: (*ALWAYS, VALUES[value])}

    said = evaluate("names[here]", entries, here=MEMBERS[member])
    assert (type(said), said) == (type(VALUES[value]), VALUES[value])
    assert evaluate("names[who]", entries, who=type(MEMBERS[member])()) is None
    assert language(member, value).compile("names[here]", Constants()).kind is value


def test_an_unknown_member_is_neither_on_a_list_nor_off_it() -> None:
    assert evaluate("who in names", {}, who=None) is None
    assert evaluate("known(who) && who in names", {}, who=None) is False
    assert evaluate("names[who] > 1 || true", {"a": (*ALWAYS, 7)}, who=None) is True
    assert evaluate("known(names[here])", {"a": (*ALWAYS, False)}, here="a") is True


def test_members_may_be_put_together() -> None:
    assert evaluate('here + "/" + here in names', {"a/a": (*ALWAYS, None)}, here="a") is True


def test_the_lists_that_an_expression_reads_are_told_apart_from_its_names() -> None:
    expression = language(value=Kind.INT).compile("names[who] > 1 && names[here] > 1", Constants())

    assert (expression.names, expression.lists) == (("who", "here"), ("names",))


@pytest.mark.parametrize(
    ("text", "value", "offset", "message"),
    [
        ("names", None, 0, "expected a value, got the list names"),
        ("other in names", None, 6, 'cannot apply "in" to float and list of str'),
        ("who in names", Kind.INT, 4, 'cannot apply "in" to str and list of str with int'),
        ("names[who] == 1", None, 5, 'cannot apply "[ ]" to list of str and str'),
        ("names[other] == 1", Kind.INT, 5, 'cannot apply "[ ]" to list of str with int and float'),
        ("who[who] == 1", None, 3, 'cannot apply "[ ]" to str and str'),
        ("names == names", None, 6, 'cannot apply "==" to list of str and list of str'),
        ("known(names)", None, 5, 'cannot apply "known" to list of str'),
        ("who in [names]", None, 4, 'cannot apply "in" to str and list of list of str'),
        ("size(names) > 1", None, 4, 'cannot apply "size" to list of str'),
        ("who in nam", None, 7, 'unknown name "nam"'),
    ],
)
def test_a_list_is_for_looking_up_alone(text: str, value: Kind | None, offset: int, message: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        language(value=value).compile(text, Constants())

    assert (caught.value.offset, caught.value.message) == (offset, message)
