"""`fraud models compare`."""

from pathlib import Path
from typing import Annotated

import msgspec
from cyclopts import Parameter, validators
from rich.table import Table

from broker.logs import logs_to_stderr
from cli.errors import PROBLEMS
from cli.learning import learn, model_of
from cli.models import promote_model
from cli.project import read_project
from cli.terminal import clean, stdout
from detection.errors import ModelError
from detection.models.files import Model, read_model
from detection.models.loaded import load_model
from detection.pack import ModelSpec
from training.comparing import Comparison, compare


def compare_models(
    name: str | None = None,
    /,
    *,
    input: Path | None = None,  # noqa: A002  (the option's name)
    labels: Path | None = None,
    id: Annotated[str | None, Parameter(name="--id")] = None,  # noqa: A002
    genuine_after: str | None = None,
    card: str | None = None,
    segment: str | None = None,
    promote_above: Annotated[float | None, Parameter(validator=validators.Number(gte=0))] = None,
    json: Annotated[Path | None, Parameter(name="--json")] = None,
) -> int:
    """Compare the challenger with the champion on labelled events that came after both were trained.

    Args:
        name: The model; not needed where the packs name one alone.
        input: A file with the model's events, in order. Without it: their topic.
        labels: A file with a label in each line. Without it: the topic LABELS_TOPIC.
        id: The field of the events that labels name as their `id`. Without it labels name the `origin`.
        genuine_after: Events so old that nobody has labelled count as no frauds ("30d"). Without it they do not count.
        card: The field that says who pays: for card precision, and for an interval that knows their events are alike.
        segment: A field to tell the figures by.
        promote_above: Make the challenger the champion if its average precision is higher by so much at least, and the
            interval of the difference is above 0. Without it nothing is changed.
        json: Write all figures to this file.
    """
    logs_to_stderr()
    settings, pack = read_project()
    spec = model_of(pack, name)
    champion, challenger = _read(spec, spec.file), _read(spec, spec.challenger_file)
    keep = [field for field in (card, segment) if field is not None]
    seen, labelled, told = learn(
        settings, pack, spec, file=input, labels=labels, by=id, genuine_after=genuine_after, keep=keep
    )
    console = stdout()
    for line in told:
        console.print(clean(line))
    found = compare(champion, challenger, seen, labelled, card=card, segment=segment)
    if json is not None:
        json.write_bytes(msgspec.json.format(msgspec.json.encode(found)) + b"\n")
    _show(found, champion, challenger)
    if promote_above is None:
        return 0
    if not found.better_by(promote_above):
        console.print(f"not promoted: expected at least {promote_above:g} more, and an interval above 0")
        return PROBLEMS
    gained = found.difference
    return promote_model(
        spec.name, note=f"average precision {gained.value:+.4f} ({gained.low:+.4f} to {gained.high:+.4f})"
    )


def _read(spec: ModelSpec, path: Path) -> Model:
    if not path.exists():
        msg = f"{path}: expected a model to compare, got no file"
        raise ModelError(msg)
    load_model(path, spec.purpose)
    return read_model(path)


def _show(found: Comparison, champion: Model, challenger: Model) -> None:
    console = stdout()
    console.print(f"{found.events:,} labelled events after {found.since}, {found.frauds:,} of them frauds")
    table = Table(box=None, pad_edge=False)
    for title in ("", f"champion {champion.id}", f"challenger {challenger.id}"):
        table.add_column(title, justify="right" if title else "left")
    for figure, value in found.champion.items():
        if figure not in {"events", "frauds"}:
            table.add_row(figure.replace("_", " "), f"{value:.4f}", f"{found.challenger[figure]:.4f}")
    for part in found.segments:
        values = ("none" if value is None else f"{value:.4f}" for value in (part.champion, part.challenger))
        table.add_row(
            clean(f"average precision, {part.value} ({part.events:,} events, {part.frauds:,} frauds)"), *values
        )
    console.print(table)
    gained = found.difference
    console.print(f"average precision {gained.value:+.4f}, 95 % interval {gained.low:+.4f} to {gained.high:+.4f}")
