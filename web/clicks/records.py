"""Clicks as records, in the field names of the pack that reads them."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from detection.kinds import Kind
from detection.pack import EventType, Pack

CLICK: Final = "click"
COUNT: Final = "click_count"

_TOLD: Final = ("session_id", "url", "user_agent", "ip")
_NEEDED: Final = ("session_id", "url")


class FormError(Exception):
    """The packs cannot read what the page sends."""


class ClickForm:
    """How a click is written for its pack: each member where the pack reads it.

    Attributes:
        topic: Where clicks go.
    """

    def __init__(self, pack: Pack) -> None:
        """Look the event up.

        Raises:
            FormError: There is none, or it is none that this page's clicks could be.
        """
        event = event_of(pack, CLICK)
        self.topic = event.topic
        self._members = {
            field.name: field.member for field in event.members if field.name in _TOLD and field.kind is Kind.STR
        }
        self._time = (event.time_path or (event.time,)) if event.time else None
        needs = {field.name for field in event.fields if not field.optional and not field.derived}
        if missing := [name for name in _NEEDED if name not in self._members]:
            msg = f"event.{CLICK}: expected a field {missing[0]} of kind str, got none"
            raise FormError(msg)
        if unknown := sorted(needs - self._members.keys()):
            msg = f"event.{CLICK}: expected required fields among {', '.join(_TOLD)}, got {', '.join(unknown)}"
            raise FormError(msg)

    def value(self, at: datetime, told: Mapping[str, str | None]) -> bytes:
        """The record's value.

        Args:
            at: When the button was pressed.
            told: What is known of it, by field; what the pack does not name is left out, and so is what is None.
        """
        click: dict[str, Any] = {}
        for name, member in self._members.items():
            if (text := told[name]) is not None:
                _put(click, member, text)
        if self._time is not None:
            _put(click, self._time, f"{at.astimezone(UTC).replace(tzinfo=None).isoformat(timespec='milliseconds')}Z")
        return msgspec.json.encode(click)


class CountForm:
    """How the count is written for its pack.

    Attributes:
        topic: Where counts go.
    """

    def __init__(self, pack: Pack) -> None:
        """Look the event up.

        Raises:
            FormError: There is none.
        """
        self.topic = event_of(pack, COUNT).topic

    def value(self, number: int) -> bytes:
        """The record's value."""
        return msgspec.json.encode({"click_count": number})


def event_of(pack: Pack, name: str) -> EventType:
    """The pack's event of that name.

    Raises:
        FormError: There is none.
    """
    for event in pack.events:
        if event.name == name:
            return event
    msg = f"event.{name}: expected it in the packs, got none: add packs/clicks.toml to FRAUD_PACKS"
    raise FormError(msg)


def _put(value: dict[str, Any], member: tuple[str, ...], content: str) -> None:
    *outer, last = member
    for name in outer:
        value = value.setdefault(name, {})
    value[last] = content
