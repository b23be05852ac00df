"""Hostile records: what a stranger who may write to a topic could send."""

import json
import tomllib
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from random import Random
from typing import Any, Final

from detection.check import APART, EVENT, SINCE_START, START, TIMES
from detection.kinds import Kind
from detection.pack import Pack
from detection.records import Record
from detection.settings import DEFAULT_TOPICS

_MARKS: Final = {SINCE_START, TIMES, APART, EVENT}

SPLICES: Final = [
    b"",
    b'"',
    b"{",
    b"}",
    b"[",
    b",",
    b":",
    b"null",
    b"-",
    b"9" * 30,
    b"1e999",
    b"\\u0000",
    b"\xff",
    b"\xed\xa0\x80",
    b"NaN",
]
"""What is put into the bytes of a record."""

VALUES: Final[list[Any]] = [
    None,
    True,
    "",
    "\0",
    "a\0b",
    "\u202e\u2028\x1b[2J\r\n",
    "\ud800",
    "😀" * 300,
    "{0.__class__.__mro__}",
    "%s%n%(x)s",
    "${jndi:ldap://x/y}",
    "__import__('os').abort()",
    "'); import os; os.abort() #",
    "\\x00\\u0000",
    "<script>alert(1)</script>",
    "=cmd|'/c calc'!A1",
    "a" * 5_000,
    "9" * 5_000,
    "1e400",
    "0.0000000000000000001",
    "::1",
    "9999-12-31T23:59:59.999999+23:59",
    "0001-01-01T00:00:00Z",
    "2026-02-30T25:61:61Z",
    0,
    -1,
    2**31,
    2**63 - 1,
    -(2**63),
    2**64,
    10**400,
    -0.0,
    5e-324,
    1.7976931348623157e308,
    9.223372036854e12,
    [],
    {},
    [[[[[{}]]]]],
    {"__class__": {"__init__": {"__globals__": {}}}},
]
"""What stands in the place of a member's value."""

_HUGE: Final[list[Callable[[bytes], bytes]]] = [
    lambda _: b"[" * 1_000_000,
    lambda _: b'{"a":' * 150_000 + b"1" + b"}" * 150_000,
    lambda value: value[:-1] + b',"x":"' + b"\\u0061" * 150_000 + b'"}',
    lambda value: value[:-1] + b',"x":' + b"9" * 900_000 + b"}",
    lambda value: value[:-1] + b"," + b",".join(b'"m%d":%d' % (n, n) for n in range(60_000)) + b"}",
    lambda value: value[:-1] + b',"x":[' + b"1," * 400_000 + b"1]}",
    lambda value: value[:-1] + b',"x":[' + b"{}," * 300_000 + b"1]}",
    lambda value: value[:-1] + b',"x":[' + b'{"":1,"":1},' * 80_000 + b"1]}",
    lambda value: value[:-1] + b',"x":[' + b"1," * 400_000 + b"9" * 20 + b"]}",
    lambda value: value[:-1] + b',"x":[' + b"1.5," * 240_000 + b"1]}",
    lambda value: value[:-1] + b',"x":[' + (b"[" * 499 + b"]" * 499 + b",") * 950 + b"1]}",
    lambda value: value[:-1] + b"," + b",".join([value[1:-1] or b'"a":1'] * 2_000) + b"}",
    lambda value: value + b" " * 900_000,
    lambda value: value.replace(b'"a"', b'"' + b"a" * 900_000 + b'"'),
]
"""Records of about a megabyte, the most that a topic takes by default."""


def given(files: Iterable[Path]) -> list[tuple[str, bytes]]:
    """The events of the inline tests of packs, with their topics."""
    tables = [tomllib.loads(path.read_text()) for path in files]
    of_event = {name: event["topic"] for table in tables for name, event in table.get("event", {}).items()}
    for name, topic in of_event.items():
        of_event[name] = DEFAULT_TOPICS.get(topic.removeprefix("${").removesuffix("}"), topic)
    found = []
    for table in tables:
        for rule in table.get("rule", {}).values():
            for case in rule.get("test", []):
                for event in case["given"]:
                    members = {name: value for name, value in event.items() if name not in _MARKS}
                    found.append((of_event[event.get(EVENT, rule["on"])], json.dumps(members, default=str).encode()))
    return found


def examples(pack: Pack) -> list[tuple[str, bytes]]:
    """One event of each type, with all its members, and its topic."""
    values = {Kind.STR: "a", Kind.INT: 1, Kind.FLOAT: 1.5, Kind.BOOL: True, Kind.MONEY: 900, Kind.TIME: START}
    found = []
    for event in pack.events:
        members: dict[str, Any] = {}
        for field in event.members:
            *outer, last = field.member
            inside = members
            for name in outer:
                inside = inside.setdefault(name, {})
            inside[last] = values[field.kind]
        found.append((event.topic, json.dumps(members).encode()))
    return found


def mutated(value: bytes, random: Random) -> bytes:
    """A record with some bytes put in, changed, doubled or taken out."""
    raw = bytearray(value)
    for _ in range(random.choice([0, 1, 1, 2, 5])):
        at = random.randrange(len(raw) + 1)
        match random.randrange(4):
            case 0:
                raw[at : at + random.randrange(8)] = random.choice(SPLICES)
            case 1:
                raw[at : at + 1] = bytes([random.randrange(256)])
            case 2:
                other = random.randrange(len(raw) + 1)
                raw[at:at] = raw[min(at, other) : max(at, other)]
            case _:
                del raw[at : at + random.randrange(12)]
    return bytes(raw)


def reworked(value: bytes, random: Random) -> bytes:
    """A JSON object with other values in some members, or with members more: still JSON."""
    members: dict[str, Any] = json.loads(value)
    for _ in range(random.choice([1, 1, 2, 4])):
        name = random.choice([*members, "verdict", "reason", "fraudulent", "__proto__", "#time", "", "\0"])
        members[name] = random.choice(VALUES)
    return json.dumps(members, ensure_ascii=random.random() < 0.5).encode("utf-8", "surrogatepass")


def hostile(good: Sequence[tuple[str, bytes]], number: int, seed: int) -> Iterator[tuple[Record, bool]]:
    """So many records made of good ones, the same for a seed, each with whether it is other than a good one."""
    random = Random(seed)
    offsets: dict[tuple[str, int], int] = {}
    for place in range(number):
        topic, value = random.choice(good)
        raw: bytes | None
        match random.randrange(1_000):
            case 0:
                raw = None
            case 1:
                raw = random.choice([b"", b" ", b"null", b"[]", b'""', b"{}", b"\0", b"\xef\xbb\xbf{}", b"[" * 65])
            case 2 if place % 5 == 0:
                raw = random.choice(_HUGE)(value)
            case choice if choice < 500:
                raw = mutated(value, random)
            case _:
                raw = reworked(value, random)
        partition = random.choice([0, 0, 0, 1, 2, 32_767])
        offset = offsets.get((topic, partition), 0)
        offsets[topic, partition] = offset + random.choice([1, 1, 1, 2, 2**20])
        stamp = START + place
        if random.random() < 0.01:
            stamp = random.choice([-1, 0, 1, 2**42, 2**53, 2**63 - 1, -(2**63)])
        key = random.choice([None, b"k", b"\xff", b""])
        headers = random.choice([None, None, [("fraud.origin", b"clicks/0/0"), ("\0\n", None)]])
        yield Record(topic, partition, offset, stamp, key, raw, headers), raw != value
