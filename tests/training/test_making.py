"""Models made from files, and compared."""

import msgspec
import numpy as np
import pytest

from detection.errors import TrainingError
from detection.loading import parse
from detection.models.files import Model, read_model, write_model
from detection.pack import Pack
from sources.files import read_file
from training.comparing import card_precision, compare
from training.history import History, history
from training.labelling import Known, as_they_came, read_labels
from training.making import LEAST_LABELS, lack_of_labels, make


class Learned:
    """What is learned from a stream."""

    def __init__(self, stream) -> None:
        name = str(stream.folder / "pack.toml")
        self.pack: Pack = parse({name: (stream.folder / "pack.toml").read_text()})
        (self.model,) = self.pack.models
        labels = read_labels(stream.folder / stream.labels(), "fraud.labels")
        records = as_they_came(self.pack, read_file(stream.folder / "events.jsonl", self.pack.events[0]), labels)
        self.seen: History = history(self.pack, self.model, records, ["user", "country"])
        self.labels = Known(labels).of(self.seen)
        self.folder = stream.folder

    def made(self, where: slice, kind=None, labels: np.ndarray | None = None) -> Model:
        labels = self.labels if labels is None else labels
        made = make(
            self.pack, self.model, self.seen.at(np.arange(len(self.seen))[where]), labels[where], kind=kind, seed=1
        )
        path = self.folder / "x.model"
        write_model(path, made.manifest, made.forest)
        return read_model(path)


@pytest.fixture
def learned(stream) -> Learned:
    return Learned(stream)


def test_labels_enough_make_a_boosted_model_that_knows_where_it_comes_from(learned: Learned) -> None:
    manifest = learned.made(slice(None)).manifest

    assert manifest.kind == "gradient_boosting"
    assert manifest.features == ["amount", "payments", "usual", "frauds"]
    assert manifest.definitions == learned.model.definitions
    assert manifest.trained["rows"] == 2_500
    assert manifest.trained["frauds"] == int(np.nansum(learned.labels))
    assert manifest.figures["average_precision"] > 0.6  # chance: 0.12
    assert manifest.figures["events"] == 500
    assert sum(manifest.reference["amount"].counts) == 2_500
    assert set(manifest.reference) == {*manifest.features, "score"}


def test_the_same_history_makes_the_same_file(learned: Learned) -> None:
    assert learned.made(slice(None)) == learned.made(slice(None))


def test_figures_are_of_time_that_the_measured_model_had_not_seen(learned: Learned) -> None:
    """Where labels of the newest fifth are chance, nothing learned before helps there."""
    labels = learned.labels.copy()
    labels[2_000:] = np.random.default_rng(1).random(500) < 0.5

    assert learned.made(slice(None), labels=labels).manifest.figures["auc_roc"] == pytest.approx(0.5, abs=0.1)


def test_without_labels_it_is_an_isolation_forest(learned: Learned) -> None:
    manifest = learned.made(slice(None), labels=np.full(2_500, np.nan)).manifest

    assert manifest.kind == "isolation_forest"
    assert manifest.trained["labels_until"] is None
    assert manifest.figures == {"events": 0, "frauds": 0}


def test_too_little_is_refused_with_how_much_is_expected(learned: Learned) -> None:
    few = np.where(np.cumsum(learned.labels == 1) < LEAST_LABELS, learned.labels, np.nan)
    with pytest.raises(TrainingError, match="at least 100 events labelled a fraud and 100 labelled none in the time"):
        learned.made(slice(None), "gradient_boosting", few)
    with pytest.raises(TrainingError, match="model pays: expected at least 1,000 pay events, got 999"):
        learned.made(slice(999), "isolation_forest")
    older = learned.labels.copy()
    older[2_000:] = np.where(older[2_000:] == 1, np.nan, older[2_000:])
    assert "at least 10 events labelled a fraud" in str(lack_of_labels(learned.seen, older))
    assert lack_of_labels(learned.seen, learned.labels) is None


def test_a_better_challenger_is_better_on_what_came_after_both(learned: Learned) -> None:
    random = np.random.default_rng(2)
    blind = learned.made(slice(1_500), labels=np.where(random.random(2_500) < 0.3, 1.0, 0.0))
    able = learned.made(slice(1_200))

    found = compare(blind, able, learned.seen, learned.labels, card="user", segment="country")

    assert found.events == 1_000  # of both, the one that was trained later counts
    assert found.since == blind.manifest.trained["to"]
    assert found.difference.low > 0.2
    assert found.difference.low < found.difference.value < found.difference.high
    assert found.better_by(0.2)
    assert not found.better_by(0.99)
    assert sum(part.events for part in found.segments) == 1_000
    assert {part.value for part in found.segments} == {"DE", "FR"}
    assert 0 < found.challenger["card_precision"] <= 1
    worse = compare(able, blind, learned.seen, learned.labels, card="user")
    assert worse.difference.high < 0
    assert not worse.better_by(0.0)


def test_a_model_is_no_better_than_itself(learned: Learned) -> None:
    able = learned.made(slice(1_200))

    found = compare(able, able, learned.seen, learned.labels)

    assert msgspec.to_builtins(found.difference) == {"value": 0, "low": 0, "high": 0}
    assert not found.better_by(0.0)


def test_nothing_labelled_since_is_refused(learned: Learned) -> None:
    model = learned.made(slice(2_490))

    with pytest.raises(TrainingError, match="at least 10 events labelled a fraud and 10 labelled none after"):
        compare(model, model, learned.seen, learned.labels)


def test_a_card_that_was_found_is_not_looked_at_again() -> None:
    day = 86_400_000_000
    times, frauds, scores = np.array([0, day]), np.array([True, True]), np.array([0.9, 0.9])

    assert card_precision(times, ["a", "a"], frauds, scores) == pytest.approx(0.005)
    assert card_precision(times, ["a", "b"], frauds, scores) == pytest.approx(0.01)
