"""Fields that a pack computes: keys, values and conditions like any other; and what a database says of addresses."""

import json
from pathlib import Path
from typing import Any

import pytest
from mmdb_writer import MMDBWriter
from netaddr import IPSet

from detection.codec import EventCodec
from detection.errors import PackError
from detection.loading import load, parse
from detection.program import Engine
from detection.records import DeadLetter, Record, Verdict
from tests.detection.test_pack import problems

PACK = """
[event.pay]
topic = "pays"
time = "at"
fields = { user = "str", amount = "money", mail = "str?" }

[event.pay.derive]
night = 'at.getHours("Europe/Berlin") < 6'
double = "amount * 2"
account = 'user + "/" + mail'
long = "size(account) > 5"

[feature.by_account]
on = "pay"
key = ["account"]
fn = "count"
window = "1h"

[feature.nights]
on = "pay"
key = ["user"]
fn = "count"
where = "night"
window = "30d"

[rule.r]
on = "pay"
when = "true || night || long"
reason = "{night} {account} {long} {by_account} {nights}"
score = 1
outcome = "review"
"""


def record(offset: int = 0, **members: Any) -> Record:
    return Record("pays", 0, offset, -1, None, json.dumps(members).encode())


def reason(answer: Verdict | DeadLetter) -> str:
    assert isinstance(answer, Verdict), answer
    (text,) = json.loads(answer.value)["reason"]
    return str(text)


def test_derived_fields_are_fields_in_features_rules_and_reasons() -> None:
    engine = Engine(parse({"p.toml": PACK}))

    told = [
        reason(engine.judge(record(offset, user="a", amount=1, mail=mail, at=at)))
        for offset, (mail, at) in enumerate(
            [
                ("x@y", "2026-01-01T04:59:59Z"),  # 05:59:59 in Berlin
                ("x@y", "2026-01-01T05:00:00Z"),
                (None, "2026-01-01T05:00:00Z"),
                ("z", "2026-01-01T05:00:00Z"),
            ]
        )
    ]

    assert told == [
        "true a/x@y false 1 1",
        "false a/x@y false 2 1",
        "false unknown unknown unknown 1",
        "false a/z false 1 1",
    ]


@pytest.mark.parametrize("members", [{"amount": 1.5}, {"amount": "1.50"}, {"amount": 1.5, "other": [1]}])
def test_both_ways_of_decoding_derive_the_same(members: dict[str, Any]) -> None:
    codec = EventCodec(parse({"p.toml": PACK}).events[0], 0)
    given = record(user="a", mail="m", at=1_000, **members)

    for event in (codec.decode(given), codec.exact(given)):
        assert (event.f_night, event.f_account, event.f_long, event.f_double) == (True, "a/m", False, 3_000_000)


def test_a_member_of_the_name_of_a_derived_field_is_not_read() -> None:
    codec = EventCodec(parse({"p.toml": PACK}).events[0], 0)

    event = codec.decode(record(user="a", amount=1, at=1_000, account="mine", f_account="mine", night=False))

    assert (event.f_account, event.f_night) == (None, True)


@pytest.mark.parametrize(
    ("derive", "expected"),
    [
        ('n = "usr"', '4:17: event e: derive n: unknown name "usr" (did you mean "user"?)'),
        ('a = "b", b = "user"', '4:17: event e: derive a: unknown name "b"'),
        ('user = "user"', "4:12: event e: derive: user is already a field"),
        ('at = "user"', "4:12: event e: derive: at is already a field"),
        ('n = "user in changing"', '4:25: event e: derive n: unknown name "changing"'),
    ],
)
def test_a_mistake_in_a_derived_field_is_told_with_its_place(derive: str, expected: str) -> None:
    text = f'[event.e]\ntopic = "t"\ntime = "at"\nderive = {{ {derive} }}\nfields = {{ user = "str" }}\n'
    lists = '[list.changing]\ntopic = "l"\n[list.lasting]\nmembers = ["a"]\n'

    (told,) = problems(text + lists)

    assert told.startswith(f"a.toml:{expected}")


# --- databases of addresses ------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    writer = MMDBWriter(ip_version=6, ipv4_compatible=True, database_type="Test")
    writer.insert_network(IPSet(["192.0.2.0/24"]), {"country": {"iso_code": "DE"}, "as": 64_500})
    writer.insert_network(IPSet(["198.51.100.0/24"]), {"country": {"iso_code": 7}})
    writer.insert_network(IPSet(["2001:db8::/32"]), {"country": {"iso_code": "FR"}})
    writer.to_db_file(str(tmp_path / "where.mmdb"))
    (tmp_path / "p.toml").write_text(
        """
[event.pay]
topic = "pays"
time = "at"
fields = { user = "str", ip = "str?" }
derive = { country = "countries[ip]", network = "networks[ip]" }

[list.countries]
file = "where.mmdb"
path = "country.iso_code"
value = "str"

[list.networks]
file = "where.mmdb"
path = "as"
value = "int"

[feature.countries_1h]
on = "pay"
key = ["user"]
fn = "distinct"
of = "country"
window = "1h"

[feature.of_country]
on = "pay"
key = ["country"]
fn = "count"
window = "1h"

[rule.r]
on = "pay"
when = 'true || countries[ip] == "DE" || network > 1'
reason = "{country} {network} {countries_1h} {of_country}"
score = 1
outcome = "review"
"""
    )
    return tmp_path


def test_the_country_of_an_address_is_a_key_and_a_value(folder: Path) -> None:
    engine = Engine(load([folder / "p.toml"]))
    addresses = ["192.0.2.9", "2001:db8::1", "192.0.2.255", "198.51.100.1", "203.0.113.1", "localhost", "", None]

    told = [
        reason(engine.judge(record(offset, user="a", ip=ip, at=1_000 + offset))) for offset, ip in enumerate(addresses)
    ]

    assert told[:3] == ["DE 64500 1 1", "FR unknown 2 1", "DE 64500 2 2"]
    assert told[3:] == ["unknown unknown unknown unknown"] * 5


def test_the_hash_of_a_pack_changes_with_its_database(folder: Path) -> None:
    before = load([folder / "p.toml"]).hash
    writer = MMDBWriter(ip_version=4, database_type="Test")
    writer.insert_network(IPSet(["192.0.2.0/24"]), {"country": {"iso_code": "US"}})
    writer.to_db_file(str(folder / "where.mmdb"))

    assert load([folder / "p.toml"]).hash != before


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ('path = "as"\n', "", 'an .mmdb needs value and path, such as path = "country.iso_code", and members of kind str'),
        ('value = "int"\n', "", 'an .mmdb needs value and path, such as path = "country.iso_code", and members of kind str'),
        ('"where.mmdb"\npath = "as"', '"gone.mmdb"\npath = "as"', "file gone.mmdb: cannot be read: No such file or directory"),
        ('"where.mmdb"\npath = "as"', '"text.mmdb"\npath = "as"', "text.mmdb:expected an .mmdb database, got something else"),
    ],
)  # fmt: skip
def test_a_database_that_is_wrong_is_told(folder: Path, old: str, new: str, told: str) -> None:
    (folder / "text.mmdb").write_text("no database")
    text = (folder / "p.toml").read_text()
    assert old in text
    (folder / "p.toml").write_text(text.replace(old, new))

    with pytest.raises(PackError) as caught:
        load([folder / "p.toml"])

    assert f"list networks: {told}" in [problem.message for problem in caught.value.problems]
