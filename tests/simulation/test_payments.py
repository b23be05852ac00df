from decimal import Decimal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulation.payments import Payments

START = 1_700_000_000_000_000
HOUR = 3_600_000_000


def naive(payments):
    """Name, for each payment, every rule it breaks, by what the values say."""
    last = {}
    for payment in payments:
        value = msgspec.json.decode(payment.value)
        place, at = last.get(value["user"], (None, 0))
        last[value["user"]] = (value["location"], payment.at)
        yield {
            rule
            for rule, broken in [
                ("high_amount", Decimal(str(value["amount"])) > 400),
                ("location_change", place not in (None, value["location"]) and at > payment.at - HOUR),
                ("flagged_merchant", value["merchant"] in ("XYZ_Merchant", "UnknownShop")),
            ]
            if broken
        }


def payments_every(gap, count, *, seed=1, share=0.05):
    generate = Payments(seed, share)
    return [generate(START + index * gap) for index in range(count)]


def assert_labels_agree(payments):
    for payment, broken in zip(payments, naive(payments), strict=True):
        assert payment.fraudulent == bool(broken)
        assert not broken or broken == {payment.story}


@pytest.mark.parametrize("gap", [50, 20_000, 500_000, 3_600_000], ids=["20,000/s", "50/s", "2/s", "users seen hourly"])
@pytest.mark.parametrize("share", [0.05, 0.5])
def test_labels_agree_with_judging_every_payment_anew(gap, share):
    assert_labels_agree(payments_every(gap, 20_000, share=share))


@given(seed=st.integers(0, 2**32), share=st.floats(0, 1), gap=st.integers(0, 10_000_000))
def test_labels_agree_whatever_seed_share_and_rate_are(seed, share, gap):
    assert_labels_agree(payments_every(gap, 500, seed=seed, share=share))


@pytest.mark.parametrize(("gap", "changes"), [(HOUR - 1_000, True), (HOUR, False)])
def test_a_new_place_is_fraud_less_than_an_hour_after_the_last_payment_and_not_at_an_hour(monkeypatch, gap, changes):
    monkeypatch.setattr("simulation.payments._USERS", 1)
    payments = payments_every(gap, 300, share=0.5)

    assert_labels_agree(payments)
    assert any(payment.story == "location_change" for payment in payments) == changes


def test_400_exactly_is_harmless_and_a_cent_more_is_not():
    edges = {
        (msgspec.json.decode(payment.value)["amount"], payment.fraudulent)
        for payment in payments_every(20_000, 50_000, share=0.3)
        if payment.story in ("just_at_limit", "high_amount")
    }

    assert {(400.0, False), (400.01, True)} <= edges


def test_fields_hold_what_the_rules_and_the_model_know():
    for payment in payments_every(20_000, 5_000):
        value = msgspec.json.decode(payment.value)
        assert 1 <= value["amount"] <= 500
        assert value["amount"] == round(value["amount"], 2)
        assert value["location"] in {"US", "IN", "FR", "BR", "JP"}
        assert value["device"] in {"mobile", "desktop", "tablet"}
        assert value["merchant"] in {"Amazon", "Walmart", "Apple", "Nike", "XYZ_Merchant", "UnknownShop"}
        assert value["txn_type"] in {"purchase", "transfer", "withdrawal", "deposit"}
