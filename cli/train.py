"""`fraud train`."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from broker.logs import logs_to_stderr
from cli.learning import learn, model_of
from cli.project import read_project
from cli.terminal import clean, stdout
from detection.models.files import write_model
from training.making import Kind, lack_of_labels, make


def train(
    name: str | None = None,
    /,
    *,
    input: Path | None = None,  # noqa: A002  (the option's name)
    labels: Path | None = None,
    id: Annotated[str | None, Parameter(name="--id")] = None,  # noqa: A002
    kind: Kind | None = None,
    genuine_after: str | None = None,
    seed: int = 1,
) -> int:
    """Train a model from events and labels.

    Args:
        name: The model; not needed where the packs name one alone.
        input: A file with the model's events, in order. Without it: their topic.
        labels: A file with a label in each line. Without it: the topic LABELS_TOPIC.
        id: The field of the events that labels name as their `id`. Without it labels name the `origin`.
        kind: What to train. Without it: gradient_boosting if there are labels enough, else isolation_forest.
        genuine_after: Events so old that nobody has labelled count as no frauds ("30d"). Without it they teach nothing.
        seed: Train the same model again.
    """
    logs_to_stderr()
    settings, pack = read_project()
    spec = model_of(pack, name)
    seen, labelled, told = learn(settings, pack, spec, file=input, labels=labels, by=id, genuine_after=genuine_after)
    console = stdout()
    for line in told:
        console.print(clean(line))
    if kind is None and (missing := lack_of_labels(seen, labelled)):
        console.print(f"an isolation forest, for want of labels: {missing}")
    made = make(pack, spec, seen, labelled, kind=kind, seed=seed)
    path = spec.challenger_file if spec.file.exists() else spec.file
    path.parent.mkdir(parents=True, exist_ok=True)
    written = write_model(path, made.manifest, made.forest)
    trained, figures = made.manifest.trained, made.manifest.figures
    console.print(
        f"{made.manifest.kind} {written} of {trained['rows']:,} events, {trained['frauds']:,} of them known frauds, "
        f"{trained['from']} to {trained['to']}"
    )
    words = ", ".join(f"{figure.replace('_', ' ')} {value:.4g}" for figure, value in figures.items())
    console.print(f"on the newest fifth, which it had not seen: {words}")
    role = "challenger: scored in shadow" if path == spec.challenger_file else "champion: rules read it"
    console.print(clean(f"{path} ({role})"))
    return 0
