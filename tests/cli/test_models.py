import getpass
import json
from pathlib import Path

import pytest

from tests.dataflows.examples import LOOKING, WIDE
from tests.dataflows.scored import SCORED, put


@pytest.fixture
def folder(fraud, tmp_path) -> Path:
    (tmp_path / "scored.toml").write_text(WIDE + SCORED)
    (tmp_path / "looking.toml").write_text(LOOKING)
    fraud.environment["FRAUD_PACKS"] = "scored.toml,looking.toml"
    return tmp_path


def listed(fraud) -> list[list[str]]:
    return [line.split() for line in fraud("models", "list").splitlines()]


def test_models_are_listed_promoted_and_taken_back(fraud, folder) -> None:
    assert listed(fraud)[0][:3] == ["payments", "champion", "none"]
    first, second = put(folder, 1), put(folder, 2, "payments.challenger.model")
    kind = ["gradient_boosting", "2026-01-01T00:00:00+00:00", "average_precision", "0.5"]
    assert listed(fraud) == [["payments", "champion", first, *kind], ["payments", "challenger", second, *kind]]

    told = fraud("models", "promote", "--note", "better")

    assert told == f"payments: promoted {second} (before: {first})\n"
    assert [row[1:3] for row in listed(fraud)] == [["champion", second], ["previous", first]]
    assert fraud("models", "rollback", "payments") == f"payments: rolled back to {first} (before: {second})\n"
    assert [row[1:3] for row in listed(fraud)] == [["champion", first]]
    record = [json.loads(line) for line in (folder / "payments.models.jsonl").read_text().splitlines()]
    assert [(line["action"], line.get("note")) for line in record] == [("promote", "better"), ("rollback", None)]
    assert {line["who"] for line in record} == {getpass.getuser()}


def test_what_cannot_be_promoted_is_told_in_one_line(fraud, folder) -> None:
    put(folder, 1)

    assert fraud("models", "promote", code=1) == (
        "fraud: payments.challenger.model: cannot read it: No such file or directory\n"
    )
    told = "fraud: models: expected the name of a model (payments), got paymnts\n"
    assert fraud("models", "rollback", "paymnts", code=2) == told


def test_a_damaged_champion_is_listed_refused_by_a_check_and_rolled_back(fraud, folder) -> None:
    first, _ = put(folder, 1), put(folder, 2, "payments.challenger.model")
    fraud("models", "promote")
    path = folder / "payments.model"
    path.write_bytes(path.read_bytes()[:-1])

    assert listed(fraud)[0][:5] == ["payments", "champion", "wrong", "payments.model:", "sha256"]
    checked = fraud("check", code=1)
    assert checked.startswith("scored.toml:120:8: model payments: payments.model: sha256 of the forest: expected ")
    assert checked.endswith("\n1 problem\n")
    fraud("models", "rollback")
    assert listed(fraud)[0][:3] == ["payments", "champion", first]
    assert fraud("check").endswith("no problems\n")


def test_packs_without_models_say_so(fraud) -> None:
    assert fraud("models", "list") == "the packs name no model\n"
