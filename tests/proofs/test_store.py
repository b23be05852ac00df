"""The recovery store while keys come and go."""

from pathlib import Path

import pytest

from proofs.store import Week


def test_the_store_does_not_grow_with_the_keys_that_ever_were(tmp_path: Path) -> None:
    for hour in (1, 2, 3):
        week = Week(tmp_path, 1_200)  # as a later run
        week.go_on(hour)
    looks = week.looks

    assert [look["sessions"] for look in looks] == [1_200, 2_400, 3_600]
    assert [look["groups"] for look in looks] == [128] * 3
    assert [look["tombstones"] for look in looks] == [0] * 3
    # A key lives for an hour, its window, and until the next snapshots of its group.
    assert all(1_200 <= look["keys"] <= 1.3 * 1_200 for look in looks)
    assert looks[2]["state_bytes"] <= 1.1 * looks[1]["state_bytes"]
    assert looks[2]["store_bytes"] <= 1.2 * looks[1]["store_bytes"]


def test_a_week_of_another_rate_is_refused(tmp_path: Path) -> None:
    Week(tmp_path, 1_200).go_on(1)

    with pytest.raises(SystemExit, match="the same rate"):
        Week(tmp_path, 2_400)


def test_a_week_that_was_cut_before_its_first_look_goes_on(tmp_path: Path) -> None:
    Week(tmp_path, 1_200)

    week = Week(tmp_path, 1_200)
    week.go_on(1)

    assert week.hours == 1
