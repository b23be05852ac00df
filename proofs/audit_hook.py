"""Seeing whether code runs: Python's own audit events while somebody else's data is worked on."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

FORBIDDEN: Final = (
    "compile",
    "exec",
    "import",
    "open",
    "socket",
    "subprocess",
    "os.",
    "pickle",
    "marshal",
    "ctypes",
    "code.",
    "shutil",
    "builtins.input",
    "sys._getframe",
    "object.__setattr__",
    "function.__new__",
    "urllib",
    "http",
    "ftplib",
    "webbrowser",
    "syslog",
    "sqlite3",
)
"""Beginnings of the events that working on data never gives: all by which code is made or run, or something opened."""


class Watch:
    """Counts forbidden events while it is on. There can be no end to an audit hook, so one lasts for a process.

    Attributes:
        seen: What happened: the event, and its arguments as text.
    """

    def __init__(self) -> None:
        self.seen: list[str] = []
        self._on = False
        sys.addaudithook(self._hook)

    def start(self) -> None:
        """Count from now on."""
        self._on = True

    def stop(self) -> None:
        """Do not count any more."""
        self._on = False

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Count what happens inside."""
        self.start()
        try:
            yield
        finally:
            self.stop()

    def _hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self._on and event.startswith(FORBIDDEN):
            self._on = False  # telling it may be an event itself
            self.seen.append(f"{event} {arguments!r:.200}")
            self._on = True
