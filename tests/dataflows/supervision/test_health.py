import asyncio
import json
import socket
import time
from collections.abc import Callable
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from dataflows.supervision.health import STALE_SECONDS, ProcessState, describe, serve

NOW = 1_000.0


def status(**changes: Any) -> dict[str, Any]:
    return {
        "pid": 7,
        "at": NOW - 1,
        "joined": True,
        "beat_age": 0.1,
        "snapshots": 3,
        "snapshot_age": 4.0,
        "lag": {"t/0": 2, "t/1": 0, "u/0": 5},
        "stalled": [],
        **changes,
    }


def process(told: dict[str, Any] | None, **changes: Any) -> ProcessState:
    return ProcessState(**{"pid": 7, "alive": True, "since": NOW - 60, "metrics_port": None, "status": told, **changes})


def test_all_that_is_known_is_told() -> None:
    other = status(lag={"t/2": 1}, snapshot_age=6.5, at=NOW - 2)

    assert describe([process(status(), metrics_port=3030), process(other, pid=8)], 4, NOW) == {
        "ready": True,
        "reasons": [],
        "lag": {"total": 8, "topics": {"t": 3, "u": 5}},
        "stalled": [],
        "snapshot_age_seconds": 6.5,
        "restarts": 4,
        "processes": [
            {"pid": 7, "alive": True, "metrics_port": 3030, "status_age_seconds": 1.0},
            {"pid": 8, "alive": True, "metrics_port": None, "status_age_seconds": 2.0},
        ],
    }


@pytest.mark.parametrize(
    ("second", "reason"),
    [
        (process(None, pid=None, alive=False), "process 1: does not run"),
        (process(status(), alive=False), "process 1: does not run"),
        (process(None), "process 1: has not joined the others yet"),
        (process(status(joined=False)), "process 1: has not joined the others yet"),
        (process(status(beat_age=None)), "process 1: has not begun to read"),
        (process(status(at=NOW - STALE_SECONDS - 1)), "process 1: tells nothing for 11 s"),
        (process(status(beat_age=STALE_SECONDS + 2)), "process 1: asks for no records for 12 s"),
        (process(status(lag={"t/2": None})), "t/2: lag is not known yet"),
        (process(status(stalled=["t/0"])), "t/0: grows and is not read on"),
    ],
)
def test_one_process_that_is_not_ready_makes_all_not_ready_and_says_why(second: ProcessState, reason: str) -> None:
    told = describe([process(status()), second], 0, NOW)

    assert not told["ready"]
    assert told["reasons"] == [reason]


def test_without_a_partition_nobody_is_ready() -> None:
    assert describe([process(status(lag={}))], 0, NOW)["reasons"] == ["no partition is assigned"]


def test_a_process_is_as_silent_as_its_start_is_long_ago_until_it_tells_something() -> None:
    assert process(None).silence(NOW) == 60
    assert process(status()).silence(NOW) == 1
    assert process(status(at=NOW - 100), since=NOW - 5).silence(NOW) == 5  # told by the process before


# --- over HTTP -------------------------------------------------------------------------------------------------------


def ask(port: int, path: str, method: str = "GET") -> tuple[int, Any]:
    request = Request(f"http://127.0.0.1:{port}{path}", method=method)
    try:
        with urlopen(request, timeout=5) as answer:
            body = answer.read()
            return answer.status, json.loads(body) if body else None
    except HTTPError as error:
        return error.code, json.loads(error.read() or b"null")


def served(health: dict[str, Any], use: Callable[[int], Any]) -> Any:
    """What a client in a thread finds."""

    async def run() -> Any:
        server = await serve("127.0.0.1", 0, lambda: health)
        async with server:
            return await asyncio.to_thread(use, server.sockets[0].getsockname()[1])

    return asyncio.run(run())


READY = describe([process(status())], 0, NOW)
NOT_READY = describe([process(None)], 0, NOW)


@pytest.mark.parametrize(("health", "code"), [(READY, 200), (NOT_READY, 503)], ids=["ready", "not ready"])
def test_the_code_says_whether_it_is_ready_and_the_body_why_not(health: dict[str, Any], code: int) -> None:
    assert served(health, lambda port: ask(port, "/health")) == (code, health)
    short = {"ready": health["ready"], "reasons": health["reasons"]}
    assert served(health, lambda port: ask(port, "/readyz?verbose")) == (code, short)


def test_it_lives_as_long_as_it_answers() -> None:
    assert served(NOT_READY, lambda port: ask(port, "/livez")) == (200, {"alive": True})


@pytest.mark.parametrize(
    ("method", "path", "code"), [("GET", "/", 404), ("GET", "/metrics", 404), ("POST", "/health", 405)]
)
def test_other_requests_are_refused(method: str, path: str, code: int) -> None:
    assert served(READY, lambda port: ask(port, path, method))[0] == code


def test_head_gets_no_body() -> None:
    assert served(READY, lambda port: ask(port, "/health", "HEAD")) == (200, None)


@pytest.mark.parametrize(
    "sent",
    [b"\r\n\r\n", b"GET\r\n\r\n", b"\xff\x00 \xfe\r\n\r\n", b"GET /" + 9_000 * b"x", b"GET /health HTTP/1.1\r\n"],
)
def test_rubbish_and_silence_harm_no_other_request(sent: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dataflows.supervision.health._REQUEST_SECONDS", 0.2)

    def use(port: int) -> Any:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as rude:
            rude.sendall(sent)
            found = ask(port, "/livez")
            began = time.monotonic()
            while rude.recv(10_000):
                pass
            assert time.monotonic() - began < 3
            return found

    assert served(READY, use) == (200, {"alive": True})


def test_a_port_that_is_taken_is_an_error() -> None:
    def use(port: int) -> None:
        with pytest.raises(OSError, match="in use"):
            asyncio.run(serve("127.0.0.1", port, lambda: READY))

    served(READY, use)
