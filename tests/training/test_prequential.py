"""The evaluation on a small stream: nothing of the future is in a score."""

from dataclasses import dataclass
from random import Random

import msgspec
import numpy as np
import pytest

from detection.errors import TrainingError
from simulation.handbook import Law, season
from training.boosting import Boosting
from training.prequential import DAY, DELAY, STARTS, days_of, evaluation, scores_of
from training.transactions import Transactions

LAW = Law(customers=60, terminals=100, days=144, radius=40, terminals_a_day=1, customers_a_day=1)
SETTINGS = Boosting(rounds=10, least_in_leaf=10)
START = 1_600_000_000_000_000 // DAY * DAY


def stream(seed: int = 1) -> Transactions:
    payments = season(seed, LAW).payments
    return Transactions(
        [str(number) for number in range(len(payments))],
        [START + payment.at * 1_000_000 for payment in payments],
        [f"c{payment.customer}" for payment in payments],
        [f"t{payment.terminal}" for payment in payments],
        [payment.amount / 100 for payment in payments],
        [payment.scenario > 0 for payment in payments],
    )


@dataclass
class Scored:
    payments: Transactions
    scores: np.ndarray
    learned: list[int]


@pytest.fixture(scope="module")
def scored() -> Scored:
    payments = stream()
    return Scored(payments, *scores_of(payments, SETTINGS))


def test_the_payments_of_the_test_weeks_have_scores_and_no_others(scored: Scored) -> None:
    days = days_of(scored.payments)

    assert (~np.isnan(scored.scores) == ((days >= 115) & (days < 143))).all()
    assert scored.learned == [int((days < start - DELAY).sum()) for start in STARTS]


@pytest.mark.parametrize("day", [110, 118, 128])
def test_labels_change_no_score_before_they_are_known(scored: Scored, day: int) -> None:
    times = np.array(scored.payments.times)
    shuffled = list(scored.payments.frauds)
    after = np.flatnonzero(times > START + day * DAY).tolist()
    labels = [shuffled[place] for place in after]
    Random(1).shuffle(labels)
    for place, label in zip(after, labels, strict=True):
        shuffled[place] = label

    changed, _ = scores_of(msgspec.structs.replace(scored.payments, frauds=shuffled), SETTINGS)

    known = times >= START + (day + DELAY) * DAY
    same = np.array_equal(changed[~known], scored.scores[~known], equal_nan=True)
    assert same
    assert (changed[known & ~np.isnan(changed)] != scored.scores[known & ~np.isnan(changed)]).any()


def test_the_future_of_the_stream_changes_no_score(scored: Scored) -> None:
    cut = int(np.searchsorted(scored.payments.times, START + 143 * DAY))
    fewer = Transactions(*(getattr(scored.payments, name)[:cut] for name in Transactions.__struct_fields__))

    scores, _ = scores_of(fewer, SETTINGS)

    assert np.array_equal(scores, scored.scores[:cut], equal_nan=True)


def test_figures_are_of_the_payments_whose_cards_had_no_known_fraud(scored: Scored) -> None:
    found = evaluation(scored.payments, scored.scores, scored.learned, SETTINGS)
    days, frauds = days_of(scored.payments), np.array(scored.payments.frauds)
    cards = np.array(scored.payments.customers)

    for fold in found.folds:
        counted = 0
        for day in range(fold.start, fold.start + 7):
            known = set(cards[frauds & (days >= fold.start - 14) & (days < day - 7)])
            counted += int(np.sum((days == day) & ~np.isin(cards, list(known))))
        assert fold.payments == counted
        assert len(fold.days) == 7
        assert 0 < fold.frauds < fold.payments
    assert found.average_precision == pytest.approx(np.mean([fold.average_precision for fold in found.folds]))


def test_a_perfect_score_is_told_as_one_and_chance_as_chance(scored: Scored) -> None:
    frauds = np.array(scored.payments.frauds, dtype=float)

    perfect = evaluation(scored.payments, frauds, [0] * 4, SETTINGS)
    chance = evaluation(scored.payments, np.random.default_rng(1).random(len(frauds)), [0] * 4, SETTINGS)

    assert (perfect.average_precision, perfect.auc_roc) == (1, 1)
    assert chance.auc_roc == pytest.approx(0.5, abs=0.1)


def test_too_short_a_stream_is_refused() -> None:
    payments = Transactions(["1"], [START], ["c"], ["t"], [1.0], [False])

    with pytest.raises(TrainingError, match="expected payments of 143 days, got 1"):
        scores_of(payments, SETTINGS)


def test_a_stream_without_frauds_is_refused() -> None:
    payments = stream()
    genuine = msgspec.structs.replace(payments, frauds=[False] * len(payments.frauds))

    with pytest.raises(TrainingError, match="from day 115: expected frauds and others before day 108"):
        scores_of(genuine, SETTINGS)
