"""Putting a challenger in the champion's place, and taking it back: which files become which, and who said so.

A running dataflow sees the change by itself, see `sources.models`.
"""

import os
from pathlib import Path
from typing import Final, Literal

import msgspec

from detection.errors import ModelError
from detection.files import FOR_ALL, replace, sync_folder
from detection.models.files import read_bytes
from detection.models.loaded import LoadedModel, load_model
from detection.pack import ModelSpec

PREVIOUS: Final = "previous"
"""The champion before this one: what a rollback goes back to."""

WITHDRAWN: Final = "withdrawn"
"""What the last rollback took back."""


class Change(msgspec.Struct, frozen=True, omit_defaults=True):
    """A line of `NAME.models.jsonl`, the record of all changes.

    Attributes:
        at: When, ISO 8601.
        who: The account that made the change.
        action: What was done.
        model: The model's name in the pack.
        before: The id of the champion before; None: there was none, or nothing that is a model.
        after: The id of the champion now.
        figures: How good that one was on time that it was not trained on, as its manifest says.
        note: Why, in the words of who did it.
    """

    at: str
    who: str
    action: Literal["promote", "rollback"]
    model: str
    before: str | None
    after: str
    figures: dict[str, float]
    note: str | None = None


def record_of(spec: ModelSpec) -> Path:
    """The file with all changes of a model."""
    return spec.file.with_name(f"{spec.file.stem}.models.jsonl")


def promote(spec: ModelSpec, *, at: str, who: str, note: str | None = None) -> Change:
    """Make the challenger the champion; the champion stays as the previous one.

    Raises:
        ModelError: There is no challenger, or a wrong one.
        OSError: A file cannot be written; the champion is the old one.
    """
    return _put(spec, spec.challenger_file, spec.beside(PREVIOUS), "promote", at=at, who=who, note=note)


def rollback(spec: ModelSpec, *, at: str, who: str, note: str | None = None) -> Change:
    """Make the previous champion the champion again; the one that is taken back stays as the withdrawn one.

    Raises:
        ModelError: There is no previous champion, or a wrong one.
        OSError: A file cannot be written; the champion is the old one.
    """
    return _put(spec, spec.beside(PREVIOUS), spec.beside(WITHDRAWN), "rollback", at=at, who=who, note=note)


def _put(
    spec: ModelSpec,
    source: Path,
    kept: Path,
    action: Literal["promote", "rollback"],
    *,
    at: str,
    who: str,
    note: str | None,
) -> Change:
    new = load_model(source, spec.purpose)
    old = _champion(spec)
    before = old.id if old else None
    change = Change(at, who, action, spec.name, before, new.id, new.manifest.figures, note)
    with record_of(spec).open("ab") as record:  # first of all: without a record there is no change
        if spec.file.exists():
            replace(kept, read_bytes(spec.file), FOR_ALL)
        source.replace(spec.file)
        sync_folder(spec.file.parent)
        record.write(msgspec.json.encode(change) + b"\n")
        record.flush()
        os.fsync(record.fileno())
    return change


def _champion(spec: ModelSpec) -> LoadedModel | None:
    """The champion; None for what is no model, which a rollback may be about."""
    try:
        return load_model(spec.file, spec.purpose)
    except ModelError:
        return None
