"""Real receivers on the loopback: a web server and a mail server."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email import message_from_bytes, policy
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from aiosmtpd.controller import Controller

from broker.ports import free_ports


class Hook:
    """A web server that keeps what was posted and answered with 200.

    Attributes:
        got: The bodies that were taken.
        asked: How many requests came.
        answer: Gives the status for the n-th request, from 1.
    """

    def __init__(self, answer: Callable[[int], int]) -> None:
        self.got: list[dict[str, Any]] = []
        self.asked = 0
        self.answer = answer
        self.port = 0
        self._lock = threading.Lock()

    def url(self, path: str = "hook") -> str:
        return f"json://127.0.0.1:{self.port}/{path}"

    @property
    def titles(self) -> list[str]:
        return [one["title"] for one in self.got]

    def take(self, body: bytes) -> int:
        with self._lock:
            self.asked += 1
            number = self.asked
        status = self.answer(number)
        if status == 200:
            self.got.append(json.loads(body))
        return status


@contextmanager
def hook(answer: Callable[[int], int] = lambda _: 200) -> Iterator[Hook]:
    found = Hook(answer)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            status = found.take(body)
            try:
                self.send_response(status)
                self.end_headers()
            except OSError:  # it has not waited
                pass

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    found.port = server.server_port
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield found
    finally:
        server.shutdown()
        server.server_close()


class Mailbox:
    """Keeps the mails that a mail server took, and who was to get them."""

    def __init__(self) -> None:
        self.mails: list[EmailMessage] = []
        self.to: list[list[str]] = []

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:  # noqa: N802
        mail = message_from_bytes(envelope.content, policy=policy.default)
        assert isinstance(mail, EmailMessage)
        self.mails.append(mail)
        self.to.append(envelope.rcpt_tos)
        return "250 OK"


@contextmanager
def mail_server() -> Iterator[tuple[Mailbox, int]]:
    mailbox = Mailbox()
    (port,) = free_ports(1)
    controller = Controller(mailbox, hostname="127.0.0.1", port=port)
    controller.start()
    try:
        yield mailbox, port
    finally:
        controller.stop()
