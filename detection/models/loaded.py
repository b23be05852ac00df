"""Models out of files, ready to score and to explain."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from detection.errors import ModelError
from detection.models.explaining import Explainer
from detection.models.files import Model, decode_model, identity_of, read_bytes
from detection.models.forest import Row
from detection.models.scoring import scorer

MOST_TOLD: Final = 5
"""Features that a verdict names."""


@dataclass(frozen=True, slots=True)
class Purpose:
    """What a model must be made for.

    Attributes:
        name: Its name in the pack.
        event: The event type that it scores.
        features: What it looks at, in order.
        definitions: Digest of what defines those.
    """

    name: str
    event: str
    features: tuple[str, ...]
    definitions: str


class LoadedModel:
    """A model in memory.

    Attributes:
        id: Tells it from others.
        manifest: What it is, and where it comes from.
        trees: How many trees it has.
        score: From a row to its score, 0 to 1.
    """

    def __init__(self, model: Model) -> None:
        features = len(model.manifest.features)
        self.id = model.id
        self.manifest = model.manifest
        self.trees = len(model.forest.trees)
        self.score = scorer(model.forest, features)
        self._explain = Explainer(model.forest, features)
        # The shorter the paths to a row in an isolation forest, the stranger it is.
        self._sign = -1.0 if model.forest.kind == "isolation_forest" else 1.0

    def top(self, row: Row) -> list[tuple[int, float]]:
        """The features with most to do with a score, at most 5, each with its contribution.

        It is positive where the feature raises the score. Its unit is that of the sum of the leaves: log-odds of
        gradient boosting, path lengths of an isolation forest.
        """
        contributions = [self._sign * value for value in self._explain(row)]
        order = sorted(range(len(contributions)), key=lambda index: -abs(contributions[index]))
        return [(index, contributions[index]) for index in order[:MOST_TOLD] if contributions[index]]


def load_model(path: Path, purpose: Purpose, known: Iterable[LoadedModel] = ()) -> LoadedModel:
    """Read a model that must serve a purpose.

    Args:
        path: Its file.
        purpose: What it must be made for.
        known: Models for it that are in memory: what the file holds may be one of them.

    Raises:
        ModelError: It cannot be read, is no model, or was made for something else.
    """
    content = read_bytes(path)
    identity = identity_of(content)
    for one in known:
        if one.id == identity:
            return one
    model = decode_model(str(path), content)
    manifest = model.manifest
    _expect(path, "name", purpose.name, manifest.name)
    _expect(path, "event", purpose.event, manifest.event)
    _expect(path, "features", _names(purpose.features), _names(manifest.features))
    if manifest.definitions != purpose.definitions:
        expected = f"those of the pack ({purpose.definitions[:12]})"
        msg = f"{path}: definitions of its features: expected {expected}, got others ({manifest.definitions[:12]})"
        raise ModelError(msg)
    return LoadedModel(model)


def _names(features: Sequence[str]) -> str:
    return ", ".join(features)


def _expect(path: Path, what: str, expected: str, got: str) -> None:
    if got != expected:
        msg = f"{path}: {what}: expected {expected}, got {got}"
        raise ModelError(msg)
