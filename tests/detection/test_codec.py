"""Bytes to events: the fast path and the exact path agree, and whatever comes in, an event or a clear error comes out."""

import json
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_EVEN, Decimal
from random import Random
from typing import Any, ClassVar

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from detection.codec import DEEPEST, LARGEST_EVENT, Event, EventCodec, _too_deep, money
from detection.errors import UndecodableError
from detection.kinds import LARGEST
from detection.loading import parse
from detection.program import Decoder, Program
from detection.records import DeadLetter, Record

PACK = parse(
    {
        "x.toml": """
[event.pay]
topic = "pays"
time = "at?"
fields = { user = "str", amount = "money", n = "int?", x = "float?", flag = "bool?", memo = "str?", fee = "money?" }
add = { label = 'fraudulent ? "Yes" : "No"' }

[event.strict]
topic = "stricts"
time = "at"
fields = { user = "str", n = "int", x = "float", flag = "bool" }

[event.bare]
topic = "bares"
fields = { reason = "str?" }

[event.deep]
topic = "deeps"
time = "at? @ meta.at"
fields = { user = "str @ payer.account.id", other = "str? @ payee.account.id", amount = "money @ total-sum", n = "int? @ meta.n", fee = "money? @ payee.fee" }

[event.deeper]
topic = "deepers"
time = "at @ meta.at"
fields = { user = "str @ a.b.c.id", other = "str @ a.b.id", x = "float @ a.x" }

[event.shallow]
topic = "shallows"
fields = { id = "int? @ a.id", reason = "str? @ verdict.reason", flag = "bool?" }
"""
    }
)
PAY, STRICT, BARE, DEEP, DEEPER, SHALLOW = (EventCodec(event, index) for index, event in enumerate(PACK.events))
NOW = 1_700_000_000_000  # ms, 2023-11-14T22:13:20Z
OK = b'"user":"a","amount":1'


def record(value: bytes | None, timestamp: int = NOW) -> Record:
    return Record("pays", 3, 7, timestamp, b"k", value)


def columns(event: Event) -> dict[str, Any]:
    return {name: getattr(event, name) for name in event.__struct_fields__}


def outcome(decode: Callable[[Record], Event], given: Record) -> dict[str, Any] | str:
    try:
        return columns(decode(given))
    except UndecodableError as error:
        return str(error)


def decoded(codec: EventCodec, value: bytes | None, timestamp: int = NOW) -> dict[str, Any] | str:
    """What comes of a value, on both paths; they must agree to the type of each attribute."""
    fast = outcome(codec.decode, record(value, timestamp))
    exact = outcome(codec.exact, record(value, timestamp))
    assert repr(fast) == repr(exact)
    return fast


def error(value: bytes | None, codec: EventCodec = PAY, timestamp: int = NOW) -> str:
    found = decoded(codec, value, timestamp)
    assert isinstance(found, str), found
    return found


def event(value: bytes, codec: EventCodec = PAY, timestamp: int = NOW) -> dict[str, Any]:
    found = decoded(codec, value, timestamp)
    assert isinstance(found, dict), found
    return found


# --- the two paths -----------------------------------------------------------------------------------------------

NAMES = [
    "user",
    "amount",
    "n",
    "x",
    "flag",
    "memo",
    "fee",
    "at",
    "reason",
    "verdict",
    "label",
    "z",
    "#clash",
    "#lane",
    "",
]
SCALARS = [
    *("null", "true", "false", "0", "-0", "1", "-1", "1.0", "1e2", "-0.0", "1E-7", "0.1", "400.01", "1e400", "-1e400"),
    *("0.0000005", "0.0000015", "0.00000050000000000000001", "1125899906.842624", "9007199254740993", "1e999999"),
    *("9223372036854775807", "9223372036854775808", "-9223372036854775808", "-9223372036854775809"),
    *(
        "18446744073709551616",
        "9223372036854.775807",
        "9223372036854.775808",
        "9" * 30,
        "9" * 5000,
        "1e99999999999999999999",
    ),
    *(
        "1e-99999999999999999999",
        "0e99999999999999999999",
        "NaN",
        "Infinity",
        "-Infinity",
        "01",
        "1.",
        "+1",
        "-",
        "tru",
        "",
    ),
    *(
        '"a"',
        '""',
        '"user"',
        '"\\u0000"',
        '"\\u0041"',
        '"\\ud800"',
        '"\\ud83d\\ude00"',
        '"\\"user\\":1"',
        '"é"',
        '"\x00"',
    ),
    *('"400.01"', '"1e3"', '"NaN"', '" 1"', '"1_0"', '"0.0000005"', '"9223372036854.7758075"', '"\\u0031"', '"\u0661"'),
    *(f'"{text}"' for text in ("2023-11-14T22:13:20Z", "2023-11-14T22:13:20", "2023-11-14 22:13:20.1234567+01:00")),
    *(
        f'"{text}"'
        for text in ("0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59.9999999Z", "2023-11-14", "1970-01-01")
    ),
    *(
        "1700000000000",
        "1700000000000.0",
        "1700003600000",
        "1700003600001",
        "4611686018427388",
        "9223372036854775",
        "-1",
    ),
]
SPACES = ["", "", "", "", " ", "\n", "\t ", "\ufeff"]
DAMAGE = [b"", b'"', b"\xff", b"\\", b",", b"}", b"{", b"\x00", b"1"]


class Texts:
    """Texts that are nearly right: drawn from a seed, a thousand times faster than hypothesis draws them."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)

    def scalar(self) -> str:
        random = self.random
        text = "".join(chr(random.choice([random.randrange(128), random.randrange(0xD000)])) for _ in range(3))
        return random.choice(
            [
                *[random.choice(SCALARS)] * 6,
                repr(random.uniform(-1e10, 1e10)),
                f"{random.randrange(10**14)}.{random.randrange(10**12)}",
                str(random.getrandbits(random.randrange(1, 70))),
                json.dumps(text),
                json.dumps(text, ensure_ascii=False),
            ]
        )

    def value(self, depth: int) -> str:
        match self.random.randrange(12 if depth else 10):
            case 10:
                return self.object(depth - 1)
            case 11:
                return f"[{self.value(depth - 1)},{self.value(depth - 1)}]"
            case _:
                return self.scalar()

    def name(self) -> str:
        name = self.random.choice(NAMES)
        return (
            "".join(f"\\u{ord(each):04x}" if self.random.random() < 0.5 else each for each in name)
            if (self.random.random() < 0.1)
            else name
        )

    def object(self, depth: int) -> str:
        random = self.random
        members = [(self.name(), self.value(depth)) for _ in range(random.randrange(4))]
        if random.random() < 0.8:
            members += [("user", '"a"'), ("amount", "1")]
        if random.random() < 0.5:
            members += [("n", "1"), ("x", "1"), ("flag", "true"), ("at", "5")]
        random.shuffle(members)
        gap = random.choice(SPACES)
        return "{" + f",{gap}".join(f'"{name}":{gap}{value}' for name, value in members) + "}"

    def text(self) -> bytes:
        random = self.random
        raw = bytearray((random.choice(SPACES) + self.object(2) + random.choice(SPACES)).encode())
        for _ in range(random.choice([0, 0, 0, 1, 2])):
            at = random.randrange(len(raw) + 1)
            raw[at : at + random.randrange(3)] = random.choice(DAMAGE)
        return bytes(raw)


class DeepTexts(Texts):
    """Nearly right texts for events with inner members."""

    TREES: ClassVar[list[Any]] = [
        {"payer": {"account": {"id": '"u"'}}, "payee": {"account": {"id": '"o"'}, "fee": "1"}, "total-sum": "2"},
        {"payer": {"account": {"id": '"u"'}}, "total-sum": "2", "meta": {"at": "5", "n": "1"}},
        {"meta": {"at": '"2023-11-14T22:00:00"'}, "a": {"b": {"c": {"id": '"u"'}, "id": '"o"'}, "x": "1.5"}},
        {"a": {"id": "1"}, "verdict": {"reason": '"r"'}, "flag": "true"},
    ]

    def object(self, depth: int) -> str:
        del depth
        return self.tree(self.random.choice(self.TREES), self.random.choice([0.0, 0.0, 0.1, 0.3]))

    def tree(self, tree: Any, wrong: float) -> str:
        random = self.random
        if random.random() < wrong:
            return random.choice([*SCALARS, "{}", "[]", "null", '{"id":"x"}'])
        if isinstance(tree, str):
            return tree
        members = []
        for name, inner in tree.items():
            if random.random() >= wrong:
                members.append((name, self.tree(inner, wrong)))
            if random.random() < wrong / 3:
                members.append((random.choice([name, "id", "other"]), self.tree(inner, wrong)))
        gap = random.choice(SPACES)
        return "{" + f",{gap}".join(f'"{name}":{gap}{value}' for name, value in members) + "}"


def test_the_paths_agree_on_inner_members() -> None:
    texts = DeepTexts(seed=2)
    events = dead_letters = 0
    for number in range(30_000):
        text = texts.text()
        for codec in (DEEP, DEEPER, SHALLOW):
            found = decoded(codec, text, (NOW, NOW, 0, -1)[number % 4])
            events += isinstance(found, dict)
            dead_letters += isinstance(found, str)
    assert min(events, dead_letters) > 5_000, "the texts are too good or too bad to tell anything"


def test_inner_members_are_read_where_the_pack_says() -> None:
    text = b'{"payer":{"account":{"id":"u"},"id":"no"},"total-sum":2.5,"meta":{"at":7},"payee":{"account":{"id":"o"}}}'

    found = event(text, DEEP)

    assert (found["f_user"], found["f_other"], found["f_amount"]) == ("u", "o", 2_500_000)
    assert (found["f_n"], found["f_fee"], found["time"]) == (None, None, 7_000)
    assert found["raw"] == text
    assert [name for name, value in found.items() if name.startswith("o_") and value is not None] == []
    assert decoded_again(DEEP, text) == found


def decoded_again(codec: EventCodec, text: bytes) -> dict[str, Any]:
    """As it is after it went to another process."""
    sent = msgspec.msgpack.encode(msgspec.structs.astuple(codec.decode(record(text))))
    return columns(codec.type(*msgspec.msgpack.decode(sent))) | {"features": ()}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b'{"total-sum":1}', "payer.account.id: expected a string, got nothing"),
        (b'{"payer":null,"total-sum":1}', "payer.account.id: expected a string, got nothing"),
        (b'{"payer":{"account":{"id":null}},"total-sum":1}', "payer.account.id: expected a string, got null"),
        (b'{"payer":"x","total-sum":1}', 'payer: expected an object, got "x"'),
        (b'{"payer":{"account":[1]},"total-sum":1}', "payer.account: expected an object, got an array"),
        (b'{"payer":{"account":{"id":1}},"total-sum":1}', "payer.account.id: expected a string, got 1"),
        (b'{"payer":{"account":{"id":"a","id":"b"}},"total-sum":1}', "payer.account.id: occurs 2 times"),
        (b'{"payer":{},"payer":{"account":{"id":"a"}},"total-sum":1}', "payer: occurs 2 times"),
        (b'{"payer":{"account":{"id":"a"}},"total-sum":1,"payee":{"account":{},"account":{}}}', "payee.account: occurs 2 times"),
        (b'{"payer":{"account":{"id":"a"}}}', "total-sum: expected an amount of at most 64 bits in millionths, got nothing"),
        (b'{"payer":{"account":{"id":"a"}},"total-sum":1,"payee":7}', "payee: expected an object, got 7"),
    ],
)  # fmt: skip
def test_an_error_in_an_inner_member_says_where(value: bytes, expected: str) -> None:
    assert error(value, DEEP) == expected


def test_the_fast_path_accepts_nothing_that_the_exact_path_refuses_and_their_events_are_equal() -> None:
    texts = Texts(seed=1)
    events = dead_letters = 0
    for number in range(30_000):
        found = decoded((PAY, STRICT, BARE)[number % 3], texts.text(), (NOW, NOW, 0, -1)[number % 4])
        events += isinstance(found, dict)
        dead_letters += isinstance(found, str)
    assert min(events, dead_letters) > 4_000, "the texts are too good or too bad to tell anything"


@pytest.mark.parametrize("codec", [PAY, STRICT, BARE])
@pytest.mark.parametrize(
    "value",
    [
        b'{"user":"a","\\u0075ser":"b","amount":1}',
        b'{"z":{"user":"b"},"user":"a","amount":1}',
        b'{%b,"amount":2}' % OK,
        b'{%b,"#clash":true,"#lane":7,"#sequence":7,"#features":[7],"#watermark":7}' % OK,
        b'{%b,"reason":%b}' % (OK, b"9" * 10_000),
        b'{"reason":"a"}',
        b"{}",
    ],
)
def test_the_paths_agree_on(value: bytes, codec: EventCodec) -> None:
    decoded(codec, value)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=40))
def test_any_bytes_become_an_event_or_an_error(value: bytes) -> None:
    decoded(BARE, value)


@pytest.mark.parametrize(
    "value",
    [
        b'{%b,"z":"%b"}' % (OK, b"z" * 1_000_000),
        b'{%b,"memo":"%b"}' % (OK, b"z" * 1_000_000),
        b'{%b,"z":%b}' % (OK, b"1" * 10_000),
        b'{%b,"reason":%b}' % (OK, b"1" * 10_000),
        b'{%b,"reason":{"user":1},"\\u0001\\u007f\\u0000":1e99999999999999999999}' % OK,
        b'{%b,"z":[%b1]}' % (OK, b"1," * 500_000),
        b'{%b,"z":"%b"}' % (OK, b'\\"[' * 300_000),
        b'{%b,"z":%b%b}' % (OK, b"[" * (DEEPEST - 1), b"]" * (DEEPEST - 1)),
        b'{%b,"reason":%b%b}' % (OK, b"[" * (DEEPEST - 1), b"]" * (DEEPEST - 1)),
        b'{%b,"#lane":1}' % OK,
        b"\n {%b} \r\t" % OK,
    ],
    ids=lambda value: f"{value[:40]!r}",
)
def test_what_the_pack_does_not_name_may_be_anything(value: bytes) -> None:
    assert event(value)["raw"] == value


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (
            b'{"user":"a","amount":%b}' % (b"1" * 10_000),
            "amount: expected an amount of at most 64 bits in millionths, got 1111",
        ),
        (b'{%b,"n":%b}' % (OK, b"1" * 10_000), "n: expected an integer of at most 64 bits, got 1111"),
        (b'{%b,"x":%b}' % (OK, b"1" * 10_000), "x: expected a number, got 1111"),
        (b'{%b,"at":%b}' % (OK, b"1" * 10_000), "at: expected an ISO 8601 time or epoch milliseconds, got 1111"),
        (b'{"user":%b,"amount":1}' % (b"1" * 10_000), "user: expected a string, got 1111"),
        (b'{%b,"n":"%b"}' % (OK, b"z" * 1_000_000), 'n: expected an integer of at most 64 bits, got "zzz'),
        (b'{"user":"a","amount":"%b"}' % (b"9" * 1_000_000), "amount: expected an amount of at most 64 bits"),
        (b"z" * 1_000_000, "not JSON: invalid character (byte 0)"),
    ],
    ids=lambda value: f"{value[:30]!r}",
)
def test_an_error_gives_a_glimpse_of_what_came_never_all_of_it(value: bytes, expected: str) -> None:
    message = error(value)

    assert message.startswith(expected)
    assert len(message) < 200


# --- the errors --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, "tombstone: expected a JSON object, got no value"),
        (b"", "not JSON: the text is cut off"),
        (b"hello", "not JSON: invalid character (byte 0)"),
        (b'{"user":"a"', "not JSON: the text is cut off"),
        (b"{%b} x" % OK, "not JSON: trailing characters (byte 25)"),
        (b"{%b}{%b}" % (OK, OK), "not JSON: trailing characters (byte 24)"),
        (b"\xef\xbb\xbf{%b}" % OK, "not JSON: invalid character (byte 0)"),
        (b'{"user":"a","amount":NaN}', "not JSON: invalid character (byte 21)"),
        (b'{%b,"z":Infinity}' % OK, "not JSON: invalid character (byte 27)"),
        (b'{%b,"z":-Infinity}' % OK, "not JSON: invalid character (byte 28)"),
        (b'{"user":"\\ud800","amount":1}', "not JSON: unexpected end of hex escape (byte 15)"),
        (b'{%b,"z":"\\udc00"}' % OK, "not JSON: invalid utf-16 surrogate pair (byte 34)"),
        (b'{"user":"\xff","amount":1}', "not UTF-8: invalid start byte (byte 9)"),
        (b'{%b,"z":"\xff"}' % OK, "not UTF-8: invalid start byte (byte 28)"),
        (b'{%b,"\xc3":1}' % OK, "not UTF-8: invalid continuation byte (byte 24)"),
        (b"[]", "expected a JSON object, got an array"),
        (b"null", "expected a JSON object, got null"),
        (b"true", "expected a JSON object, got true"),
        (b"1.5", "expected a JSON object, got 1.5"),
        (b'"a"', 'expected a JSON object, got "a"'),
        (b"{}", "user: expected a string, got nothing"),
        (b'{"user":"a"}', "amount: expected an amount of at most 64 bits in millionths, got nothing"),
        (b'{"user":null,"amount":1}', "user: expected a string, got null"),
        (b'{"user":5,"amount":1}', "user: expected a string, got 5"),
        (b'{"user":{"a":1},"amount":1}', "user: expected a string, got an object"),
        (b'{"user":"a","amount":true}', "amount: expected an amount of at most 64 bits in millionths, got true"),
        (b'{"user":"a","amount":"1 EUR"}', 'amount: expected an amount of at most 64 bits in millionths, got "1 EUR"'),
        (b'{%b,"n":1.0}' % OK, "n: expected an integer of at most 64 bits, got 1.0"),
        (b'{%b,"n":"1"}' % OK, 'n: expected an integer of at most 64 bits, got "1"'),
        (b'{%b,"x":"1"}' % OK, 'x: expected a number, got "1"'),
        (b'{%b,"flag":1}' % OK, "flag: expected true or false, got 1"),
        (b'{%b,"memo":["a"]}' % OK, "memo: expected a string, got an array"),
        (b'{%b,"at":"yesterday"}' % OK, 'at: expected an ISO 8601 time or epoch milliseconds, got "yesterday"'),
        (b'{%b,"at":true}' % OK, "at: expected an ISO 8601 time or epoch milliseconds, got true"),
        (b'{%b,"n":9223372036854775808}' % OK, "n: expected an integer of at most 64 bits, got 9223372036854775808"),
        (
            b'{%b,"at":9223372036854776}' % OK,
            "at: expected an ISO 8601 time or epoch milliseconds, got 9223372036854776",
        ),
        (
            b'{"user":"a","amount":9223372036854.775808}',
            "amount: expected an amount of at most 64 bits in millionths, got 9223372036854.775808",
        ),
        (b'{%b,"amount":1}' % OK, "amount: occurs 2 times"),
        (b'{%b,"\\u0075ser":"a"}' % OK, "user: occurs 2 times"),
        (b'{%b,"memo":null,"memo":null,"memo":null}' % OK, "memo: occurs 3 times"),
        *(
            (b'{%b,"z":%b}' % (OK, value), "expected at most 500 objects and arrays inside each other, got more")
            for depth in (DEEPEST, 1_000, 100_000)
            for value in (b"[" * depth + b"]" * depth, b'{"user":' * depth + b"1" + b"}" * depth)
        ),
        (b"[" * 100_000, "expected at most 500 objects and arrays inside each other, got more"),
    ],
    ids=lambda value: f"{value[:40]!r}" if value else "tombstone",
)
def test_an_error_says_where_what_was_expected_and_what_came(value: bytes | None, expected: str) -> None:
    assert error(value) == expected


def test_the_deepest_nesting_does_not_depend_on_the_callers_stack() -> None:
    value = b'{%b,"z":%b%b}' % (OK, b"[" * (DEEPEST - 1), b"]" * (DEEPEST - 1))

    def deeper(levels: int) -> dict[str, Any]:
        return event(value) if levels == 0 else deeper(levels - 1)

    frames = sys._getframe()
    used = 0
    while frames := frames.f_back:  # type: ignore[assignment]
        used += 1
    assert deeper(sys.getrecursionlimit() - used - DEEPEST - 60) == event(value)


def test_brackets_inside_strings_are_no_nesting() -> None:
    event(b'{%b,"z":"\\\\","y":"%b","w":"\\"%b"}' % (OK, b"[" * 1_000, b"{" * 1_000))


# --- time --------------------------------------------------------------------------------------------------------


def micros(text: str) -> int:
    return (datetime.fromisoformat(text).replace(tzinfo=UTC) - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(
        microseconds=1
    )


@pytest.mark.parametrize(
    ("at", "expected"),
    [
        ('"2023-11-14T22:13:20"', NOW * 1000),
        ('"2023-11-14T22:13:20Z"', NOW * 1000),
        ('"2023-11-14T22:13:20z"', NOW * 1000),
        ('"2023-11-14 22:13:20"', NOW * 1000),
        ('"2023-11-14T23:13:20+01:00"', NOW * 1000),
        ('"2023-11-14T16:43:20-05:30"', NOW * 1000),
        ('"2023-11-14T22:13:20+00:00"', NOW * 1000),
        ('"2023-11-14T22:13:20.000001"', NOW * 1000 + 1),
        ('"2023-11-14T22:13:20.5Z"', NOW * 1000 + 500_000),
        ('"2023-11-14T22:13:20.0000014Z"', NOW * 1000 + 1),
        ('"1969-12-31T23:59:59.999999"', -1),
        ('"0001-01-01T00:00:00"', micros("0001-01-01T00:00:00")),
        ('"0001-01-01T00:00:00+14:00"', micros("0001-01-01T00:00:00") - 14 * 3_600_000_000),
        (str(NOW), NOW * 1000),
        ("0", 0),
        ("-1", -1000),
        ("-0", 0),
        ("null", NOW * 1000),
    ],
)
def test_a_time_is_iso_8601_or_milliseconds_and_utc_unless_it_says(at: str, expected: int) -> None:
    assert event(b'{%b,"at":%b}' % (OK, at.encode()))["time"] == expected


@pytest.mark.parametrize("at", ['"9999-12-31T23:59:59.999999Z"', "253402300799999", "4611686018427387"])
def test_without_a_record_timestamp_the_future_is_open_while_a_window_fits_64_bits(at: str) -> None:
    found = event(b'{%b,"at":%b}' % (OK, at.encode()), timestamp=-1)

    assert found["time"] == (int(at) * 1000 if at.isdigit() else micros("9999-12-31T23:59:59.999999"))


def test_a_missing_time_is_the_records_timestamp() -> None:
    assert event(b"{%b}" % OK)["time"] == NOW * 1000
    assert event(b"{}", BARE, 0)["time"] == 0


def test_without_any_time_there_is_no_event() -> None:
    no_time = "expected an ISO 8601 time or epoch milliseconds, got nothing"
    assert error(b"{%b}" % OK, timestamp=-1) == f"at: {no_time}, and the record has no timestamp"
    assert error(b"{}", BARE, -1) == f"time: {no_time}, and the record has no timestamp"
    assert error(b'{"user":"a","n":1,"x":1,"flag":true}', STRICT) == f"at: {no_time}"
    assert error(b'{"user":"a","n":1,"x":1,"flag":true,"at":null}', STRICT) == f"at: {no_time[:-7]}null"


HOUR = 3_600_000


@pytest.mark.parametrize("at", [str(NOW + HOUR), '"2023-11-14T23:13:20Z"'])
def test_a_time_one_hour_ahead_of_its_record_is_taken(at: str) -> None:
    assert event(b'{%b,"at":%b}' % (OK, at.encode()))["time"] == (NOW + HOUR) * 1000


@pytest.mark.parametrize(
    ("at", "ahead"),
    [
        (str(NOW + HOUR + 1), "1:00:00.001000"),
        ('"2023-11-14T23:13:20.000001Z"', "1:00:00.000001"),
        ("9223372036854775", "106732315 days, 5:47:34.775000"),
    ],
)
def test_a_time_further_ahead_is_refused_and_leaves_the_watermark_alone(at: str, ahead: str) -> None:
    decoder = Decoder(Program(PACK))
    values = [b'{%b,"at":%b}' % (OK, text.encode()) for text in (str(NOW), at, str(NOW - 5))]

    first, far, after = decoder.decode(record(value) for value in values)

    assert isinstance(far, DeadLetter)
    assert far.error == f"at: expected a time at most 1:00:00 after the record's timestamp, got {ahead} after it"
    assert (first.watermark, after.watermark) == (NOW * 1000, NOW * 1000)  # type: ignore[union-attr]


# --- money -------------------------------------------------------------------------------------------------------

decimals = st.one_of(
    st.decimals(-10_000_000, 10_000_000, places=12),
    st.decimals(-10_000_000, 10_000_000, places=6),
    # Exactly between two micros, and a trace beside it.
    st.builds(
        lambda n, trace: Decimal(2 * n + 1) / 2_000_000 + Decimal(trace).scaleb(-12),
        st.integers(-(10**12), 10**12),
        st.sampled_from([-1, 0, 1]),
    ),
    st.decimals(-9_300_000_000_000, 9_300_000_000_000, places=9),
)


@settings(max_examples=1000, deadline=None)
@given(decimals, st.sampled_from(["{}", '"{}"']))
@example(Decimal("9223372036854.775807"), "{}")
@example(Decimal("9223372036854.7758075"), "{}")
@example(Decimal("-9223372036854.7758085"), '"{}"')
@example(Decimal("1125899906.8426235"), "{}")
@example(Decimal("1125899906.8426245"), "{}")
@example(Decimal("0.0000005" + "0" * 70 + "1"), "{}")
@example(Decimal("-0.0000005" + "0" * 70 + "1"), '"{}"')
def test_money_is_the_decimal_text_rounded_half_even_to_micros(amount: Decimal, form: str) -> None:
    rounded = int(amount.quantize(Decimal("0.000001"), ROUND_HALF_EVEN).scaleb(6))

    found = decoded(PAY, b'{"user":"a","amount":%b}' % form.format(f"{amount:f}").encode())

    if (-LARGEST - 1) <= rounded <= LARGEST:
        assert isinstance(found, dict)
        assert (type(found["f_amount"]), found["f_amount"]) == (int, rounded)
    else:
        assert isinstance(found, str)


@pytest.mark.parametrize(
    "text", ["NaN", "sNaN", "Infinity", "-inf", "", "1,5", "0x1", "1e999999999", "1e99999999999999999999"]
)
def test_what_is_no_amount_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        money(text)


# --- the event ---------------------------------------------------------------------------------------------------


def test_an_event_carries_its_record_and_its_fields_in_their_units() -> None:
    value = b' {"user":"\\u0000","amount":"400.01","n":-9223372036854775808,"x":1,"flag":false,"fee":-0.5,"at":5} '

    found = event(value)

    fields = {
        "f_user": "\0",
        "f_amount": 400_010_000,
        "f_n": (-LARGEST - 1),
        "f_x": 1.0,
        "f_flag": False,
        "f_memo": None,
    }
    system = {"raw": value, "key": b"k", "partition": 3, "offset": 7, "time": 5000, "clash": False}
    assert found | fields | system | {"f_fee": -500_000, "f_at": 5000} == found


@pytest.mark.parametrize(
    ("value", "codec", "clash"),
    [
        (b"{%b}" % OK, PAY, False),
        (b'{%b,"reason":1}' % OK, PAY, True),
        (b'{%b,"label":1}' % OK, PAY, True),
        (b'{%b,"\\u0076erdict":1}' % OK, PAY, True),
        (b'{%b,"z":{"reason":1}}' % OK, PAY, False),
        (b'{%b,"z":"reason"}' % OK, PAY, False),
        (b'{"user":"a","n":1,"x":1,"flag":true,"at":0,"label":1}', STRICT, False),
        (b'{"reason":"a"}', BARE, True),
        (b'{"reason":null}', BARE, True),
        (b"{}", BARE, False),
    ],
)
def test_an_event_knows_whether_its_input_has_a_member_that_the_verdict_adds(
    value: bytes, codec: EventCodec, *, clash: bool
) -> None:
    assert event(value, codec)["clash"] is clash


@pytest.mark.parametrize(
    ("text", "micros"), [("1700000000000.0", 1_700_000_000_000_000), ("1700000000000.2505", 1_700_000_000_000_250)]
)
def test_epoch_milliseconds_may_have_decimals(text: str, micros: int) -> None:
    assert event(b'{%b,"at":%b}' % (OK, text.encode()))["time"] == micros


@pytest.mark.parametrize("timestamp", [2**62 // 1000 + 1, 2**61, 2**63 - 1])
@pytest.mark.parametrize("codec", [PAY, BARE])
def test_a_record_timestamp_beyond_all_times_is_a_dead_letter(codec: EventCodec, timestamp: int) -> None:
    value = b"{}" if codec is BARE else b"{%b}" % OK

    assert "years from 1970" in error(value, codec, timestamp)


HUNDRED_KILOBYTES = 100_000
DENSE = {
    "whole numbers": b"1,",
    "decimals": b"1.5,",
    "objects": b"{},",
    "arrays": b"[],",
    "objects with a member": b'{"":1},',
    "doubled members": b'{"":1,"":1},',
    "texts": b'"",',
    "exponents": b"1e999,",
    "long numbers": b"9" * 20 + b",",
    "towers": b"[" * (DEEPEST - 3) + b"]" * (DEEPEST - 3) + b",",
}


@pytest.mark.parametrize("piece", DENSE)
def test_no_text_costs_more_than_so_much_a_byte_however_dense_it_is(piece: str) -> None:
    value = b'{"x":[' + DENSE[piece] * (HUNDRED_KILOBYTES // len(DENSE[piece])) + b"1" + b"0" * 20 + b"]}"
    record = Record("pays", 0, 0, NOW, None, value)
    took = []
    for _ in range(5):
        since = time.thread_time()
        with pytest.raises(UndecodableError):
            PAY.decode(record)
        took.append(time.thread_time() - since)

    assert min(took) < 0.050


@pytest.mark.parametrize("shape", [b"%s%s", b'{"a":%s1%s}', b'{"]":"[","b":%s"\\\\"%s}', b'["\\"",%s"]"%s]'])
def test_brackets_inside_texts_make_nothing_deeper(shape: bytes) -> None:
    around = shape.count(b"[%") + shape.count(b"{") + shape.startswith(b"[")
    for depth, deep in ((DEEPEST - bool(around), False), (DEEPEST - bool(around) + 1, True)):
        raw = shape % (b"[" * depth, b"]" * depth)

        assert _too_deep(raw) is deep


@pytest.mark.parametrize("codec", [PAY, BARE])
def test_a_record_may_have_a_megabyte_and_not_a_byte_more(codec: EventCodec) -> None:
    head = b'{"user":"a","amount":1,"z":"'
    largest = head + b"z" * (LARGEST_EVENT - len(head) - 2) + b'"}'
    topic = codec.event.topic

    assert codec.decode(Record(topic, 0, 0, NOW, None, largest)).raw == largest
    with pytest.raises(UndecodableError, match=r"^expected at most 1,048,576 bytes, got 1,048,577$"):
        codec.decode(Record(topic, 0, 0, NOW, None, largest + b" "))
