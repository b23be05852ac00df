import json
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pytest
from confluent_kafka import Producer

PACK = """
[event.pay]
topic = "pays"
time = "at?"
fields = { user = "str", amount = "money", n = "int?", x = "float?", ok = "bool?" }

[feature.spent]
on = "pay"
key = ["user"]
fn = "sum"
of = "amount"
window = "10s"

[feature.pause]
on = "pay"
key = ["user"]
fn = "gap"
window = "10s"

[feature.total]
on = "pay"
key = ["ok"]
fn = "sum"
of = "n"
window = "10s"
"""
EVENTS: list[dict[str, Any]] = [
    {"user": "007", "amount": 0.1, "at": 1_700_000_000_000, "n": 2**63 - 1, "x": 1.5, "ok": True},
    {"user": "007", "amount": 0.2, "at": 1_700_000_001_500, "n": 2**63 - 1, "ok": True},
    {"user": 'o"x, y', "amount": 3, "at": 1_700_000_002_000, "x": -2.0, "ok": False},
    {"user": "007", "amount": 5, "at": 1_700_000_010_000},
]
EXPECTED = [
    (Decimal("0.1"), None, 2**63 - 1),
    (Decimal("0.3"), 1.5, 2**64 - 2),
    (Decimal(3), None, None),
    (Decimal("5.2"), 8.5, None),
]


def write_pack(folder: Path) -> str:
    (folder / "x.toml").write_text(PACK)
    return "x.toml"


def rows(file: Path, columns: str = "*") -> list[tuple[Any, ...]]:
    with duckdb.connect() as connection:
        return connection.execute(f"SELECT {columns} FROM read_parquet(?)", [str(file)]).fetchall()


def csv_of(events: list[dict[str, Any]]) -> str:
    names = ["user", "amount", "at", "n", "x", "ok"]
    cells = [[json.dumps(event[name]) if name in event else "" for name in names[1:]] for event in events]
    quoted = [event["user"].replace('"', '""') for event in events]
    lines = [",".join([f'"{user}"', *row]) for user, row in zip(quoted, cells, strict=True)]
    return "\n".join([",".join(names), *lines, ""])


def write_events(folder: Path, suffix: str) -> str:
    name = f"events.{suffix}"
    lines = "".join(json.dumps(event) + "\n" for event in EVENTS)
    match suffix:
        case "jsonl":
            (folder / name).write_text(lines)
        case "csv":
            (folder / name).write_text(csv_of(EVENTS))
        case "parquet":
            (folder / "lines.jsonl").write_text(lines)
            kinds = (
                "{user: 'VARCHAR', amount: 'DECIMAL(9, 2)', \"at\": 'BIGINT', n: 'BIGINT', x: 'DOUBLE', ok: 'BOOLEAN'}"
            )
            source = f"read_json('{folder}/lines.jsonl', columns = {kinds})"
            with duckdb.connect() as connection:
                connection.execute("SET TimeZone = 'Asia/Tokyo'")
                time = 'to_timestamp("at" / 1000)'  # with a zone
                connection.execute(f"COPY (SELECT * REPLACE ({time} AS \"at\") FROM {source}) TO '{folder}/{name}'")
    return name


@pytest.mark.parametrize("suffix", ["jsonl", "csv", "parquet"])
def test_every_format_gives_the_same_features_exactly(fraud, tmp_path: Path, suffix: str) -> None:
    told = fraud("features", write_pack(tmp_path), "--input", write_events(tmp_path, suffix), "--output", "out.parquet")

    assert told == "4 events with 3 features: out.parquet\n"
    assert rows(tmp_path / "out.parquet", "spent, pause, total") == EXPECTED
    assert [user for (user,) in rows(tmp_path / "out.parquet", "user")] == [event["user"] for event in EVENTS]
    assert rows(tmp_path / "out.parquet", 'epoch_ms("at")') == [(event["at"],) for event in EVENTS]
    assert rows(tmp_path / "out.parquet", "n, x, ok") == [
        (event.get("n"), event.get("x"), event.get("ok")) for event in EVENTS
    ]
    assert not list(tmp_path.glob(".features*"))


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("e.jsonl", '{"user": 7, "amount": 1, "at": 1}\n', "pays/0/2: user: expected a string, got 7"),
        ("e.jsonl", "{\n", "pays/0/2: not JSON: "),
        ("e.csv", "a,b\n", "pays/0/3: "),
        ("e.csv", "a,1,1,one,,\n", 'pays/0/3: n: expected an integer of at most 64 bits, got "one"'),
    ],
)
def test_what_is_no_event_is_told_with_its_line_and_the_others_are_written(
    fraud, tmp_path: Path, name: str, text: str, told: str
) -> None:
    first = json.dumps(EVENTS[0]) + "\n" if name == "e.jsonl" else csv_of(EVENTS[:1])
    (tmp_path / name).write_text(first + text)

    lines = fraud("features", write_pack(tmp_path), "--input", name, "--output", "out.parquet", code=1).splitlines()

    assert lines[0] == "1 events with 3 features: out.parquet"
    assert lines[1].startswith(told)
    assert lines[2] == "1 records are no pay and were left out"
    assert len(rows(tmp_path / "out.parquet")) == 1


def test_a_file_without_events_gives_a_table_without_rows(fraud, tmp_path: Path) -> None:
    (tmp_path / "e.jsonl").write_text("\n")

    fraud("features", write_pack(tmp_path), "--input", "e.jsonl", "--output", "out.parquet")

    assert rows(tmp_path / "out.parquet", "spent") == []


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["--output", "o.parquet"], 2, "fraud: expected either --input or --topic"),
        (["--input", "a.jsonl", "--output", "o.csv"], 2, "fraud: --output: expected a name that ends in .parquet"),
        (["--input", "a.txt", "--output", "o.parquet"], 1, "fraud: a.txt: expected a name that ends in .jsonl, .csv"),
        (["--input", "no.jsonl", "--output", "o.parquet"], 1, "fraud: no.jsonl: No such file or directory"),
        (["--input", "bad.parquet", "--output", "o.parquet"], 1, "fraud: bad.parquet: "),
        (["--input", "bad.csv", "--output", "o.parquet"], 1, "fraud: bad.csv:0: not CSV: "),
    ],
)
def test_what_cannot_be_read_is_one_line_and_writes_nothing(
    tmp_path: Path, fraud, arguments: list[str], code: int, told: str
) -> None:
    for name in ("bad.parquet", "bad.csv"):
        (tmp_path / name).write_bytes(b"\xff\x00nonsense")

    line = fraud("features", write_pack(tmp_path), *arguments, code=code)

    assert line.startswith(told)
    assert len(line.splitlines()) == 1
    assert not list(tmp_path.glob("*o.parquet"))
    assert not list(tmp_path.glob(".features*"))


def test_a_topic_is_read_to_its_end(fraud, transfers: Callable[[str], str], tmp_path: Path) -> None:
    topic = transfers("TRANSACTIONS_TOPIC")
    producer = Producer({"bootstrap.servers": fraud.environment["KAFKA_BROKER_URL"]})
    for number in range(500):
        transfer = {"source": f"s{number}", "target": f"t{number % 2}", "amount": number, "currency": "EUR"}
        producer.produce(topic, json.dumps(transfer), partition=number % 2)
    assert producer.flush(30) == 0

    told = fraud("features", fraud.environment["FRAUD_PACKS"], "--topic", topic, "--output", "out.parquet")

    assert told.startswith("500 events with ")
    found = rows(tmp_path / "out.parquet", "_origin, amount")
    assert sorted(found) == sorted((f"{topic}/{n % 2}/{n // 2}", Decimal(n)) for n in range(500))


def test_columns_with_dots_are_inner_members(fraud, tmp_path: Path) -> None:
    (tmp_path / "p.toml").write_text(
        'event.pay = { topic = "pays", time = "at @ m.at", fields = { user = "str @ payer.id", n = "int @ m.n" } }\n'
        'feature.total = { on = "pay", key = ["user"], fn = "sum", of = "n", window = "1h" }\n'
    )
    (tmp_path / "e.csv").write_text("payer.id,m.at,m.n,payer,x.y\na,1000,2,A,1\na,2000,3,,\n")

    fraud("features", "p.toml", "--input", "e.csv", "--output", "o.parquet")

    assert rows(tmp_path / "o.parquet", "user, n, total") == [("a", 2, 2), ("a", 3, 5)]


def test_what_looks_at_events_that_are_not_read_is_left_out_and_told(fraud, tmp_path: Path) -> None:
    (tmp_path / "p.toml").write_text(
        'event.pay = { topic = "pays", fields = { user = "str" }, time = "at" }\n'
        'event.seen = { topic = "seens", fields = { user = "str" } }\n'
        'feature.views = { on = "pay", key = ["user"], over = "seen", fn = "count", window = "1h" }\n'
        'feature.pays = { on = "pay", key = ["user"], fn = "count", window = "1h" }\n'
    )
    (tmp_path / "e.csv").write_text("user,at\na,1000\n")

    told = fraud("features", "p.toml", "--event", "pay", "--input", "e.csv", "--output", "o.parquet")

    assert told.splitlines() == [
        "1 events with 1 features: o.parquet",
        "views looks at seen events, which were not read: left out",
    ]
    assert rows(tmp_path / "o.parquet", '* EXCLUDE ("at", _origin)') == [("a", 1)]
