"""Each planted bug shows within 1,000 seeds, as `python -m proofs.simulator --planted` tells."""

import pytest

from proofs.simulator.__main__ import catch, play
from proofs.simulator.bugs import BUGS, planted
from sinks.kafka import Lane


@pytest.mark.parametrize("name", BUGS)
def test_a_planted_bug_is_caught(name) -> None:
    assert catch(name) is not None


def test_there_are_twenty_one() -> None:
    assert len(BUGS) == 21


def test_a_bug_is_taken_out_again() -> None:
    before = Lane.snapshot
    with planted("no flush before the snapshot"):
        assert Lane.snapshot is not before
    assert Lane.snapshot is before
    assert not play(1).violations
