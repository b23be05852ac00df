"""Pages as browsers get them: from a real server on a free port, fed by the embedded broker."""

import json
import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import httpx
import pytest
from confluent_kafka import Producer

from broker.embedded import EmbeddedBroker
from detection.loading import load
from detection.pack import Pack
from detection.program import Engine
from detection.records import DeadLetter, Record
from detection.settings import Settings, WebUser
from tests.conftest import wait_until
from web.access import Access
from web.app import build
from web.live.feed import Feed
from web.live.hub import Hub
from web.oidc import Provider
from web.review.desk import Desk
from web.serving import serve

TOKEN = "a-token-of-24-characters"


def transfer(amount: float, *, source: str = "a", currency: str = "EUR") -> bytes:
    return json.dumps({"source": source, "target": "b", "amount": amount, "currency": currency}).encode()


@dataclass
class Deployment:
    """Topics of this test alone, and what judges the records in them."""

    settings: Settings
    pack: Pack

    def write(self, values: Iterable[bytes], key: str = "key") -> None:
        """Send events, and their verdicts as the dataflow would."""
        engine = Engine(self.pack)
        topic = self.settings.transactions_topic
        producer = Producer({"bootstrap.servers": self.settings.kafka_broker_url})
        offsets: list[int] = []
        for value in values:
            producer.produce(
                topic, value, key, partition=0, on_delivery=lambda _error, message: offsets.append(message.offset())
            )
            assert producer.flush(30) == 0
            answer = engine.judge(Record(topic, 0, offsets[-1], 1_700_000_000_000, key.encode(), value))
            if isinstance(answer, DeadLetter):
                producer.produce(self.settings.dead_letter_topic, value, key, headers=answer.headers())
            else:
                producer.produce(answer.topic, answer.value, answer.key)
        assert producer.flush(30) == 0


@pytest.fixture
def deployment(embedded: EmbeddedBroker, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Deployment:
    monkeypatch.chdir(tmp_path)  # there is no .env
    suffix = uuid4().hex[:12]
    names = ("transactions_topic", "fraud_topic", "review_topic", "legit_topic", "dead_letter_topic")
    topics = {name: f"{name}.{suffix}" for name in (*names, "labels_topic", "audit_topic")}
    for topic in topics.values():
        embedded.create_topic(topic, 2)
    settings = Settings(kafka_broker_url=embedded.address, application_id=suffix, **topics)
    return Deployment(settings, load([Path(__file__).parents[2] / "packs" / "transfers.toml"], settings.topics))


@dataclass
class Page:
    """A page that is served."""

    url: str
    feed: Feed
    hub: Hub
    stop: threading.Event
    thread: threading.Thread
    client: httpx.Client
    desk: Desk | None = None

    def words(self) -> dict[str, int]:
        told: dict[str, int] = self.client.get("/api/state").json()["words"]
        return told


@pytest.fixture
def page(deployment: Deployment) -> Iterator[Callable[..., Page]]:
    """Serves a page until the test ends: `page(token=..., loopback=False)`; with `review=True` people may act."""
    with ExitStack() as opened:

        @contextmanager
        def served(
            token: str | None,
            *,
            loopback: bool,
            settings: Settings,
            users: tuple[WebUser, ...],
            review: bool,
            oidc: Provider | None,
        ) -> Iterator[Page]:
            feed = Feed(settings, deployment.pack)
            hub = Hub(feed.frame)
            stop = threading.Event()
            listening = opened.enter_context(closing(socket.create_server(("127.0.0.1", 0))))
            desk = Desk(settings, deployment.pack) if review else None
            access = Access(token, loopback=loopback, users=users, oidc=oidc is not None)
            app = build(feed, hub, access, desk, oidc)
            thread = threading.Thread(target=serve, args=(app, hub, listening, stop), daemon=True)
            thread.start()
            url = f"http://127.0.0.1:{listening.getsockname()[1]}"
            with httpx.Client(base_url=url, timeout=10) as client:
                try:
                    yield Page(url, feed, hub, stop, thread, client, desk)
                finally:
                    stop.set()
                    thread.join(5)

        def start(
            token: str | None = None,
            *,
            loopback: bool = True,
            settings: Settings | None = None,
            ready: bool = True,
            users: tuple[WebUser, ...] = (),
            review: bool = False,
            oidc: Provider | None = None,
        ) -> Page:
            page = opened.enter_context(
                served(
                    token,
                    loopback=loopback,
                    settings=settings or deployment.settings,
                    users=users,
                    review=review,
                    oidc=oidc,
                )
            )
            if ready:
                wait_until(lambda: not page.feed.problem and not (page.desk and page.desk.problem))
            return page

        yield start
