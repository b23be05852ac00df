"""Records of the output topics as somebody may see them who may not see what is personal."""

import re
from typing import Any, Final

import msgspec

from detection.pack import Pack
from detection.privacy import HIDDEN, Privacy, hide, masked
from sources.verdicts import WORDS

_GOT: Final = re.compile(r"\bgot .*", re.DOTALL)
_VERDICTS: Final = frozenset(WORDS.values())


class Masking:
    """Masks what the pack says is personal.

    Of a dead letter, of a verdict by another pack, and of what somebody else has written, nobody can tell where
    personal values are: their key is masked, and neither their bytes nor what their error quotes is shown, unless
    events of that topic have none.

    Attributes:
        hides: Whether anything is personal.
    """

    def __init__(self, pack: Pack) -> None:
        """Look at all events of the pack."""
        self._privacy = Privacy(pack)
        self._topics = frozenset(pack.topics_in)
        self.hides = bool(self._privacy.names)

    def texts(self, word: str, topic: str, value: bytes, key: str, text: str) -> tuple[str, str]:
        """The key of a record, and its reasons or its error.

        Args:
            word: FRAUD and so on.
            topic: That its event came from.
            value: Its bytes.
            key: As it is.
            text: As it is.
        """
        if not self._privacy.concerns(topic):
            return key, text
        decoded = self._verdict(word, topic, value)
        if decoded is None and word in _VERDICTS:  # its reasons are of rules that we do not know
            return masked(key), HIDDEN
        if decoded is None:
            return masked(key), _GOT.sub(f"got {HIDDEN}", hide(text, [key]))
        found = self._privacy.found(topic, decoded)
        return hide(key, found), hide(text, found)

    def value(self, word: str, topic: str, value: bytes) -> bytes:
        """The bytes of a record."""
        if not self._privacy.concerns(topic):
            return value
        decoded = self._verdict(word, topic, value)
        return HIDDEN.encode() if decoded is None else msgspec.json.encode(self._privacy.record(topic, decoded))

    def member(self, name: str, value: str, found: list[str]) -> str:
        """The value of a field of a verdict with these personal values."""
        return hide(self._privacy.show(name, value), found)

    def found(self, topic: str, value: bytes) -> list[str]:
        """The personal values of a verdict."""
        return self._privacy.found(topic, _decoded(value)) if self.hides else []

    def _verdict(self, word: str, topic: str, value: bytes) -> dict[str, Any] | None:
        """The object that a verdict on one of the pack's events is."""
        return _decoded(value) if word in _VERDICTS and topic in self._topics else None


def _decoded(value: bytes) -> dict[str, Any] | None:
    """The object that a verdict is."""
    try:
        decoded = msgspec.json.decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return decoded if isinstance(decoded, dict) else None
