import stat
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from dataflows.store.quarantine import Guard, Quarantine
from dataflows.store.skips import MOST, SkipError, Skips
from detection.program import Decoder, Program
from detection.records import DeadLetter, Record
from tests.dataflows.examples import wide


def test_each_offset_from_the_position_on_is_a_record_without_a_value() -> None:
    skips = Skips({"t/3": 9})

    assert skips.records("t", 3, lambda: 7) == [Record("t", 3, offset, -1, None, None) for offset in (7, 8)]


@pytest.mark.parametrize("position", [9, 10])
def test_a_position_that_has_come_so_far_skips_nothing(position: int) -> None:
    assert Skips({"t/3": 9}).records("t", 3, lambda: position) == []


def test_nobody_asks_for_the_position_of_a_partition_that_is_not_skipped() -> None:
    def ask() -> int:
        raise AssertionError

    assert Skips({"t/3": 9}).records("t", 4, ask) == []


def test_no_more_than_10_000_are_skipped_at_once() -> None:
    assert len(Skips({"t/0": MOST}).records("t", 0, lambda: 0)) == MOST
    with pytest.raises(
        SkipError, match=r"^t/0: expected to skip at most 10000 offsets at once, got 10001, from 0 to 10001"
    ):
        Skips({"t/0": MOST + 1}).records("t", 0, lambda: 0)


def test_notes_are_kept_for_their_owner_and_the_newest_of_a_partition_counts(tmp_path: Path) -> None:
    for address, to in (("t/0", 4), ("t/1", 5), ("t/0", 6)):
        Skips.read(tmp_path).note(tmp_path, address, to)

    assert Skips.read(tmp_path).to == {"t/0": 6, "t/1": 5}
    assert stat.S_IMODE((tmp_path / "skips.json").stat().st_mode) == 0o600


@pytest.mark.parametrize(
    ("content", "told"),
    [(b"", "is damaged"), (b'{"format": 1, "partitions": {"t/0": "x"}}', "is damaged"), (b'{"format": 2, "partitions": {}}', "expected format 1, got 2")],
)  # fmt: skip
def test_a_file_that_cannot_be_read_is_refused(content: bytes, told: str, tmp_path: Path) -> None:
    (tmp_path / "skips.json").write_bytes(content)

    with pytest.raises(SkipError, match=told):
        Skips.read(tmp_path)


def test_skipped_records_are_dead_letters_that_say_so_and_the_next_one_is_decoded() -> None:
    program = Program(wide())
    quarantine = Quarantine(skips=Skips({"pings/0": 2}))
    skipped = quarantine.skip("pings", 0, lambda: 1)
    decode = Guard(program, quarantine).decoding(Decoder(program).decode)

    event, letter = decode([*skipped, Record("pings", 0, 2, 0, None, b'{"load":1}')])

    assert letter == DeadLetter(skipped[0], "skipped by an operator: pings/0 is read on at offset 2")
    assert not isinstance(event, DeadLetter)


def test_a_skip_that_is_too_long_is_logged_in_one_line_where_it_stops_the_start() -> None:
    quarantine = Quarantine(skips=Skips({"t/0": 20_000}))

    with capture_logs() as logs, pytest.raises(SkipError):
        quarantine.skip("t", 0, lambda: 0)
    assert [entry["log_level"] for entry in logs] == ["error"]
