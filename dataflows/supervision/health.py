"""How a deployment is, from the status files of its processes: for probes, and for people at `/health`.

A few lines of HTTP on the supervisor's own event loop: it answers GET, on one address, to whoever may reach that.
Nothing of the settings is in an answer.
"""

import asyncio
import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

STALE_SECONDS: Final = 10.0
"""A process that tells nothing for so long, or a worker that asks for no records, is not ready."""

_REQUEST_SECONDS: Final = 5.0
_WORKERS_PATIENCE: Final = 10


@dataclass(frozen=True, kw_only=True, slots=True)
class ProcessState:
    """What the supervisor knows of a process.

    Attributes:
        pid: Its number in the system; None before its start.
        alive: Whether it runs.
        since: When it was started, on the monotonic clock, s.
        metrics_port: Where it serves `/metrics`, if it does.
        status: What it last told of itself (`dataflows.supervision.reporter.status`).
    """

    pid: int | None
    alive: bool
    since: float
    metrics_port: int | None
    status: dict[str, Any] | None

    def silence(self, now: float) -> float:
        """Seconds since it last told anything, or since its start."""
        return now - max(self.since, self.status["at"] if self.status else self.since)

    def frozen(self, now: float, patience: float) -> str | None:
        """Why it has to be killed, if it has.

        Args:
            now: On the monotonic clock, s.
            patience: How long it may tell nothing, s; 0: for ever. Its workers may be busy ten times as long: a sink
                that cannot deliver gives up by itself before.
        """
        silence, beat_age = self.silence(now), (self.status or {}).get("beat_age") or 0.0
        if silence > patience > 0:
            return f"tells nothing for {silence:.0f} s"
        if beat_age > _WORKERS_PATIENCE * patience > 0:
            return f"asks for no records for {beat_age:.0f} s"
        return None


def describe(processes: Sequence[ProcessState], restarts: int, now: float) -> dict[str, Any]:
    """The answer of `/health`.

    Args:
        processes: By rank.
        restarts: How often all were started again.
        now: On the monotonic clock, s.
    """
    told = [process.status for process in processes if process.status is not None]
    lags: dict[str, int | None] = {}
    for status in told:
        lags |= status["lag"]
    topics: dict[str, int] = {}
    for address, lag in lags.items():
        topic = address.rpartition("/")[0]
        topics[topic] = topics.get(topic, 0) + (lag or 0)
    stalled = sorted(address for status in told for address in status["stalled"])
    reasons = [f"process {rank}: {why}" for rank, process in enumerate(processes) for why in _not_ready(process, now)]
    reasons += [f"{address}: lag is not known yet" for address, lag in sorted(lags.items()) if lag is None]
    reasons += [f"{address}: grows and is not read on" for address in stalled]
    if not lags and not reasons:
        reasons.append("no partition is assigned")
    return {
        "ready": not reasons,
        "reasons": reasons,
        "lag": {"total": sum(topics.values()), "topics": topics},
        "stalled": stalled,
        "snapshot_age_seconds": max((round(status["snapshot_age"], 3) for status in told), default=None),
        "restarts": restarts,
        "processes": [
            {
                "pid": process.pid,
                "alive": process.alive,
                "metrics_port": process.metrics_port,
                "status_age_seconds": round(process.silence(now), 3),
            }
            for process in processes
        ],
    }


def _not_ready(process: ProcessState, now: float) -> list[str]:
    if not process.alive:
        return ["does not run"]
    if process.status is None or not process.status["joined"]:
        return ["has not joined the others yet"]
    if process.silence(now) > STALE_SECONDS:
        return [f"tells nothing for {process.silence(now):.0f} s"]
    beat_age = process.status["beat_age"]
    if beat_age is None:
        return ["has not begun to read"]
    if beat_age > STALE_SECONDS:
        return [f"asks for no records for {beat_age:.0f} s"]
    return []


async def serve(host: str, port: int, health: Callable[[], dict[str, Any]]) -> asyncio.Server:
    """Answer `/health`, `/readyz` and `/livez`.

    Args:
        host: The address to listen on.
        port: The port to listen on.
        health: Gives the answer of `/health`.

    Raises:
        OSError: The port is taken, or the address is none of this machine.
    """

    def answer(path: str) -> tuple[HTTPStatus, dict[str, Any]]:
        if path == "/livez":  # what does not live is started again by us, and we answer
            return HTTPStatus.OK, {"alive": True}
        if path not in {"/health", "/readyz"}:
            return HTTPStatus.NOT_FOUND, {"error": "expected /health, /readyz or /livez"}
        found = health()
        status = HTTPStatus.OK if found["ready"] else HTTPStatus.SERVICE_UNAVAILABLE
        return status, found if path == "/health" else {name: found[name] for name in ("ready", "reasons")}

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # Whoever hangs up, says too much or is too slow gets no answer.
        with suppress(asyncio.IncompleteReadError, asyncio.LimitOverrunError, ConnectionError, TimeoutError):
            async with asyncio.timeout(_REQUEST_SECONDS):
                head = await reader.readuntil(b"\r\n\r\n")
                method, _, rest = head.decode("latin-1").partition(" ")
                if method in {"GET", "HEAD"}:
                    status, content = answer(rest.partition(" ")[0].partition("?")[0])
                else:
                    status, content = HTTPStatus.METHOD_NOT_ALLOWED, {"error": "expected GET"}
                body = json.dumps(content).encode() + b"\n"
                writer.write(
                    f"HTTP/1.1 {status.value} {status.phrase}\r\nContent-Type: application/json\r\n"
                    f"Content-Length: {len(body)}\r\nCache-Control: no-store\r\nConnection: close\r\n\r\n".encode()
                )
                if method != "HEAD":
                    writer.write(body)
                await writer.drain()
        writer.close()

    return await asyncio.start_server(connected, host, port, limit=8_192)
