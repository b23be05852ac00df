from pathlib import Path
from typing import Any

import pytest

from detection.ledger import Ledger, Report
from proofs.journal import Journal, Result, result


def done(number: int = 0, **more: Any) -> Result:
    return Result(**{"round": number, "kind": "x", "injected": 3, "took_effect": 2, "records": 10} | more)


def report(answers: int, value: bytes = b"v") -> Report:
    """Four records, the first of them answered."""
    ledger = Ledger({"in/0": (0, 4)})
    for offset in range(4):
        ledger.accounts["in/0"].record(offset)
    for offset in range(answers):
        ledger.answer("out/0", offset, f"in/0/{offset}", key=None, value=value)
    return ledger.report({"in/0": 2}, [], [])


def judged(counted: Report, expected: Report | None = None) -> Result:
    return result(counted, expected, round=0, kind="x", injected=1, took_effect=1)


def test_what_is_pending_in_the_end_is_lost() -> None:
    assert judged(report(1)).lost == 3


@pytest.mark.parametrize(
    ("counted", "expected", "content"),
    [
        (report(4), report(4), "equal"),
        (report(4), report(4, b"w"), "differs"),
        (report(3), report(4), "not compared"),
        (report(4), None, "not compared"),
    ],
)
def test_contents_are_compared_where_the_counts_are_exact(
    counted: Report, expected: Report | None, content: str
) -> None:
    assert judged(counted, expected).content == content


@pytest.mark.parametrize(
    "broken", [{"lost": 1}, {"doubled": 1}, {"foreign": 1}, {"content": "differs"}, {"problems": ["x"]}]
)
def test_a_round_that_does_not_hold_fails_the_proof(broken: dict[str, Any], capsys) -> None:
    journal = Journal("kills", {}, None)
    journal.add(done(0))
    assert journal.close() == 0
    journal.add(done(1, **broken))

    assert journal.close() == 1


def test_the_last_line_sums_up(capsys) -> None:
    journal = Journal("kills", {}, None)
    journal.add(done(0, content="equal"))
    journal.add(done(1, doubled=4))
    journal.close()

    assert capsys.readouterr().out.splitlines()[-1] == (
        "kills: injected 6, took effect 4, over 20 records: lost 0, doubled 4, foreign 0; content equal in 1 of 2 rounds"
    )


def test_a_run_goes_on_where_it_was_cut_short(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    Journal("kills", {"seed": 1}, path).add(done(3))

    journal = Journal("kills", {"seed": 1}, path)

    assert journal.has(3)
    assert not journal.has(2)
    assert journal.results == [done(3)]


@pytest.mark.parametrize(("proof", "arguments"), [("kills", {"seed": 2}), ("broker", {"seed": 1})])
def test_the_state_of_another_run_is_refused(proof: str, arguments: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    Journal("kills", {"seed": 1}, path).add(done())

    with pytest.raises(SystemExit, match="expected a run of"):
        Journal(proof, arguments, path)
