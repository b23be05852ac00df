"""The page, and what happens at a click: it is sent, then counted, then answered."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from http import HTTPStatus
from pathlib import Path
from typing import Final

import structlog
from jinja2 import Environment, FileSystemLoader
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from web.clicks.count import Count
from web.clicks.records import ClickForm, CountForm
from web.clicks.visitors import COOKIE, LONGEST_URL, Network, ip_of, session_of, url_of, user_agent_of
from web.headers import HEADERS as COMMON
from web.headers import SecurityHeaders
from web.sending import NotDeliveredError, Sender

HEADERS: Final = COMMON | {"Referrer-Policy": "no-referrer", "Cache-Control": "no-store"}
"""Of every answer, also of those that say that something is wrong."""

_FOLDER: Final = Path(__file__).parent
_FILES: Final = {"page.css": "text/css", "page.js": "text/javascript", "icon.svg": "image/svg+xml"}

_log = structlog.get_logger(__name__)


class ClickPage:
    """What the page needs while it runs.

    Attributes:
        sender: Made when the server starts, in its event loop.
    """

    sender: Sender

    def __init__(
        self,
        make_sender: Callable[[], Sender],
        count: Count,
        clicks: ClickForm,
        counts: CountForm | None = None,
        trusted: Sequence[Network] = (),
    ) -> None:
        """Take what the page works with.

        Args:
            make_sender: Called once, in the server's event loop.
            count: How many clicks there were; whoever made it closes it.
            clicks: How a click is written.
            counts: How the count is written, if it is to be sent after each click too.
            trusted: Proxies whose word for a visitor's address is taken.
        """
        self._make_sender = make_sender
        self._count = count
        self._clicks = clicks
        self._counts = counts
        self._trusted = trusted
        self._template = Environment(loader=FileSystemLoader(_FOLDER), autoescape=True).get_template("page.html")

    def app(self) -> ASGIApp:
        """The application."""
        files = [Route(f"/static/{name}", _file(name, kind)) for name, kind in _FILES.items()]
        app = Starlette(
            routes=[Route("/", self._page), Route("/click", self._click, methods=["GET", "POST"]), *files],
            lifespan=self._lifespan,
        )
        return SecurityHeaders(app, HEADERS)

    @asynccontextmanager
    async def _lifespan(self, _: Starlette) -> AsyncIterator[None]:
        self.sender = self._make_sender()
        try:
            yield
        finally:
            self.sender.close()

    async def _page(self, request: Request) -> Response:
        answer = HTMLResponse(self._template.render(count=self._count.number))
        return _remembering(answer, request, session_of(request))

    async def _click(self, request: Request) -> Response:
        if refused := _refusal(request):
            status, why = refused
            return _error(status, f"not counted: {why}")
        session = session_of(request)
        told = {
            "session_id": session,
            "url": url_of(request),
            "user_agent": user_agent_of(request),
            "ip": ip_of(request, self._trusted),
        }
        try:
            value = self._clicks.value(datetime.now(UTC), told)
            await self.sender.send(self._clicks.topic, value, session.encode())
        except NotDeliveredError as error:
            _log.warning("click not delivered", topic=self._clicks.topic, error=str(error))
            return _error(HTTPStatus.SERVICE_UNAVAILABLE, "not counted: the broker did not take the click")
        try:
            number = await self._count.add()
        except OSError as error:
            _log.warning("count not kept", error=str(error))
            return _error(HTTPStatus.SERVICE_UNAVAILABLE, "the click was sent, but its count cannot be kept")
        await self._tell(number)
        return _remembering(JSONResponse({"click_count": number}), request, session)

    async def _tell(self, number: int) -> None:
        if self._counts is None:
            return
        try:
            await self.sender.send(self._counts.topic, self._counts.value(number))
        except NotDeliveredError as error:
            # The click counts all the same, and the next report has a higher number.
            _log.warning("count not delivered", topic=self._counts.topic, error=str(error))


def _refusal(request: Request) -> tuple[HTTPStatus, str] | None:
    """Why a request to count is none that a visitor meant."""
    headers = request.headers
    if request.method == "HEAD":  # comes with every GET route
        return HTTPStatus.METHOD_NOT_ALLOWED, "expected GET or POST"
    if headers.get("sec-fetch-site") == "cross-site":
        return HTTPStatus.FORBIDDEN, "another site asked for it"
    if "prefetch" in headers.get("sec-purpose", "") + headers.get("purpose", ""):
        return HTTPStatus.SERVICE_UNAVAILABLE, "a browser looked ahead"
    if len(url_of(request)) > LONGEST_URL:
        return HTTPStatus.REQUEST_URI_TOO_LONG, f"expected a URL of at most {LONGEST_URL} characters"
    return None


def _error(status: HTTPStatus, text: str) -> Response:
    return JSONResponse({"error": text}, status)


def _remembering(answer: Response, request: Request, session: str) -> Response:
    if request.cookies.get(COOKIE) != session:
        answer.set_cookie(COOKIE, session, httponly=True, samesite="lax", secure=request.url.scheme == "https")
    return answer


def _file(name: str, kind: str) -> Callable[[Request], Awaitable[Response]]:
    content = (_FOLDER / name).read_bytes()

    async def answer(_: Request) -> Response:
        return Response(content, media_type=kind)

    return answer
