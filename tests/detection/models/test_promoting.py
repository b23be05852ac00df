"""Promotions and rollbacks: which files become which."""

import json
from pathlib import Path

import pytest

from detection.errors import ModelError
from detection.models.loaded import load_model
from detection.models.promoting import promote, record_of, rollback
from detection.pack import ModelSpec
from tests.dataflows.scored import put, scored

AT = "2026-05-01T12:00:00+00:00"


@pytest.fixture
def spec(tmp_path: Path) -> ModelSpec:
    (spec,) = scored(tmp_path).models
    return spec


def names(folder: Path) -> dict[str, str]:
    """The id of each model that lies there."""
    (spec,) = scored(folder / "nothing is there").models
    return {
        path.name.removeprefix("payments.").removesuffix("model").removesuffix("."): load_model(path, spec.purpose).id
        for path in folder.glob("*.model")
    }


def record(spec: ModelSpec) -> list[dict[str, object]]:
    return [json.loads(line) for line in record_of(spec).read_text().splitlines()]


def test_a_promotion_keeps_the_champion_as_the_previous_one(tmp_path: Path, spec: ModelSpec) -> None:
    first, second = put(tmp_path, 1), put(tmp_path, 2, "payments.challenger.model")

    promote(spec, at=AT, who="ann", note="better")

    assert names(tmp_path) == {"": second, "previous": first}
    assert record(spec) == [
        {
            "at": AT, "who": "ann", "action": "promote", "model": "payments", "before": first, "after": second,
            "figures": {"average_precision": 0.5}, "note": "better",
        }
    ]  # fmt: skip


def test_a_rollback_undoes_a_promotion_and_keeps_what_it_takes_back(tmp_path: Path, spec: ModelSpec) -> None:
    first, second = put(tmp_path, 1), put(tmp_path, 2, "payments.challenger.model")
    promote(spec, at=AT, who="ann")
    third = put(tmp_path, 3, "payments.challenger.model")

    rollback(spec, at=AT, who="bob")

    assert names(tmp_path) == {"": first, "withdrawn": second, "challenger": third}
    assert [(line["who"], line["action"], line["before"], line["after"]) for line in record(spec)] == [
        ("ann", "promote", first, second),
        ("bob", "rollback", second, first),
    ]


def test_the_first_model_may_be_a_challenger_that_is_promoted(tmp_path: Path, spec: ModelSpec) -> None:
    first = put(tmp_path, 1, "payments.challenger.model")

    change = promote(spec, at=AT, who="ann")

    assert (names(tmp_path), change.before) == ({"": first}, None)


def test_a_rollback_gets_rid_of_a_champion_that_is_no_model(tmp_path: Path, spec: ModelSpec) -> None:
    first = put(tmp_path, 1, "payments.previous.model")
    (tmp_path / "payments.model").write_bytes(b"damaged")

    change = rollback(spec, at=AT, who="ann")

    assert (change.before, change.after) == (None, first)
    assert load_model(spec.file, spec.purpose).id == first
    assert (tmp_path / "payments.withdrawn.model").read_bytes() == b"damaged"


@pytest.mark.parametrize("change", [promote, rollback])
@pytest.mark.parametrize("wrong", [True, False])
def test_what_is_missing_or_wrong_changes_nothing(tmp_path: Path, spec: ModelSpec, change, *, wrong: bool) -> None:
    first = put(tmp_path, 1)
    if wrong:
        for role in ("challenger", "previous"):
            put(tmp_path, 2, f"payments.{role}.model")
            path = tmp_path / f"payments.{role}.model"
            path.write_bytes(path.read_bytes()[:-1])

    with pytest.raises(ModelError, match="sha256 of the forest" if wrong else "No such file"):
        change(spec, at=AT, who="ann")

    assert load_model(spec.file, spec.purpose).id == first
    assert not record_of(spec).exists()


def test_without_a_record_there_is_no_change(tmp_path: Path, spec: ModelSpec) -> None:
    first, second = put(tmp_path, 1), put(tmp_path, 2, "payments.challenger.model")
    record_of(spec).mkdir()

    with pytest.raises(IsADirectoryError):
        promote(spec, at=AT, who="ann")

    assert names(tmp_path) == {"": first, "challenger": second}
