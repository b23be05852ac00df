"""Logging in and out: with a token, or with an OpenID Connect provider."""

import asyncio
import time
from http import HTTPStatus
from pathlib import Path
from typing import Final
from urllib.parse import parse_qs

from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.templating import Jinja2Templates

from detection.settings import Role
from web.access import COOKIE, SESSION_SECONDS, Access
from web.body import read_body
from web.oidc import PENDING, PENDING_SECONDS, Provider, RefusedError

_TEMPLATES: Final = Jinja2Templates(Path(__file__).parent / "templates")
_LARGEST_FORM: Final = 4_096
_WRONG_TOKEN_SECONDS: Final = 0.5
_PROVIDER: Final = "/login/oidc"
_BACK: Final = f"{_PROVIDER}/callback"


def routes(access: Access, provider: Provider | None) -> list[BaseRoute]:
    """The routes of the page where one logs in, which are open to everybody."""
    login = _Login(access, provider)
    found: list[BaseRoute] = [
        Route("/login", login.form, methods=["GET"]),
        Route("/login", login.by_token, methods=["POST"]),
        Route("/logout", login.logout, methods=["POST"]),
    ]
    if provider is not None:
        found += [
            Route(_PROVIDER, login.to_provider, methods=["GET"]),
            Route(_BACK, login.from_provider, methods=["GET"]),
        ]
    return found


class _Login:
    def __init__(self, access: Access, provider: Provider | None) -> None:
        self._access = access
        self._provider = provider

    async def form(self, request: Request) -> Response:
        return self._form(request)

    async def by_token(self, request: Request) -> Response:
        body = await read_body(request, _LARGEST_FORM)
        if body is None:
            return PlainTextResponse(f"login: expected at most {_LARGEST_FORM} bytes\n", 413)
        (given, *_) = parse_qs(body.decode("utf-8", "replace")).get("token", [""])
        user = self._access.user_of(given.strip())
        if user is None:
            await asyncio.sleep(_WRONG_TOKEN_SECONDS)
            return self._form(request, HTTPStatus.FORBIDDEN, wrong=True)
        return self._welcome(request, user.name)

    async def to_provider(self, request: Request) -> Response:
        assert self._provider is not None
        back = f"{request.url.scheme}://{request.url.netloc}{_BACK}"
        try:
            url, pending = await self._provider.begin(back)
        except RefusedError as error:
            return self._form(request, error.status, refused=str(error))
        response = RedirectResponse(url, HTTPStatus.SEE_OTHER)
        response.set_cookie(
            PENDING,
            self._access.seal(PENDING, pending, time.time() + PENDING_SECONDS),
            max_age=PENDING_SECONDS,
            path=_PROVIDER,
            httponly=True,
            samesite="lax",  # what comes back is a link that the provider's page follows
            secure=request.url.scheme == "https",
        )
        return response

    async def from_provider(self, request: Request) -> Response:
        assert self._provider is not None
        pending = self._access.unseal(PENDING, request.cookies.get(PENDING, ""), time.time())
        response: Response
        try:
            user = await self._provider.finish(request.url.query, pending)
        except RefusedError as error:
            response = self._form(request, error.status, refused=str(error))
        else:
            response = self._welcome(request, user.name, user.role)
        response.delete_cookie(PENDING, path=_PROVIDER, httponly=True, samesite="lax")
        return response

    async def logout(self, _request: Request) -> Response:
        response = RedirectResponse("/login", HTTPStatus.SEE_OTHER)
        response.delete_cookie(COOKIE, httponly=True, samesite="lax")
        return response

    def _welcome(self, request: Request, name: str, role: Role | None = None) -> Response:
        response = RedirectResponse("/", HTTPStatus.SEE_OTHER)
        response.set_cookie(
            COOKIE,
            self._access.session(time.time(), name, role),
            max_age=SESSION_SECONDS,
            httponly=True,
            samesite="lax",
            secure=request.url.scheme == "https",
        )
        return response

    def _form(
        self, request: Request, status: HTTPStatus = HTTPStatus.OK, *, wrong: bool = False, refused: str = ""
    ) -> Response:
        told = {"tokens": self._access.tokens, "provider": self._provider is not None}
        return _TEMPLATES.TemplateResponse(
            request, "login.html", {**told, "wrong": wrong, "refused": refused}, status_code=status
        )
