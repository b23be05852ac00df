"""Models whose files change."""

from pathlib import Path
from typing import Any

import pytest
import structlog
from structlog.testing import capture_logs

from detection.models.slots import Models
from detection.pack import Pack
from sources.models import ModelFiles
from tests.conftest import wait_until
from tests.dataflows.scored import put, scored


class Watched:
    """A pack whose files are looked at when the test says."""

    def __init__(self, folder: Path) -> None:
        self.pack: Pack = scored(folder)
        self.files = ModelFiles(self.pack.models)
        self.models = Models(self.pack)
        self.slot = self.models.slots["payments"]
        self.look()

    def look(self, times: int = 2) -> list[Any]:
        """What was logged meanwhile."""
        with capture_logs() as logs:
            for _ in range(times):
                self.files.look()
            self.files(self.models)
        return logs

    @property
    def ids(self) -> tuple[str | None, str | None]:
        return tuple(model and model.id for model in (self.slot.champion, self.slot.challenger))  # type: ignore[return-value]


@pytest.fixture(autouse=True)
def plain_logs() -> None:
    structlog.reset_defaults()


def test_what_was_loaded_with_the_pack_is_not_put_in_again(tmp_path: Path) -> None:
    first = put(tmp_path, 1)
    watched = Watched(tmp_path)

    assert watched.look(5) == []
    assert (watched.ids, watched.slot.swaps) == ((first, None), 0)


def test_another_model_is_put_in_when_its_file_has_settled(tmp_path: Path) -> None:
    put(tmp_path, 1)
    watched = Watched(tmp_path)
    second = put(tmp_path, 2)
    before, seen = watched.ids, watched.slot.seen

    assert watched.look(1) == []
    assert watched.ids == before
    (line,) = watched.look(1)

    assert (line["event"], line["model"], line["id"]) == ("a model is put in its place", "payments", second)
    assert (watched.ids, watched.slot.swaps) == ((second, None), 1)
    assert watched.slot.seen is not seen


def test_a_model_that_comes_later_is_used_from_then_on(tmp_path: Path) -> None:
    watched = Watched(tmp_path)
    assert watched.ids == (None, None)
    first = put(tmp_path, 1)

    watched.look()

    assert watched.ids == (first, None)


def test_a_wrong_file_keeps_the_model_and_is_told_and_counted_once(tmp_path: Path) -> None:
    first = put(tmp_path, 1)
    watched = Watched(tmp_path)
    path = tmp_path / "payments.model"
    path.write_bytes(path.read_bytes()[:-1])

    logs = watched.look(6)

    (line,) = logs
    assert line["log_level"] == "warning"
    assert line["error"].startswith(f"{path}: sha256 of the forest: expected ")
    assert (watched.ids, watched.slot.refused, watched.slot.swaps) == ((first, None), 1, 0)
    second = put(tmp_path, 2)
    watched.look()
    assert watched.ids == (second, None)


def test_a_model_made_for_something_else_is_refused_while_it_runs_too(tmp_path: Path) -> None:
    first = put(tmp_path, 1)
    watched = Watched(tmp_path)
    other = tmp_path / "other"
    other.mkdir()
    put(other, 2)
    content = (other / "payments.model").read_bytes().replace(b'"event":"payment"', b'"event":"login"')
    (tmp_path / "payments.model").write_bytes(content)

    (line,) = watched.look()

    assert line["error"].endswith("payments.model: event: expected payment, got login")
    assert watched.ids == (first, None)


def test_a_file_that_is_still_written_is_not_read(tmp_path: Path) -> None:
    first = put(tmp_path, 1)
    watched = Watched(tmp_path)
    other = tmp_path / "other"
    other.mkdir()
    second = put(other, 2)
    content = (other / "payments.model").read_bytes()
    for size in range(1_000, len(content), 1_000):
        (tmp_path / "payments.model").write_bytes(content[:size])
        assert watched.look(1) == []
    (tmp_path / "payments.model").write_bytes(content)

    watched.look()

    assert first != second
    assert (watched.ids, watched.slot.refused) == ((second, None), 0)


def test_a_champion_that_is_gone_stays_in_use_and_is_told_once(tmp_path: Path) -> None:
    first = put(tmp_path, 1)
    watched = Watched(tmp_path)
    (tmp_path / "payments.model").unlink()

    (line,) = watched.look(6)

    assert (line["event"], line["id"]) == ("a model's file is gone, the model stays in use until the next start", first)
    assert (watched.ids, watched.slot.swaps) == ((first, None), 0)


def test_a_challenger_comes_and_goes_with_its_file(tmp_path: Path) -> None:
    first = put(tmp_path, 1)
    watched = Watched(tmp_path)
    second = put(tmp_path, 2, "payments.challenger.model")
    seen = watched.slot.seen
    watched.look()
    assert watched.ids == (first, second)
    assert watched.slot.seen is seen  # what the champion saw goes on
    (tmp_path / "payments.challenger.model").unlink()

    watched.look()

    assert watched.ids == (first, None)


def test_a_challenger_that_is_moved_into_the_champions_place_is_not_read_again(tmp_path: Path) -> None:
    put(tmp_path, 1)
    second = put(tmp_path, 2, "payments.challenger.model")
    watched = Watched(tmp_path)
    challenger = watched.slot.challenger
    (tmp_path / "payments.challenger.model").replace(tmp_path / "payments.model")

    watched.look()

    assert watched.ids == (second, None)
    assert watched.slot.champion is challenger
    assert watched.slot.swaps == 1


def test_nobody_waits_for_a_look(tmp_path: Path) -> None:
    put(tmp_path, 1)
    watched = Watched(tmp_path)
    before = watched.ids
    put(tmp_path, 2)
    for _ in range(2):
        watched.files.look()

    with watched.files._lock:
        watched.files(watched.models)
        assert watched.ids == before
    watched.files(watched.models)
    assert watched.ids != before


def test_a_running_thread_finds_another_model(tmp_path: Path) -> None:
    put(tmp_path, 1)
    watched = Watched(tmp_path)
    watched.files.start()
    try:
        second = put(tmp_path, 2)
        wait_until(lambda: watched.files(watched.models) or watched.ids == (second, None))
    finally:
        watched.files.stop()
