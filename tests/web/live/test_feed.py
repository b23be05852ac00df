import asyncio
import threading
from pathlib import Path

import pytest
from starlette.applications import Starlette

from detection.loading import load
from detection.settings import Settings
from web.access import User
from web.live import feed as feeds
from web.live import routes as live
from web.live.feed import Feed
from web.live.hub import Hub
from web.live.records import Shown

PACK = Path(__file__).parents[3] / "packs" / "transfers.toml"


class _Message:
    """As much of a record as the feed looks at."""

    def __init__(self, topic: str, value: bytes = b"") -> None:
        self._topic = topic
        self._value = value

    def topic(self) -> str:
        return self._topic

    def partition(self) -> int:
        return 0

    def offset(self) -> int:
        return 0

    def timestamp(self) -> tuple[int, int]:
        return 1, 1

    def error(self) -> None:
        return None

    def key(self) -> bytes:
        return b"key"

    def value(self) -> bytes:
        return self._value

    def headers(self) -> list[tuple[str, bytes]]:
        return []


def shown(number: int, origin: str = "t/0/1") -> Shown:
    return Shown(number, "FRAUD", 1, "t", "key", "text", [], origin, b"{}")


@pytest.fixture
def feed() -> Feed:
    settings = Settings(_env_file=None)
    return Feed(settings, load([PACK], settings.topics))


def test_a_page_that_nothing_is_read_for_any_more_is_not_live(feed: Feed, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        feed._problem = ""  # it was
        raise RuntimeError

    monkeypatch.setattr(feed, "_follow", fail)

    with pytest.raises(RuntimeError):
        feed._run()

    assert "nothing is read any more" in feed.problem


def test_the_lock_is_free_while_records_are_looked_through(feed: Feed) -> None:
    feed._buffer.add(shown(1))

    assert [record.number for record in feed.find(lambda _record: not feed._lock.locked(), 10)] == [1]


def test_the_lock_is_free_while_records_are_decoded(feed: Feed, monkeypatch: pytest.MonkeyPatch) -> None:
    locked: list[bool] = []

    def read(_message: object, _topic: str, number: int) -> Shown:
        locked.append(feed._lock.locked())
        return shown(number)

    monkeypatch.setattr(feeds, "read_record", read)
    feed.take([_Message("queuing.fraud"), _Message("queuing.fraud")])

    assert locked == [False, False]
    assert [record.number for record in feed.find(lambda _record: True, 10)] == [2, 1]


@pytest.mark.parametrize("path", ["/api/verdicts", "/api/verdicts/1"])
def test_no_search_holds_up_the_event_loop(path: str, feed: Feed, monkeypatch: pytest.MonkeyPatch) -> None:
    searching: list[int] = []
    monkeypatch.setattr(feed, "kept", lambda: searching.append(threading.get_ident()) or [])
    monkeypatch.setattr(feed, "get", lambda _number: searching.append(threading.get_ident()))
    monkeypatch.setattr(live, "user_of", lambda _scope: User("ana", "analyst"))
    app = Starlette(routes=live.routes(feed, Hub(feed.frame), login=False))

    async def receive() -> dict[str, object]:
        return {"type": "http.request", "body": b""}

    async def send(_message: object) -> None: ...

    scope = {"type": "http", "method": "GET", "path": path, "headers": [], "query_string": b""}
    asyncio.run(app(scope, receive, send))

    assert searching
    assert threading.get_ident() not in searching


def test_only_of_partitions_that_are_read_is_it_kept_how_far_they_are_answered(
    feed: Feed, monkeypatch: pytest.MonkeyPatch
) -> None:
    topic = "queuing.transactions"
    origins = iter([f"{topic}/0/7", f"{topic}/1/7", "made.up/0/7"])
    monkeypatch.setattr(feeds, "read_record", lambda _message, _topic, number: shown(number, next(origins)))
    feed._places = frozenset({f"{topic}/0"})

    feed.take([_Message("queuing.fraud")] * 3)

    assert feed._answered == {f"{topic}/0": 8}
