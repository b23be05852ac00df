import stat
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from bytewax.testing import TestingSource
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.vitals import Vitals
from dataflows.fraud import build
from dataflows.store.quarantine import (
    CAREFUL_SNAPSHOTS,
    LONGEST_ERROR,
    Guard,
    InHand,
    Journal,
    Quarantine,
    QuarantineError,
)
from detection.features import GroupState
from detection.program import Decoder, Program
from detection.records import DeadLetter, Record
from tests.dataflows.examples import ENTRIES, Outputs, engine_says, traffic, wide

RECORDS = traffic(240, seed=11)


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path)


def condemn(journal: Journal, *origins: str) -> Quarantine:
    for origin in origins:
        journal.note(origin, "planted")
    return Quarantine(journal, tries=1)


# --- the journal -----------------------------------------------------------------------------------------------------


def test_tries_are_counted_by_record_and_the_newest_error_is_kept(journal: Journal) -> None:
    assert [journal.note("t/0/1", "first"), journal.note("t/0/2", "other"), journal.note("t/0/1", "second")] == [
        1,
        1,
        2,
    ]

    assert {place: (case.tries, case.error) for place, case in journal.read().items()} == {
        "t/0/1": (2, "second"),
        "t/0/2": (1, "other"),
    }


def test_of_many_who_write_at_once_no_word_is_lost(journal: Journal) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: Journal(journal.path.parent).note(f"t/0/{n % 5}", "x"), range(50)))

    assert {case.tries for case in journal.read().values()} == {10}


def test_it_is_for_its_owner_only(journal: Journal) -> None:
    journal.note("t/0/1", "x")

    assert stat.S_IMODE(journal.path.stat().st_mode) == 0o600


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "is damaged"),
        (b'{"format": 1, "records": {"t/0/1": {"tries": 2', "is damaged"),
        (b'{"format": 1, "records": {"t/0/1": 2}}', "is damaged"),
        (b'{"format": 2, "records": {}}', "expected format 1, got 2"),
    ],
)
def test_a_journal_that_cannot_be_read_is_refused_and_never_taken_for_empty(
    content: bytes, told: str, journal: Journal
) -> None:
    journal.path.write_bytes(content)

    with pytest.raises(QuarantineError, match=told) as caught:
        Quarantine(journal)
    assert str(caught.value).startswith(str(journal.path))


def test_a_record_is_condemned_at_its_last_try_and_not_before(journal: Journal) -> None:
    journal.note("t/0/1", "x")
    journal.note("t/0/1", "x")
    assert Quarantine(journal, tries=3).condemned == {}
    journal.note("t/0/1", "y")

    assert Quarantine(journal, tries=3).condemned == {"t/0/1": "crashed the dataflow 3 times: y"}


# --- condemned records -----------------------------------------------------------------------------------------------


@settings(max_examples=30, deadline=None)
@given(bad=st.sets(st.integers(0, len(RECORDS) - 1), max_size=20), batch=st.sampled_from([1, 7, 240]))
def test_condemned_records_are_dead_letters_and_all_others_are_judged_as_if_they_had_never_been(bad, batch) -> None:
    quarantine = Quarantine()
    quarantine.condemned.update({RECORDS[number].origin: "why" for number in bad})
    outputs = Outputs()
    ENTRIES["one worker"](
        build(wide(), TestingSource(RECORDS, batch), outputs.sinks(), quarantine=quarantine),
        epoch_interval=timedelta(0),
    )

    found = outputs.by_origin()
    others = [record for number, record in enumerate(RECORDS) if number not in bad]
    assert {place: answer for place, answer in found.items() if place not in quarantine.condemned} == engine_says(
        wide(), others
    )
    letters = {letter.record.origin: letter for letter in outputs.dead_letters}
    assert {place: letters[place].error for place in quarantine.condemned} == quarantine.condemned


def test_they_are_counted_with_the_other_dead_letters_of_their_topic(journal: Journal) -> None:
    program = Program(wide())
    record = Record("pings", 0, 5, 0, None, b'{"load":1}')
    guard = Guard(program, condemn(journal, record.origin))

    assert guard.decoding(Decoder(program).decode)([record]) == [
        DeadLetter(record, "crashed the dataflow 1 times: planted")
    ]
    assert program.dead_letters["pings"] == 1


# --- who is to blame -------------------------------------------------------------------------------------------------


class PlantedError(Exception):
    pass


def fails_at(place: int, work: Callable[[Any], Any] = lambda item: item) -> Callable[[Any], Any]:
    def one(item: Any) -> Any:
        if item.offset == place:
            raise PlantedError("p" * 2 * LONGEST_ERROR)
        return work(item)

    return one


def with_a_failure(stage: str, quarantine: Quarantine, place: int) -> Callable[[], Any]:
    """The work of a stage on twenty logins, one of which makes it raise."""
    program = Program(wide())
    guard = Guard(program, quarantine)
    records = [Record("logins", 2, n, 1_000, None, b'{"user":"u%d"}' % n) for n in range(20)]
    decoder = Decoder(program)
    events: list[Any] = decoder.decode(records)
    fails = fails_at(place)
    match stage:
        case "decode":
            decoder._codecs["logins"] = fails_at(place, decoder._codecs["logins"])
            return lambda: guard.decoding(decoder.decode)(records)
        case "features":
            (visit,) = program.plan.visits(program.pack.events[events[0].kind])
            state = GroupState(program.steps[visit.step.number])
            # In the middle of an update its generated function has the event as `e`.
            state.update = lambda events, _roles: [fails(e) for e in events]  # type: ignore[method-assign]
            return lambda: guard.update(state, events, [visit.role] * len(events))
        case _:
            return lambda: guard.over(stage, lambda events: [fails(event) for event in events])(events)


@pytest.mark.parametrize("place", [0, 7, 19])
@pytest.mark.parametrize("way", ["as usual", "careful"])
@pytest.mark.parametrize("stage", ["decode", "rules", "keys", "features"])
def test_the_record_that_was_worked_on_is_noted_and_the_exception_goes_on(
    stage: str, way: str, place: int, journal: Journal
) -> None:
    in_hand = InHand(journal.path.parent / "hand") if way == "careful" else None
    work = with_a_failure(stage, Quarantine(journal, in_hand=in_hand), place)

    with pytest.raises(PlantedError):
        work()

    ((origin, case),) = journal.read().items()
    assert origin == f"logins/2/{place}"
    assert case.error.startswith(f"{stage}: ")
    assert "PlantedError" in case.error[:200]
    assert case.error.endswith("p\n")
    assert len(case.error) < 2 * LONGEST_ERROR + 100


def test_an_exception_that_no_record_is_to_blame_for_is_held_against_none(journal: Journal) -> None:
    guard = Guard(Program(wide()), Quarantine(journal))

    def fails(_items: Any) -> Any:
        raise PlantedError

    work = guard.over("rules", fails)
    with pytest.raises(PlantedError):
        work([])
    assert journal.read() == {}


def test_without_a_journal_an_exception_just_goes_on() -> None:
    program = Program(wide())
    decoder = Decoder(program)
    decoder._codecs["pings"] = fails_at(0, decoder._codecs["pings"])
    work = Guard(program).decoding(decoder.decode)

    with pytest.raises(PlantedError):
        work([Record("pings", 0, 0, 0, None, b"{}")])


# --- careful work ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("entry", ENTRIES)
def test_careful_work_says_the_same(entry: str, tmp_path: Path) -> None:
    outputs = Outputs()
    quarantine = Quarantine(in_hand=InHand(tmp_path / "hand"))
    ENTRIES[entry](
        build(wide(), TestingSource(RECORDS, 16), outputs.sinks(), quarantine=quarantine), epoch_interval=timedelta(0)
    )

    assert outputs.by_origin() == engine_says(wide(), RECORDS)
    assert InHand.read(tmp_path / "hand") == []


def test_it_ends_some_snapshots_later(tmp_path: Path) -> None:
    vitals = Vitals()
    quarantine = Quarantine(in_hand=InHand(tmp_path / "hand"), vitals=vitals)

    for _ in range(CAREFUL_SNAPSHOTS):
        assert quarantine.in_hand is not None
        vitals.snapshot()
    assert quarantine.in_hand is None


def test_what_was_in_hand_is_known_after_a_kill(tmp_path: Path) -> None:
    script = """
import os, signal, sys, threading
from pathlib import Path
from dataflows.store.quarantine import InHand
hand = InHand(Path(sys.argv[1]))
hand.take("done/0/1")
hand.drop()
hand.take("long name/12/" + 19 * "9")
hand.take("t/0/2")
other = threading.Thread(target=hand.take, args=("ü" * 124 + "/32767/" + 19 * "9",))
other.start()
other.join()
os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path / "hand")], check=False)

    assert done.returncode == -9
    assert InHand.read(tmp_path / "hand") == ["t/0/2", "ü" * 124 + "/32767/" + 19 * "9"]


def test_nothing_was_in_the_hand_of_a_process_that_did_not_come_so_far(tmp_path: Path) -> None:
    assert InHand.read(tmp_path / "none") == []
