"""Who may look and who may act: sessions by a token, and no page of somebody else's may ask in a user's name."""

import hmac
import secrets
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass, field
from hashlib import sha256
from http.cookies import SimpleCookie
from typing import Final
from urllib.parse import urlsplit

import msgspec
from starlette.datastructures import Headers
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from detection.settings import Role, WebUser, is_loopback

COOKIE: Final = "fraud_session"
SESSION_SECONDS: Final = 12 * 3_600
CSRF_HEADER: Final = "x-csrf-token"
SHARED: Final = "shared"
"""Whoever logs in with the token that all share."""

LOCAL: Final = "local"
"""Whoever is at a machine that asks for no token."""

_OPEN: Final = ("/login", "/static/")
_UNSAFE_WITHOUT: Final = ("/login", "/logout")
"""What changes state and takes no token against forgery: there is no session yet, or it ends. Its origin is checked."""

_COSTS: Final = ("/api/", "/events", "/ws")
"""What no page of another site may ask for, though it cannot read the answer: it takes work to make one."""

_POLICY_VIOLATION: Final = 1008
_USER: Final = "fraud.user"


class _Session(msgspec.Struct, array_like=True):
    """What a session holds.

    Attributes:
        name: Of the user.
        role: As the provider says; None: that of the user with the token, who may be another one by now.
        salt: No other session has it.
    """

    name: str
    role: Role | None
    salt: str


_session: Final = msgspec.json.Decoder(_Session).decode


@dataclass(frozen=True, slots=True)
class User:
    """Who asks.

    Attributes:
        name: As the audit has it.
        role: What they may do.
    """

    name: str
    role: Role

    @property
    def sees_lists_plain(self) -> bool:
        """Whether personal fields are shown in the feed and in lists, and filters compare them."""
        return self.role == "admin"

    @property
    def sees_opened_plain(self) -> bool:
        """Whether personal fields of one verdict are shown that is opened."""
        return self.role != "viewer"


@dataclass(frozen=True, slots=True)
class Access:
    """What it takes to be let in.

    Attributes:
        token: What all users may log in with; without it and without users everybody is let in.
        loopback: Whether the page is served to this machine only.
        users: Who has a token of their own.
        oidc: Whether users log in with an OpenID Connect provider too.
        key: Signs the sessions; they end with the process.
    """

    token: str | None = field(repr=False)
    loopback: bool
    users: tuple[WebUser, ...] = field(default=(), repr=False)
    oidc: bool = False
    key: bytes = field(default_factory=lambda: secrets.token_bytes(32), repr=False)

    def __post_init__(self) -> None:
        if not self.login and not self.loopback:
            msg = "access: expected a token for an address that is not of this machine alone, got none"
            raise ValueError(msg)

    @property
    def login(self) -> bool:
        """Whether one has to log in."""
        return self.tokens or self.oidc

    @property
    def tokens(self) -> bool:
        """Whether anybody has a token."""
        return self.token is not None or bool(self.users)

    def user_of(self, given: str) -> User | None:
        """Whose token it is. Compares in a time that tells nothing, not even the length."""
        digest = sha256(given.encode("utf-8", "replace")).digest()
        shared = [] if self.token is None else [WebUser(SHARED, "admin", self.token)]
        found = None
        for user in (*self.users, *shared):
            if hmac.compare_digest(digest, sha256(user.token.encode()).digest()):
                found = found or User(user.name, user.role)
        return found

    def session(self, now: float, name: str = SHARED, role: Role | None = None) -> str:
        """A user's cookie's value, good for some hours from `now`, seconds since the epoch.

        Args:
            now: When.
            name: Who.
            role: What they may do, if no token of theirs says so.
        """
        held = _Session(name, role, secrets.token_hex(8))
        return self.seal("session", msgspec.json.encode(held), now + SESSION_SECONDS)

    def is_session(self, cookie: str, now: float) -> bool:
        """Whether we have made this cookie's value, and it is still good."""
        return self.unseal("session", cookie, now) is not None

    def seal(self, purpose: str, content: bytes, until: float) -> str:
        """A cookie's value that nobody else can make, good until then, seconds since the epoch. It hides nothing."""
        text = f"{int(until)}.{urlsafe_b64encode(content).decode()}"
        return f"{text}.{self._signature(purpose, text)}"

    def unseal(self, purpose: str, sealed: str, now: float) -> bytes | None:
        """What was sealed; None if we have not sealed it for this purpose, or it is over."""
        text, _, signature = sealed.rpartition(".")
        if not hmac.compare_digest(signature.encode("utf-8", "replace"), self._signature(purpose, text).encode()):
            return None
        until, _, content = text.partition(".")
        return urlsafe_b64decode(content) if int(until) > now else None

    def admits(self, headers: Headers, now: float) -> bool:
        """Whether a request comes with a session, or (a program's) with a token itself."""
        return self.identify(headers, now) is not None

    def identify(self, headers: Headers, now: float) -> User | None:
        """Who asks; None for somebody who is not let in."""
        if not self.login:
            return User(LOCAL, "admin")
        if bearer := _bearer(headers):
            return self.user_of(bearer)
        held = self.unseal("session", cookie_of(headers, COOKIE), now)
        if held is None:
            return None
        session = _session(held)
        name = session.name
        if session.role is not None:
            return User(name, session.role) if self.oidc else None
        if name == SHARED and self.token is not None:
            return User(SHARED, "admin")
        return next((User(user.name, user.role) for user in self.users if user.name == name), None)

    def csrf(self, headers: Headers) -> str:
        """What our own pages send along when they change something; no other page can read it."""
        return self._signature("csrf", cookie_of(headers, COOKIE) if self.login else LOCAL)

    def is_forged(self, headers: Headers) -> bool:
        """Whether a request that changes something may be one that its user does not know of.

        A program shows its token in a header, which no browser does by itself.
        """
        if self.login and _bearer(headers):
            return False
        given = headers.get(CSRF_HEADER, "").encode("utf-8", "replace")
        return not hmac.compare_digest(given, self.csrf(headers).encode())

    def refuses(self, scope: Scope, headers: Headers) -> str | None:
        """Why a request is not even looked at: it is made in a browser by a page that is not ours."""
        host = headers.get("host", "")
        # A name of somebody else's that points to this machine (DNS rebinding) makes its page our origin.
        if self.loopback and not is_loopback(_hostname(host)):
            return f"host: expected localhost or an address of this machine, got {host!r}"
        if headers.get("sec-fetch-site") == "cross-site" and str(scope.get("path", "")).startswith(_COSTS):
            return "sec-fetch-site: expected a page of this site's, got cross-site"
        if scope["type"] == "websocket" or scope["method"] not in {"GET", "HEAD"}:
            origin = headers.get("origin")
            if origin is not None and not _is_own(origin, host):
                return f"origin: expected this page's own, got {origin!r}"
            if origin is None and headers.get("sec-fetch-site", "none") not in {"none", "same-origin"}:
                return "sec-fetch-site: expected a request of this page's own"
        return None

    def _signature(self, purpose: str, text: str) -> str:
        """What only we can make of a text; that of one purpose is good for no other."""
        return hmac.new(self.key, f"{purpose}.{text}".encode("utf-8", "replace"), sha256).hexdigest()


class Gate:
    """Lets requests through that may be answered."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app = app
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or have it answered."""
        if scope["type"] not in {"http", "websocket"}:
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        response: Response | None = None
        if reason := self._access.refuses(scope, headers):
            response = PlainTextResponse(f"{reason}\n", 403)
        elif not scope["path"].startswith(_OPEN):
            response = self._known(scope, headers)
        if response is None:
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": _POLICY_VIOLATION})
        else:
            await response(scope, receive, send)

    def _known(self, scope: Scope, headers: Headers) -> Response | None:
        """Note who asks; if that is not enough, the answer."""
        user = self._access.identify(headers, time.time())
        if user is None:
            wants_page = scope["type"] == "http" and "text/html" in headers.get("accept", "")
            return RedirectResponse("/login", 303) if wants_page else JSONResponse({"error": "log in first"}, 401)
        changes = scope["type"] == "http" and scope["method"] not in {"GET", "HEAD", "OPTIONS"}
        if changes and scope["path"] not in _UNSAFE_WITHOUT and self._access.is_forged(headers):
            return JSONResponse({"error": f"{CSRF_HEADER}: expected the token of the page, load it again"}, 403)
        scope[_USER] = user
        return None


def user_of(scope: Scope) -> User:
    """Who asks, as the gate has found out."""
    user: User = scope[_USER]
    return user


def _bearer(headers: Headers) -> str:
    scheme, _, given = headers.get("authorization", "").partition(" ")
    return given.strip() if scheme.lower() == "bearer" else ""


def cookie_of(headers: Headers, name: str) -> str:
    """A cookie's value, empty if there is none."""
    cookies = SimpleCookie()
    try:
        cookies.load(headers.get("cookie", ""))
    except Exception:  # noqa: BLE001  (CookieError, and what else a hostile header brings about)
        return ""
    return cookies[name].value if name in cookies else ""


def _hostname(host: str) -> str:
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _is_own(origin: str, host: str) -> bool:
    """Whether an origin is the page asked under this `Host`. The scheme is not compared: TLS may end before us."""
    try:
        ours = urlsplit(f"//{host}")
        theirs = urlsplit(origin)
        usual = {"http": 80, "https": 443}.get(theirs.scheme)
        return bool(theirs.hostname) and (theirs.hostname, theirs.port or usual) == (ours.hostname, ours.port or usual)
    except ValueError:
        return False
