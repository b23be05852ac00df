"""`fraud models`."""

import os
import pwd
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from cli.errors import UsageError
from cli.project import read_project
from cli.terminal import clean, stdout
from detection.errors import ModelError
from detection.models.loaded import load_model
from detection.models.promoting import PREVIOUS, Change, promote, rollback
from detection.pack import ModelSpec


def list_models() -> int:
    """Show the models of the packs: what is in use, what is tried beside it, and what was in use before."""
    console = stdout()
    specs = _specs()
    rows = [[spec.name, role, *_told(spec, path)] for spec in specs for role, path in _places(spec)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)] if rows else []
    for row in rows:
        console.print(clean("  ".join(map(str.ljust, row, widths)).rstrip()))
    if not rows:
        console.print("the packs name no model")
    return 0


def promote_model(name: str | None = None, /, *, note: str | None = None) -> int:
    """Make the challenger the champion. A running dataflow uses it within two seconds.

    Args:
        name: The model; not needed where the packs name one alone.
        note: Why: kept in the record beside the model.
    """
    return _tell(promote(_spec(name), at=_now(), who=_who(), note=note))


def rollback_model(name: str | None = None, /, *, note: str | None = None) -> int:
    """Make the champion before this one the champion again.

    Args:
        name: The model; not needed where the packs name one alone.
        note: Why: kept in the record beside the model.
    """
    return _tell(rollback(_spec(name), at=_now(), who=_who(), note=note))


def _specs() -> tuple[ModelSpec, ...]:
    # Without the files: a wrong one must not keep anybody from looking at them, or from rolling back.
    return read_project()[1].models


def _spec(name: str | None) -> ModelSpec:
    specs = {spec.name: spec for spec in _specs()}
    if name is None and len(specs) == 1:
        return next(iter(specs.values()))
    if name not in specs:
        known = ", ".join(specs) or "none"
        msg = f"models: expected the name of a model ({known}), got {'nothing' if name is None else name}"
        raise UsageError(msg)
    return specs[name]


def _places(spec: ModelSpec) -> Iterator[tuple[str, Path]]:
    yield "champion", spec.file
    for role, path in (("challenger", spec.challenger_file), (PREVIOUS, spec.beside(PREVIOUS))):
        if path.exists():
            yield role, path


def _told(spec: ModelSpec, path: Path) -> list[str]:
    """The columns of a model."""
    if not path.exists():
        return ["none", f"{path} is not there", "", ""]
    try:
        model = load_model(path, spec.purpose)
    except ModelError as error:
        return ["wrong", str(error), "", ""]
    trained = model.manifest.trained
    known = [str(trained[key]) for key in ("from", "to") if key in trained]
    figures = ", ".join(f"{name} {value:.6g}" for name, value in model.manifest.figures.items())
    return [model.id, model.manifest.kind, " to ".join(known), figures]


def _tell(change: Change) -> int:
    done = {"promote": "promoted", "rollback": "rolled back to"}[change.action]
    stdout().print(clean(f"{change.model}: {done} {change.after} (before: {change.before or 'none'})"))
    return 0


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _who() -> str:
    """The account, not what the environment says it is."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # in a container, of no name
        return str(os.getuid())
