"""The recovery store while keys come and go."""

from proofs.store import run


def test_the_store_does_not_grow_with_the_keys_that_ever_were() -> None:
    looks = run(sessions_an_hour=1_200, hours=3, look_every=1)

    assert [look["sessions"] for look in looks] == [1_200, 2_400, 3_600]
    assert [look["groups"] for look in looks] == [128] * 3
    assert [look["tombstones"] for look in looks] == [0] * 3
    # A key lives for an hour, its window, and until the next snapshots of its group.
    assert all(1_200 <= look["keys"] <= 1.3 * 1_200 for look in looks)
    assert looks[2]["state_bytes"] <= 1.1 * looks[1]["state_bytes"]
    assert looks[2]["store_bytes"] <= 1.2 * looks[1]["store_bytes"]
