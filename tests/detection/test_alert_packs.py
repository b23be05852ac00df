"""`[alert.NAME]` in packs."""

import pytest

from detection.errors import PackError
from detection.loading import parse
from detection.pack import AlertSpec

EVENTS = """
[event.click]
topic = "clicks"
fields = { session = "str", url = "str" }

[rule.burst]
on = "click"
when = "url == 'x'"
reason = "r"
score = 1
outcome = "block"

[rule.sleeping]
on = "click"
when = "url == 'y'"
reason = "r"
score = 1
outcome = "block"
mode = "off"
"""


def with_alert(text: str) -> str:
    return f'{EVENTS}\n[alert.ops]\nto = ["${{ALERTS_OPS}}"]\n{text}\n'


def test_an_alert_does_not_change_the_hash_of_a_pack() -> None:
    assert parse({"p": EVENTS}).hash == parse({"p": with_alert("")}).hash


def test_what_is_absent_means_all_frauds_each_alone() -> None:
    (alert,) = parse({"p": with_alert("")}).alerts

    assert alert == AlertSpec("ops", None, ("block",), ("ALERTS_OPS",))


def test_everything_that_can_be_said() -> None:
    text = 'rules = ["burst", "sleeping"]\ndecisions = ["block", "review"]\nlimit = "60/1h"\ngroup = "1m"\n'
    (alert,) = parse({"p": with_alert(text + 'dedupe = { per = ["session"], for = "1h" }')}).alerts

    assert alert == AlertSpec(
        "ops",
        frozenset({"burst", "sleeping"}),
        ("block", "review"),
        ("ALERTS_OPS",),
        ("session",),
        3_600_000_000,
        60_000,
        (60, 3_600_000),
    )


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('rules = ["brust"]', "p:23:10: alert ops: no rule 'brust' (did you mean \"burst\"?)"),
        ('dedupe = { per = ["sesion"], for = "1h" }', "alert ops: no field 'sesion' (did you mean \"session\"?)"),
        ('dedupe = { per = ["session"], for = "1x" }', 'alert ops: for: expected a duration such as "10s"'),
        ('dedupe = { per = ["session"], for = "0s" }', 'alert ops: for: expected at least 1ms, got "0s"'),
        ('dedupe = { per = [], for = "1h" }', "alert.ops.dedupe.per: expected at least one item, got none"),
        ('dedupe = { per = ["session"] }', "alert.ops.dedupe.for: is missing"),
        ('group = "soon"', "alert ops: group: expected a duration"),
        ('limit = "60"', 'alert ops: limit: expected a number and a time such as "60/1h", got "60"'),
        ('limit = "0/1h"', "alert ops: limit: expected a number and a time"),
        ('limit = "1/0s"', "alert ops: limit: expected at least 1ms"),
        ('decisions = ["accept"]', "alert.ops.decisions.0: expected 'review' or 'block', got 'accept'"),
        ('grup = "1m"', 'alert.ops.grup: no such key (did you mean "group"?)'),
    ],
)
def test_what_is_wrong_is_told_with_its_place(text: str, says: str) -> None:
    with pytest.raises(PackError) as raised:
        parse({"p": with_alert(text)})

    assert says in str(raised.value)
    assert str(raised.value).startswith("p:23:")


@pytest.mark.parametrize(
    "to", ['"json://cAnArY"', '["json://cAnArY"]', '[["json://cAnArY"]]', '["${KAFKA_cAnArY}"]', '{ x = "cAnArY" }']
)
def test_a_secret_in_a_pack_is_refused_and_not_shown(to: str) -> None:
    with pytest.raises(PackError, match="to") as raised:
        parse({"p": f"{EVENTS}\n[alert.ops]\nto = {to}\n"})

    assert "cAnArY" not in str(raised.value)


def test_an_alert_that_is_declared_twice_is_an_error() -> None:
    with pytest.raises(PackError, match="alert ops: declared twice"):
        parse({"p": with_alert(""), "q": '[alert.ops]\nto = ["${ALERTS_OPS}"]'})
