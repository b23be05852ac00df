"""The protobuf reader."""

import pytest

from detection.expressions.wire import fields, signed


def test_every_wire_type_yields_its_value() -> None:
    message = bytes.fromhex("08 9601 1a 03 616263 21 0100000000000080 2d 02000000 08 00")

    assert list(fields(message)) == [(1, 150), (3, b"abc"), (4, 0x8000000000000001), (5, 2), (1, 0)]


def test_a_negative_number_is_ten_bytes_of_twos_complement() -> None:
    ((number, value),) = fields(b"\x08" + b"\xff" * 9 + b"\x01")

    assert number == 1
    assert isinstance(value, int)
    assert signed(value) == -1
    assert signed(2**63 - 1) == 2**63 - 1
    assert signed(2**63) == -(2**63)


@pytest.mark.parametrize("message", [b"\x08", b"\x08\x80", b"\x12\x05abc", b"\x09\x00", b"\x0b"])
def test_a_message_cut_short_or_of_unknown_wire_type_is_an_error(message: bytes) -> None:
    with pytest.raises(ValueError, match="protobuf: expected"):
        list(fields(message))
