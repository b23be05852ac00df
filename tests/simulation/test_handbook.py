"""The season of card payments against the law as it is stated.

Bounds on counts are 5.5 standard deviations or more of a right simulator: another seed breaks one of them about once in
ten million times.
"""

from collections import Counter
from statistics import fmean

import pytest

from simulation.handbook import DAY, Law, Season, season

DAYS = 60
SMALL = Law(customers=100, terminals=500, days=40, radius=8)


@pytest.fixture(scope="module")
def drawn() -> Season:
    return season(5, Law(days=DAYS))


def test_the_same_seed_gives_the_same_season_and_another_seed_another() -> None:
    assert season(1, SMALL) == season(1, SMALL)
    assert season(1, SMALL).payments != season(2, SMALL).payments


def test_payments_are_in_order_and_on_the_days_of_the_season(drawn: Season) -> None:
    times = [payment.at for payment in drawn.payments]

    assert times == sorted(times)
    assert {time // DAY for time in times} == set(range(DAYS))


def test_there_are_as_many_as_the_law_says(drawn: Season) -> None:
    expected = 5_000 * DAYS * 2 * 0.96923  # of a normal time of day so much is within the day

    assert len(drawn.payments) == pytest.approx(expected, abs=5.5 * 4_810)  # customers' means make most of it


def test_each_kind_of_fraud_is_as_frequent_as_the_law_says(drawn: Season) -> None:
    frauds = Counter(payment.scenario for payment in drawn.payments)
    terminal_days = sum(2 * min(28, DAYS - day) for day in range(DAYS))
    customer_days = sum(3 * min(14, DAYS - day) for day in range(DAYS))

    assert frauds[2] == pytest.approx(terminal_days * 0.969, abs=500)
    assert frauds[3] == pytest.approx(customer_days * 1.938 / 3 - 3 * DAYS / 3, abs=450)  # a third is rounded down
    assert 0.0005 < frauds[1] / len(drawn.payments) < 0.0007  # averaged over the means by the normal law: 0.06 %


def test_every_payment_above_the_limit_is_a_fraud_and_no_other_of_the_first_kind(drawn: Season) -> None:
    assert all(payment.scenario for payment in drawn.payments if payment.amount > 22_000)
    assert all(payment.amount > 22_000 for payment in drawn.payments if payment.scenario == 1)


def test_amounts_follow_the_customers_means(drawn: Season) -> None:
    shares = [p.amount / 100 / drawn.means[p.customer] for p in drawn.payments if p.scenario in {0, 1, 2}]

    assert fmean(shares) == pytest.approx(1.0270, abs=0.004)  # above 1: negative ones are drawn again
    assert min(payment.amount for payment in drawn.payments) >= 0


def test_a_drawn_terminal_commits_nothing_but_frauds_while_it_is_drawn() -> None:
    law = Law(customers=50, terminals=1, days=10, radius=200, terminals_a_day=1, terminal_days=3, customers_a_day=0)

    assert {payment.scenario for payment in season(3, law).payments} == {2}


def test_of_a_drawn_customers_payments_the_share_is_multiplied() -> None:
    law = Law(customers=1, terminals=5, days=30, radius=200, terminals_a_day=0, customer_days=1, customers_a_day=1)
    by_law = season(3, law).payments
    untouched = season(3, Law(**{**{f: getattr(law, f) for f in law.__struct_fields__}, "customers_a_day": 0})).payments

    changed = [(mine.amount, its.amount) for mine, its in zip(by_law, untouched, strict=True) if mine.scenario == 3]
    assert changed
    assert all(mine == 5 * its for mine, its in changed)
    days = Counter(payment.at // DAY for payment in untouched)
    frauds = Counter(payment.at // DAY for payment in by_law if payment.scenario == 3)
    assert all(frauds[day] == count // 3 for day, count in days.items())


def test_a_payment_is_made_near_the_customer() -> None:
    law = Law(customers=30, terminals=3_000, days=20, radius=3)
    used: dict[int, set[int]] = {}
    for payment in season(4, law).payments:
        used.setdefault(payment.customer, set()).add(payment.terminal)

    assert max(len(terminals) for terminals in used.values()) < 30  # about 8 lie within the distance, of 3,000
