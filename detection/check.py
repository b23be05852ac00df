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
"""The member of a given event that is no field: its time since `START`, such as "10s"."""


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
    places = engine.program.plan.values(event)
    at = START
    for index, (given, fires) in enumerate(zip(case.given, case.fires, strict=True)):
        members = dict(given)
        if SINCE_START in members:
            try:
                at = START + _milliseconds(members.pop(SINCE_START))
            except ValueError as error:
                yield index, str(error)
                return  # the events after it would happen at no known time
        timestamp = at
        if event.time is not None:
            # Its own time is the event's, wherever it lies: a record without a timestamp is never too far ahead.
            timestamp = -1 if event.time in members else at
            members.setdefault(event.time, at)
        try:
            value = json.dumps(members, default=_written).encode()
        except ValueError as error:
            yield index, str(error)
            continue
        decoded = engine.decode(Record(event.topic, 0, index, timestamp, None, value))
        if isinstance(decoded, DeadLetter):
            yield index, f"expected an event, got a dead letter: {decoded.error}"
            continue
        at = decoded.time // 1_000
        verdict = engine.judge_event(decoded)
        assert isinstance(verdict, Verdict)
        fired = any(hit.id == rule.name for hit in _answer(verdict.value).verdict.rules)
        if fired != fires:
            expected, got = ("it to fire", "it did not") if fires else ("it not to fire", "it fired")
            yield index, f"expected {expected}, {got} ({_values(event, rule, places, decoded)})"


def _written(value: date | time) -> str:
    """What TOML has and JSON has not: a date with its time is written as events write it."""
    if isinstance(value, datetime):
        return value.isoformat()
    msg = f"expected a date with its time such as 2026-01-01T12:00:00Z, or a string, got {value}"
    raise ValueError(msg)


def _milliseconds(since_start: Any) -> int:
    subject = f'"{SINCE_START}"'
    if not isinstance(since_start, str):
        msg = f'{subject}: expected a duration such as "10s", got {since_start}'
        raise ValueError(msg)  # noqa: TRY004  (one kind of error for all that is wrong with it)
    micros = parse_duration(since_start, subject)
    if micros % 1_000:
        msg = f'{subject}: expected whole milliseconds, as records have them, got "{since_start}"'
        raise ValueError(msg)
    return micros // 1_000


def _values(event: EventType, rule: Rule, places: Mapping[str, int], decoded: Event) -> str:
    """What the rule looked at, such as `amount = 401`."""
    told = []
    for name in rule.reads:
        value = decoded.features[places[name]] if name in places else getattr(decoded, f"f_{name}")
        text = "unknown" if value is None else msgspec.json.encode(show(event.symbols[name].kind, value)).decode()
        told.append(f"{name} = {text}")
    return ", ".join(told)
