"""Which other entities share a value with a verdict: a device, a receiver, whatever the pack looks things up by."""

from collections.abc import Iterable, Iterator
from typing import Any, Final, NamedTuple

import msgspec

from detection.kinds import Kind
from detection.members import members_of
from detection.pack import EventType, Field, Pack
from sources.verdicts import DEAD, OTHER
from web.live.records import Shown

ENTITIES: Final = 20
"""That are told of one value, at most."""

_DECODED: Final = 2_000
_BYTES: Final = 32 * 2**20
_decode: Final = msgspec.json.Decoder(dict[str, Any]).decode


class Link(NamedTuple):
    """A value that others share.

    Attributes:
        field: The field of the opened verdict that has it.
        value: The value, as a text.
        others: The newest verdict of each other entity, the newest first.
        more: Whether there are more entities than these.
    """

    field: str
    value: str
    others: list[Shown]
    more: bool


class Linked(NamedTuple):
    """What was found.

    Attributes:
        links: A value that few share is first: it says the most.
        searched: How many records were looked at, if they were not all of them; else None.
    """

    links: list[Link]
    searched: int | None


class _Search:
    """The entities that share one value."""

    def __init__(self, field: str, same: str, value: str) -> None:
        self.field = field
        self.wanted = (same, value)
        self.needle = msgspec.json.encode(value)[1:-1]
        self.found: dict[str, Shown] = {}

    @property
    def full(self) -> bool:
        return len(self.found) > ENTITIES

    @property
    def link(self) -> Link:
        return Link(self.field, self.wanted[1], list(self.found.values())[:ENTITIES], self.full)


class Links:
    """Finds them among the records that are kept.

    Fields link that are in the key of a feature or are looked up in a list, in any event that has a field of that name.
    What a feature joins (`key` and `over_key`) is one thing under two names.
    """

    def __init__(self, pack: Pack) -> None:
        """Look at all events of the pack."""
        self._same: dict[str, str] = {}
        for event in pack.events:
            for feature in event.features:
                for one in (*feature.key, *feature.counted_key):
                    self._same.setdefault(one.name, one.name)
                for one, other in zip(feature.key, feature.over_key, strict=False):
                    self._join(one.name, other.name)
            for name in _looked_up(event):
                self._same.setdefault(name, name)
        self._fields = {event.topic: [each for each in event.fields if self._links(each)] for event in pack.events}

    def of(self, record: Shown, kept: Iterable[Shown]) -> Linked:
        """What others share with a record. Its work is bounded: by bytes looked at, and records decoded.

        Args:
            record: The one that is opened.
            kept: All records, the newest first.
        """
        searches = [_Search(*found) for found in dict.fromkeys(self._values(record))]
        looked = decoded = size = 0
        for other in kept:
            left = [search for search in searches if not search.full]
            if not left:
                break
            looked += 1
            if other.key == record.key or other.word in {DEAD, OTHER} or other.topic not in self._fields:
                continue
            size += len(other.value)
            if size > _BYTES or decoded >= _DECODED:
                return Linked(_told(searches), looked - 1)
            # A text may be written with escapes, which say the same in other bytes.
            if not (b"\\" in other.value or any(search.needle in other.value for search in left)):
                continue
            decoded += 1
            values = {(same, value) for _, same, value in self._values(other)}
            for search in left:
                if search.wanted in values:
                    search.found.setdefault(other.key, other)
        return Linked(_told(searches), None)

    def _values(self, record: Shown) -> Iterator[tuple[str, str, str]]:
        """The values of a verdict that link: the field, the name it has in common with others, and the value."""
        fields = self._fields.get(record.topic)
        if not fields or record.word in {DEAD, OTHER}:
            return
        try:
            decoded = _decode(record.value)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return
        for field in fields:
            for value in members_of(field, decoded):
                if value != "":
                    yield field.name, self._same[field.name], str(value)

    def _links(self, field: Field) -> bool:
        return field.name in self._same and field.kind in {Kind.STR, Kind.INT} and not field.derived

    def _join(self, one: str, other: str) -> None:
        """Make one of two names."""
        kept, gone = self._same[one], self._same[other]
        self._same = {name: kept if same == gone else same for name, same in self._same.items()}


def _told(searches: list[_Search]) -> list[Link]:
    return sorted((search.link for search in searches if search.found), key=lambda link: (link.more, len(link.others)))


def _looked_up(event: EventType) -> Iterator[str]:
    """The fields in conditions that look something up in a list."""
    conditions = [rule.condition for rule in event.rules]
    conditions += [feature.where for feature in event.features if feature.where is not None]
    conditions += [field.derived for field in event.fields if field.derived is not None]
    for condition in conditions:
        if condition.lists:
            yield from condition.names
