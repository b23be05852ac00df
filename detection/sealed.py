"""A checksum around stored bytes: a bit that turned on a disk is an error, not another state.

SQLite finds damage to its own structure, and has no checksum for what it keeps.
"""

from typing import Final
from zlib import crc32

_MARK: Final = b"\xc1"
"""No msgpack begins with it: what was never sealed is told apart from what is damaged."""
_HEAD: Final = len(_MARK) + 4


class DamagedError(ValueError):
    """Stored bytes that are not those that were stored."""


def seal(content: bytes) -> bytes:
    r"""The content behind a mark and its CRC-32.

    >>> seal(b"state")
    b'\xc1\xa3\x93\xd2\xfbstate'
    """
    return b"".join((_MARK, crc32(content).to_bytes(4, "big"), content))


def unseal(sealed: bytes) -> memoryview:
    r"""The content, if it is as it was.

    Raises:
        DamagedError: It is not.

    >>> bytes(unseal(seal(b"state")))
    b'state'
    """
    if not isinstance(sealed, bytes) or sealed[:1] != _MARK or len(sealed) < _HEAD:
        msg = "expected a checksum, got none: it is damaged, or an older release stored it"
        raise DamagedError(msg)
    content = memoryview(sealed)[_HEAD:]
    found, expected = crc32(content), int.from_bytes(sealed[len(_MARK) : _HEAD], "big")
    if found != expected:
        msg = f"it is damaged: expected checksum {expected:08x}, got {found:08x}"
        raise DamagedError(msg)
    return content
