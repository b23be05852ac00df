"""What a user may see of records: as they are, or with what is personal masked."""

from collections.abc import Callable
from typing import Any, Final

from msgspec.structs import replace

from detection.pack import Pack
from sources.masking import Masking
from web.live.buffer import matching
from web.live.records import Shown

_MOST_KNOWN: Final = 20_000


class Veil:
    """Masks the records of one reader, whose numbers tell them apart.

    Attributes:
        hides: Whether anything is personal.
        masking: How it masks.
    """

    def __init__(self, pack: Pack) -> None:
        """Know no record yet."""
        self.masking = Masking(pack)
        self.hides = self.masking.hides
        self._known: dict[int, tuple[str, str]] = {}

    def row(self, record: Shown, *, plain: bool) -> dict[str, Any]:
        """What a row needs."""
        return (record if plain else self._listed(record)).row()

    def opened(self, record: Shown, *, plain: bool, plain_lists: bool) -> dict[str, Any]:
        """All that is known of a record, and its key as the lists of the same user have it."""
        shown = record
        if not plain and self.hides:
            value = self.masking.value(record.word, record.topic, record.value)
            shown = replace(self._listed(record), value=value)
        return shown.opened() | {"listed_as": self.row(record, plain=plain_lists)["key"]}

    def hides_in(self, record: Shown) -> bool:
        """Whether a record that is opened looks otherwise to who may not see what is personal."""
        return self.hides and (
            self.opened(record, plain=True, plain_lists=True) != self.opened(record, plain=False, plain_lists=True)
        )

    def matching(
        self, *, plain: bool, words: frozenset[str], rule: str, key: str, text: str
    ) -> Callable[[Shown], bool]:
        """Whether a record passes a filter, which compares what its user is shown: it must tell no more than that."""
        if plain or not self.hides:
            return matching(words=words, rule=rule, key=key, text=text)
        by_name = matching(words=words, rule=rule, key="", text="")
        if not (key or text):
            return by_name
        by_text = matching(words=frozenset(), rule="", key=key, text=text)
        return lambda record: by_name(record) and by_text(self._listed(record))

    def _listed(self, record: Shown) -> Shown:
        """A record whose key and text are as lists have them; its bytes are left as they are."""
        if not self.hides:
            return record
        told = self._known.get(record.number)
        if told is None:
            told = self.masking.texts(record.word, record.topic, record.value, record.key, record.text)
            if len(self._known) >= _MOST_KNOWN:
                self._known.clear()
            self._known[record.number] = told
        return replace(record, key=told[0], text=told[1])
