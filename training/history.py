"""The rows a model learns from: records through the very code that computes features live."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from detection.models.rows import row_of
from detection.pack import ModelSpec, Pack
from detection.program import Engine
from detection.records import DeadLetter, Record
from training.arrays import Flags, Matrix, Numbers, Times

if TYPE_CHECKING:
    from detection.codec import Event

_BATCH: Final = 5_000
_EVICT_EVERY: Final = 40


@dataclass(frozen=True, slots=True)
class History:
    """The events that a model scores, in the order in which they came.

    Attributes:
        times: Their times.
        rows: What the model sees of them.
        origins: Their places, `topic/partition/offset`.
        kept: Of each field asked for, its values.
        unreadable: How many records were no events.
    """

    times: Times
    rows: Matrix
    origins: Sequence[str]
    kept: dict[str, list[Any]]
    unreadable: int = 0

    def __len__(self) -> int:
        return len(self.times)

    def at(self, where: Flags | Numbers) -> "History":
        """Some of them."""
        places = np.arange(len(self))[where].tolist()
        kept = {name: [values[place] for place in places] for name, values in self.kept.items()}
        return History(self.times[where], self.rows[where], [self.origins[place] for place in places], kept)


def history(
    pack: Pack,
    model: ModelSpec,
    records: Iterable[Record],
    keep: Sequence[str] = (),
    on_progress: Callable[[int], None] = lambda _: None,
) -> History:
    """Compute the rows of a model.

    Args:
        pack: The pack.
        model: Its model.
        records: Records of the pack's topics, in the order in which they came: also those that features look at.
        keep: Names of fields whose values are wanted.
        on_progress: Told now and then how many events there were.
    """
    engine = Engine(pack)
    kind, event = next((number, event) for number, event in enumerate(pack.events) if event.name == model.on)
    row = row_of(event, engine.program.plan, model)
    attributes = {name: f"f_{name}" for name in keep}
    kept: dict[str, list[Any]] = {name: [] for name in keep}
    times: list[int] = []
    origins: list[str] = []
    parts: list[Matrix] = [np.empty((0, len(model.features)))]
    unreadable = batches = 0
    records = iter(records)
    while batch := list(islice(records, _BATCH)):
        items = engine.enrich(batch)
        mine: list[Event] = [item for item in items if not isinstance(item, DeadLetter) and item.kind == kind]
        unreadable += sum(isinstance(item, DeadLetter) for item in items)
        if mine:
            parts.append(np.array([row(item) for item in mine], dtype=np.float64))
        times += [item.time for item in mine]
        origins += [f"{event.topic}/{item.partition}/{item.offset}" for item in mine]
        for name, attribute in attributes.items():
            kept[name] += [getattr(item, attribute) for item in mine]
        batches += 1
        if batches % _EVICT_EVERY == 0:
            engine.evict()
            on_progress(len(times))
    return History(np.array(times, dtype=np.int64), np.concatenate(parts), origins, kept, unreadable)
