import json
from collections import Counter

from proofs.traffic import Keys, Traffic

NOW = 1_700_000_000_000_000  # us


def sent(seed: int, disorder: float = 0.0, number: int = 5_000) -> list[tuple[str, bytes | None, bytes]]:
    traffic = Traffic(seed, disorder=disorder)
    return [record for index in range(number) for record in traffic.next(NOW + index * 100)]


def test_a_seed_decides_which_records() -> None:
    assert sent(1, 0.02) == sent(1, 0.02)
    assert sent(1, 0.02) != sent(2, 0.02)


def test_both_kinds_come_with_some_rubbish_and_all_have_keys() -> None:
    records = sent(1)

    counts = Counter(kind for kind, _, _ in records)
    assert 0.2 < counts["payments"] / counts.total() < 0.3
    assert 2 < sum((key or b"").startswith(b"rubbish") for _, key, _ in records) < 50
    assert all(key for _, key, _ in records)


def test_disorder_doubles_records_and_brings_late_ones() -> None:
    records = sent(1, 0.02)

    assert 50 < len(records) - 5_000 < 200
    begin = json.loads(sent(1, number=1)[0][2])["timestamp"]
    times = [json.loads(value).get("timestamp", begin) for _, key, value in records if not key.startswith(b"rubbish")]
    late = sum(str(time) < str(begin) for time in times)
    assert 100 < late < 400


def test_keys_come_round_again() -> None:
    keys = Keys(3)

    assert [keys.next(NOW)[0][1] for _ in range(4)] == [b"%016x" % number for number in (0, 1, 2, 0)]
