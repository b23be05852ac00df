"""Receivers of alerts: Apprise, which tells whether it worked and logs why not. Its URLs are secrets."""

import logging
import re
import threading
from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol
from urllib.parse import quote, unquote

from detection.alerting import text as of_alerts
from detection.alerting.outbox import Message
from detection.settings import SettingsError

_BETWEEN: Final = re.compile(r"[\s,;]+(?=[A-Za-z0-9]+://)")
_PARTS: Final = re.compile(r"[/?&=:@,;#\s]+")
_SHORTEST_SECRET: Final = 3
_PUBLIC: Final = frozenset(
    [
        "http",
        "https",
        "json",
        "jsons",
        "mailto",
        "mailtos",
        "true",
        "false",
        "yes",
        "from",
        "name",
        "smtp",
        "com",
        "org",
        "net",
    ]
)


class Receiver(Protocol):
    """Somebody to tell.

    Attributes:
        name: What may be told of it, `ALERTS_OPS#0`; part of the stored state.
    """

    @property
    def name(self) -> str:
        """What may be told of it."""
        ...

    def send(self, message: Message) -> str | None:
        """Tell; gives why it did not work, without a secret, or None."""
        ...


class _Lines(logging.Handler):
    """Keeps what Apprise logs, by the thread that it works for: several send at once."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._by_thread: dict[int, list[str]] = {}

    def emit(self, record: logging.LogRecord) -> None:
        lines = self._by_thread.get(threading.get_ident())
        if lines is not None:
            lines.append(record.getMessage())

    def begin(self) -> None:
        self._by_thread[threading.get_ident()] = []

    def end(self) -> list[str]:
        return self._by_thread.pop(threading.get_ident(), [])


_lines: Final = _Lines()


class AppriseReceiver:
    """One Apprise URL."""

    def __init__(self, name: str, server: Any, url: str) -> None:
        """Open nothing yet.

        Args:
            name: What may be told of it.
            server: Apprise's object for the URL.
            url: The secret.
        """
        self._name = name
        self._server = server
        self._secrets = secrets_of(url)

    @property
    def name(self) -> str:
        """What may be told of it."""
        return self._name

    def send(self, message: Message) -> str | None:
        """Tell; gives why it did not work, without a secret, or None."""
        return self.tell(
            of_alerts.title(message), text=of_alerts.plain(message), markup=of_alerts.as_html(message), alarm=True
        )

    def tell(self, title: str, *, text: str, markup: str, alarm: bool) -> str | None:
        """Tell this: the markup to whom gets mail, the text to others. Gives why it did not work, or None."""
        from apprise import NotifyFormat, NotifyType  # noqa: PLC0415  an extra
        from apprise.plugins.email.base import NotifyEmail  # noqa: PLC0415

        mail = isinstance(self._server, NotifyEmail)  # it makes the plain text of the mail too
        _lines.begin()
        raised = ""
        worked = False
        try:
            worked = bool(
                self._server.notify(
                    body=markup if mail else text,
                    title=title,
                    notify_type=NotifyType.FAILURE if alarm else NotifyType.INFO,
                    body_format=NotifyFormat.HTML if mail else NotifyFormat.TEXT,
                )
            )
        except Exception as error:  # noqa: BLE001  the edge: any of a hundred plugins, and its text may hold the URL
            raised = type(error).__name__
        told = [*_lines.end(), *([raised] if raised else [])]
        if worked:
            return None
        return mask("; ".join(told) or "no reason given", self._secrets)


def secrets_of(url: str) -> tuple[str, ...]:
    """All that is in a URL, longest first: what is a token and what a host differs from service to service."""
    parts = {url, *_PARTS.split(url), *re.split(r"[/?&]+", url)}
    parts |= {unquote(part) for part in parts} | {quote(part, safe="") for part in parts}
    found = {part for part in parts if len(part) >= _SHORTEST_SECRET and part.lower() not in _PUBLIC}
    return tuple(sorted(found, key=len, reverse=True))


def mask(text: str, secrets: Sequence[str]) -> str:
    """A text in which no secret is left.

    >>> mask("cannot reach https://host.example/T0KEN", secrets_of("json://host.example/T0KEN"))
    'cannot reach https://***/***'
    """
    for secret in secrets:
        text = re.sub(re.escape(secret), "***", text, flags=re.IGNORECASE)
    return of_alerts.clean(text)


def receivers(names: Sequence[str], settings: Mapping[str, str]) -> dict[str, list[AppriseReceiver]]:
    """Who is behind each variable that a pack names.

    Raises:
        SettingsError: A variable is not set, or what it holds is no Apprise URL; without showing it.
    """
    try:
        from apprise import Apprise, AppriseAsset  # noqa: PLC0415  an extra
    except ImportError:
        msg = "alerts: expected the package apprise: install fraud-streams[alerts]"
        raise SettingsError([msg]) from None
    for name in ("apprise", "urllib3", "requests"):  # their lines name URLs
        log = logging.getLogger(name)
        log.propagate = False
        log.handlers = [_lines]
    asset = AppriseAsset(app_id="fraud", app_desc="fraud alerts", app_url="", image_url_mask="", async_mode=False)
    found: dict[str, list[AppriseReceiver]] = {}
    complaints = []
    for name in dict.fromkeys(names):
        urls = _BETWEEN.split(settings.get(name, "").strip())
        if urls == [""]:
            complaints.append(f"{name}: expected Apprise URLs, since a pack names it, got nothing")
            continue
        found[name] = []
        for number, url in enumerate(urls):
            server = Apprise.instantiate(url, asset=asset)
            if server is None:
                complaints.append(f"{name}: expected Apprise URLs, got something else at place {number + 1}")
            else:
                found[name].append(AppriseReceiver(f"{name}#{number}", server, url))
    if complaints:
        raise SettingsError(complaints)
    return found
