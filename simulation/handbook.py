"""A season of card payments with three kinds of fraud, by a law that is known, to measure models against.

The law is the one of the simulator in Le Borgne, Siblini, Lebichot, Bontempi: Reproducible Machine Learning for Credit
Card Fraud Detection - Practical Handbook (2022), written from its description. Customers and terminals lie uniformly
on a square of 100 by 100, and a customer pays at terminals within a distance. Each customer has a mean amount, uniform
between 5 and 100, with half of it as standard deviation, and makes a Poisson number of payments a day, with a mean that
is uniform between 0 and 4. The time of day is normal around noon with 20,000 s; a payment that would fall on another
day is not made. A negative amount is drawn again, uniform between 0 and two means. Frauds are

1. every payment of more than `limit`,
2. all payments of the next days at terminals that were drawn for that day,
3. of the payments of the next days of customers that were drawn for that day, a share by chance, whose amounts are
   multiplied.

A payment that more than one calls a fraud belongs to the last of them.
"""

import math
from collections.abc import Iterator
from random import Random
from typing import Final, NamedTuple

import msgspec

from simulation.traffic import seeded

DAY: Final = 86_400

_SIDE: Final = 100.0
_NOON: Final = DAY / 2
_SPREAD: Final = 20_000.0
_MEANS: Final = (5.0, 100.0)
_DAILY: Final = 4.0


class Law(msgspec.Struct, frozen=True, kw_only=True):
    """What is drawn, and what of it is a fraud.

    Attributes:
        customers: How many there are.
        terminals: How many there are.
        days: How long the season is.
        radius: How far a customer goes, on a square of 100 by 100.
        limit: What is paid above it is a fraud.
        terminals_a_day: How many terminals are drawn each day; all their payments are frauds.
        terminal_days: For so long, from that day on.
        customers_a_day: How many customers are drawn each day.
        customer_days: For so long, from that day on.
        share: Which share of their payments is a fraud, rounded down to whole ones.
        factor: What the amounts of these are multiplied by.
    """

    customers: int = 5_000
    terminals: int = 10_000
    days: int = 183
    radius: float = 5.0
    limit: float = 220.0
    terminals_a_day: int = 2
    terminal_days: int = 28
    customers_a_day: int = 3
    customer_days: int = 14
    share: float = 1 / 3
    factor: float = 5.0


class Payment(msgspec.Struct, gc=False):
    """One payment.

    Attributes:
        at: Whole seconds since the start of the season.
        customer: Number of the customer.
        terminal: Number of the terminal.
        amount: In whole cents.
        scenario: 0 for a genuine one, else the kind of fraud, 1 to 3.
    """

    at: int
    customer: int
    terminal: int
    amount: int
    scenario: int = 0


class Season(msgspec.Struct, frozen=True):
    """All payments of a season, in the order of their times, and what was drawn for them.

    Attributes:
        law: By which they were drawn.
        payments: A payment's place is its number.
        means: The mean amount of each customer.
    """

    law: Law
    payments: list[Payment]
    means: list[float]


def season(seed: int, law: Law | None = None) -> Season:
    """Draw a season: the same one for the same seed and law.

    >>> drawn = season(7, Law(customers=20, terminals=200, days=10))
    >>> drawn.payments[0]
    Payment(at=12565, customer=16, terminal=38, amount=1322, scenario=0)
    """
    law = law or Law()
    rng = seeded(seed)
    places = [(rng.uniform(0, _SIDE), rng.uniform(0, _SIDE)) for _ in range(law.customers)]
    means = [rng.uniform(*_MEANS) for _ in range(law.customers)]
    daily = [rng.uniform(0, _DAILY) for _ in range(law.customers)]
    terminals = [(rng.uniform(0, _SIDE), rng.uniform(0, _SIDE)) for _ in range(law.terminals)]
    near = _near(places, terminals, law.radius)
    payments: list[Payment] = []
    for customer in range(law.customers):
        if near[customer]:
            habit = _Habit(customer, means[customer], daily[customer], near[customer])
            payments += _payments(rng, habit, law.days)
    payments.sort(key=lambda payment: payment.at)  # stable: equal times keep the order of the customers
    _commit_frauds(rng, payments, law)
    return Season(law, payments, means)


def _near(places: list[tuple[float, float]], terminals: list[tuple[float, float]], radius: float) -> list[list[int]]:
    """For each place the terminals within the radius, found by squares as wide as the radius."""
    squares: dict[tuple[int, int], list[int]] = {}
    for number, (x, y) in enumerate(terminals):
        squares.setdefault((int(x // radius), int(y // radius)), []).append(number)
    found: list[list[int]] = []
    for x, y in places:
        column, row = int(x // radius), int(y // radius)
        around = [squares.get((column + i, row + j), []) for i in (-1, 0, 1) for j in (-1, 0, 1)]
        found.append(
            [number for square in around for number in square if math.dist((x, y), terminals[number]) < radius]
        )
    return found


class _Habit(NamedTuple):
    customer: int
    mean: float
    daily: float
    near: list[int]


def _payments(rng: Random, habit: _Habit, days: int) -> Iterator[Payment]:
    customer, mean, daily, near = habit
    gauss, random, places = rng.gauss, rng.random, len(near)
    none = math.exp(-daily)
    for day in range(days):
        # A Poisson number: how many uniform factors until their product is below exp(-mean) (Knuth).
        product = random()
        while product > none:
            product *= random()
            second = int(gauss(_NOON, _SPREAD))
            if 0 < second < DAY:
                amount = gauss(mean, mean / 2)
                if amount < 0:
                    amount = random() * 2 * mean
                yield Payment(day * DAY + second, customer, near[int(random() * places)], round(amount * 100))


def _commit_frauds(rng: Random, payments: list[Payment], law: Law) -> None:
    by_terminal: dict[int, list[Payment]] = {}
    by_customer: dict[int, list[Payment]] = {}
    for payment in payments:
        by_terminal.setdefault(payment.terminal, []).append(payment)
        by_customer.setdefault(payment.customer, []).append(payment)
        if payment.amount > law.limit * 100:
            payment.scenario = 1
    for day in range(law.days):
        for terminal in rng.sample(range(law.terminals), law.terminals_a_day):
            for payment in _within(by_terminal.get(terminal, []), day, law.terminal_days):
                payment.scenario = 2
    for day in range(law.days):
        for customer in rng.sample(range(law.customers), law.customers_a_day):
            candidates = _within(by_customer.get(customer, []), day, law.customer_days)
            for payment in rng.sample(candidates, int(len(candidates) * law.share)):
                payment.amount = round(payment.amount * law.factor)
                payment.scenario = 3


def _within(payments: list[Payment], day: int, days: int) -> list[Payment]:
    return [payment for payment in payments if day <= payment.at // DAY < day + days]
