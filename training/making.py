"""Making a model from a history and its labels."""

from datetime import UTC, datetime
from typing import Any, Final, Literal, TypeAlias

import msgspec
import numpy as np

from detection.errors import TrainingError
from detection.models.files import FORMAT, MOST_EDGES, SCORE, Manifest, Reference
from detection.models.forest import Forest
from detection.pack import ModelSpec, Pack
from training.arrays import Flags, Matrix, Numbers
from training.boosting import Boosting, boost
from training.history import History
from training.isolation import Isolation, isolate
from training.measures import auc_roc, average_precision, calibration_error
from training.scoring import batch_scorer

Kind: TypeAlias = Literal["gradient_boosting", "isolation_forest"]

LEAST_EVENTS: Final = 1_000
"""For an isolation forest."""

LEAST_LABELS: Final = 100
"""Frauds, and as many others, that gradient boosting wants in the time it learns from."""

LEAST_HELD_OUT: Final = 10
"""Frauds, and as many others, that it wants in the time it is measured on."""

HELD_OUT: Final = 0.2
"""Share of the events, the newest ones, that figures are measured on."""

_SAMPLE: Final = 100_000
"""Events that the reference is about, at the most, evenly spread."""


class Made(msgspec.Struct, frozen=True):
    """A model that is not yet written.

    Attributes:
        manifest: What it is.
        forest: Its trees.
    """

    manifest: Manifest
    forest: Forest


def make(pack: Pack, model: ModelSpec, seen: History, labels: Numbers, *, kind: Kind | None, seed: int) -> Made:
    """Train a model.

    It is trained twice: without the newest time, to measure the figures on that, and then on all.

    Args:
        pack: The pack.
        model: Its model.
        seen: Events, in order.
        labels: Of each 1 if it was a fraud, 0 if not, NaN if nobody knows.
        kind: What to train; None: gradient boosting if there are labels enough, else an isolation forest.
        seed: Of what is drawn.

    Raises:
        TrainingError: There is too little to learn from; says how much is expected.
    """
    labelled = ~np.isnan(labels)
    missing = lack_of_labels(seen, labels)
    kind = kind or ("isolation_forest" if missing else "gradient_boosting")
    if kind == "gradient_boosting" and missing:
        msg = f"model {model.name}: {missing}"
        raise TrainingError(msg)
    if len(seen) < LEAST_EVENTS and kind == "isolation_forest":
        msg = f"model {model.name}: expected at least {LEAST_EVENTS:,} {model.on} events, got {len(seen):,}"
        raise TrainingError(msg)
    learns = labelled if kind == "gradient_boosting" else np.ones(len(seen), dtype=bool)
    older = seen.times < _cut(seen, learns)
    trial = _grow(kind, seen.rows[learns & older], labels[learns & older], seed)
    forest = _grow(kind, seen.rows[learns], labels[learns], seed)
    held_out = labelled & ~older
    figures = figures_of(labels[held_out] > 0, scores_of(trial, seen.rows[held_out]))
    frauds = int(np.nansum(labels))
    manifest = Manifest(
        format=FORMAT,
        name=model.name,
        kind=kind,
        event=model.on,
        features=list(model.features),
        definitions=model.definitions,
        pack=pack.hash,
        trained={
            "from": _text(seen.times[learns].min()),
            "to": _text(seen.times[learns].max()),
            "rows": int(learns.sum()),
            "frauds": frauds,
            "labels_until": _text(seen.times[labelled].max()) if labelled.any() else None,
            "seed": seed,
            "settings": _settings(kind, seed),
        },
        figures=figures,
        reference=_reference(model, seen.rows, forest),
    )
    return Made(manifest, forest)


def lack_of_labels(seen: History, labels: Numbers) -> str | None:
    """What gradient boosting would still need, in words; None: nothing."""
    labelled = ~np.isnan(labels)
    older = seen.times < _cut(seen, labelled) if labelled.any() else labelled
    for part, least, where in (
        (labelled & older, LEAST_LABELS, "in the time to learn from"),
        (labelled & ~older, LEAST_HELD_OUT, f"in the newest {HELD_OUT:.0%}, to measure it on"),
    ):
        frauds = int((labels[part] > 0).sum())
        others = int(part.sum()) - frauds
        if min(frauds, others) < least:
            expected = f"at least {least} events labelled a fraud and {least} labelled none {where}"
            return f"expected {expected}, got {frauds:,} and {others:,}"
    return None


def scores_of(forest: Forest, rows: Matrix) -> Numbers:
    """The scores that the dataflow would give."""
    return batch_scorer(forest, rows.shape[1])(rows)


def figures_of(frauds: Flags, scores: Numbers) -> dict[str, float]:
    """How good scores are: what can be said of them, and of how many."""
    figures = {"events": float(len(frauds)), "frauds": float(frauds.sum())}
    if frauds.any() and not frauds.all():
        figures |= {
            "average_precision": average_precision(frauds, scores),
            "auc_roc": auc_roc(frauds, scores),
            "calibration_error": calibration_error(frauds, scores),
        }
    return figures


def _cut(seen: History, learns: Flags) -> int:
    """The time that the held-out events are not older than."""
    return int(np.quantile(seen.times[learns], 1 - HELD_OUT, method="higher"))


def _grow(kind: Kind, rows: Matrix, labels: Numbers, seed: int) -> Forest:
    if kind == "gradient_boosting":
        return boost(rows, labels > 0, Boosting(seed=seed))
    return isolate(rows, Isolation(seed=seed))


def _settings(kind: Kind, seed: int) -> dict[str, Any]:
    settings = Boosting(seed=seed) if kind == "gradient_boosting" else Isolation(seed=seed)
    found: dict[str, Any] = msgspec.to_builtins(settings)
    return found


def _reference(model: ModelSpec, rows: Matrix, forest: Forest) -> dict[str, Reference]:
    rows = rows[:: -(-len(rows) // _SAMPLE)]
    columns = {name: rows[:, place] for place, name in enumerate(model.features)}
    return {name: _spread(column) for name, column in {**columns, SCORE: scores_of(forest, rows)}.items()}


def _spread(column: Numbers) -> Reference:
    known = column[~np.isnan(column)]
    parts = np.arange(1, MOST_EDGES + 1) / (MOST_EDGES + 1)
    edges = np.unique(np.quantile(known, parts, method="lower")) if len(known) else np.empty(0)
    counts = np.bincount(np.searchsorted(edges, known, side="left"), minlength=len(edges) + 1)
    return Reference(edges.tolist(), counts.tolist(), len(column) - len(known))


def _text(time: Any) -> str:
    return datetime.fromtimestamp(int(time) / 1e6, UTC).isoformat(timespec="microseconds")
