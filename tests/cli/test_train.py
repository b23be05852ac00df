"""`fraud train` and `fraud models compare`, as a user runs them."""

import json
from pathlib import Path

import pytest
from confluent_kafka import Producer

from detection.models.files import read_model
from tests.streams import Stream


@pytest.fixture
def stream(fraud, tmp_path: Path) -> Stream:
    fraud.environment["FRAUD_PACKS"] = "pack.toml"
    return Stream(tmp_path, 2_500)


def test_the_first_model_is_the_champion_and_the_next_a_challenger_which_wins_its_place(
    fraud, stream: Stream, tmp_path: Path
) -> None:
    told = fraud("train", "--input", "early.jsonl", "--labels", stream.labels(), *_early(stream))
    assert "isolation_forest" in told
    assert "pays.model (champion: rules read it)" in told
    assert read_model(tmp_path / "pays.model").manifest.kind == "isolation_forest"

    told = fraud("train", "pays", "--input", "early.jsonl", "--labels", "labels.jsonl")
    assert "gradient_boosting" in told
    assert "pays.challenger.model (challenger: scored in shadow)" in told

    files = ("--input", "events.jsonl", "--labels", "labels.jsonl", "--card", "user", "--segment", "country")
    told = fraud("models", "compare", *files, "--json", "figures.json")
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert told.startswith("500 labelled events after ")
    assert "average precision, DE (" in told
    assert figures["difference"]["low"] > 0
    assert read_model(tmp_path / "pays.model").manifest.kind == "isolation_forest"  # nobody has said to promote it

    told = fraud("models", "compare", *files, "--promote-above", 0.95, code=1)
    assert "not promoted: expected at least 0.95 more" in told
    assert "promoted" in fraud("models", "compare", *files, "--promote-above", 0.05)
    assert read_model(tmp_path / "pays.model").manifest.kind == "gradient_boosting"
    assert "rolled back to" in fraud("models", "rollback")


def _early(stream: Stream) -> list[str]:
    stream.write("early.jsonl", stream.events[:2_000])
    return ["--kind", "isolation_forest"]


def test_labels_may_name_a_field_of_the_events_and_silence_may_mean_genuine(fraud, stream: Stream) -> None:
    stream.labels("ids.jsonl", by="id")
    by_id = fraud("train", "--input", "events.jsonl", "--labels", "ids.jsonl", "--id", "id")
    rows = [json.loads(line) for line in (stream.folder / "ids.jsonl").read_text().splitlines()]
    stream.write("frauds.jsonl", [row for row in rows if row["fraudulent"]])
    (stream.folder / "pays.model").unlink()
    told = fraud("train", "--input", "events.jsonl", "--labels", "frauds.jsonl", "--id", "id", "--genuine-after", "1h")

    assert "gradient_boosting" in by_id
    assert "gradient_boosting" in told
    assert "of 2,500 events" in by_id
    assert " of 2,49" in told  # those of the last hour have no label yet, unless they are frauds


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (
            ["--labels", "none.jsonl", "--kind", "gradient_boosting"],
            1,
            "fraud: model pays: expected at least 100 events",
        ),
        (["other", "--labels", "none.jsonl"], 2, "fraud: models: expected the name of a model (pays), got other"),
        (["--labels", "none.jsonl", "--id", "name"], 2, "fraud: --id: expected a field of pay ("),
        (["--labels", "none.jsonl", "--genuine-after", "soon"], 2, "fraud: --genuine-after: "),
        (["--labels", "no.jsonl"], 1, "fraud: no.jsonl: No such file or directory"),
    ],
)
def test_what_cannot_be_done_is_one_line_and_writes_nothing(
    fraud, stream: Stream, arguments: list[str], code: int, told: str
) -> None:
    stream.write("none.jsonl", [])
    stream.write("few.jsonl", stream.events[:50])

    line = fraud("train", *arguments, "--input", "few.jsonl", code=code)

    assert line.startswith(told)
    assert len(line.splitlines()) == 1
    assert not list(stream.folder.glob("*.model"))


def test_there_must_be_two_models_to_compare(fraud, stream: Stream) -> None:
    told = fraud("models", "compare", "--input", "events.jsonl", "--labels", stream.labels(), code=1)

    assert told == "fraud: pays.model: expected a model to compare, got no file\n"


def test_topics_teach_the_same_as_files(fraud, stream: Stream, embedded, tmp_path: Path) -> None:
    """Each label was written 25 minutes after its event, between the events of then."""
    stream.labels(after_ms=25 * 60_000)
    from_files = fraud("train", "--input", "events.jsonl", "--labels", "labels.jsonl")
    model = (tmp_path / "pays.model").read_bytes()
    (tmp_path / "pays.model").unlink()
    fraud.environment["KAFKA_BROKER_URL"] = embedded.address
    for topic in ("pays", "fraud.labels"):
        embedded.create_topic(topic, 1)
    producer = Producer({"bootstrap.servers": embedded.address})
    filler = json.dumps({"id": "", "user": "", "amount": 0})  # files count lines from 1, topics offsets from 0
    producer.produce("pays", filler, timestamp=1)
    for event in stream.events:
        producer.produce("pays", json.dumps(event), timestamp=event["at"])
    for line in (tmp_path / "labels.jsonl").read_text().splitlines():
        producer.produce("fraud.labels", line, timestamp=json.loads(line)["at"])
    assert producer.flush(30) == 0

    told = fraud("train")

    assert "1 records are no events and were left out" in told
    assert next(line for line in from_files.splitlines() if "of 2,500 events" in line) in told
    assert (tmp_path / "pays.model").read_bytes() == model
