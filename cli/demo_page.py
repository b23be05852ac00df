"""The live page beside the demo; where it cannot be served, a line says why, and the demo goes on."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from cli.errors import UsageError
from cli.listening import address_of, listen, url_of
from cli.terminal import Terminal
from cli.web import is_installed
from detection.pack import Pack
from detection.settings import Settings

_HOST = "127.0.0.1"
_END_SECONDS = 3.0


@contextmanager
def live_page(settings: Settings, pack: Pack, port: int, console: Terminal) -> Iterator[None]:
    """Serve the pages meanwhile, to this machine only.

    Args:
        settings: Where the broker is.
        pack: Whose topics are shown.
        port: Where to serve; 0: any that is free.
        console: Is told where the page is, or why there is none.
    """
    if not is_installed():
        console.print("No live page, which needs its web server: pip install 'fraud-streams[page]'")
        yield
        return
    from web.access import Access  # noqa: PLC0415  (an extra)
    from web.app import build  # noqa: PLC0415
    from web.live.feed import Feed  # noqa: PLC0415
    from web.live.hub import Hub  # noqa: PLC0415
    from web.review.desk import Desk  # noqa: PLC0415
    from web.serving import serve  # noqa: PLC0415

    try:
        listening = listen(address_of(_HOST, port))
    except UsageError as error:
        console.print(f"No live page: {error}")
        yield
        return
    stop = threading.Event()
    with listening:
        feed = Feed(settings, pack)
        hub = Hub(feed.frame)
        app = build(feed, hub, Access(None, loopback=True), Desk(settings, pack))
        thread = threading.Thread(target=serve, args=(app, hub, listening, stop), name="page", daemon=True)
        thread.start()
        console.print(f"The live page is at {url_of(listening)}")
        try:
            yield
        finally:
            stop.set()
            thread.join(_END_SECONDS)
