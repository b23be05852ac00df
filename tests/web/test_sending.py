import asyncio
import time
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from detection.settings import Settings
from web import sending
from web.sending import NotDeliveredError, Sender


class _Client:
    """Reports each delivery at the next poll; the first of them fails for good instead, and one may be mute."""

    made = 0
    mute = False

    def __init__(self, _config: dict[str, Any]) -> None:
        _Client.made += 1
        self._fails = _Client.made == 1 and not self.mute
        self._reports: list[Any] = []

    def produce(self, _topic: str, _value: bytes, _key: bytes | None, *, on_delivery: Any) -> None:
        self._reports.append(on_delivery)

    def poll(self, _seconds: float) -> None:
        if self._fails and self._reports:
            raise KafkaException(KafkaError(KafkaError._FATAL, "fenced"))
        time.sleep(0.001)
        while self._reports and not (self.mute or self._fails):
            self._reports.pop()(None, None)

    def purge(self) -> None: ...

    def flush(self, _seconds: float) -> None: ...


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> type[_Client]:
    monkeypatch.setattr(sending, "Producer", _Client)
    monkeypatch.setattr(_Client, "made", 0)
    return _Client


def test_after_a_fatal_error_of_the_client_who_waits_is_told_and_the_next_record_is_sent(client: type[_Client]) -> None:
    async def story() -> None:
        sender = Sender(Settings(_env_file=None))
        try:
            with pytest.raises(NotDeliveredError):
                await asyncio.wait_for(sender.send("t", b"1"), 3)
            while client.made == 1:  # noqa: ASYNC110  (another thread makes it)
                await asyncio.sleep(0.001)
            await asyncio.wait_for(sender.send("t", b"2"), 3)
        finally:
            sender.close()

    asyncio.run(story())


def test_who_gets_no_report_does_not_wait_for_ever(client: type[_Client], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "mute", True)
    monkeypatch.setattr(sending, "DELIVERY_SECONDS", -0.9)

    async def story() -> None:
        sender = Sender(Settings(_env_file=None))
        try:
            with pytest.raises(NotDeliveredError, match="no report"):
                await asyncio.wait_for(sender.send("t", b"1"), 3)
        finally:
            sender.close()

    asyncio.run(story())
