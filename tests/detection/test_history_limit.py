"""A key with more events than any should have costs neither memory without an end nor the time of others."""

import time
from bisect import bisect_right, insort
from random import Random

import pytest

from detection.features import plan
from detection.loading import parse
from detection.program import Engine
from detection.records import DeadLetter, Record

START = 1_767_225_600_000
LIMIT = 40
PACK = """
lateness = "10m"

[event.pay]
topic = "pays"
time = "at"
fields = { user = "str", amount = "int", device = "str" }

[feature.n]
on = "pay"
key = ["user"]
fn = "count"
window = "1h"

[feature.spent]
on = "pay"
key = ["user"]
fn = "sum"
of = "amount"
window = "1h"

[rule.many]
on = "pay"
when = "n > 1000000 || spent > 1000000000"
reason = "many"
score = 1
outcome = "block"
"""
BUSY = PACK.replace('device = "str" }', 'device = "str" }\nbusiest = { user = 20000 }')
PANES = PACK.replace('window = "1h"', 'window = "1h"\nresolution = "1s"')


def record(offset: int, user: str, at: int) -> Record:
    value = b'{"user":"%b","amount":%d,"at":%d,"device":"d"}' % (user.encode(), offset % 7, at)
    return Record("pays", 0, offset, at, None, value)


def counts(engine: Engine, times: list[int], user: str = "hot") -> list[tuple[int, int]]:
    """Number and sum in the window of each event."""
    found = []
    for event in engine.enrich(record(offset, user, START + at) for offset, at in enumerate(times)):
        assert not isinstance(event, DeadLetter)
        found.append(event.features[:2])
    return found


def model(times: list[int], limit: int) -> tuple[list[int], int]:
    """Number in the window of each event, and how many entries did not find or keep their place: written the plain way."""
    kept: list[int] = []
    values, overflows, watermark = [], 0, -(10**15)
    for at in times:
        watermark = max(watermark, at)
        forgotten = watermark - (3_600_000 + 600_000)
        moved = at
        if kept and at < kept[-1] and len(kept) >= limit:
            moved = kept[-1]
            overflows += 1
        insort(kept, moved)
        stop = bisect_right(kept, moved)
        start = min(bisect_right(kept, max(moved - 3_600_000, forgotten), 0, stop), stop - 1)
        values.append(stop - start)
        if kept[stop >> 1 if stop < len(kept) else min(stop >> 1, len(kept) - 1)] <= forgotten:
            kept = kept[bisect_right(kept, forgotten) :]
        elif stop > limit + limit // 4:
            overflows += len(kept) - limit
            kept = kept[-limit:]
    return values, overflows


@pytest.mark.parametrize("seed", range(20))
def test_windows_of_a_history_at_its_limit_are_those_of_what_it_keeps(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan, "LEAST_LIMIT", LIMIT)
    monkeypatch.setattr(plan, "BUSIEST", 1)
    random = Random(seed)
    now, times = 0, []
    for _ in range(500):
        now += random.choice([0, 1, 1_000, 60_000, 60_000 * 70 * (random.random() < 0.02)])
        times.append(now - random.choice([0, 0, 0, 5_000, 900_000]))
    engine = Engine(parse({"x.toml": PACK}))

    values = [number for number, _ in counts(engine, times)]

    expected, overflows = model(times, LIMIT)
    assert values == expected
    assert engine.program.steps[0].overflows == [overflows]
    assert overflows > 50
    assert max(values) <= LIMIT + LIMIT // 4 + 1


def test_a_key_below_the_limit_loses_nothing_and_one_above_it_keeps_the_newest() -> None:
    engine = Engine(parse({"x.toml": PACK}))
    times = list(range(13_000))

    values = [number for number, _ in counts(engine, times)]

    assert values[: plan.LEAST_LIMIT + 1] == list(range(1, plan.LEAST_LIMIT + 2))
    assert min(values[plan.LEAST_LIMIT :]) == plan.LEAST_LIMIT + 1
    assert max(values) == plan.LEAST_LIMIT * 5 // 4 + 1
    assert engine.program.steps[0].overflows == [plan.LEAST_LIMIT // 4 + 1]


def test_a_pack_that_says_how_busy_its_keys_are_gets_a_limit_above_that() -> None:
    engine = Engine(parse({"x.toml": BUSY}))

    assert [number for number, _ in counts(engine, list(range(13_000)))] == list(range(1, 13_001))
    assert engine.program.steps[0].overflows == [0]


def test_sums_of_a_cut_history_are_those_of_its_entries() -> None:
    engine = Engine(parse({"x.toml": PACK}))

    for offset, (number, spent) in enumerate(counts(engine, list(range(13_000)))):
        if offset % 500 == 0 or offset > 12_490:
            assert spent == sum(place % 7 for place in range(offset - number + 1, offset + 1))


def test_panes_are_limited_as_well_and_each_event_is_in_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "LEAST_LIMIT", LIMIT)
    monkeypatch.setattr(plan, "BUSIEST", 1)
    engine = Engine(parse({"x.toml": PANES}))
    order = Random(3)
    times = [number * 1_000 - order.choice([0, 0, 600_000]) for number in range(2_000)]

    found = counts(engine, times)

    ((times_kept, _, counted, _),) = (history for log in engine._states[0]._logs for history in log.changed.values())
    assert LIMIT <= len(times_kept) <= LIMIT * 5 // 4
    assert times_kept == sorted(set(times_kept))
    assert counted[-1] - counted[0] >= found[-1][0] - LIMIT // 4
    assert engine.program.steps[0].overflows[0] > 500


@pytest.mark.parametrize("cut", [9_999, 11_000, 12_600])
def test_a_restart_changes_no_window_of_a_cut_history(cut: int) -> None:
    random = Random(2)
    times = [number - random.choice([0, 0, 900]) for number in range(13_500)]
    straight, first, second = (Engine(parse({"x.toml": PACK})) for _ in range(3))
    expected = counts(straight, times)

    before = counts(first, times[:cut])
    second.restore(first.snapshot())
    after = [
        event.features[0]
        for event in second.enrich(record(cut + n, "hot", START + at) for n, at in enumerate(times[cut:]))
        if not isinstance(event, DeadLetter)
    ]

    assert [*(number for number, _ in before), *after] == [number for number, _ in expected]


def test_a_flood_out_of_order_on_one_key_costs_about_what_any_event_costs() -> None:
    engine = Engine(parse({"x.toml": PACK}))
    counts(engine, list(range(plan.LEAST_LIMIT)))
    random = Random(1)
    flood = [record(20_000 + n, "hot", START + random.randrange(-3_000_000, 10_000)) for n in range(2_000)]
    others = [record(40_000 + n, f"u{n}", START + 10_000) for n in range(2_000)]

    def seconds(records: list[Record]) -> float:
        best = 1.0
        for first in range(0, 2_000, 500):
            since = time.thread_time()
            for item in records[first : first + 500]:
                engine.judge(item)
            best = min(best, time.thread_time() - since)
        return best

    seconds(others)  # its code is warm then
    assert seconds(flood) < 5 * seconds(others)
