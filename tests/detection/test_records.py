"""Records and dead letters."""

from hashlib import sha256

import msgspec
import pytest

from detection.records import DeadLetter, Record

RECORD = Record("tö/pic", 3, 7, 1_700_000_000_000, b"k", b"v", [("h", b"1"), ("h", None)])


def test_a_records_origin_is_topic_partition_and_offset() -> None:
    assert Record("pays", 3, 7, 0, None, None).origin == "pays/3/7"


def test_a_dead_letter_keeps_the_headers_of_its_record_and_adds_its_own_behind_them() -> None:
    assert DeadLetter(RECORD, "user: expected a string, got 5").headers() == [
        ("h", b"1"),
        ("h", None),
        ("fraud.error", b"user: expected a string, got 5"),
        ("fraud.origin", "tö/pic/3/7".encode()),
        ("fraud.time", b"1700000000000"),
    ]


def test_a_record_without_headers_and_timestamp_has_a_dead_letter_too() -> None:
    letter = DeadLetter(Record("pays", 0, 0, -1, None, None), "x")

    assert letter.headers() == [("fraud.error", b"x"), ("fraud.origin", b"pays/0/0"), ("fraud.time", b"-1")]


@pytest.mark.parametrize("error", ["é …", "lone \ud800", ""])
def test_any_error_text_can_be_a_header(error: str) -> None:
    headers = dict(DeadLetter(RECORD, error).headers())

    assert headers["fraud.error"] == error.encode("utf-8", "backslashreplace")


def test_records_cross_processes_whole() -> None:
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(RECORD), type=Record) == RECORD


LARGEST = 10_000


@pytest.mark.parametrize("spare", [0, 1])
def test_a_dead_letter_is_cut_only_when_it_is_larger_than_its_topic_takes(spare: int) -> None:
    overhead = sum(len(name.encode()) + len(value or b"") + 10 for name, value in DeadLetter(RECORD, "x").headers()) + 1
    value = b"v" * (LARGEST - 1_000 - overhead + spare)

    _, kept, headers = DeadLetter(msgspec.structs.replace(RECORD, value=value), "x").message(LARGEST)

    assert (kept == value, "fraud.length" in dict(headers)) == (not spare, bool(spare))


def test_a_dead_letter_that_is_cut_tells_its_length_and_hash() -> None:
    value = bytes(range(256)) * 100
    key, kept, headers = DeadLetter(msgspec.structs.replace(RECORD, value=value), "x").message(LARGEST)

    assert key == b"k"
    assert kept
    assert value.startswith(kept)
    assert headers[:2] == [("h", b"1"), ("h", None)]
    assert dict(headers)["fraud.length"] == b"25600"
    assert dict(headers)["fraud.sha256"] == sha256(value).hexdigest().encode()


@pytest.mark.parametrize(
    "record",
    [
        msgspec.structs.replace(RECORD, key=b"k" * 20_000, value=b"v" * 20_000),
        msgspec.structs.replace(RECORD, headers=[("h", b"x" * 20_000)], value=b"v" * 20_000),
        msgspec.structs.replace(RECORD, headers=[("h" * 20_000, None)], value=b""),
    ],
)
def test_no_dead_letter_is_larger_than_its_topic_takes(record: Record) -> None:
    key, value, headers = DeadLetter(record, "x").message(LARGEST)

    size = len(key or b"") + len(value or b"") + sum(len(name) + len(text or b"") for name, text in headers)
    assert size <= LARGEST
    assert dict(headers)["fraud.origin"] == "tö/pic/3/7".encode()
