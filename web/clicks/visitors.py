"""What a request says of who clicks, as far as it can be believed, and no longer than it may be."""

import re
import secrets
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Final

from starlette.requests import Request

COOKIE: Final = "click_session"
LONGEST_URL: Final = 2_048
"""Characters. A longer one is refused, not cut: two different ones would become the same."""

LONGEST_USER_AGENT: Final = 512
"""Characters. The rest is cut off: the beginning tells browsers apart."""

_SESSION: Final = re.compile(r"[0-9a-f]{32}", re.ASCII)

Network = IPv4Network | IPv6Network


def session_of(request: Request) -> str:
    """The visitor's session: of the cookie, or a new one if that is none that we could have given."""
    given = request.cookies.get(COOKIE, "")
    return given if _SESSION.fullmatch(given) else secrets.token_hex(16)


def url_of(request: Request) -> str:
    """Path and query as they were asked for. Not the host, which is whatever the visitor says."""
    path: bytes = request.scope.get("raw_path") or request.url.path.encode()
    query: bytes = request.scope["query_string"]
    return (path + b"?" + query if query else path).decode("latin-1")


def user_agent_of(request: Request) -> str | None:
    """What the browser calls itself."""
    return request.headers.get("user-agent", "")[:LONGEST_USER_AGENT] or None


def ip_of(request: Request, trusted: Sequence[Network]) -> str | None:
    """The address a click comes from: of the socket, or what a trusted proxy says.

    Each proxy adds the address it was called from at the right, so the first one from there that is no proxy of ours
    is the visitor. What stands further left is the visitor's own word.
    """
    if request.client is None:
        return None
    address = _address(request.client.host)
    said = ",".join(request.headers.getlist("x-forwarded-for")).split(",")
    while address is not None and said and any(address in network for network in trusted):
        before = _address(said.pop().strip())
        if before is None:
            break
        address = before
    return None if address is None else str(address)


def _address(text: str) -> IPv4Address | IPv6Address | None:
    try:
        address = ip_address(text)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address
