"""Serves the pages until somebody asks to stop, and then ends at once: a stream to a browser never ends by itself."""

import asyncio
import contextlib
import gc
import socket
import threading
from collections.abc import Iterator
from typing import Any, Final

import uvicorn
from starlette.types import ASGIApp
from typing_extensions import override

from web.live.hub import Hub

_LOOK_SECONDS: Final = 0.1
_GRACE_SECONDS: Final = 1
_LARGEST_MESSAGE: Final = 4_096


class _Server(uvicorn.Server):
    """Leaves the signals to the command."""

    @override
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def serve(app: ASGIApp, hub: Hub[Any], listening: socket.socket, stop: threading.Event) -> None:
    """Serve until `stop` is set."""
    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        server_header=False,
        ws_max_size=_LARGEST_MESSAGE,
        timeout_graceful_shutdown=_GRACE_SECONDS,
    )
    server = _Server(config)

    async def watch() -> None:
        while not stop.is_set():  # noqa: ASYNC110  (a signal handler sets it, or another thread)
            await asyncio.sleep(_LOOK_SECONDS)
        hub.close()
        server.should_exit = True

    async def run() -> None:
        watching = asyncio.create_task(watch())
        await server.serve(sockets=[listening])
        watching.cancel()

    # Thousands of records are kept that hold no cycle: to go through them at each 700 new ones is a fifth of all work.
    gc.freeze()
    gc.set_threshold(50_000, 20, 10)
    asyncio.run(run())
