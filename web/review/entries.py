"""What people did, and what became of it, one record of the audit topic each."""

from collections.abc import Callable
from typing import Final, Literal

import msgspec

from detection import labels
from detection.errors import UndecodableError
from detection.settings import Role

Action = Literal["confirm", "dismiss", "snooze"]
State = Literal["open", "fraud", "legit", "snoozed"]

LONGEST_NOTE: Final = 2_000
SOURCE: Final = "review"
"""Who says so, in a label of this page's."""


class Standing(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is decided of an event.

    Attributes:
        state: Open, found to be fraud or legit, or snoozed.
        until: Until when it is snoozed, ms since the epoch; None unless it is.
    """

    state: State = "open"
    until: int | None = None

    def at(self, now: int) -> "Standing":
        """The same at a time, ms since the epoch: what was snoozed is open again in the end."""
        return OPEN if self.until is not None and self.until <= now else self


OPEN: Final = Standing()
NO_LABEL: Final = msgspec.Raw(b"")  # None cannot stand beside a Raw


class Summary(msgspec.Struct, frozen=True):
    """The verdict that was acted on, which may long have left its topic when the audit is read.

    Attributes:
        decision: FRAUD or REVIEW.
        key: Its event's key: the entity.
        score: 0 to 100.
        rules: The rules that fired, shadow ones too.
        pack: The hash of the pack that judged.
    """

    decision: str
    key: str
    score: int
    rules: list[str]
    pack: str


class Entry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Who did what, when, and to which verdict.

    Attributes:
        id: No other entry has it.
        at: When, ms since the epoch.
        who: The user.
        role: What they were allowed to do.
        action: What they did.
        origin: The event, `topic/partition/offset`.
        version: Counts what was done to this event, from 1. Of two with one version the first in the topic holds.
        before: What was decided before.
        after: And since.
        verdict: The verdict.
        note: What they had to say.
        label: The label to write; `NO_LABEL`: none.
    """

    id: str
    at: int
    who: str
    role: Role
    action: Action
    origin: str
    version: int
    before: Standing
    after: Standing
    verdict: Summary
    note: str = ""
    label: msgspec.Raw = NO_LABEL


class Opening(msgspec.Struct, frozen=True, kw_only=True):
    """Who was shown what is personal in a verdict, and when.

    Attributes:
        id: No other record has it.
        at: When, ms since the epoch.
        who: The user.
        role: What they were allowed to do.
        origin: The event, `topic/partition/offset`.
        action: What they did.
    """

    id: str
    at: int
    who: str
    role: Role
    origin: str
    action: Literal["open"] = "open"


class Labelled(msgspec.Struct, frozen=True, kw_only=True):
    """That the label of an entry was in its topic, or was taken back. If it is not there later, it is not missing.

    Attributes:
        at: When that was noted, ms since the epoch.
        origin: The event.
        version: Of the entry.
        action: What was done.
    """

    at: int
    origin: str
    version: int
    action: Literal["labelled"] = "labelled"


class Label(msgspec.Struct, frozen=True):
    """As much of a label as tells what became of an event.

    Attributes:
        fraudulent: What became of it; None takes back what was said before.
        source: Who says so.
        version: Of the entry that it comes from; 0 for a label that is not of this page.
        at: When it was written, ms since the epoch.
    """

    fraudulent: bool | None
    source: str = ""
    version: int = 0
    at: int = 0


class _Did(msgspec.Struct, frozen=True):
    action: str


_did: Final = msgspec.json.Decoder(_Did).decode


class _Told(msgspec.Struct, frozen=True):
    source: str = ""
    version: int = 0


encode_entry: Final = msgspec.json.Encoder().encode
_entry: Final = msgspec.json.Decoder(Entry).decode
_others: Final[dict[str, Callable[[bytes], Opening | Labelled]]] = {
    "open": msgspec.json.Decoder(Opening).decode,
    "labelled": msgspec.json.Decoder(Labelled).decode,
}
_told: Final = msgspec.json.Decoder(_Told).decode


class UnreadableError(ValueError):
    """A record that is neither an entry nor a label."""


def read_entry(value: bytes) -> Entry | Opening | Labelled:
    """Read a record of the audit topic.

    Raises:
        UnreadableError: Somebody else has written it.
    """
    try:
        return _others.get(_did(value).action, _entry)(value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        msg = f"no entry of an audit: {error}"
        raise UnreadableError(msg) from None


def read_label(key: bytes | None, value: bytes | None, at: int) -> tuple[str, Label]:
    """Read a record of the topic for labels, written at this time: the event, and what is said of it.

    Raises:
        UnreadableError: It does not say what became of its event.
    """
    try:
        origin, fraudulent = labels.read_label(key, value)
        told = _told(value) if value else _Told()
    except (UndecodableError, msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        msg = str(error) if isinstance(error, UndecodableError) else f"no label: {error}"
        raise UnreadableError(msg) from None
    return origin, Label(fraudulent, told.source, told.version if told.source == SOURCE else 0, at)
