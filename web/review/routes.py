"""What the review page and the page of rules ask for, and the one request that changes something."""

from http import HTTPStatus
from pathlib import Path
from typing import Any, Final, get_args

import msgspec
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.templating import Jinja2Templates

from web.access import Access, User, user_of
from web.body import read_body
from web.live.feed import Feed
from web.review.desk import LONGEST_SNOOZE_MINUTES, Asked, Desk, RefusedError
from web.review.entries import LONGEST_NOTE
from web.review.queue import Group, Order
from web.review.rules import rules_told
from web.review.unknowns import Unknowns

_TEMPLATES: Final = Jinja2Templates(Path(__file__).parent.parent / "templates")
_LARGEST: Final = 16_384
_STATES: Final[dict[str, Group]] = {group: group for group in get_args(Group)}
_ORDERS: Final[dict[str, Order]] = {order: order for order in get_args(Order)}
_asked: Final = msgspec.json.Decoder(Asked).decode


def routes(desk: Desk, feed: Feed, access: Access, unknowns: Unknowns) -> list[BaseRoute]:
    """The routes of the review page and of the page of rules."""
    review = _Review(desk, feed, access, unknowns)
    return [
        Route("/review", review.page),
        Route("/rules", review.rules_page),
        Route("/api/review", review.queue),
        Route("/api/review/{origin:path}", review.told, methods=["GET"]),
        Route("/api/review/{origin:path}", review.act, methods=["POST"]),
        Route("/api/rules", review.rules),
    ]


class _Review:
    def __init__(self, desk: Desk, feed: Feed, access: Access, unknowns: Unknowns) -> None:
        self._desk = desk
        self._feed = feed
        self._access = access
        self._unknowns = unknowns

    async def page(self, request: Request) -> Response:
        return self._page(request, "review.html")

    async def rules_page(self, request: Request) -> Response:
        return self._page(request, "rules.html")

    async def queue(self, request: Request) -> Response:
        asked = request.query_params
        state, order = _STATES.get(asked.get("state", "open")), _ORDERS.get(asked.get("order", "newest"))
        if state is None or order is None:
            msg = f"expected a state of {', '.join(_STATES)} and an order of {', '.join(_ORDERS)}"
            return JSONResponse({"error": msg}, HTTPStatus.BAD_REQUEST)
        return _json(self._desk.listed(user_of(request.scope), state, order))

    async def told(self, request: Request) -> Response:
        return await self._opened(user_of(request.scope), request.path_params["origin"])

    async def act(self, request: Request) -> Response:
        user, origin = user_of(request.scope), request.path_params["origin"]
        # A form of another page's cannot have this type without asking first.
        if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
            return JSONResponse({"error": "expected application/json"}, HTTPStatus.UNSUPPORTED_MEDIA_TYPE)
        body = await read_body(request, _LARGEST)
        if body is None:
            return JSONResponse({"error": f"expected at most {_LARGEST} bytes"}, HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
        seen = request.headers.get("if-match", "").strip().strip('"')
        if not seen:
            return JSONResponse({"error": "if-match: expected the version seen"}, HTTPStatus.PRECONDITION_REQUIRED)
        try:
            asked = _asked(body)
            version = _version(seen)
        except (msgspec.DecodeError, UnicodeDecodeError, ValueError) as error:
            return JSONResponse({"error": str(error)}, HTTPStatus.BAD_REQUEST)
        try:
            await self._desk.act(user, origin, asked, version)
        except RefusedError as error:
            return await self._opened(user, origin, error.status, str(error))
        return self._told(user, origin)  # what they did is in the audit

    async def rules(self, _request: Request) -> Response:
        told = rules_told(self._desk.pack, self._feed.hits(), self._desk.ledger.found())
        unknowns = None if self._desk.problem else self._unknowns.told()
        return _json({"rules": told, "pack": self._desk.pack.hash, "since": self._feed.since, "unknowns": unknowns})

    def _page(self, request: Request, name: str) -> Response:
        user = user_of(request.scope)
        context = {
            "login": self._access.login,
            "csrf": self._access.csrf(request.headers),
            "user": user,
            "may_act": user.role != "viewer",
            "longest_note": LONGEST_NOTE,
            "longest_snooze": LONGEST_SNOOZE_MINUTES,
        }
        return _TEMPLATES.TemplateResponse(request, name, context)

    async def _opened(self, user: User, origin: str, status: HTTPStatus = HTTPStatus.OK, error: str = "") -> Response:
        """What is told of an event to who opens it, with what is personal if the audit knows of it."""
        masked = user.sees_opened_plain and self._desk.reveals(origin)
        if masked and status != HTTPStatus.SERVICE_UNAVAILABLE:  # Kafka is away then
            masked = not await self._desk.note_opening(user, origin)
        return self._told(user, origin, status, error, masked=masked)

    def _told(
        self, user: User, origin: str, status: HTTPStatus = HTTPStatus.OK, error: str = "", *, masked: bool = False
    ) -> Response:
        told = self._desk.told(user, origin, masked=masked)
        answer = _json(told | ({"error": error} if error else {}), status)
        answer.headers["ETag"] = f'"{told["review"]["version"]}"'
        return answer


def _json(told: dict[str, Any], status: HTTPStatus = HTTPStatus.OK) -> Response:
    return Response(msgspec.json.encode(told), status, media_type="application/json")


def _version(seen: str) -> int:
    if not (seen.isascii() and seen.isdecimal() and len(seen) < 10):  # noqa: PLR2004  (more than anybody acts)
        msg = f"if-match: expected a version, got {seen[:20]!r}"
        raise ValueError(msg)
    return int(seen)
