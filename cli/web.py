"""`fraud web`."""

import sys
from importlib.util import find_spec
from typing import Annotated

from cyclopts import Parameter, validators

from broker.logs import logs_to_stderr
from cli.errors import UsageError
from cli.listening import address_of, listen, url_of
from cli.project import read_project
from cli.stopping import stop_event
from detection.settings import is_loopback

_NEEDED = ("authlib", "httpx2", "jinja2", "joserfc", "starlette", "uvicorn", "websockets")


def is_installed() -> bool:
    """Whether the extra with the web server is there."""
    return all(find_spec(name) is not None for name in _NEEDED)


def web(
    *,
    host: str = "127.0.0.1",
    port: Annotated[int, Parameter(validator=validators.Number(gte=0, lte=65_535))] = 5000,
) -> int:
    """Serve the pages: live, review, rules.

    Args:
        host: The address to serve it on. One that others can reach needs a way to log in: FRAUD_WEB_TOKEN,
            FRAUD_WEB_USERS or FRAUD_WEB_OIDC_ISSUER.
        port: And the port; 0 for any that is free.
    """
    logs_to_stderr()
    if not is_installed():
        msg = "the live page needs its web server: pip install 'fraud-streams[page]'"
        raise UsageError(msg)
    from web.access import Access  # noqa: PLC0415  (an extra)
    from web.app import build  # noqa: PLC0415
    from web.live.feed import Feed  # noqa: PLC0415
    from web.live.hub import Hub  # noqa: PLC0415
    from web.oidc import Provider  # noqa: PLC0415
    from web.review.desk import Desk  # noqa: PLC0415
    from web.serving import serve  # noqa: PLC0415

    stop = stop_event()
    settings, pack = read_project()
    token = settings.fraud_web_token.get_secret_value() if settings.fraud_web_token else None
    users, oidc = settings.web_users, settings.web_oidc
    if token is None and not users and oidc is None and not is_loopback(host):
        msg = (
            "--host: expected 127.0.0.1, or one of FRAUD_WEB_TOKEN, FRAUD_WEB_USERS and FRAUD_WEB_OIDC_ISSUER set, "
            f"got {host}, which others can reach, and no way to log in"
        )
        raise UsageError(msg)
    with listen(address_of(host, port)) as listening:
        sys.stdout.write(f"The live page is at {url_of(listening)} until Ctrl-C\n")
        sys.stdout.flush()
        feed = Feed(settings, pack)
        hub = Hub(feed.frame)
        access = Access(token, loopback=is_loopback(host), users=users, oidc=oidc is not None)
        provider = None if oidc is None else Provider(oidc)
        serve(build(feed, hub, access, Desk(settings, pack), provider), hub, listening, stop)
    return 0
