"""Labels: what people found out about single events. Of several for one event the newest counts."""

import msgspec

from detection.errors import UndecodableError


class Label(msgspec.Struct, frozen=True):
    """The value of a record in the topic of labels; other members are for others.

    Attributes:
        origin: The event, `topic/partition/offset`, as `verdict.origin` names it; absent: the record's key does.
        fraudulent: What it was; null takes back what was said before.
    """

    origin: str | None = None
    fraudulent: bool | None = None


_label = msgspec.json.Decoder(Label).decode


def read_label(key: bytes | None, value: bytes | None) -> tuple[str, bool | None]:
    """The event that a label is about, and whether it was fraud; None takes back what was said before.

    Raises:
        UndecodableError: It is no label.

    >>> read_label(None, b'{"origin": "clicks/0/7", "fraudulent": true}')
    ('clicks/0/7', True)
    >>> read_label(b"clicks/0/7", None)
    ('clicks/0/7', None)
    """
    try:
        label = _label(value) if value else Label()
        origin = label.origin or (key or b"").decode()
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        msg = f"no label: {error}"
        raise UndecodableError(msg) from None
    if not origin:
        msg = "no label: expected the event's origin in a member or as the key, got none"
        raise UndecodableError(msg)
    return origin, label.fraudulent


class Labels:
    """The newest label of each event."""

    def __init__(self) -> None:
        self._newest: dict[str, tuple[int, int, int, bool | None]] = {}

    def __len__(self) -> int:
        return len(self._newest)

    def add(self, origin: str, *, fraud: bool | None, partition: int, offset: int, at: int) -> None:
        """Take a label: within a partition the later one is newer, else the one with the later timestamp (ms)."""
        known = self._newest.get(origin)
        newer = known is None or (offset > known[1] if partition == known[0] else at >= known[2])
        if newer:
            self._newest[origin] = (partition, offset, at, fraud)

    def get(self, origin: str) -> bool | None:
        """Whether an event was fraud; None: nobody said."""
        known = self._newest.get(origin)
        return None if known is None else known[3]
