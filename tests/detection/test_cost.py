"""What a pack costs is told before it runs, and is about what it takes then."""

import json
import sys
from typing import Any

import pytest

from detection.cost import Cost, cost_of
from detection.errors import PackError
from detection.features import GroupState
from detection.features.group import read_snapshot
from detection.features.log_state import histories
from detection.features.plan import BUSIEST
from detection.loading import parse
from detection.pack import Pack
from detection.program import Decoder, Program
from detection.records import Record
from tests.dataflows.scored import put, scored

EVENT = """
lateness = "1h"
[event.pay]
topic = "pays"
time = "at"
fields = { user = "str", shop = "str", n = "int", x = "float", m = "money", flag = "bool" }
"""
START = 1_000_000_000_000


def pack_of(*features: str, event: str = EVENT) -> Pack:
    lines = [f'[feature.f{number}]\non = "pay"\n{feature}\n' for number, feature in enumerate(features)]
    return parse({"p.toml": event + "".join(lines)})


def cost(*features: str, busiest: str = "") -> Cost:
    return cost_of(pack_of(*features, event=EVENT.replace("fields", f"busiest = {{ {busiest} }}\nfields")))


def feature(fn: str, window: str, of: str = "", key: str = "user", more: str = "") -> str:
    return f'key = ["{key}"]\nfn = "{fn}"\nwindow = "{window}"\n' + (f'of = "{of}"\n' if of else "") + more


def deep_size(value: Any) -> int:
    size = sys.getsizeof(value)
    if isinstance(value, list):
        size += sum(map(deep_size, value))
    elif isinstance(value, dict):
        size += sum(deep_size(key) + deep_size(item) for key, item in value.items())
    return size


@pytest.mark.parametrize(
    "features",
    [
        [feature("count", "24h")],
        [feature("sum", "24h", "m")],
        [feature("distinct", "24h", "shop")],
        [feature("previous", "24h", "flag")],
        [feature("stddev", "24h", "x"), feature("sum", "24h", "n"), feature("max", "24h", "m")],
        [feature("count", "24h", more='resolution = "5m"')],
        [feature("stddev", "24h", "x", more='resolution = "5m"')],
        [feature("distinct", "24h", "shop", more='resolution = "20m"')],
    ],
)
def test_a_history_takes_what_was_told_to_a_factor_of_two(features: list[str]) -> None:
    pack = pack_of(*features)
    (told,) = cost_of(pack).histories
    program = Program(pack)
    state = GroupState(program.steps[0])
    hours = 25  # the window and the lateness
    for number in range(hours * BUSIEST):
        members = {"user": "u", "shop": f"shop number {number % 40:020}", "n": number + 2**40, "x": number / 7}
        at = {"m": number + 0.25, "flag": number % 2 == 0, "at": START + number * 60_000}
        record = Record("pays", 0, number, -1, None, json.dumps(members | at).encode())
        state.update(Decoder(program).decode([record]), [])  # type: ignore[arg-type]
    (log,) = read_snapshot(state.snapshot())["logs"].values()
    (history,) = histories(log).values()

    # Told is what may be there before the older half is forgotten; here nothing is too old.
    assert told.entries / 2 - 3 <= len(history[0]) <= told.entries / 2 + 1
    assert told.size / 4 <= deep_size(history) <= told.size


def test_several_fields_are_as_busy_as_the_least_busy_of_them() -> None:
    one, both = cost(
        feature("count", "1h", key="shop"),
        'key = ["shop", "user"]\nfn = "count"\nwindow = "1h"',
        busiest="shop = 3600, user = 10",
    ).histories

    assert (one.hourly, both.hourly) == (3600, 10)
    assert (one.entries, both.entries) == (2 * 2 * 3600, 2 * 2 * 10)


def test_panes_hold_no_more_with_more_events() -> None:
    paned = feature("sum", "30d", "m", more='resolution = "1d"')

    few, many = (cost(paned, busiest=f"user = {hourly}") for hourly in (60, 60_000))

    assert few.histories[0].size == many.histories[0].size
    assert few.events == many.events


def test_work_that_grows_with_the_window_grows_with_the_events() -> None:
    few, many = (
        cost(feature("stddev", "1h", "m"), busiest=f"user = {hourly}").features["f0"] for hourly in (60, 6_000)
    )
    ends, more_ends = (
        cost(feature("sum", "1h", "m"), busiest=f"user = {hourly}").features["f0"] for hourly in (60, 6_000)
    )

    assert many > 50 * few / 2
    assert ends == more_ends


def test_the_busiest_changes_no_verdict_and_so_not_the_hash() -> None:
    assert pack_of(event=EVENT).hash == pack_of(event=EVENT.replace("fields", "busiest = { user = 5 }\nfields")).hash


def test_the_limit_is_on_one_key_and_on_one_event() -> None:
    heavy = feature("count", "90d")
    parse({"p.toml": EVENT + f'[feature.f]\non = "pay"\n{heavy}'})
    with pytest.raises(
        PackError, match=r"feature f: keeps .* events of the busiest user \(300 an hour\): expected at most 64 MB"
    ):
        parse(
            {
                "p.toml": EVENT.replace("fields", "busiest = { user = 300 }\nfields")
                + f'[feature.f]\non = "pay"\n{heavy}'
            }
        )

    slow = [f'[feature.f{n}]\non = "pay"\n{feature("entropy", "30d", "n")}' for n in range(3)]
    parse({"p.toml": EVENT + slow[0]})
    with pytest.raises(
        PackError,
        match=r"feature f0: makes an event of the busiest key cost 5.6 ms: .* 10 ms with all others, got 16.9",
    ):
        parse({"p.toml": EVENT + "".join(slow)})


def test_a_model_costs_what_its_trees_do(tmp_path) -> None:
    before = cost_of(scored(tmp_path)).events
    put(tmp_path, 1)
    alone = cost_of(scored(tmp_path)).events
    put(tmp_path, 2, "payments.challenger.model")
    both = cost_of(scored(tmp_path)).events

    assert [costs["payment"] - before["payment"] for costs in (alone, both)] == pytest.approx([2.0, 4.0])  # 20 trees
    assert both["login"] == before["login"]
