"""Our log, and librdkafka's lines on their way into it instead of raw on stderr."""

import logging
import os
import sys
import time
from collections.abc import MutableMapping
from typing import Any

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from broker.errors import without_timing

_log = structlog.get_logger(__name__)

_REPEAT_SECONDS = 30.0


def logs_to_stderr(*, structured: bool = False, process: int | None = None) -> None:
    """Keep our log out of the results, and what only helps with debugging out of sight.

    A traceback is shown as Python shows it: structlog's own shows the values of locals, and a password is among them.

    Args:
        structured: One JSON object a line, for a machine to read; all that is not ASCII is escaped.
        process: The number of this process, to be named in each line.
    """

    def with_process(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        return event if process is None else {**event, "process": process}

    as_json: list[Processor] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        structlog.processors.JSONRenderer(),
    ]
    structlog.reset_defaults()
    *first, _ = structlog.get_config()["processors"]
    colors = sys.stderr.isatty() and "NO_COLOR" not in os.environ
    plain = structlog.dev.ConsoleRenderer(colors=colors, exception_formatter=structlog.dev.plain_traceback)
    as_text = [*first, _escaped, plain]
    structlog.configure(
        processors=[with_process, *(as_json if structured else as_text)],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
    )


def _escaped(_logger: Any, _method: str, entry: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """One entry is one line: what a stranger put into a name begins no other one, and moves no cursor."""
    for name, value in entry.items():
        if isinstance(value, str) and not value.isprintable():
            entry[name] = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in value)
    return entry


class ClientLog:
    """A client's `logger`: passes each line on at its own level, and the same line at most every 30 seconds.

    A client that waits for its broker says so many times a second (seen: 16 times), each time with another duration.
    The client calls this from its own `poll`, `consume` or `flush`, so it needs no lock.

    Args:
        at_most: The highest level to log at, for clients whose failures are raised as well.

    Attributes:
        newest: The latest line, also if it was a repeated one.
    """

    def __init__(self, at_most: int = logging.CRITICAL) -> None:
        self._at_most = at_most
        self.newest = ""
        self._last: dict[str, float] = {}

    def log(self, level: int, _format: str, facility: str, client: str, text: str) -> None:
        """Take one line: the call confluent_kafka makes."""
        # Settings of the environment go to consumers and producers alike, and each says so about the other's.
        if facility == "CONFWARN" and "property and will be ignored by" in text:
            return
        line = without_timing(text)
        self.newest = line
        now = time.monotonic()
        if now - self._last.get(line, -_REPEAT_SECONDS) < _REPEAT_SECONDS:
            return
        self._last = {old: at for old, at in self._last.items() if now - at < _REPEAT_SECONDS}
        self._last[line] = now
        _log.log(min(level, self._at_most), line, client=client, facility=facility)
