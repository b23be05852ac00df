"""Windows as DuckDB computes them: SQL written by the rules of SQL, by somebody else's engine."""

import json
from collections.abc import Iterator
from math import isclose
from random import Random
from typing import Any

import duckdb
import pytest

from detection.loading import parse
from detection.program import Engine
from detection.records import DeadLetter, Record

EVENTS = 200_000
BATCH = 5_000
START = 1_700_000_000_000
MINUTE = 60_000_000  # us
WINDOWS = {"10m": 10 * MINUTE, "3h": 180 * MINUTE}
SQL = {
    "count": "count(*) OVER w",
    "sum": "sum(amount) OVER w",
    "min": "min(amount) OVER w",
    "max": "max(amount) OVER w",
    "distinct": "count(DISTINCT shop) OVER w",
    "first_seen_age": "t - min(t) OVER w",
    "avg": "sum(amount) OVER w / count(*) OVER w",
    "stddev": "stddev_pop(x) OVER w",
}
OF = {"distinct": "shop", "stddev": "x", "count": None, "first_seen_age": None}


def features() -> Iterator[tuple[str, str, str]]:
    for fn in SQL:
        for window in WINDOWS:
            for key in ("customer", "shop"):
                if not (fn == "distinct" and key == "shop"):
                    yield fn, window, key


def pack() -> str:
    lines = ['[event.pay]\ntopic = "pays"\ntime = "at"\n']
    lines += ['fields = { customer = "str", shop = "str", amount = "int", x = "float" }\n']
    for fn, window, key in features():
        of = OF.get(fn, "amount")
        lines += [f'[feature.{fn}_{window}_{key}]\non = "pay"\nkey = ["{key}"]\nfn = "{fn}"\nwindow = "{window}"\n']
        lines += [f'of = "{of}"\n'] if of else []
    return "".join(lines)


@pytest.fixture(scope="module")
def events() -> list[dict[str, Any]]:
    random = Random(4)
    at = START
    out = []
    for _ in range(EVENTS):
        at += random.choice([0, 0, 1, 500, 2_000])  # many at the same time, and windows that end exactly at an event
        event = {"customer": f"c{random.randrange(300)}", "shop": f"s{random.randrange(100)}", "at": at}
        out.append(event | {"amount": random.randrange(-5, 10**6), "x": random.gauss(0, 1e3)})
    return out


def ours(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    engine = Engine(parse({"x.toml": pack()}))
    places = engine.program.plan.values(engine.program.pack.events[0])
    rows = []
    for start in range(0, len(events), BATCH):
        batch = events[start : start + BATCH]
        records = [Record("pays", 0, start + n, -1, None, json.dumps(event).encode()) for n, event in enumerate(batch)]
        for item in engine.enrich(records):
            assert not isinstance(item, DeadLetter)
            rows.append({name: item.features[place] for name, place in places.items()})
    return rows


def test_windows_over_200_000_events_are_those_of_duckdb(events: list[dict[str, Any]], tmp_path: Any) -> None:
    (tmp_path / "events.jsonl").write_text(
        "".join(json.dumps(event | {"n": n}) + "\n" for n, event in enumerate(events))
    )
    kinds = "{n: 'BIGINT', customer: 'VARCHAR', shop: 'VARCHAR', \"at\": 'BIGINT', amount: 'BIGINT', x: 'DOUBLE'}"
    mine = ours(events)
    compared = 0
    with duckdb.connect() as connection:
        source = f"read_json('{tmp_path}/events.jsonl', columns = {kinds})"
        connection.execute(f'CREATE TABLE pays AS SELECT *, "at" * 1000 AS t FROM {source}')
        for fn, window, key in features():
            # RANGE includes its start, (t-w, t] does not. And it counts later rows with an equal time: of these only
            # the last one sees what SQL sees.
            span = f"(PARTITION BY {key} ORDER BY t RANGE BETWEEN {WINDOWS[window] - 1} PRECEDING AND CURRENT ROW)"
            last = f"max(n) OVER (PARTITION BY {key}, t)"
            query = f"SELECT n, v FROM (SELECT n, {SQL[fn]} AS v, {last} AS last FROM pays WINDOW w AS {span}) WHERE n = last"
            name = f"{fn}_{window}_{key}"
            for number, expected in connection.execute(query).fetchall():
                found = mine[number][name]
                compared += 1
                if fn == "stddev":
                    found, expected = found or 0.0, expected or 0.0  # noqa: PLW2901  (unknown for one event, 0 in SQL)
                    assert isclose(found, expected, rel_tol=1e-6, abs_tol=1e-6), (name, number)
                elif fn == "avg":
                    assert isclose(found, expected, rel_tol=1e-12), (name, number)
                else:
                    assert found == expected, (name, number)
    assert compared > EVENTS * len(list(features())) / 2
