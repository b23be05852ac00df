from itertools import pairwise

import msgspec
import pytest

from simulation.counter import Counter


@pytest.mark.parametrize("share", [0.0, 0.05, 0.9])
def test_counts_go_up_by_one_or_start_over_and_over_three_is_fraud(share):
    generate = Counter(1, share)
    told = [generate(index * 1_000) for index in range(20_000)]
    counts = [msgspec.json.decode(record.value)["click_count"] for record in told]

    assert counts[0] == 1
    assert all(after in (before + 1, 1) for before, after in pairwise(counts))
    assert [record.fraudulent for record in told] == [count > 3 for count in counts]


def test_visitors_who_stop_at_three_are_among_the_harmless():
    generate = Counter(1, 0.05)
    counts = [msgspec.json.decode(generate(index).value)["click_count"] for index in range(2_000)]

    assert (3, 1) in set(pairwise(counts))
