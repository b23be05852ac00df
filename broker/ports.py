"""Ports of this machine that nobody listens on."""

import os
import random
import socket
from collections.abc import Iterable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Final

_RANGE: Final = Path("/proc/sys/net/ipv4/ip_local_port_range")
_LOWEST: Final = 10_000
"""Below it are services that may only not have been started yet."""

_SHARES: Final = 32
"""Processes whose numbers differ by less have no port in common."""

_TRIES: Final = 1_000


def free_ports(count: int) -> list[int]:
    """Different ports of 127.0.0.1 to listen on soon, outside the range the kernel gives to outgoing connections.

    Inside it, a port could be taken before its process has it, or while that is down; even by a client that looks for
    it, which then is connected to itself. Where the range leaves too few, they come from inside. Neighbours among
    processes draw from different ports: a broker that is starting does not listen yet.
    """
    lowest = int(_RANGE.read_text().split()[0])
    outside = range(_LOWEST + os.getpid() % _SHARES, max(_LOWEST, lowest), _SHARES)
    candidates = random.sample(outside, k=min(_TRIES, len(outside)))
    with ExitStack() as open_at_once:
        return _bound([*candidates, *[0] * count], count, open_at_once)


def _bound(candidates: Iterable[int], count: int, until: ExitStack) -> list[int]:
    ports: list[int] = []
    for port in candidates:
        if len(ports) == count:
            break
        probe = until.enter_context(socket.socket())
        with suppress(OSError):
            probe.bind(("127.0.0.1", port))
            ports.append(probe.getsockname()[1])
    return ports
