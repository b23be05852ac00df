from decimal import Decimal

import msgspec
import pytest

from simulation.transfers import Transfers


def transfers(count, share=0.05):
    generate = Transfers(1, share)
    return [generate(index * 1_000) for index in range(count)]


def as_written(transfer):
    return Decimal(transfer.value.partition(b'"amount":')[2].partition(b",")[0].decode())


def test_900_and_more_is_fraud_and_a_cent_less_is_not():
    told = transfers(20_000)

    assert [transfer.fraudulent for transfer in told] == [as_written(transfer) >= 900 for transfer in told]


def test_both_edges_of_the_limit_are_sent():
    edges = {(as_written(transfer), transfer.fraudulent) for transfer in transfers(20_000)}

    assert {(Decimal("899.99"), False), (Decimal("900.0"), True)} <= edges


def test_amounts_are_written_in_whole_cents_between_1_and_1000():
    for transfer in transfers(20_000):
        amount = as_written(transfer)
        assert 1 <= amount <= 1000
        assert amount == amount.quantize(Decimal("0.01"))


def test_with_a_share_of_a_tenth_amounts_are_spread_evenly():
    written = [as_written(transfer) for transfer in transfers(50_000, share=0.1)]

    for low in range(0, 1000, 100):
        assert sum(low <= amount < low + 100 for amount in written) == pytest.approx(5_000, rel=0.25)


def test_accounts_have_twelve_letters_and_digits_and_the_currency_is_euro():
    for transfer in transfers(1_000):
        value = msgspec.json.decode(transfer.value)
        for side in ("source", "target"):
            assert len(value[side]) == 12
            assert value[side].isascii()
            assert value[side].isalnum()
        assert value["currency"] == "EUR"
