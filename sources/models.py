"""Models whose files change while events are judged.

A thread looks at the files and makes ready what changed; between two batches it is put in its place. Each process does
so by itself.
"""

import errno
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Lock, Thread
from typing import Final, TypeAlias

import structlog

from detection.errors import ModelError
from detection.models.loaded import LoadedModel, load_model
from detection.models.slots import Models
from detection.pack import ModelSpec

EVERY_SECONDS: Final = 0.5
"""A file is read when it was the same at two looks, so that one that is still being written is not."""

_log = structlog.get_logger(__name__)

_Mark: TypeAlias = tuple[int, ...] | None
"""Tells a file from what it was before; None: there is none."""

_UNSEEN: Final = (-1,)


@dataclass(slots=True)
class _Place:
    """A file that a model may lie in.

    Attributes:
        path: The file.
        model: What is in use from it.
        read: How it was when it was read.
        seen: How it was at the last look.
    """

    path: Path
    model: LoadedModel | None
    read: _Mark = _UNSEEN
    seen: _Mark = _UNSEEN


@dataclass(slots=True)
class _Kept:
    """One model of the pack, with the news of it that are not yet in their place."""

    spec: ModelSpec
    champion: _Place
    challenger: _Place
    refused: int = 0
    changed: bool = False


class ModelFiles:
    """Keeps models as their files say.

    A file that cannot be used changes nothing: the model that is in use stays, and a line says why, once.
    """

    def __init__(self, models: Iterable[ModelSpec]) -> None:
        """Begin with what was loaded with the pack."""
        self._kept = {
            spec.name: _Kept(spec, _Place(spec.file, spec.champion), _Place(spec.challenger_file, spec.challenger))
            for spec in models
        }
        self._lock = Lock()
        self._news = False
        self._end = Event()

    def start(self) -> None:
        """Look at the files from now on, until the process or `stop` ends it."""
        if self._kept:
            Thread(target=self._watch, name="models", daemon=True).start()

    def stop(self) -> None:
        """Look no more."""
        self._end.set()

    def __call__(self, models: Models) -> None:
        """Put in what is ready. Between two batches; never waits for a file."""
        if not self._news or not self._lock.acquire(blocking=False):  # another worker, or a look, is at it
            return
        try:
            self._news = False
            for name, kept in self._kept.items():
                slot = models.slots[name]
                slot.refused += kept.refused
                kept.refused = 0
                if kept.changed:
                    slot.swaps += 1
                    slot.put(kept.champion.model, kept.challenger.model)
                    kept.changed = False
                    _log.info("a model is put in its place", model=name, **_ids(kept))
        finally:
            self._lock.release()

    def look(self) -> None:
        """Look at all files once, and read what changed before the last look and not since."""
        for kept in self._kept.values():
            places = [place for place in (kept.champion, kept.challenger) if _settled(place)]
            found = [(place, self._read(kept, place)) for place in places]
            with self._lock:
                for place, model in found:
                    kept.changed |= model is not place.model
                    place.model = model
                self._news |= kept.changed or kept.refused > 0

    def _read(self, kept: _Kept, place: _Place) -> LoadedModel | None:
        place.read = place.seen
        if place.seen is None:
            return self._missing(kept, place)
        known = [model for model in (kept.champion.model, kept.challenger.model) if model is not None]
        try:
            return load_model(place.path, kept.spec.purpose, known)
        except ModelError as error:
            kept.refused += 1
            _log.warning("a model is refused, what is in use stays", model=kept.spec.name, error=str(error))
            return place.model

    @staticmethod
    def _missing(kept: _Kept, place: _Place) -> LoadedModel | None:
        if place is kept.challenger or place.model is None:
            return None
        told = "a model's file is gone, the model stays in use until the next start"
        _log.warning(told, model=kept.spec.name, file=str(place.path), id=place.model.id)
        return place.model

    def _watch(self) -> None:
        while not self._end.wait(EVERY_SECONDS):
            self.look()


def _settled(place: _Place) -> bool:
    """Whether a file is not as it was read, but as it was at the last look."""
    mark = _mark(place.path)
    settled = mark == place.seen != place.read
    place.seen = mark
    return settled


def _mark(path: Path) -> _Mark:
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    except OSError as error:  # reading it will tell
        return (error.errno or errno.EIO,)
    return found.st_mtime_ns, found.st_size, found.st_ino


def _ids(kept: _Kept) -> dict[str, str | None]:
    places = {"id": kept.champion, "challenger": kept.challenger}
    return {name: None if place.model is None else place.model.id for name, place in places.items()}
