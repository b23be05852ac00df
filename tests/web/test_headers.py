import asyncio
from contextlib import suppress
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from web.headers import HEADERS, SecurityHeaders


def test_an_answer_about_a_failure_has_the_headers_too() -> None:
    def fail(_request: Request) -> Response:
        raise RuntimeError

    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        return {"type": "http.request", "body": b""}

    scope = {"type": "http", "method": "GET", "path": "/", "headers": [], "query_string": b""}
    app = SecurityHeaders(Starlette(routes=[Route("/", fail)]))
    with suppress(RuntimeError):  # the server logs it
        asyncio.run(app(scope, receive, send))

    assert sent[0]["status"] == 500
    told = {name.decode().lower(): value.decode() for name, value in sent[0]["headers"]}
    assert {name.lower(): value for name, value in HEADERS.items()}.items() <= told.items()
