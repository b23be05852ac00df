"""The server around the page: how it begins, and how it ends."""

import asyncio
import socket
from typing import Final

import uvicorn
from typing_extensions import override

from web.clicks.app import ClickPage

_PATIENCE_SECONDS: Final = 0.5
_LAST_SECONDS: Final = 1


class Server(uvicorn.Server):
    """Answers all who wait before it ends: what is not delivered by then does not count."""

    def __init__(self, page: ClickPage) -> None:
        """Serve this page; `run` it with a socket that listens."""
        self._page = page
        super().__init__(
            uvicorn.Config(
                page.app(),
                http="h11",  # whatever else is installed: it is strict, and the same everywhere
                ws="none",
                lifespan="on",
                proxy_headers=False,  # the page itself decides whose word it takes
                server_header=False,
                access_log=False,
                log_config=None,
                timeout_graceful_shutdown=_LAST_SECONDS,
            )
        )

    @override
    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        waiting = asyncio.get_running_loop().call_later(_PATIENCE_SECONDS, self._page.sender.give_up)
        await super().shutdown(sockets)
        waiting.cancel()
