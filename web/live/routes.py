"""What the live page asks for: itself, frames as they come, and records by number or filter."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from itertools import islice
from pathlib import Path
from typing import Any, Final, TypeAlias

import msgspec
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import BaseRoute, Route, WebSocketRoute
from starlette.templating import Jinja2Templates
from starlette.websockets import WebSocket, WebSocketDisconnect

from web.access import User, user_of
from web.live.feed import Feed
from web.live.frames import Frame
from web.live.hub import Hub
from web.live.records import Shown

_TEMPLATES: Final = Jinja2Templates(Path(__file__).parent.parent / "templates")
_FOUND: Final = 200
_LONGEST_VALUE: Final = 300
_TRY_AGAIN_LATER: Final = 1013
_SERVER_ENDS: Final = 1001


Note: TypeAlias = Callable[[User, str], Awaitable[bool]]
"""Notes that somebody opens what is personal in the verdict on an event; says whether that is certain."""


def routes(
    feed: Feed, hub: Hub[Frame], *, login: bool, review: bool = False, note: Note | None = None
) -> list[BaseRoute]:
    """The routes of the live page.

    Args:
        feed: What is shown.
        hub: Gives frames to browsers.
        login: Whether there is a log out.
        review: Whether there are the pages of review and rules to go to.
        note: Is told of openings; without it nobody is.
    """
    live = _Live(feed, hub, login=login, review=review, note=note)
    return [
        Route("/", live.page),
        Route("/events", live.events),
        WebSocketRoute("/ws", live.socket),
        Route("/api/state", live.state),
        Route("/api/verdicts", live.verdicts),
        Route("/api/verdicts/{number:int}", live.verdict),
    ]


class _Live:
    def __init__(self, feed: Feed, hub: Hub[Frame], *, login: bool, review: bool, note: Note | None) -> None:
        self._feed = feed
        self._note = note
        self._hub = hub
        self._shown = {"login": login, "review": review}

    async def page(self, request: Request) -> Response:
        return _TEMPLATES.TemplateResponse(request, "live.html", {**self._shown})

    async def state(self, request: Request) -> Response:
        plain = user_of(request.scope).sees_lists_plain
        return Response(self._feed.first(plain=plain), media_type="application/json")

    async def events(self, request: Request) -> Response:
        if self._hub.full:
            return JSONResponse({"error": "there are as many browsers as there may be"}, 503)
        # Proxies such as nginx hold back what they take for a page.
        events = self._events(user_of(request.scope))
        return StreamingResponse(events, media_type="text/event-stream", headers={"X-Accel-Buffering": "no"})

    async def _events(self, user: User) -> AsyncIterator[bytes]:
        with self._hub.subscribe() as slot:
            yield b"retry: 1000\n\n"
            while (frame := await slot.take()) is not None:
                yield b"data: %b\n\n" % _form(frame, user)

    async def socket(self, websocket: WebSocket) -> None:
        user = user_of(websocket.scope)
        await websocket.accept()
        if self._hub.full:
            await websocket.close(_TRY_AGAIN_LATER)
            return
        try:
            with self._hub.subscribe() as slot:
                while (frame := await slot.take()) is not None:
                    await websocket.send_text(_form(frame, user).decode())
            await websocket.close(_SERVER_ENDS)
        except WebSocketDisconnect:
            pass

    async def verdict(self, request: Request) -> Response:
        user = user_of(request.scope)
        record = await asyncio.to_thread(self._feed.get, request.path_params["number"])
        if record is None:
            return JSONResponse({"error": "it is no longer kept: newer ones took its place"}, 404)
        plain = user.sees_opened_plain
        if plain and self._note is not None and self._feed.veil.hides_in(record):
            plain = await self._note(user, record.origin)
        told = await asyncio.to_thread(self._opened, record, user, plain=plain)
        return Response(msgspec.json.encode(told), media_type="application/json")

    def _opened(self, record: Shown, user: User, *, plain: bool) -> dict[str, Any]:
        veil = self._feed.veil
        told = veil.opened(record, plain=plain, plain_lists=user.sees_lists_plain)
        origins = {origin for window in told.get("evidence", {}).values() for origin in window.newest}
        kept = self._feed.find(lambda other: other.origin in origins, len(origins)) if origins else []
        told["events"] = {other.origin: {"number": other.number, "word": other.word, "at": other.at} for other in kept}
        return told | self._links(record, user, plain=plain)

    def _links(self, record: Shown, user: User, *, plain: bool) -> dict[str, Any]:
        """Other entities that share a value with a record, as a user may see them."""
        veil, kept = self._feed.veil, self._feed.kept()
        linked = self._feed.links.of(record, kept)
        personal = [] if plain else veil.masking.found(record.topic, record.value)
        links = [
            {
                "field": link.field,
                "value": (link.value if plain else veil.masking.member(link.field, link.value, personal))[
                    :_LONGEST_VALUE
                ],
                "others": [veil.row(other, plain=user.sees_lists_plain) for other in link.others],
                "more": link.more,
            }
            for link in linked.links
        ]
        return {"links": links, "searched": linked.searched, "kept": len(kept)}

    async def verdicts(self, request: Request) -> Response:
        found = await asyncio.to_thread(self._found, request)
        return Response(msgspec.json.encode({"rows": found}), media_type="application/json")

    def _found(self, request: Request) -> list[dict[str, Any]]:
        """The rows that a user asks for."""
        asked, plain, veil = request.query_params, user_of(request.scope).sees_lists_plain, self._feed.veil
        wanted = veil.matching(
            plain=plain,
            words=frozenset(word.upper() for word in asked.getlist("decision")),
            rule=asked.get("rule", ""),
            key=asked.get("key", ""),
            text=asked.get("text", ""),
        )
        kept = self._feed.kept()
        if number := asked.get("entity_of", ""):
            # By the number of a record: who sees two entities masked alike is still told of one.
            key = next((record.key for record in kept if str(record.number) == number), None)
            kept = [record for record in kept if record.key == key]
        return [veil.row(record, plain=plain) for record in islice(filter(wanted, kept), _FOUND)]


def _form(frame: Frame, user: User) -> bytes:
    return frame.plain if user.sees_lists_plain else frame.masked
