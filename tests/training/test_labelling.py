import json

import numpy as np
import pytest

from detection.loading import parse
from detection.records import Record
from sources.files import read_file
from training.history import History, history
from training.labelling import Known, as_they_came, in_order_of_time, read_labels, settled


def label(number: int, value: object, *, key: bytes | None = None, at: int = 0, partition: int = 0) -> Record:
    return Record("fraud.labels", partition, number, at, key, None if value is None else json.dumps(value).encode())


def events(*origins: str) -> History:
    count = len(origins)
    return History(np.arange(count), np.zeros((count, 1)), origins, {"id": [f"i{n}" for n in range(count)]})


def test_the_newest_label_of_an_event_counts_and_may_take_back() -> None:
    known = Known(
        [
            label(0, {"origin": "t/0/1", "fraudulent": True}),
            label(1, {"origin": "t/0/2", "fraudulent": True}),
            label(2, {"origin": "t/0/1", "fraudulent": False}),
            label(3, {"origin": "t/0/2", "fraudulent": None}),
            label(4, {"origin": "t/0/3", "fraudulent": True}),
            label(5, None, key=b"t/0/3"),
            label(6, {"fraudulent": True}, key=b"t/0/4"),
        ]
    )

    found = known.of(events("t/0/1", "t/0/2", "t/0/3", "t/0/4", "t/0/5"))

    assert found.tolist() == pytest.approx([0.0, np.nan, np.nan, 1.0, np.nan], nan_ok=True)


def test_labels_may_name_an_id_and_what_is_none_is_counted() -> None:
    known = Known([label(0, {"id": "i1", "fraudulent": True}), label(1, {"x": 1}), label(2, [1])])
    seen = events("t/0/1", "t/0/2")

    assert known.of(seen, seen.kept["id"]).tolist() == pytest.approx([np.nan, 1.0], nan_ok=True)
    assert np.isnan(known.of(seen)).all()
    assert known.wrong == 2


def test_old_events_without_a_label_are_genuine_only_where_somebody_says_so() -> None:
    labels, times = np.array([np.nan, 1.0, np.nan, np.nan]), np.array([0, 0, 3, 10])

    assert np.isnan(settled(labels, times, None)[0])
    assert settled(labels, times, 7).tolist() == pytest.approx([0.0, 1.0, np.nan, np.nan], nan_ok=True)


def test_features_see_a_label_from_when_it_was_given_on(stream) -> None:
    """Each is given 25 minutes after its event, the events come every 10 minutes; one that says no time is never seen."""
    pack = parse({str(stream.folder / "pack.toml"): (stream.folder / "pack.toml").read_text()})
    (model,) = pack.models
    one = [{"id": f"p{n}", "user": "u", "amount": 1, "country": "DE", "at": 600_000 * n} for n in range(8)]
    told = [{"origin": f"pays/0/{n + 1}", "fraudulent": True, "time": one[n]["at"], "user": "u"} for n in range(8)]
    stream.write("e.jsonl", one)
    stream.write("l.jsonl", [row | {"at": row["time"] + 1_500_000} for row in told])
    stream.write("never.jsonl", told)

    def frauds(file: str) -> list[float]:
        labels = read_labels(stream.folder / file, "fraud.labels")
        records = as_they_came(pack, read_file(stream.folder / "e.jsonl", pack.events[0]), labels)
        return history(pack, model, records).rows[:, 3].tolist()

    assert frauds("l.jsonl") == [0, 0, 0, 1, 2, 3, 4, 5]
    assert frauds("never.jsonl") == [0] * 8


def test_records_of_several_partitions_come_by_time_and_of_one_in_order() -> None:
    records = [Record("t", 0, 0, 5, None, None), Record("t", 0, 1, 3, None, None), Record("t", 1, 0, 4, None, None)]

    places = [(record.partition, record.offset) for record in in_order_of_time(records)]

    assert places == [(1, 0), (0, 0), (0, 1)]
