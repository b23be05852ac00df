"""Verdicts as a reader of the output topics finds them."""

from typing import Final

import msgspec


class Hit(msgspec.Struct):
    """A rule that fired."""

    id: str


class Judged(msgspec.Struct):
    """The member `verdict`, as far as the commands read it."""

    decision: str
    origin: str
    rules: list[Hit]


class Answer(msgspec.Struct):
    """A verdict record's value, as far as the commands read it."""

    fraudulent: bool
    reason: list[str]
    verdict: Judged


read_verdict: Final = msgspec.json.Decoder(Answer).decode

WORDS: Final = {"block": "FRAUD", "review": "REVIEW", "accept": "LEGIT"}
DEAD: Final = "DEAD"
STYLES: Final = {"FRAUD": "bold red", "REVIEW": "yellow", "LEGIT": "green", DEAD: "magenta"}
"""Colours beside the words, never instead of them."""


def topic_of(origin: str) -> str:
    """The topic in an origin `topic/partition/offset`."""
    return origin.rsplit("/", 2)[0]


def text_of(raw: bytes | str | None) -> str:
    """A key or a header as text, whatever its bytes are."""
    return "-" if raw is None else raw.decode("utf-8", "backslashreplace") if isinstance(raw, bytes) else raw
