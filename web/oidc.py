"""Users of an OpenID Connect provider: the authorization code flow, with PKCE, a state and a nonce, by Authlib.

What a browser holds meanwhile (state, nonce and the verifier of PKCE) is in a signed cookie of the browser that began,
so nobody can have somebody else finish what they have begun. The ID token is read from the provider itself and checked:
signature by the provider's published keys, issuer, audience, times, nonce.
"""

import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final, get_args
from urllib.parse import urlsplit

import structlog
from authlib.integrations.base_client import OAuthError
from authlib.integrations.base_client.errors import MismatchingStateError
from authlib.integrations.starlette_client import OAuth
from httpx2 import HTTPError
from joserfc.errors import JoseError
from starlette.requests import Request

from detection.settings import Role, WebOidc, is_loopback
from web.access import LOCAL, SHARED, User

PENDING: Final = "fraud_login"
"""The cookie of a log-in that has begun."""

PENDING_SECONDS: Final = 600
LEEWAY_SECONDS: Final = 30
"""How far the provider's clock may be off."""

_ANSWER_SECONDS: Final = 10.0
_LONGEST_NAME: Final = 200
_ALGORITHMS: Final = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
"""Signatures by a key that the provider keeps for itself, not by the client's secret."""

_ROLES: Final[tuple[Role, ...]] = get_args(Role)
_FAILURES: Final = (OAuthError, JoseError, HTTPError, ValueError, KeyError, RuntimeError)
"""What Authlib raises; the last three where a provider's documents are not what they should be."""

_log = structlog.get_logger(__name__)


class RefusedError(Exception):
    """Nobody is logged in; the text is for who tried. What a provider has told is in the log alone.

    Attributes:
        status: As HTTP has it.
    """

    def __init__(self, status: HTTPStatus, text: str) -> None:
        super().__init__(text)
        self.status = status


class Provider:
    """The provider, as its own documents describe it."""

    def __init__(self, settings: WebOidc) -> None:
        """Ask nothing yet."""
        self._settings = settings
        self._client: Any = OAuth().register(
            "oidc",
            client_id=settings.client_id,
            client_secret=settings.client_secret.get_secret_value(),
            server_metadata_url=f"{settings.issuer.rstrip('/')}/.well-known/openid-configuration",
            client_kwargs={
                "scope": settings.scopes,
                "code_challenge_method": "S256",
                "timeout": _ANSWER_SECONDS,
            },
        )

    async def begin(self, back: str) -> tuple[str, bytes]:
        """Where to send a browser, and what it has to bring back.

        Args:
            back: The address that the provider sends it to.

        Raises:
            RefusedError: The provider does not answer, or is another one.
        """
        request = _request({}, "")
        try:
            await self._look()
            response = await self._client.authorize_redirect(request, back)
        except _FAILURES as error:
            raise _unavailable(error) from None
        return response.headers["location"], json.dumps(request.session).encode()

    async def finish(self, query: str, pending: bytes | None) -> User:
        """Who has come back.

        Args:
            query: What the provider has given the browser along.
            pending: What the browser had to bring back; None if it has none.

        Raises:
            RefusedError: Nobody we know.
        """
        request = _request({} if pending is None else json.loads(pending), query)
        expected = {
            "iss": {"essential": True, "values": [self._settings.issuer]},
            "aud": {"essential": True, "values": [self._settings.client_id]},
        }
        try:
            await self._look()
            token = await self._client.authorize_access_token(request, claims_options=expected, leeway=LEEWAY_SECONDS)
            claims = token["userinfo"]
        except MismatchingStateError:
            msg = "This log-in was not begun in this browser, or too long ago. Try again."
            raise RefusedError(HTTPStatus.FORBIDDEN, msg) from None
        except (OAuthError, JoseError, KeyError) as error:
            _log.warning("a log-in is refused", error=_told(error))
            raise RefusedError(HTTPStatus.FORBIDDEN, "You are not logged in; the log of the page says why.") from None
        except _FAILURES as error:
            raise _unavailable(error) from None
        return self._user(claims)

    async def _look(self) -> None:
        """Know the provider's addresses, and that it is the one that is meant.

        Raises:
            ValueError: It is another one.
        """
        metadata = await self._client.load_server_metadata()
        issuer = metadata.get("issuer")
        offered = metadata.get("id_token_signing_alg_values_supported") or ["RS256"]
        metadata["id_token_signing_alg_values_supported"] = [name for name in _ALGORITHMS if name in offered]
        places = [metadata.get(f"{name}_endpoint", "") for name in ("authorization", "token")]
        places.append(metadata.get("jwks_uri", ""))
        if issuer != self._settings.issuer:
            metadata.clear()  # so that it is asked again
            msg = f"issuer: expected {self._settings.issuer}, got {issuer}"
            raise ValueError(msg)
        if not all(_is_safe(place) for place in places):
            metadata.clear()
            msg = f"provider: expected addresses with https, got {', '.join(map(str, places))}"
            raise ValueError(msg)

    def _user(self, claims: Mapping[str, Any]) -> User:
        settings = self._settings
        name = claims.get(settings.name_claim)
        if not isinstance(name, str) or not 0 < len(name) <= _LONGEST_NAME or not name.isprintable():
            _log.warning("a log-in is refused", error=f"{settings.name_claim}: expected a name in the ID token")
            msg = f"Your organisation told no {settings.name_claim}: the audit would not know who you are."
            raise RefusedError(HTTPStatus.FORBIDDEN, msg)
        unproven = settings.name_claim == "email" and claims.get("email_verified") is False
        if unproven or name in {SHARED, LOCAL}:
            _log.warning("a log-in is refused", error=f"{settings.name_claim}: expected one that is nobody else's")
            msg = f"Your {settings.name_claim} is not proven to be yours."
            raise RefusedError(HTTPStatus.FORBIDDEN, msg)
        held = _held(claims, settings.role_claim)
        given = {role for value, role in settings.roles if value == "*" or value in held}
        if not given:
            _log.warning("a log-in is refused", error=f"{settings.role_claim}: expected a value with a role")
            raise RefusedError(HTTPStatus.FORBIDDEN, "You have no role here: ask whoever runs these pages.")
        return User(name, max(given, key=_ROLES.index))


def _request(session: dict[str, Any], query: str) -> Request:
    """As much of a request as Authlib looks at."""
    return Request({"type": "http", "method": "GET", "headers": [], "query_string": query.encode(), "session": session})


def _held(claims: Mapping[str, Any], name: str) -> set[str]:
    """What a claim holds: a text or texts, under its name or, with dots, within others."""
    found: Any = claims.get(name)
    if found is None:
        found = claims
        for part in name.split("."):
            found = found.get(part) if isinstance(found, Mapping) else None
    if isinstance(found, str):
        return {found}
    return {value for value in found if isinstance(value, str)} if isinstance(found, list) else set()


def _is_safe(address: object) -> bool:
    if not isinstance(address, str):
        return False
    parts = urlsplit(address)
    return parts.scheme == "https" or (parts.scheme == "http" and is_loopback(parts.hostname or ""))


def _unavailable(error: Exception) -> RefusedError:
    _log.warning("the provider of log-ins cannot be used", error=_told(error))
    return RefusedError(HTTPStatus.BAD_GATEWAY, "The log-in of your organisation cannot be reached. Try again later.")


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:500]
