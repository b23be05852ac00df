"""One record of an output topic, as the page shows it: in a row, and opened."""

from typing import Any, Final

import msgspec
from confluent_kafka import Message

from sources.verdicts import DEAD, OTHER, WORDS, OtherError, read_dead_letter, read_verdict, text_of, topic_of

_ROW_TEXT: Final = 300
_OPEN_TEXT: Final = 20_000
_ROW_RULES: Final = 12


class Shown(msgspec.Struct, frozen=True):
    """A verdict or a dead letter that was read.

    Attributes:
        number: Counts what this process has read; no other has it.
        word: FRAUD, REVIEW, LEGIT, DEAD, or OTHER for what somebody else has written.
        at: When it was written, ms since the epoch; negative if nobody said.
        topic: The topic its event came from.
        key: Its event's key: the entity.
        text: Reasons, or the error.
        rules: The rules that fired.
        origin: Its event, `topic/partition/offset`.
        value: The record's bytes.
    """

    number: int
    word: str
    at: int
    topic: str
    key: str
    text: str
    rules: list[str]
    origin: str
    value: bytes

    @property
    def size(self) -> int:
        """About how many bytes it keeps in memory."""
        return len(self.value) + len(self.text) + len(self.key) + len(self.origin) + 500

    def row(self) -> dict[str, Any]:
        """What a row needs: a hostile record cannot make it large."""
        return {
            "number": self.number,
            "word": self.word,
            "at": self.at,
            "topic": self.topic[:_ROW_TEXT],
            "key": self.key[:_ROW_TEXT],
            "text": self.text[:_ROW_TEXT],
            "rules": [rule[:_ROW_TEXT] for rule in self.rules[:_ROW_RULES]],
            "origin": self.origin[:_ROW_TEXT],
        }

    def opened(self) -> dict[str, Any]:
        """All that is known of it. Numbers are texts: a browser would round them."""
        told = self.row() | {"text": self.text[:_OPEN_TEXT], "value": text_of(self.value)[:_OPEN_TEXT]}
        try:
            judged = _full(self.value).verdict
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return told
        return told | {
            "score": judged.score,
            "pack": judged.pack,
            "late": judged.late,
            "warming": judged.warming,
            "hits": [
                {
                    "id": hit.id,
                    "version": hit.version,
                    "detail": hit.detail,
                    "shadow": hit.shadow,
                    "values": {name: bytes(value).decode("utf-8", "replace") for name, value in hit.values.items()},
                }
                for hit in judged.rules
            ],
            "evidence": judged.evidence,
        }


class _Hit(msgspec.Struct):
    id: str
    version: str = ""
    detail: str = ""
    shadow: bool = False
    values: dict[str, msgspec.Raw] = {}


class _Window(msgspec.Struct):
    total: int
    newest: list[str]


class _Judged(msgspec.Struct):
    rules: list[_Hit] = []
    score: int = 0
    pack: str = ""
    late: bool = False
    warming: list[str] = []
    evidence: dict[str, _Window] = {}


class _Full(msgspec.Struct):
    verdict: _Judged


_full: Final = msgspec.json.Decoder(_Full).decode


def read_record(message: Message, dead_letter_topic: str, number: int) -> Shown:
    """What a record of an output topic says; one that is none of ours is shown as that."""
    at, key, value = message.timestamp()[1], text_of(message.key()), message.value() or b""
    try:
        if message.topic() == dead_letter_topic:
            origin, error = read_dead_letter(message)
            return Shown(number, DEAD, at, topic_of(origin), key, error, [], origin, value)
        answer = read_verdict(value)
    except OtherError as error:
        return Shown(number, OTHER, at, str(message.topic()), key, str(error), [], "-", value)
    verdict = answer.verdict
    rules = [hit.id for hit in verdict.rules]
    word = WORDS[verdict.decision]
    text = "; ".join(answer.reason)
    return Shown(number, word, at, topic_of(verdict.origin), key, text, rules, verdict.origin, value)
