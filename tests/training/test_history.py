"""No skew: what a model learned from is what it sees."""

import json
from pathlib import Path

import numpy as np

from detection.loading import load
from detection.models.files import write_model
from detection.models.scoring import scorer
from detection.program import Engine
from detection.records import Record, Verdict
from sources.files import read_file
from tests.streams import Stream
from training.history import history
from training.labelling import Known, as_they_came, read_labels
from training.making import make


def test_the_score_in_a_verdict_is_that_of_the_row_in_the_history(tmp_path: Path) -> None:
    """Of the engine; the tests of the dataflow hold that to the engine, for any number of workers."""
    stream = Stream(tmp_path, 10_000)  # from fewer labels few scores are learned
    path = stream.folder / "pack.toml"
    labels = read_labels(stream.folder / stream.labels(), "fraud.labels")

    def records() -> list[Record]:
        return list(as_they_came(pack, read_file(stream.folder / "events.jsonl", pack.events[0]), labels))

    pack = load([path])
    (model,) = pack.models
    seen = history(pack, model, records())
    made = make(pack, model, seen, Known(labels).of(seen), kind=None, seed=1)
    write_model(model.file, made.manifest, made.forest)
    score = scorer(made.forest, len(model.features))

    engine = Engine(load([path]))
    verdicts = [engine.judge(record) for record in records()]

    assert all(isinstance(verdict, Verdict) for verdict in verdicts)
    told = [json.loads(verdict.value)["verdict"] for verdict in verdicts]
    live = {verdict["origin"]: verdict["model"]["pays"]["score"] for verdict in told if verdict["model"]}
    assert live == dict(zip(seen.origins, map(score, seen.rows.tolist()), strict=True))
    assert len(set(live.values())) > 100


def test_what_is_no_event_is_counted_and_leaves_no_row(stream) -> None:
    pack = load([stream.folder / "pack.toml"])
    broken = [Record("pays", 0, 0, -1, None, b"{"), *read_file(stream.folder / "events.jsonl", pack.events[0])]

    seen = history(pack, pack.models[0], broken, ["user"])

    assert (len(seen), seen.unreadable, len(seen.kept["user"])) == (2_500, 1, 2_500)
    assert seen.at(np.array([True] + [False] * 2_499)).origins == ["pays/0/1"]
