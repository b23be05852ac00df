"""Personal fields, `pii` of a pack: what others than the verdict's readers may see of them is the end of each value.

Two characters, so that who knows a case can tell it from another one, and nobody else can tell who it is; of a value of
fewer than six none. Not how long it is. No hash: whoever can guess a name or a card number can compute its hash, and a
key for it would be one more secret to keep for ever.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from msgspec.structs import replace

from detection.alerting.alert import Alert
from detection.kinds import Kind
from detection.members import members_of
from detection.pack import Feature, Pack

SHOWN: Final = 2
"""Characters that are shown."""

SHORTEST: Final = 6
"""Of a shorter value none is."""

HIDDEN: Final = "***"
"""Stands for what is not shown."""

_OF_VALUES: Final = frozenset({"previous", "min", "max"})
"""Aggregates that give a value of their field."""

_WHOLE_WORD: Final = 3
"""A shorter value is found where it is a word of its own: else nothing would be left of a text."""


def masked(value: str) -> str:
    """What is shown of a personal value.

    >>> masked("DE89370400440532013000"), masked("ann@example.com"), masked("carol"), masked("")
    ('***00', '***om', '***', '***')
    """
    return f"{HIDDEN}{value[-SHOWN:]}" if len(value) >= SHORTEST else HIDDEN


def hide(text: str, personal: Iterable[str]) -> str:
    """A text in which each of these values is masked, wherever it stands.

    >>> hide("4 payments by carol@x.org to a and Anna", ["carol@x.org", "a"])
    '4 payments by ***rg to *** and Anna'
    """
    found = {value for value in personal if value and value in text}
    if not found:
        return text
    if text in found:
        return masked(text)
    longest_first = sorted(found, key=lambda value: (-len(value), value))
    parts = (re.escape(one) if len(one) >= _WHOLE_WORD else rf"(?<!\w){re.escape(one)}(?!\w)" for one in longest_first)
    return re.sub("|".join(parts), lambda match: masked(match[0]), text)


class Privacy:
    """What a pack says is personal.

    Attributes:
        names: The fields, whatever event has them, and the features that give a value of one.
    """

    def __init__(self, pack: Pack) -> None:
        """Look at all events of the pack."""
        fields = frozenset(pack.pii)
        held = (feature.name for event in pack.events for feature in event.features if _gives(feature, fields))
        self.names = fields.union(held)
        self._events = {event.topic: event for event in pack.events}

    def show(self, name: str, value: Any) -> str:
        """A value as a person may see it who is told what field or feature it is of."""
        return masked(str(value)) if name in self.names else str(value)

    def values(self, named: Mapping[str, Any]) -> list[str]:
        """The personal ones of some values by name, as texts have them."""
        return [str(value) for name, value in named.items() if name in self.names and _is_text(value)]

    def alert(self, alert: Alert) -> Alert:
        """An alert as its receivers may see it; its reasons are masked where it is made."""
        if not self.names:
            return alert
        return replace(alert, entity=[(name, self.show(name, value)) for name, value in alert.entity])

    def record(self, topic: str, value: Any) -> Any:
        """The JSON of an event or a verdict, decoded, as a person may see it. A copy; the other is left as it is.

        Personal members are masked, and their values wherever a text repeats them.

        Args:
            topic: That the event came from.
            value: What is decoded of it; what is no object is masked as a whole, since nobody knows what it is.
        """
        event = self._events.get(topic)
        if not self.names or event is None:
            return value
        if not isinstance(value, dict):
            return HIDDEN
        return _walk(value, self.found(topic, value))

    def concerns(self, topic: str) -> bool:
        """Whether an event of this topic may have anything personal; of one that is not the pack's, nobody knows."""
        event = self._events.get(topic)
        if event is None or not self.names:
            return bool(self.names)
        has = {field.name for field in event.fields} | {feature.name for feature in event.features}
        return not has.isdisjoint(self.names)

    def found(self, topic: str, value: Any) -> list[str]:
        """The personal values in the JSON of an event or a verdict, decoded, as texts have them.

        Args:
            topic: That the event came from.
            value: What is decoded of it.
        """
        event = self._events.get(topic)
        if not self.names or event is None or not isinstance(value, dict):
            return []
        fields = [field for field in event.fields if field.name in self.names and not field.derived]
        found = [str(member) for field in fields for member in members_of(field, value)]
        verdict = value.get("verdict")
        hits = verdict.get("rules") if isinstance(verdict, dict) else None
        for hit in hits if isinstance(hits, list) else ():
            if isinstance(hit, dict) and isinstance(hit.get("values"), dict):
                found += self.values(hit["values"])
        return found


def _gives(feature: Feature, fields: frozenset[str]) -> bool:
    """Whether a feature gives a value of a personal field."""
    of = [field for field in feature.of if field.name in fields]
    return bool(of) and (feature.kind is Kind.STR or feature.aggregate.name in _OF_VALUES)


def _is_text(value: Any) -> bool:
    return isinstance(value, str) or (isinstance(value, int) and not isinstance(value, bool))


def _walk(value: Any, personal: list[str]) -> Any:
    """The same with all personal values masked: whole values, and within texts. Names of members stay."""
    match value:
        case dict():
            return {name: inner if name == "decision" else _walk(inner, personal) for name, inner in value.items()}
        case list():
            return [_walk(inner, personal) for inner in value]
        case bool():
            return value
        case str():
            return masked(value) if value in personal else hide(value, personal)
        case int():
            return masked(str(value)) if str(value) in personal else value
        case _:
            return value
