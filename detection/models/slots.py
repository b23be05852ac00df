"""The models that a pack's events are scored with, as they are now."""

from collections.abc import Callable
from dataclasses import dataclass, field
from math import floor
from typing import Any, Final, TypeAlias

import msgspec

from detection.kinds import MICROS, Kind, money_text
from detection.models.forest import Row
from detection.models.loaded import LoadedModel
from detection.models.spread import Spread
from detection.pack import ModelSpec, Pack

Answer: TypeAlias = tuple[float | None, bytes, LoadedModel | None]
"""A score, or None while there is no model; its member in `verdict.model`; and the model."""

MOST_STANDING_OUT: Final = 3
"""Features that a reason names."""

TENTHS: Final = 10

_DIGITS: Final = 6
_encode = msgspec.json.Encoder().encode


class Slot:
    """The place of one model, with what is in it.

    Attributes:
        spec: What the pack says of it.
        champion: The model that rules read.
        challenger: One that is scored beside it, and that no rule reads.
        score: From a row to its answer. Put another model in only between events; each answer is of one model.
        seen: How what the champion saw, and said, is spread.
        scores: How many scores were in each tenth of 0 to 1 since the start of the process, of what was looked at.
        swaps: How often another model, or none, came into it since the start of the process.
        refused: How many files were refused since the start of the process.
    """

    def __init__(self, spec: ModelSpec) -> None:
        self.spec = spec
        self.scores = [0] * TENTHS
        self.swaps = 0
        self.refused = 0
        self.champion: LoadedModel | None = None
        self.seen = Spread(spec.features, {})
        self.put(spec.champion, spec.challenger)

    def put(self, champion: LoadedModel | None, challenger: LoadedModel | None) -> None:
        """Score with these from now on."""
        if champion is not self.champion and champion is not None:
            self.seen = Spread(self.spec.features, champion.manifest.reference)
        self.champion, self.challenger = champion, challenger
        self.score = _answering(self.spec.name, champion, challenger)

    def look_at(self, row: Row, score: float | None) -> None:
        """Count an event of the sample."""
        if score is not None:
            self.scores[min(int(score * TENTHS), TENTHS - 1)] += 1
        self.seen.add(row, score)

    def fix(self, score: float | None) -> None:
        """Give this score to all events; None: none. For inline tests."""
        told = _member(self.spec.name, "null" if score is None else f'{{"id":null,"score":{score!r}}}')
        self.score = lambda _: (score, told, None)


class Models:
    """The models of a pack.

    Attributes:
        slots: By the model's name.
    """

    def __init__(self, pack: Pack) -> None:
        self.slots = {spec.name: Slot(spec) for spec in pack.models}


@dataclass(slots=True)
class Scored:
    """What a verdict that says more than others tells of an event's score.

    Attributes:
        spec: The model's place.
        row: What it saw.
        score: What it said; None: there was no model.
        told: The same as a member of `verdict.model`.
        model: The model.
    """

    spec: ModelSpec
    row: Row
    score: float | None
    told: bytes
    model: LoadedModel | None
    _top: list[tuple[int, float]] | None = field(default=None)

    @property
    def top(self) -> list[tuple[int, float]]:
        """The features with most to do with it, and their contributions."""
        if self._top is None:
            self._top = [] if self.model is None else self.model.top(self.row)
        return self._top

    def explained(self) -> bytes:
        """`told` with the features that have most to do with it."""
        if self.model is None:
            return self.told
        top = [
            {
                "feature": self.spec.features[index],
                "value": _value(self.spec.kinds[index], self.row[index]),
                "contribution": round(contribution, _DIGITS),
            }
            for index, contribution in self.top
        ]
        return b'%b,"top":%b}' % (self.told[:-1], _encode(top))

    def words(self) -> str:
        """What raised the score most, for a person."""
        if self.model is None:
            return "unknown"
        raising = [index for index, contribution in self.top if contribution > 0][:MOST_STANDING_OUT]
        told = (f"{self.spec.features[index]} {_text(self.spec.kinds[index], self.row[index])}" for index in raising)
        return ", ".join(told) or "nothing stands out"


def _answering(name: str, champion: LoadedModel | None, challenger: LoadedModel | None) -> Callable[[Row], Answer]:
    """The quickest way from a row to its answer."""
    if champion is None and challenger is None:
        none: Answer = (None, _member(name, "null"), None)
        return lambda _: none
    if challenger is None:
        assert champion is not None
        score, told = champion.score, _member(name, f'{{"id":"{champion.id}","score":%a}}')

        def alone(row: Row) -> Answer:
            found = score(row)
            return found, told % found, champion

        return alone
    shadow, beside = challenger.score, f'"challenger":{{"id":"{challenger.id}","score":%a}}'
    if champion is None:
        told = _member(name, f"{{{beside}}}")
        return lambda row: (None, told % shadow(row), None)
    score, told = champion.score, _member(name, f'{{"id":"{champion.id}","score":%a,{beside}}}')

    def both(row: Row) -> Answer:
        found = score(row)
        return found, told % (found, shadow(row)), champion

    return both


def _member(name: str, value: str) -> bytes:
    return f'"{name}":{value}'.encode()


def _value(kind: Kind, value: float | None) -> Any:
    if value is None or kind not in {Kind.INT, Kind.BOOL}:
        return value
    return bool(value) if kind is Kind.BOOL else floor(value)


def _text(kind: Kind, value: float | None) -> str:
    if value is None:
        return "unknown"
    if kind is Kind.MONEY:
        return money_text(round(value * MICROS))
    if kind is Kind.BOOL:
        return "true" if value else "false"
    return str(floor(value)) if kind is Kind.INT else f"{value:.6g}"
