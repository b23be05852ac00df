"""What the model plans; what it does on a real Kafka is in test_small.py."""

from collections import Counter

import pytest

from proofs.model import _SIZES, FAULTS, KINDS, plan


def words(steps: int, chance: str) -> list[tuple[str, str]]:
    return [(action.kind, action.told) for action in plan(steps, chance)]


def test_the_seed_decides_the_actions() -> None:
    assert words(15, "1-0") == words(15, "1-0")
    assert words(15, "1-0") != words(15, "1-1")
    assert len(words(15, "1-0")) == 15


@pytest.mark.parametrize(("size", "steps"), [("small", 60), ("middle", 300), ("full", 2_000)])
def test_a_size_has_so_many_steps(size: str, steps: int) -> None:
    rounds, each = _SIZES[size]

    assert rounds * each == steps


def test_the_middle_size_does_everything_and_many_faults() -> None:
    rounds, steps = _SIZES["middle"]
    counts = Counter(kind for number in range(rounds) for kind, _ in words(steps, f"1-{number}"))

    assert counts.keys() == KINDS
    assert sum(counts[kind] for kind in FAULTS) >= 100


def test_only_what_can_be_done_is_planned() -> None:
    for number in range(20):
        runs, frozen, broker_frozen = True, False, False
        for kind, _ in words(15, f"2-{number}"):
            assert not (kind == "start" and runs)
            assert not (kind in {"crash", "freeze", "stop", "rescale", "change_pack"} and not runs)
            assert not (kind in {"freeze", "stop"} and frozen)
            assert not (kind in {"freeze_broker", "add_partition", "stop"} and broker_frozen)
            runs = kind not in {"crash", "stop"} and (runs or kind in {"start", "catch_up"})
            frozen = kind == "freeze" or (
                frozen and kind in {"produce", "freeze_broker", "thaw_broker", "add_partition"}
            )
            broker_frozen = kind == "freeze_broker" or (broker_frozen and kind not in {"thaw_broker", "catch_up"})
