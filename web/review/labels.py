"""Labels: what became of an event, with its own time and key fields, so that packs read them as events."""

from typing import Any, Final

import msgspec

from detection.pack import EventType, Field

OWN: Final = ("origin", "fraudulent", "source", "at", "time", "version", "note", "input")
"""What a label says itself. A member of the event that is named so is found in `input`, as in a verdict."""

_members: Final = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_encode: Final = msgspec.json.Encoder().encode


class NoLabelError(ValueError):
    """The verdict does not say what its label needs."""


def label_of(
    event: EventType | None,
    verdict: bytes,
    *,
    written: int,
    origin: str,
    fraudulent: bool,
    source: str,
    at: int,
    version: int,
    note: str,
) -> bytes:
    """The value of a label.

    Args:
        event: The verdict's event type; None if no pack has it any more, then no fields are copied.
        verdict: The verdict record's value.
        written: When that was written, ms since the epoch: the event's time if the event has none of its own.
        origin: The event, `topic/partition/offset`.
        fraudulent: What became of it.
        source: Who says so.
        at: When they said so, ms since the epoch.
        version: Counts the labels of this event.
        note: Why; may be empty.

    Raises:
        NoLabelError: The verdict cannot be read.
    """
    try:
        members = _members(verdict)
        inner = _members(members["verdict"])
        # What the verdict's own members took the place of.
        members |= _members(inner["input"]) if "input" in inner else {}
        copied: dict[str, Any] = {}
        for field in _needed(event) if event else ():
            _copy(members, copied, field.member)
        time = _find(members, event.time_path or (event.time,)) if event and event.time else None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, KeyError) as error:
        msg = f"{origin}: expected a verdict with the fields of its event, got another: {error}"
        raise NoLabelError(msg) from None
    own: dict[str, Any] = {
        "origin": origin,
        "fraudulent": fraudulent,
        "source": source,
        "at": at,
        "time": written if time is None else time,
        "version": version,
        **({"note": note} if note else {}),
    }
    clash = {name: copied.pop(name) for name in OWN if name in copied}
    return _encode(copied | own | ({"input": clash} if clash else {}))


def _needed(event: EventType) -> list[Field]:
    """The fields that make keys, and what says when it happened."""
    keys = {field.name: field for feature in event.features for field in feature.key if not field.derived}
    return list(keys.values())


def _find(members: dict[str, msgspec.Raw], path: tuple[str, ...]) -> msgspec.Raw | None:
    *outer, last = path
    for name in outer:
        found = members.get(name)
        if found is None or bytes(found).strip()[:1] != b"{":
            return None
        members = _members(found)
    found = members.get(last)
    return None if found is None or bytes(found) == b"null" else found


def _copy(members: dict[str, msgspec.Raw], into: dict[str, Any], path: tuple[str, ...]) -> None:
    found = _find(members, path)
    if found is None:
        return
    *outer, last = path
    for name in outer:
        into = into.setdefault(name, {})
    into[last] = found
