import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detection.alerting.alert import Alert
from detection.errors import PackError
from detection.loading import parse
from detection.privacy import Privacy, hide, masked
from detection.program import Engine
from detection.records import Record, Verdict

PACK = """
pii = ["iban", "account"]

[event.payout]
topic = "payouts"
fields = { iban = "str @ to.iban", account = "int?", amount = "money", country = "str" }

[event.payout.add]
told = '"to " + iban'

[feature.last_iban]
on = "payout"
key = ["country"]
fn = "previous"
of = "iban"
window = "1h"

[feature.ibans]
on = "payout"
key = ["country"]
fn = "distinct"
of = "iban"
window = "1h"

[rule.another]
on = "payout"
when = "last_iban != iban && ibans > 1"
reason = "{iban} after {last_iban} ({ibans}) in {country}, account {account}"
score = 50
outcome = "block"
"""
ONE, TWO = "DE89370400440532013000", "FR7630006000011234567890189"
PRIVACY = Privacy(parse({"p.toml": PACK}))


def verdict(**more: Any) -> dict[str, Any]:
    engine = Engine(parse({"p.toml": PACK}))
    for offset, iban in enumerate((ONE, TWO)):
        value = {"to": {"iban": iban}, "account": 12345678, "amount": 1, "country": "DE", **more}
        answer = engine.judge(Record("payouts", 0, offset, 1_000, None, json.dumps(value).encode()))
    assert isinstance(answer, Verdict)
    found: dict[str, Any] = json.loads(answer.value)
    return found


@pytest.mark.parametrize(
    ("value", "shown"),
    [("", "***"), ("a", "***"), ("abcde", "***"), ("abcdef", "***ef"), (ONE, "***00"), ("x" * 5_000 + "yz", "***yz")],
)
def test_two_characters_are_shown_of_what_is_long_enough(value: str, shown: str) -> None:
    assert masked(value) == shown


@given(st.text("abc12", min_size=6), st.text("abc12 "), st.text("abc12 "))
def test_nothing_of_a_value_but_its_end_is_left_in_a_text(value: str, before: str, after: str) -> None:
    assert value not in hide(f"{before}{value}{after}", [value])


def test_a_short_value_is_masked_where_it_is_a_word() -> None:
    assert hide("a sent 4 to ann: a.", ["a", "ann"]) == "*** sent 4 to ***: ***."
    assert hide("nothing here", []) == "nothing here"
    assert hide("a.b axb", ["a.b"]) == "*** axb"  # no pattern


def test_features_that_give_a_personal_value_are_personal_and_those_that_count_are_not() -> None:
    assert PRIVACY.names == {"iban", "account", "last_iban"}
    assert PRIVACY.show("account", 12345678) == "***78"
    assert PRIVACY.show("ibans", 12) == "12"


def test_of_a_verdict_all_is_masked_wherever_it_stands() -> None:
    before = verdict()
    shown = PRIVACY.record("payouts", before)

    assert shown["to"] == {"iban": "***89"}
    assert shown["account"] == "***78"
    assert shown["told"] == "to ***89"
    assert shown["reason"] == ["***89 after ***00 (2) in DE, account ***78"]
    assert shown["verdict"]["rules"][0]["values"] == {
        "last_iban": "***00", "iban": "***89", "ibans": 2, "country": "DE", "account": "***78",
    }  # fmt: skip
    assert (shown["amount"], shown["fraudulent"], shown["verdict"]["decision"]) == (1, True, "block")
    for secret in (ONE, TWO, "12345678"):
        assert secret in json.dumps(before)
        assert secret not in json.dumps(shown)


def test_what_had_to_move_aside_is_masked_too() -> None:
    shown = PRIVACY.record("payouts", verdict(reason=f"mine: {TWO}"))

    assert shown["verdict"]["input"] == {"reason": "mine: ***89"}


def test_nothing_is_masked_without_personal_fields_or_of_another_topic() -> None:
    plain = Privacy(parse({"p.toml": PACK.replace('pii = ["iban", "account"]', "")}))

    assert plain.record("payouts", verdict()) == verdict()
    assert PRIVACY.record("others", {"iban": ONE}) == {"iban": ONE}
    assert PRIVACY.record("payouts", ONE) == "***"


def test_an_alert_shows_the_end_of_who_it_is_about() -> None:
    alert = Alert(
        alert="a", rule="r", decision="block", reasons=[], entity=[("iban", ONE), ("country", "DE")], amount=None,
        origin="payouts/0/1", at=0,
    )  # fmt: skip

    assert PRIVACY.alert(alert).entity == [("iban", "***00"), ("country", "DE")]
    assert alert.entity[0] == ("iban", ONE)


def test_it_is_no_part_of_the_hash() -> None:
    text = PACK.replace('pii = ["iban", "account"]', "")

    assert parse({"p.toml": PACK}).hash == parse({"p.toml": text}).hash
    assert parse({"p.toml": PACK}).pii == ("iban", "account")


@pytest.mark.parametrize(
    ("pii", "says"),
    [
        ('["ibam"]', "p.toml:2:8: pii: no field 'ibam'\n  did you mean \"iban\"?"),
        ('["iban", "amount"]', "p.toml:2:16: pii: amount: expected a str or int field, got money"),
        ('"iban"', "p.toml:2:7: pii: expected"),
        ("[1]", "p.toml:2:8: pii.0: expected"),
    ],
)
def test_names_are_checked_when_the_pack_is_read(pii: str, says: str) -> None:
    with pytest.raises(PackError) as raised:
        parse({"p.toml": PACK.replace('["iban", "account"]', pii)})

    assert says.split("\n", maxsplit=1)[0] in str(raised.value)
    assert all(line in str(raised.value) for line in says.split("\n  "))
