"""Reading the protobuf wire format.

The parser hands its tree over as a serialized protobuf. Few messages of few fields are read,
so these lines stand in for the protobuf runtime and its generated classes.
See https://protobuf.dev/programming-guides/encoding/.
"""

from collections.abc import Iterator
from typing import Final

_VARINT: Final = 0
_FIXED64: Final = 1
_BYTES: Final = 2
_FIXED32: Final = 5


def fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    r"""Yield number and raw value of each field of a message, in the order written.

    A varint or a fixed-width field yields its unsigned integer; text, bytes and messages yield their bytes.

    >>> list(fields(b"\x08\x96\x01\x12\x02hi"))
    [(1, 150), (2, b'hi')]
    """
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        number, wire_type = tag >> 3, tag & 7
        if wire_type == _VARINT:
            value, at = _varint(message, at)
            yield number, value
            continue
        if wire_type == _BYTES:
            size, at = _varint(message, at)
        elif wire_type in (_FIXED64, _FIXED32):
            size = 8 if wire_type == _FIXED64 else 4
        else:
            msg = f"protobuf: expected wire type 0, 1, 2 or 5, got {wire_type}"
            raise ValueError(msg)
        chunk = message[at : at + size]
        if len(chunk) != size:
            msg = f"protobuf: expected {size} bytes in field {number}, got {len(chunk)}"
            raise ValueError(msg)
        at += size
        yield number, chunk if wire_type == _BYTES else int.from_bytes(chunk, "little")


def signed(number: int) -> int:
    """The int32 or int64 that an unsigned varint stands for."""
    return number - (1 << 64) if number >> 63 else number


def _varint(message: bytes, at: int) -> tuple[int, int]:
    number = shift = 0
    while at < len(message):
        byte = message[at]
        at += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:  # noqa: PLR2004 - the high bit says that more bytes follow
            return number, at
        shift += 7
    msg = "protobuf: expected the rest of a number, got the end of the message"
    raise ValueError(msg)
