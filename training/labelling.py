"""Labels for a history: what people and chargebacks said, joined to events by their place or by an id of theirs."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from heapq import merge
from math import inf
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np

from detection.codec import EventCodec
from detection.errors import UndecodableError
from detection.labels import Labels
from detection.pack import Pack
from detection.records import Record
from training.arrays import Numbers, Times
from training.history import History

_MICROS_OF_MS: Final = 1_000


class Told(msgspec.Struct):
    """What is read of a label beside `detection.labels`.

    Attributes:
        origin: The event's place.
        id: The event's id, where there is no place.
        fraudulent: What it was; None takes back what was said.
        at: When that was said, ms since 1970.
    """

    origin: str | None = None
    id: str | int | None = None
    fraudulent: bool | None = None
    at: int | None = None


_told = msgspec.json.Decoder(Told).decode


class Known:
    """The newest label of each event.

    Attributes:
        wrong: How many records were no labels.
    """

    def __init__(self, records: Iterable[Record]) -> None:
        """Take labels, in the order of their topic or file."""
        self._labels = Labels()
        self.wrong = 0
        for record in records:
            try:
                name, fraud = _name(record)
            except UndecodableError:
                self.wrong += 1
                continue
            place = {"partition": record.partition, "offset": record.offset, "at": record.timestamp}
            self._labels.add(name, fraud=fraud, **place)

    def __len__(self) -> int:
        return len(self._labels)

    def of(self, seen: History, ids: Sequence[Any] | None = None) -> Numbers:
        """For each event 1.0 if it was a fraud, 0.0 if not, NaN if nobody said.

        Args:
            seen: The events.
            ids: Their ids, if labels name these.
        """
        names: Sequence[Any] = seen.origins if ids is None else ids
        found = (self._labels.get(origin) for origin in seen.origins)
        if ids is not None:
            found = (
                self._labels.get(origin) if self._labels.get(origin) is not None else self._labels.get(str(name))
                for origin, name in zip(seen.origins, names, strict=True)
            )
        return np.array([np.nan if fraud is None else float(fraud) for fraud in found])


def settled(labels: Numbers, times: Times, after: int | None) -> Numbers:
    """The same, where events older than so many us before the newest one are no frauds if nobody said so.

    >>> settled(np.array([np.nan, 1.0, np.nan]), np.array([0, 5, 10]), 7).tolist()
    [0.0, 1.0, nan]
    """
    if after is None or not len(times):
        return labels
    return np.where(np.isnan(labels) & (times < times.max() - after), 0.0, labels)


def _name(record: Record) -> tuple[str, bool | None]:
    try:
        told = _told(record.value) if record.value else Told()
        name = told.origin or ("" if told.id is None else str(told.id)) or (record.key or b"").decode()
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        msg = f"no label: {error}"
        raise UndecodableError(msg) from None
    if not name:
        msg = "no label: expected the event's origin or id, got neither"
        raise UndecodableError(msg)
    return name, told.fraudulent


def read_labels(path: Path, topic: str) -> list[Record]:
    """The lines of a file of JSON, each a label, as records of that topic."""
    with path.open("rb") as file:
        return [
            Record(topic, 0, number, _said(line), None, line.strip())
            for number, line in enumerate(file, 1)
            if line.strip()
        ]


def _said(line: bytes) -> int:
    try:
        at = _told(line).at
    except (msgspec.DecodeError, RecursionError):
        return -1
    return -1 if at is None else at


def as_they_came(pack: Pack, events: Iterable[Record], labels: Sequence[Record]) -> Iterator[Record]:
    """Events of a file in their order, and each label when it was given; one that does not say when comes last.

    Features that look at labels then see what they would have seen live. Labels of a topic that no event type of the
    pack is read from are left out.
    """
    codecs = {event.topic: EventCodec(event, number) for number, event in enumerate(pack.events)}
    mine = [label for label in labels if label.topic in codecs]
    told = sorted(((_arrival(label), label) for label in mine), key=lambda item: item[0])
    for _, record in merge(_timed(codecs, events), told, key=lambda item: item[0]):
        yield record


def in_order_of_time(records: Iterable[Record]) -> Iterator[Record]:
    """Records of several partitions by the time at which they were written; within one their order stays."""
    newest: dict[tuple[str, int], int] = {}
    timed: list[tuple[int, Record]] = []
    for record in records:
        part = (record.topic, record.partition)
        newest[part] = max(newest.get(part, record.timestamp), record.timestamp)
        timed.append((newest[part], record))
    timed.sort(key=lambda item: item[0])
    return (record for _, record in timed)


def _arrival(label: Record) -> float:
    return inf if label.timestamp < 0 else float(label.timestamp * _MICROS_OF_MS)


def _timed(codecs: dict[str, EventCodec], events: Iterable[Record]) -> Iterator[tuple[float, Record]]:
    """An event comes when it happens, or with the one before it if that is later."""
    arrival = -inf
    for record in events:
        with suppress(UndecodableError):
            arrival = max(arrival, float(codecs[record.topic].decode(record).time))
        yield arrival, record
