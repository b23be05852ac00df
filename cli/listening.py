"""Addresses that the pages are served on."""

import os
import socket
from ipaddress import ip_address
from typing import Final, NamedTuple

from cli.errors import UsageError

_BACKLOG: Final = 2_048


class Address(NamedTuple):
    """An address of this machine.

    Attributes:
        family: Of the protocol, as in `socket`.
        place: What to bind to.
    """

    family: socket.AddressFamily
    place: tuple[str | int | bytes, ...]

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine reaches it."""
        return ip_address(str(self.place[0]).partition("%")[0]).is_loopback


def address_of(host: str, port: int) -> Address:
    """The address that a host's name means.

    Raises:
        UsageError: It means none.
    """
    try:
        family, _, _, _, place = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM)[0]
    except (OSError, UnicodeError):
        msg = f"--host: expected an address of this machine, got {host!r}"
        raise UsageError(msg) from None
    return Address(family, place)


def listen(address: Address) -> socket.socket:
    """A socket that listens there; port 0 is any that is free.

    Raises:
        UsageError: The port is taken, or the address is none of this machine's.
    """
    try:
        return socket.create_server(address.place, family=address.family, backlog=_BACKLOG)
    except OSError as error:
        host, port = address.place[:2]
        msg = f"{host!s}:{port!s}: {os.strerror(error.errno or 0)}: choose another with --host or --port"
        raise UsageError(msg) from None


def url_of(listening: socket.socket) -> str:
    """Where a browser finds it."""
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
