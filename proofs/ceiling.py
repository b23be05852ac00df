"""What nobody can do better than on a season of card payments, and how close the model comes: see docs/models.md.

    python -m proofs.ceiling [--seed 1] [--law published] [--scale 1.0]

The score of one who knows the law: the probability that a payment is a fraud, given the amounts, the customer's mean,
and of each payment that is at least 7 days older which kind of fraud it was, if any. That is more than a detector sees,
so the ceiling is, if anything, too high.

Whether a terminal is drawn does not depend on amounts, and given which kind each old fraud was, what is known of
terminals says nothing about customers. So each is a hidden Markov chain of its own, whose state is how many days ago
it was drawn last, up to as long as that matters, or "not". Each day it is drawn with the same chance p, else the days
go up by one. A day's payments tell of the state:

- of a terminal: all are of kind 2 while it is drawn, and none is otherwise; kind 3 hides which it was;
- of a customer: while drawn, a share of the payments is of kind 3; where the kind is not known yet, an amount x of a
  customer with amounts of density f has the likelihood (1 - share) f(x) + share f(x / factor) / factor, else f(x).

A filter goes forward through the days; from the newest known label on it goes through the last week with amounts alone.
A payment above the limit is a fraud; any other is one unless neither terminal nor customer made it one.
"""

import argparse
import time
from dataclasses import dataclass
from math import erfc, pi, sqrt

import msgspec
import numpy as np

from simulation.handbook import DAY, Law, Season, season
from training.arrays import Numbers, Times
from training.boosting import Boosting
from training.prequential import DELAY, STARTS, WEEK, Evaluation, evaluation, scores_of
from training.transactions import Transactions

LAWS = {
    "published": Law(),
    "lower limit, smaller factor": Law(limit=150.0, factor=4.0),
    "other lengths": Law(terminal_days=14, customer_days=28),
    "other shares": Law(terminals_a_day=4, customers_a_day=2, share=0.5),
}
START_OF_SEASON = 1_522_540_800  # 2018-04-01, s
CERTAIN = 60.0
MOST = 600.0


@dataclass
class Columns:
    """A season's payments as arrays; amounts in units of the currency."""

    at: Times
    customer: Times
    terminal: Times
    kind: Times
    amount: Numbers

    @classmethod
    def of(cls, drawn: Season) -> "Columns":
        """Take a season apart."""
        rows = [(p.at, p.customer, p.terminal, p.scenario, p.amount) for p in drawn.payments]
        at, customer, terminal, kind, cents = (np.array(column) for column in zip(*rows, strict=True))
        return cls(at, customer, terminal, kind, cents / 100)


def density(amounts: Numbers, means: Numbers) -> Numbers:
    """Of genuine amounts: normal with half the mean as deviation, those below 0 uniform up to two means."""
    normal = np.exp(-2 * (amounts / means - 1) ** 2) / (means / 2 * sqrt(2 * pi))
    again = 0.5 * erfc(sqrt(2)) / (2 * means)
    return np.where(amounts <= 2 * means, normal + again, normal)


class Filter:
    """The chance that someone is drawn, at any time of the test weeks."""

    def __init__(self, owners: Times, at: Times, count: int, chance: float, days: int) -> None:
        self._owners, self._at, self._count, self._chance, self._length = owners, at, count, chance, days
        self._order = np.lexsort((at, owners))
        self._span = (int(at.max()) // DAY + 2) * DAY
        self._keys = (owners * self._span + at)[self._order]

    def chances(self, asked: Times, known: Numbers, seen: Numbers) -> Numbers:
        """At some payments, before the amount of that payment itself is looked at.

        Args:
            asked: Their places.
            known: Of each payment the log likelihood ratio of being drawn that its label is.
            seen: The one that it is before its label is known.
        """
        owner, at = self._owners[asked], self._at[asked]
        day, sums = at // DAY, [np.concatenate(([0.0], np.cumsum(x[self._order]))) for x in (known, seen)]
        state = self._before(day.min() - DELAY, day.max() - DELAY, known)[day - DELAY - (day.min() - DELAY), owner]
        old, self_place = self._place(owner, at - DELAY * DAY + 1), self._own_places()[asked]
        begin = self._place(owner, (day - DELAY) * DAY)
        evidence = sums[0][old] - sums[0][begin]
        begin = old
        for ahead in range(DELAY + 1):
            end = np.minimum(self._place(owner, (day - DELAY + ahead + 1) * DAY), self_place)
            evidence = evidence + sums[1][end] - sums[1][begin]
            if ahead:
                state = self._next(state)
            state = self._told(state, evidence)
            evidence, begin = np.zeros(len(asked)), end
        drawn: Numbers = 1 - state[:, -1]
        return drawn

    def _before(self, first: int, last: int, known: Numbers) -> Numbers:
        """Of each of these days and everybody: the state before its payments, all labels before it known."""
        days = self._at // DAY
        within = days <= last
        evidence = np.bincount(
            self._owners[within] * (last + 1) + days[within], known[within], self._count * (last + 1)
        ).reshape(self._count, last + 1)
        state = np.zeros((self._count, self._length + 1))
        state[:, -1] = 1
        kept = []
        for day in range(last + 1):
            state = self._next(state)
            if day >= first:
                kept.append(state)
            state = self._told(state, evidence[:, day].astype(np.float64))
        return np.array(kept)

    def _next(self, state: Numbers) -> Numbers:
        grown = np.empty_like(state)
        grown[:, 0] = self._chance
        grown[:, 1:] = state[:, :-1] * (1 - self._chance)
        grown[:, -1] += state[:, -1] * (1 - self._chance)
        return grown

    @staticmethod
    def _told(state: Numbers, evidence: Numbers) -> Numbers:
        told = state.copy()
        told[:, :-1] *= np.exp(np.clip(evidence, -MOST, MOST))[:, None]
        told /= told.sum(axis=1, keepdims=True)
        return told

    def _place(self, owner: Times, at: Times) -> Times:
        return np.searchsorted(self._keys, owner * self._span + np.maximum(at, 0), side="left")

    def _own_places(self) -> Times:
        places = np.empty(len(self._order), dtype=np.int64)
        places[self._order] = np.arange(len(self._order))
        return places


def ceiling(drawn: Season) -> Numbers:
    """The score of each payment of the test weeks; NaN for others."""
    law, columns = drawn.law, Columns.of(drawn)
    days = columns.at // DAY
    asked = np.flatnonzero(np.isin(days, [start + day for start in STARTS for day in range(WEEK)]))
    kind = columns.kind
    told_2 = np.where(kind == 2, CERTAIN, np.where(kind == 3, 0.0, -CERTAIN))
    terminals = Filter(
        columns.terminal, columns.at, law.terminals, law.terminals_a_day / law.terminals, law.terminal_days
    )
    at_terminal = terminals.chances(asked, told_2, np.zeros(len(kind)))
    means = np.array(drawn.means)[columns.customer]
    genuine = np.maximum(density(columns.amount, means), 1e-250)
    raised = density(columns.amount / law.factor, means) / law.factor
    seen = np.clip(np.log1p(law.share * (raised / genuine - 1)), -CERTAIN, CERTAIN)
    told_3 = np.where(kind == 3, CERTAIN, np.log1p(-law.share))
    customers = Filter(
        columns.customer, columns.at, law.customers, law.customers_a_day / law.customers, law.customer_days
    )
    of_customer = customers.chances(asked, told_3, seen)
    both = of_customer * law.share * raised[asked]
    of_customer = both / (both + (1 - of_customer * law.share) * genuine[asked])
    scores = np.full(len(kind), np.nan)
    scores[asked] = 1 - (columns.amount[asked] <= law.limit) * (1 - at_terminal) * (1 - of_customer)
    return scores


def transactions(drawn: Season) -> Transactions:
    """The season as the evaluation reads it from a file."""
    payments = drawn.payments
    return Transactions(
        [str(number) for number in range(len(payments))],
        [(START_OF_SEASON + p.at) * 1_000_000 for p in payments],
        [str(p.customer) for p in payments],
        [str(p.terminal) for p in payments],
        [p.amount / 100 for p in payments],
        [p.scenario > 0 for p in payments],
    )


def scaled(law: Law, scale: float) -> Law:
    """As many people and places on the square as this share, as near each other, and drawn as often each."""
    draws = {name: max(1, round(getattr(law, name) * scale)) for name in ("terminals_a_day", "customers_a_day")}
    counts = {name: round(getattr(law, name) * scale) for name in ("terminals", "customers")}
    return msgspec.structs.replace(law, radius=law.radius / sqrt(scale), **draws, **counts)


def told(name: str, found: Evaluation) -> str:
    """One line."""
    figures = (found.average_precision, found.auc_roc, found.card_precision)
    return f"{name:10} " + "  ".join(f"{value:.4f}" for value in figures)


def main() -> None:
    """Draw a season, and print the ceiling and what the model reaches."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--law", choices=LAWS, default="published")
    parser.add_argument("--scale", type=float, default=1.0)
    arguments = parser.parse_args()
    drawn = season(arguments.seed, scaled(LAWS[arguments.law], arguments.scale))
    payments = transactions(drawn)
    print(f"{arguments.law}, seed {arguments.seed}: {len(payments.times):,} payments, {sum(payments.frauds):,} frauds")
    print("           average precision, AUC ROC, card precision@100")
    best = evaluation(payments, ceiling(drawn), [0] * len(STARTS), Boosting())
    print(told("ceiling", best), flush=True)
    begun = time.process_time()
    scores, learned = scores_of(payments, Boosting())
    seconds = time.process_time() - begun
    model = evaluation(payments, scores, learned, Boosting())
    print(told("model", model))
    print(
        f"average precision {model.average_precision / best.average_precision:.2%} of the ceiling, {seconds:.0f} CPU s"
    )


if __name__ == "__main__":
    main()
