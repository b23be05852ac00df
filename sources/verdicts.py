"""Verdicts as a reader of the output topics finds them."""

import re
from collections.abc import Callable
from datetime import UTC, datetime
from operator import methodcaller
from typing import Final, Literal

import msgspec
from confluent_kafka import Message


class Hit(msgspec.Struct):
    """A rule that fired."""

    id: str


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
STYLES: Final = {"FRAUD": "bold red", "REVIEW": "yellow", "LEGIT": "green", DEAD: "magenta"}
"""Colours beside the words, never instead of them."""


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


# Where a name is not UTF-8 the client returns a half-made list and sets an exception. A call through `operator` sees
# it; a call in the code is not checked once the interpreter has specialised it, and the exception turns up elsewhere.
_headers: Final[Callable[[Message], list[tuple[str, bytes | str | None]] | None]] = methodcaller("headers")


def headers_of(message: Message) -> dict[str, str | bytes | None]:
    """A record's headers; of several with one name the last. To be asked for once.

    After it has failed on a name, the client's next answer would have a null pointer in its place.

    Raises:
        OtherError: They are none of ours: the client cannot read names that are not UTF-8.
    """
    try:
        return dict(_headers(message) or ())
    except (SystemError, UnicodeDecodeError):
        msg = "headers: expected names in UTF-8, got others"
        raise OtherError(msg) from None


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
