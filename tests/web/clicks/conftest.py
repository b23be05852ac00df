"""The click page as a browser meets it: a real server on a free port, and a broker behind it."""

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import httpx
import pytest

from detection.loading import parse
from detection.pack import Pack
from detection.settings import Settings
from tests.conftest import Broker, wait_until
from tests.reading import read_all
from web.clicks.app import ClickPage
from web.clicks.count import Count
from web.clicks.records import ClickForm, CountForm
from web.clicks.serving import Server
from web.sending import Sender

PACKS = Path(__file__).parents[3] / "packs"


@dataclass
class Page:
    """A page that is served, and the topics it writes to."""

    port: int
    clicks: str
    counts: str
    broker: Broker

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def browser(self, **options: Any) -> httpx.Client:
        return httpx.Client(base_url=self.url, timeout=20, **options)

    def sent(self, number: int, topic: str | None = None) -> list[dict[str, Any]]:
        """What is in the topic, exactly so much."""
        messages = read_all(self.broker, [topic or self.clicks], number, extra_seconds=0.3)
        assert len(messages) == number
        return [json.loads(message.value() or b"") for message in messages]

    def raw(self, request: bytes) -> bytes:
        """What the server answers to bytes that no client would send."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=20) as connection:
            answer = b""
            # Who hangs up with bytes unread resets the connection.
            with suppress(ConnectionResetError, BrokenPipeError):
                connection.sendall(request)
                while part := connection.recv(65_536):
                    answer += part
        return answer


@pytest.fixture
def clicks_pack(tmp_path: Path, topic_name: Callable[..., str]) -> Path:
    """The clicks pack with topics of this test alone."""
    text = (PACKS / "clicks.toml").read_text().replace('topic = "', f'topic = "{topic_name("of")}.')
    path = tmp_path / "clicks.toml"
    path.write_text(text)
    return path


@pytest.fixture
def pack(clicks_pack: Path, embedded: Broker) -> Pack:
    """It, loaded, with its topics made."""
    loaded = parse({"clicks.toml": clicks_pack.read_text()})
    for topic in dict.fromkeys([*loaded.topics_in, *loaded.topics_out]):
        embedded.create_topic(topic, 2)  # type: ignore[attr-defined]
    return loaded


Serve = Callable[..., AbstractContextManager[Page]]


@pytest.fixture
def serve(pack: Pack, embedded: Broker, tmp_path: Path) -> Serve:
    """Serves the page: `with serve() as page`."""

    @contextmanager
    def serving(*, broker: Broker = embedded, counter: bool = False, trusted: tuple[str, ...] = ()) -> Iterator[Page]:
        settings = Settings(kafka_broker_url=broker.address, _env_file=None)
        count = Count(tmp_path / "click_count.json")
        form, counts = ClickForm(pack), CountForm(pack)
        page = ClickPage(
            lambda: Sender(settings), count, form, counts if counter else None, [ip_network(text) for text in trusted]
        )
        server = Server(page)
        with socket.create_server(("127.0.0.1", 0)) as listening:
            thread = threading.Thread(target=server.run, args=([listening],))
            thread.start()
            try:
                wait_until(lambda: server.started)
                yield Page(listening.getsockname()[1], form.topic, counts.topic, broker)
            finally:
                server.should_exit = True
                thread.join(20)
                count.close()
        assert not thread.is_alive()

    return serving
