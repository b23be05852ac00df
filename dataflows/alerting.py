"""From verdicts to alerts: which rules fired, whom the pack wants told, and what is no news."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final, cast
from zlib import crc32

import bytewax.operators as op
from bytewax.dataflow import Stream, operator
from bytewax.operators import KeyedStream, StatefulBatchLogic
from typing_extensions import override

from detection.alerting.alert import Alert
from detection.alerting.dedupe import Dedupe
from detection.codec import Event
from detection.kinds import Kind, money_text
from detection.pack import EventType, Pack
from detection.privacy import Privacy, hide
from detection.program import Program
from detection.records import DeadLetter, Record
from sources.verdicts import Answer, OtherError, event_of, read_verdict

GROUPS: Final = 32
"""Part of the stored state: never change it."""


@dataclass(frozen=True)
class Alerts:
    """What reading verdicts gives.

    Attributes:
        alerts: All that the pack wants told, also what was told before.
        dead_letters: Records that are no verdicts.
    """

    alerts: Stream[Alert]
    dead_letters: Stream[DeadLetter]


def topics_of(pack: Pack) -> tuple[str, ...]:
    """Where the verdicts stand that somebody wants to be told of."""
    found = [
        event.topics[decision]
        for spec in pack.alerts
        for event in pack.events
        if spec.rules is None or any(rule.name in spec.rules for rule in event.rules)
        for decision in spec.decisions
    ]
    return tuple(dict.fromkeys(found))


class Reader:
    """Makes alerts of verdicts."""

    def __init__(self, program: Program) -> None:
        self._codecs = program.codecs
        self._specs = program.pack.alerts
        self._privacy = Privacy(program.pack)

    def read(self, record: Record) -> list[Alert] | DeadLetter:
        """The alerts of a verdict; a dead letter if it is none."""
        try:
            answer = read_verdict(record.value or b"")
            declared, event = event_of(self._codecs, answer.verdict.origin, record.timestamp, record.key, record.value)
        except OtherError as error:
            return DeadLetter(record, f"alerts: {error}")
        at = record.timestamp * 1_000 if event is None else event.time
        amount = None if event is None or declared is None else _amount(declared, event)
        reasons = self._masked(answer, declared, event)
        return [
            Alert(
                alert=spec.name,
                rule=rule,
                decision=answer.verdict.decision,
                reasons=reasons,
                entity=_entity(declared, event, spec.per) or [("event", answer.verdict.origin)],
                amount=amount,
                origin=answer.verdict.origin,
                at=at,
            )
            for spec in self._specs
            if answer.verdict.decision in spec.decisions
            for rule in dict.fromkeys(hit.id for hit in answer.verdict.rules if not hit.shadow)
            if spec.rules is None or rule in spec.rules
        ]

    def _masked(self, answer: Answer, declared: EventType | None, event: Event | None) -> list[str]:
        """The reasons without what is personal: what a reason names is among the values of its rule."""
        if not self._privacy.names or not answer.reason:
            return answer.reason
        named = [self._privacy.values(hit.values) for hit in answer.verdict.rules]
        if declared is not None and event is not None:
            named.append(
                self._privacy.values({field.name: getattr(event, f"f_{field.name}") for field in declared.fields})
            )
        personal = [value for values in named for value in values]
        return [hide(reason, personal) for reason in answer.reason]


def _entity(declared: EventType | None, event: Event | None, names: Iterable[str]) -> list[tuple[str, str]]:
    """Who an event is about: those of the fields that it has."""
    if declared is None or event is None:
        return []
    fields = {field.name: field for field in declared.fields}
    found = []
    for name in (name for name in names if name in fields):
        value: Any = getattr(event, f"f_{name}")
        if value is not None:
            found.append((name, money_text(value) if fields[name].kind is Kind.MONEY else str(value)))
    return found


def _amount(declared: EventType, event: Event) -> str | None:
    for field in declared.fields:
        if field.kind is Kind.MONEY and (value := getattr(event, f"f_{field.name}")) is not None:
            currency = getattr(event, f"f_{field.currency}") if field.currency else None
            return f"{money_text(value)} {currency}" if currency else money_text(value)
    return None


@operator
def read_verdicts(
    step_id: str,  # noqa: ARG001  Bytewax reads it
    up: Stream[Record],
    program: Program,
) -> Alerts:
    """Make alerts of verdicts, and dead letters of other records."""
    reader = Reader(program)

    def read(records: list[Record]) -> list[Alert | DeadLetter]:
        out: list[Alert | DeadLetter] = []
        for record in records:
            found = reader.read(record)
            if isinstance(found, DeadLetter):
                out.append(found)
            else:
                out += found
        return out

    split = op.branch("is_alert", op.flat_map_batch("read", up, read), _is_alert)
    return Alerts(cast("Stream[Alert]", split.trues), cast("Stream[DeadLetter]", split.falses))


@operator
def only_news(
    step_id: str,  # noqa: ARG001  Bytewax reads it
    up: Stream[Alert],
    pack: Pack,
) -> Stream[Alert]:
    """Leave out what was told of the same rule and entity a short while before, in event time.

    What is personal is masked behind it: two people may look the same then.
    """
    privacy = Privacy(pack)
    lasting = {spec.name: spec.lasting for spec in pack.alerts if spec.lasting is not None}

    def build(state: dict[str, Any] | None) -> "_Logic":
        return _Logic(Dedupe(lasting, state))

    keyed: KeyedStream[Alert] = op.map("group", up, _keyed)
    return op.map("masked", op.key_rm("alerts", op.stateful_batch("dedupe", keyed, build)), privacy.alert)


class _Logic(StatefulBatchLogic[Alert, Alert, dict[str, Any]]):
    """The subjects of one group."""

    def __init__(self, dedupe: Dedupe) -> None:
        self._dedupe = dedupe

    @override
    def on_batch(self, values: list[Alert]) -> tuple[list[Alert], bool]:
        return [alert for alert in values if self._dedupe.is_news(alert)], StatefulBatchLogic.RETAIN

    @override
    def snapshot(self) -> dict[str, Any]:
        return self._dedupe.snapshot()


def _keyed(alert: Alert) -> tuple[str, Alert]:
    return f"{crc32(alert.subject.encode('utf-8', 'surrogatepass')) % GROUPS:02}", alert


def _is_alert(item: Alert | DeadLetter) -> bool:
    return type(item) is Alert
