"""Inline tests: a rule's own examples, judged by the same engine that judges the live events."""

import json
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from typing import Any, Final

import msgspec

from detection.codec import Event
from detection.errors import Problem
from detection.judge import show
from detection.kinds import parse_duration
from detection.pack import EventType, Pack, Rule
from detection.packfile import CaseTable
from detection.positions import Positions
from detection.program import Engine
from detection.records import DeadLetter, Record, Verdict

START: Final = int(datetime(2026, 1, 1, tzinfo=UTC).timestamp() * 1_000)
"""When the first event of each test happens unless it says otherwise, ms since the epoch."""

SINCE_START: Final = "@"
"""Of the members of a given event that are no fields: its time since `START`, such as "10s"."""

TIMES: Final = "*"
"""How often it comes."""

APART: Final = "+"
"""The time from one of them to the next."""

EVENT: Final = "#"
"""Which event it is, if not the one that the rule judges."""

NUMBER: Final = "{n}"
"""In the texts of an event that comes several times: which of them it is, from 1."""

MOST_TIMES: Final = 10_000


class _Hit(msgspec.Struct):
    id: str


class _Judged(msgspec.Struct):
    rules: list[_Hit]


class _Answer(msgspec.Struct):
    verdict: _Judged


_answer = msgspec.json.Decoder(_Answer).decode


@dataclass(frozen=True, slots=True)
class _Failure:
    rule: str
    test: int
    event: int
    message: str


def run_tests(pack: Pack, texts: Mapping[str, str]) -> list[Problem]:
    """Run the inline tests of all rules that are not switched off.

    Args:
        pack: What was loaded.
        texts: The text it was loaded from, by file name: a failure is told with its place.

    Returns:
        One problem for each event at which a rule did not do what its test says.
    """
    failures = [
        _Failure(rule.name, test, place, message)
        for event in pack.events
        for rule in event.rules
        for test, case in enumerate(rule.tests)
        for place, message in _failures(pack, event, rule, case)
    ]
    if not failures:
        return []
    owners = {rule: name for name, text in texts.items() for rule in tomllib.loads(text).get("rule", ())}
    places = {name: Positions(texts[name]) for name in {owners[failure.rule] for failure in failures}}
    return [_problem(failure, owners[failure.rule], places[owners[failure.rule]]) for failure in failures]


def _problem(failure: _Failure, file: str, places: Positions) -> Problem:
    line, column = places.value(("rule", failure.rule, "test", failure.test, "given", failure.event))
    subject = f"rule {failure.rule}: test {failure.test + 1}: event {failure.event + 1}"
    return Problem(file, line, column, f"{subject}: {failure.message}")


def _failures(pack: Pack, event: EventType, rule: Rule, case: CaseTable) -> Iterator[tuple[int, str]]:
    """The events of one test at which it fails, by their index, each with what was expected and what came."""
    engine = Engine(pack)
    try:
        _set_up(engine, case)
    except ValueError as error:
        yield 0, str(error)
        return
    places = engine.program.plan.values(event)
    at = START
    offset = 0
    judged = event
    for index, (given, fires) in enumerate(zip(case.given, case.fires, strict=True)):
        try:
            event = _event_of(given, pack, judged, fires=fires)
            repeated = _Repeated.of(given)
            at = at if repeated.since_start is None else START + repeated.since_start
        except ValueError as error:
            yield index, str(error)
            return  # the events after it would happen at no known time
        for number in range(1, repeated.times + 1):
            at += repeated.apart if number > 1 else 0
            members = repeated.members(number)
            timestamp = at
            if event.time is not None:
                # Its own time is the event's, wherever it lies: a record without a timestamp is never too far ahead.
                timestamp = -1 if _set_time(members, event.time_path or (event.time,), at) else at
            try:
                value = json.dumps(members, default=_written).encode()
            except ValueError as error:
                yield index, str(error)
                break
            decoded = engine.decode(Record(event.topic, 0, offset, timestamp, None, value))
            offset += 1
            if isinstance(decoded, DeadLetter):
                yield index, f"expected an event, got a dead letter: {decoded.error}"
                break
            at = decoded.time // 1_000
            verdict = engine.judge_event(decoded)
            assert isinstance(verdict, Verdict)
            fired = any(hit.id == rule.name for hit in _answer(verdict.value).verdict.rules)
            if fired != (fires and number == repeated.times):
                expected, got = ("it not to fire", "it fired") if fired else ("it to fire", "it did not")
                which = f" at number {number} of {repeated.times}" if repeated.times > 1 else ""
                yield index, f"expected {expected}{which}, {got} ({_values(event, rule, places, case, decoded)})"
                break


def _set_up(engine: Engine, case: CaseTable) -> None:
    """Put on the lists, and say of the models' scores, what a test wants."""
    for name, members in case.lists.items():
        try:
            engine.program.lists.replace(name, members)
        except ValueError as error:
            msg = f"lists: {name}: {error}"
            raise ValueError(msg) from None
    for name, slot in engine.program.models.slots.items():
        slot.fix(case.models.get(name))


def _event_of(given: Mapping[str, object], pack: Pack, judged: EventType, *, fires: bool) -> EventType:
    if EVENT not in given:
        return judged
    names = {event.name: event for event in pack.events}
    name = given[EVENT]
    if not isinstance(name, str) or name not in names:
        msg = f'"{EVENT}": expected one of {", ".join(names)}, got {name}'
        raise ValueError(msg)
    if fires and names[name] is not judged:
        msg = f"expected {judged.name} events where the rule fires, got {name}"
        raise ValueError(msg)
    return names[name]


def _set_time(members: dict[str, Any], path: tuple[str, ...], at: int) -> bool:
    """Give an event its time, if it has none of its own; whether it has."""
    *outer, last = path
    for name in outer:
        inside = members.get(name, {})
        if not isinstance(inside, dict):
            return True  # the decoder tells what it expected
        members[name] = members = dict(inside)
    return members.setdefault(last, at) is not at


@dataclass(frozen=True, slots=True)
class _Repeated:
    """A given event, and how often it comes.

    Attributes:
        given: Its members, with `{n}` in their texts.
        times: How often it comes.
        apart: The time from one to the next, ms.
        since_start: When the first happens, ms since `START`; None: when the event before it did.
    """

    given: Mapping[str, object]
    times: int
    apart: int
    since_start: int | None

    @classmethod
    def of(cls, given: Mapping[str, object]) -> "_Repeated":
        """Take what is no member out of a given event.

        Raises:
            ValueError: It is no number or no duration.
        """
        times = given.get(TIMES, 1)
        if type(times) is not int or not 1 <= times <= MOST_TIMES:
            msg = f'"{TIMES}": expected a number from 1 to {MOST_TIMES:,}, got {times}'
            raise ValueError(msg)
        apart = _milliseconds(APART, given[APART]) if APART in given else 0
        since_start = _milliseconds(SINCE_START, given[SINCE_START]) if SINCE_START in given else None
        members = {name: value for name, value in given.items() if name not in {SINCE_START, TIMES, APART, EVENT}}
        return cls(members, times, apart, since_start)

    def members(self, number: int) -> dict[str, object]:
        """The members of one of the repeated events."""
        if self.times == 1:
            return dict(self.given)
        return {
            name: value.replace(NUMBER, str(number)) if isinstance(value, str) else value
            for name, value in self.given.items()
        }


def _written(value: date | time) -> str:
    """What TOML has and JSON has not: a date with its time is written as events write it."""
    if isinstance(value, datetime):
        return value.isoformat()
    msg = f"expected a date with its time such as 2026-01-01T12:00:00Z, or a string, got {value}"
    raise ValueError(msg)


def _milliseconds(name: str, duration: Any) -> int:
    subject = f'"{name}"'
    if not isinstance(duration, str):
        msg = f'{subject}: expected a duration such as "10s", got {duration}'
        raise ValueError(msg)  # noqa: TRY004  (one kind of error for all that is wrong with it)
    micros = parse_duration(duration, subject)
    if micros % 1_000:
        msg = f'{subject}: expected whole milliseconds, as records have them, got "{duration}"'
        raise ValueError(msg)
    return micros // 1_000


def _values(event: EventType, rule: Rule, places: Mapping[str, int], case: CaseTable, decoded: Event) -> str:
    """What the rule looked at, such as `amount = 401`."""
    told = []
    scores = {model.scored: case.models.get(model.name) for model in event.models}
    for name in rule.reads:
        if name in scores:
            value = scores[name]
        else:
            value = decoded.features[places[name]] if name in places else getattr(decoded, f"f_{name}")
        text = "unknown" if value is None else msgspec.json.encode(show(event.symbols[name].kind, value)).decode()
        told.append(f"{name} = {text}")
    return ", ".join(told)
