"""What is counted of the verdicts of some days: numbers by name, and no verdict is kept."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Final

from detection.records import Decision

BANDS: Final = (0, 19, 39, 59, 79, 100)
"""The highest score of each band."""

OTHER_EVENT: Final = "(unknown)"
"""The event type of a verdict on a topic that no pack reads."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What a report needs of one verdict.

    Attributes:
        event: The event type.
        decision: What was decided.
        late: Whether it came late.
        score: 0 to 100.
        hits: The rules that fired, and whether each is in shadow mode.
        money: The amounts, 10⁻⁶ units, with the field and the currency of each, None without one.
        fraud: What its label says; None: it has none.
    """

    event: str
    decision: Decision
    late: bool = False
    score: int = 0
    hits: tuple[tuple[str, bool], ...] = ()
    money: tuple[tuple[str, str | None, int], ...] = ()
    fraud: bool | None = None


@dataclass(slots=True)
class RuleTally:
    """What became of the events at which a rule fired.

    Attributes:
        hits: How many there were.
        frauds: How many of them are labelled as fraud.
        legits: How many of them are labelled as no fraud.
        shadow: Whether the rule only watched, at the last of them.
    """

    hits: int = 0
    frauds: int = 0
    legits: int = 0
    shadow: bool = False


@dataclass(slots=True)
class Tally:
    """Counts of some days.

    Attributes:
        decisions: By event type and decision.
        late: By event type.
        bands: By event type and number of the band of the score.
        stopped: Money of blocked events, 10⁻⁶ units, by event type, field and currency.
        stopped_events: How many events that was, by the same.
        rules: By event type and rule.
        labelled: Events by event type, decision and what their label says.
        dead: Dead letters by the topic that they came from.
    """

    decisions: Counter[tuple[str, Decision]] = field(default_factory=Counter)
    late: Counter[str] = field(default_factory=Counter)
    bands: Counter[tuple[str, int]] = field(default_factory=Counter)
    stopped: Counter[tuple[str, str, str | None]] = field(default_factory=Counter)
    stopped_events: Counter[tuple[str, str, str | None]] = field(default_factory=Counter)
    rules: dict[tuple[str, str], RuleTally] = field(default_factory=dict)
    labelled: Counter[tuple[str, Decision, bool]] = field(default_factory=Counter)
    dead: Counter[str] = field(default_factory=Counter)

    def add(self, seen: Seen) -> None:
        """Count a verdict."""
        event = seen.event
        self.decisions[event, seen.decision] += 1
        self.late[event] += seen.late
        self.bands[event, next((n for n, top in enumerate(BANDS) if seen.score <= top), len(BANDS) - 1)] += 1
        for rule, shadow in dict(seen.hits).items():
            tally = self.rules.setdefault((event, rule), RuleTally())
            tally.hits += 1
            tally.shadow = shadow
            tally.frauds += seen.fraud is True
            tally.legits += seen.fraud is False
        if seen.fraud is not None:
            self.labelled[event, seen.decision, seen.fraud] += 1
        if seen.decision == "block":
            for name, currency, amount in seen.money:
                self.stopped[event, name, currency] += amount
                self.stopped_events[event, name, currency] += 1

    def events(self, event: str) -> int:
        """How many verdicts there are of an event type."""
        return sum(count for (name, _), count in self.decisions.items() if name == event)


@dataclass(slots=True)
class Counted:
    """All that a report is made of.

    Attributes:
        day: The day.
        before: The seven days before it together.
        days_before: Which of them have a verdict, as how many days before.
        others: Records in the topics of verdicts that are none.
        labels: How many events have a label; None: there is no topic of labels.
    """

    day: Tally = field(default_factory=Tally)
    before: Tally = field(default_factory=Tally)
    days_before: set[int] = field(default_factory=set)
    others: int = 0
    labels: int | None = None

    def add(self, number: int, seen: Seen) -> None:
        """Count a verdict of so many days before the day."""
        if number:
            self.days_before.add(number)
        (self.before if number else self.day).add(seen)

    def add_dead(self, number: int, topic: str) -> None:
        """Count a dead letter of so many days before the day."""
        (self.before if number else self.day).dead[topic] += 1
