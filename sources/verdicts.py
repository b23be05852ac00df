"""Verdicts as a reader of the output topics finds them."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final, Literal

import msgspec
from confluent_kafka import Message

from detection.codec import Event, EventCodec
from detection.errors import UndecodableError
from detection.pack import EventType
from detection.records import Record
from sources.reading import headers_of


class Hit(msgspec.Struct):
    """A rule that fired; a shadow one has decided nothing.

    Attributes:
        values: Fields and features that its condition and reason name.
    """

    id: str
    shadow: bool = False
    values: dict[str, Any] = {}


class Judged(msgspec.Struct):
    """The member `verdict`, as far as the commands read it."""

    decision: Literal["accept", "review", "block"]
    origin: str
    rules: list[Hit]


class Answer(msgspec.Struct):
    """A verdict record's value, as far as the commands read it."""

    fraudulent: bool
    reason: list[str]
    verdict: Judged


class OtherError(ValueError):
    """A record in an output topic that somebody else has written."""


_answer: Final = msgspec.json.Decoder(Answer).decode

WORDS: Final = {"block": "FRAUD", "review": "REVIEW", "accept": "LEGIT"}
DEAD: Final = "DEAD"
OTHER: Final = "OTHER"

_LARGEST_PARTITION: Final = 32_767
_ORIGIN: Final = re.compile(r"(.+/[0-9]{1,10})/([0-9]{1,19})", re.DOTALL)


def read_verdict(value: bytes) -> Answer:
    """Read a verdict.

    Raises:
        OtherError: It is none.
    """
    try:
        return _answer(value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        msg = f"no verdict: {error}"
        raise OtherError(msg) from None


def read_dead_letter(message: Message) -> tuple[str, str]:
    """The origin and the error of a dead letter, which are in its headers.

    Raises:
        OtherError: It has none: somebody else has written it, or the client cannot read its headers.
    """
    headers = dict(headers_of(message) or ())
    if "fraud.error" not in headers:
        msg = "headers: expected fraud.origin and fraud.error, with names in UTF-8, got others"
        raise OtherError(msg)
    return text_of(headers.get("fraud.origin")), text_of(headers.get("fraud.error"))


def parse_origin(origin: str) -> tuple[str, int]:
    """The `topic/partition` and the offset in an origin `topic/partition/offset`.

    Raises:
        OtherError: It is none.
    """
    match = _ORIGIN.fullmatch(origin)
    if not match:
        msg = f"origin: expected topic/partition/offset, got {origin}"
        raise OtherError(msg)
    return match[1], int(match[2])


def event_of(
    codecs: Mapping[str, EventCodec], origin: str, timestamp: int, key: bytes | None, value: bytes | None
) -> tuple[EventType | None, Event | None]:
    """What a verdict is about: its type, None if the pack reads no such topic, and the event that is in it.

    The event is None too if the pack has changed so since that it cannot be decoded.

    Args:
        codecs: Of the pack, by topic.
        origin: Of the event.
        timestamp: Of the verdict's record, ms; for events without a time of their own.
        key: Of the verdict's record.
        value: Of the verdict's record.

    Raises:
        OtherError: The origin is none.
    """
    place, offset = parse_origin(origin)
    topic, _, partition = place.rpartition("/")
    codec = codecs.get(topic)
    if codec is None:
        return None, None
    try:
        record = Record(topic, min(int(partition), _LARGEST_PARTITION), offset, timestamp, key, value)
        return codec.event, codec.decode(record)
    except UndecodableError:
        return codec.event, None


def clock(at: int, precision: Literal["seconds", "milliseconds"] = "milliseconds") -> str:
    """The time of day in UTC at which a record was written.

    Args:
        at: The record's timestamp, ms since the epoch; below 0 it has none.
        precision: What to show.
    """
    try:
        moment = datetime.fromtimestamp(at / 1_000, UTC) if at >= 0 else None
    except (ValueError, OverflowError, OSError):  # after the year 9999: whatever its writer meant
        moment = None
    return "-" if moment is None else f"{moment.time().isoformat(precision)}Z"


def topic_of(origin: str) -> str:
    """The topic in an origin `topic/partition/offset`."""
    return origin.rsplit("/", 2)[0]


def text_of(raw: bytes | str | None) -> str:
    """A key or a header as text, whatever its bytes are."""
    return "-" if raw is None else raw.decode("utf-8", "backslashreplace") if isinstance(raw, bytes) else raw
