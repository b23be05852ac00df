"""What the form asks for that tries an edited pack."""

import asyncio
from http import HTTPStatus
from typing import Final

import msgspec
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from broker.errors import BrokerError
from detection.errors import PackError
from detection.loading import read
from detection.loading.files import LARGEST_FILE
from detection.pack import Pack
from detection.settings import Settings
from web.access import user_of
from web.body import read_body
from web.review.newest import newest
from web.review.trial import TrialError, run_trial


class _Edited(msgspec.Struct, forbid_unknown_fields=True):
    file: str
    text: str


_edited: Final = msgspec.json.Decoder(_Edited).decode


def routes(settings: Settings, pack: Pack) -> list[BaseRoute]:
    """The routes of the form: a pack names files, so they are for admins."""
    trials = _Trials(settings, pack)
    return [
        Route("/api/trial", trials.texts, methods=["GET"]),
        Route("/api/trial", trials.run, methods=["POST"]),
    ]


class _Trials:
    def __init__(self, settings: Settings, pack: Pack) -> None:
        self._settings = settings
        self._topics = list(pack.topics_in)
        self._running = asyncio.Lock()

    async def texts(self, request: Request) -> Response:
        if refused := _refused(request):
            return refused
        try:
            return JSONResponse({"files": read(self._settings.fraud_packs)})
        except PackError as error:
            return JSONResponse({"error": str(error)}, HTTPStatus.UNPROCESSABLE_ENTITY)

    async def run(self, request: Request) -> Response:
        if refused := _refused(request):
            return refused
        body = await read_body(request, 6 * LARGEST_FILE)
        try:
            edited = _edited(body or b"")
            before = read(self._settings.fraud_packs)
        except (msgspec.DecodeError, UnicodeDecodeError, PackError) as error:
            return JSONResponse({"error": str(error)}, HTTPStatus.BAD_REQUEST)
        if edited.file not in before:
            return JSONResponse({"error": f"file: expected one of {', '.join(before)}"}, HTTPStatus.BAD_REQUEST)
        if self._running.locked():
            return JSONResponse({"error": "another trial runs: try again"}, HTTPStatus.SERVICE_UNAVAILABLE)
        async with self._running:
            return await self._try(before, before | {edited.file: edited.text})

    async def _try(self, before: dict[str, str], after: dict[str, str]) -> Response:
        try:
            records = await asyncio.to_thread(newest, self._settings, self._topics)
            return JSONResponse(await run_trial(before, after, self._settings.topics, records))
        except BrokerError as error:
            return JSONResponse({"error": str(error)}, HTTPStatus.SERVICE_UNAVAILABLE)
        except TrialError as error:
            return JSONResponse({"error": str(error)}, HTTPStatus.UNPROCESSABLE_ENTITY)


def _refused(request: Request) -> Response | None:
    user = user_of(request.scope)
    if user.role == "admin":
        return None
    return JSONResponse({"error": f"{user.name} may not try packs: expected an admin"}, HTTPStatus.FORBIDDEN)
