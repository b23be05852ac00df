"""The web application, put together: reads no settings and opens no connection until it is served."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from web.access import Access, Gate
from web.headers import SecurityHeaders
from web.live.feed import Feed
from web.live.frames import Frame
from web.live.hub import Hub
from web.live.routes import routes
from web.login import routes as login_routes
from web.oidc import Provider
from web.review.desk import Desk
from web.review.routes import routes as review_routes
from web.review.trials import routes as trial_routes
from web.review.unknowns import Unknowns

_HERE: Final = Path(__file__).parent


def build(
    feed: Feed, hub: Hub[Frame], access: Access, desk: Desk | None = None, provider: Provider | None = None
) -> ASGIApp:
    """Put the application together. It starts the feed when it is served, and closes it at the end.

    Args:
        feed: What the live page shows.
        hub: Gives its frames to browsers.
        access: Who may look, and who may act.
        desk: Where people act; without it there is no review.
        provider: Whom people log in with, besides tokens.
    """
    unknowns = None if desk is None else Unknowns(desk.settings, desk.pack)

    @contextlib.asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        feed.start()
        if desk is not None:
            await desk.start()
        frames = asyncio.create_task(hub.run())
        try:
            yield
        finally:
            hub.close()
            frames.cancel()
            closing = [part.close() for part in (desk, unknowns) if part is not None]
            await asyncio.gather(asyncio.to_thread(feed.close), *closing)

    note = None if desk is None else desk.note_opening
    served = routes(feed, hub, login=access.login, review=desk is not None, note=note)
    if desk is not None and unknowns is not None:
        served += review_routes(desk, feed, access, unknowns) + trial_routes(desk.settings, desk.pack)
    if access.login:
        served += login_routes(access, provider)
    served.append(Mount("/static", StaticFiles(directory=_HERE / "static")))
    app = Starlette(routes=served, middleware=[Middleware(Gate, access=access)], lifespan=lifespan)
    return SecurityHeaders(app)
