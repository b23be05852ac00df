"""How good a model would have been: each test week is scored by one that learned from what was known before it."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import msgspec
import numpy as np

from detection.errors import TrainingError
from detection.loading import load
from detection.records import Record
from training.arrays import Flags, Numbers, Times
from training.boosting import Boosting, boost
from training.history import history
from training.measures import auc_roc, average_precision, cards_found
from training.scoring import batch_scorer
from training.transactions import Transactions

PACK: Final = Path(__file__).with_name("handbook.toml")
"""Declares the payments, their labels, the features and the model."""

STARTS: Final = (115, 122, 129, 136)
"""Days on which the test weeks begin; the first day of the file is day 0."""

WEEK: Final = 7
DELAY: Final = 7
"""Days after which it is known what became of a payment."""

CARDS: Final = 100
"""How many cards people look at in a day."""

DAY: Final = 86_400_000_000
_MICROS_OF_MS: Final = 1_000
_encode: Final = msgspec.json.Encoder().encode


class Day(msgspec.Struct, frozen=True):
    """How good the scores of some payments are.

    Attributes:
        average_precision: Of the payments; None where there is no fraud among them.
        auc_roc: Of the payments; None where there is no fraud, or nothing else, among them.
        card_precision: Of the cards looked at, the share with a fraud that day.
    """

    average_precision: float | None
    auc_roc: float | None
    card_precision: float


class Fold(msgspec.Struct, frozen=True):
    """How good the scores of one test week are.

    Cards with a known fraud are left out, as in the published evaluations: those with one in the week before the labels
    of which became known last, and day by day those whose frauds become known within the test week. Cards that people
    looked at and found are not looked at again. `all_cards` leaves out none.

    Attributes:
        start: Its first day.
        trained_on: How many payments the model learned from.
        payments: How many were scored and count.
        frauds: How many of these were frauds.
        average_precision: Of all payments of the week.
        auc_roc: Of all payments of the week.
        card_precision: The mean of the days.
        days: Each day.
        all_cards: The same without leaving out cards; there a card that was found is not looked at again either.
    """

    start: int
    trained_on: int
    payments: int
    frauds: int
    average_precision: float
    auc_roc: float
    card_precision: float
    days: list[Day]
    all_cards: Day


class Evaluation(msgspec.Struct, frozen=True):
    """How good the scores of all test weeks are.

    Attributes:
        payments: How many the file holds.
        frauds: How many of them are frauds.
        folds: The test weeks.
        average_precision: The mean of the folds.
        auc_roc: The mean of the folds.
        card_precision: The mean of the folds.
        all_cards: The means of the folds without leaving out cards.
        settings: How the models were trained, the same way for each fold.
    """

    payments: int
    frauds: int
    folds: list[Fold]
    average_precision: float
    auc_roc: float
    card_precision: float
    all_cards: Day
    settings: Boosting


def scores_of(
    payments: Transactions, settings: Boosting, on_progress: Callable[[str], None] = lambda _: None
) -> tuple[Numbers, list[int]]:
    """The scores of the payments of all test weeks, NaN for others, and how many payments each model learned from.

    Raises:
        TrainingError: The file ends before the test weeks do, or there is nothing to learn from.
    """
    days = days_of(payments)
    needed = max(STARTS) + WEEK
    if not len(days) or days[-1] + 1 < needed:
        msg = f"expected payments of {needed} days, got {days[-1] + 1 if len(days) else 0}"
        raise TrainingError(msg)
    pack = load([PACK])
    (model,) = pack.models
    event = next(event for event in pack.events if event.name == model.on)
    label = next(event for event in pack.events if event.name != model.on)
    found = history(
        pack,
        model,
        _records(payments, event.topic, label.topic),
        on_progress=lambda count: on_progress(f"features of {count:,} payments"),
    )
    frauds = np.array(payments.frauds)
    scores = np.full(len(frauds), np.nan)
    learned: list[int] = []
    for start in STARTS:
        on_progress(f"training for the week from day {start}")
        known = days < start - DELAY  # whole days: the last of their labels come as the week begins
        _expect_both(frauds[known], start)
        learned.append(int(known.sum()))
        score = batch_scorer(boost(found.rows[known], frauds[known], settings), len(model.features))
        week = np.flatnonzero((days >= start) & (days < start + WEEK))
        scores[week] = score(found.rows[week])
    return scores, learned


def evaluation(payments: Transactions, scores: Numbers, learned: list[int], settings: Boosting) -> Evaluation:
    """What scores are worth, see `scores_of`."""
    days, frauds = days_of(payments), np.array(payments.frauds)
    folds = [_fold(start, count, days, payments, scores) for start, count in zip(STARTS, learned, strict=True)]
    return Evaluation(
        payments=len(frauds),
        frauds=int(frauds.sum()),
        folds=folds,
        average_precision=_mean([fold.average_precision for fold in folds]),
        auc_roc=_mean([fold.auc_roc for fold in folds]),
        card_precision=_mean([fold.card_precision for fold in folds]),
        all_cards=Day(
            _mean([fold.all_cards.average_precision or 0.0 for fold in folds]),
            _mean([fold.all_cards.auc_roc or 0.0 for fold in folds]),
            _mean([fold.all_cards.card_precision for fold in folds]),
        ),
        settings=settings,
    )


def days_of(payments: Transactions) -> Times:
    """The day of each payment (UTC); that of the first one is 0."""
    days: Times = np.array(payments.times, dtype=np.int64) // DAY
    return days - days[0] if len(days) else days


def _records(payments: Transactions, topic: str, labels: str) -> Iterator[Record]:
    """Each payment as it is made, and its label as that becomes known."""
    told = 0
    columns = zip(payments.times, payments.customers, payments.terminals, payments.amounts, strict=True)
    for number, (time, customer, terminal, amount) in enumerate(columns):
        while payments.times[told] <= time - DELAY * DAY:
            yield Record(labels, 0, told, -1, None, _label(payments, told))
            told += 1
        value = {"at": _text(time), "customer": customer, "terminal": terminal, "amount": amount}
        yield Record(topic, 0, number, -1, None, _encode(value))


def _label(payments: Transactions, number: int) -> bytes:
    return _encode(
        {
            "at": _text(payments.times[number]),
            "customer": payments.customers[number],
            "terminal": payments.terminals[number],
            "amount": payments.amounts[number],
            "fraudulent": payments.frauds[number],
        }
    )


def _text(time: int) -> int | str:
    whole, rest = divmod(time, _MICROS_OF_MS)
    return datetime.fromtimestamp(time / 1e6, UTC).isoformat() if rest else whole


def _expect_both(frauds: Flags, start: int) -> None:
    if frauds.all() or not frauds.any():
        msg = f"the week from day {start}: expected frauds and others before day {start - DELAY}, got only one of them"
        raise TrainingError(msg)


def _fold(start: int, learned: int, days: Times, payments: Transactions, scores: Numbers) -> Fold:
    frauds = np.array(payments.frauds)
    week = _Week(start, days, frauds, payments.customers, scores)
    counted, measured = week.measured(week.defrauded(start - DELAY - WEEK, start - DELAY))
    whole, everybody = week.measured(None)
    return Fold(
        start=start,
        trained_on=learned,
        payments=len(counted),
        frauds=int(frauds[counted].sum()),
        average_precision=average_precision(frauds[counted], scores[counted]),
        auc_roc=auc_roc(frauds[counted], scores[counted]),
        card_precision=_mean([day.card_precision for day in measured]),
        days=measured,
        all_cards=Day(
            average_precision(frauds[whole], scores[whole]),
            auc_roc(frauds[whole], scores[whole]),
            _mean([day.card_precision for day in everybody]),
        ),
    )


class _Week:
    """One test week."""

    def __init__(self, start: int, days: Times, frauds: Flags, cards: list[str], scores: Numbers) -> None:
        self._start, self._days, self._frauds, self._cards, self._scores = start, days, frauds, cards, scores

    def defrauded(self, first: int, end: int) -> set[str]:
        """The cards with a fraud on these days."""
        places = np.flatnonzero((self._days >= first) & (self._days < end) & self._frauds)
        return {self._cards[place] for place in places.tolist()}

    def measured(self, known: set[str] | None) -> tuple[Numbers, list[Day]]:
        """The places of the payments that count, and each day's figures; None: nobody's are left out."""
        left_out, found, counted, measured = set(known or ()), set[str](), [], []
        for day in range(self._start, self._start + WEEK):
            if known is not None:
                left_out |= self.defrauded(day - DELAY - 1, day - DELAY)
            places = [p for p in np.flatnonzero(self._days == day).tolist() if self._cards[p] not in left_out]
            frauds, scores = self._frauds[places], self._scores[places]
            open_cards = [p for p in places if self._cards[p] not in found]
            _, hit = cards_found(
                [self._cards[p] for p in open_cards],
                self._frauds[open_cards].tolist(),
                self._scores[open_cards].tolist(),
                CARDS,
            )
            found |= set(hit)
            counted += places
            measured.append(
                Day(_or_none(average_precision(frauds, scores)), _or_none(auc_roc(frauds, scores)), len(hit) / CARDS)
            )
        return np.array(counted), measured


def _mean(values: list[float]) -> float:
    return float(np.mean(values))


def _or_none(value: float) -> float | None:
    return None if np.isnan(value) else value
