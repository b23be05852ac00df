"""A graceful stop: the sources end, the last epoch is delivered and snapshotted, the process exits 0.

Bytewax itself has none.
"""

import os
import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType
from typing import Final

PATIENCE: Final = 10.0
"""How long a stop may take, s. A process of a cluster that is told alone cannot end alone: it gives up, so that all
restart."""

GAVE_UP: Final = 3
"""The exit code of a process that could not stop in time."""


def on_signals() -> Callable[[], bool]:
    """Take over SIGTERM and SIGINT; the function returned says whether one has come.

    A second signal ends the process at once.
    """
    asked = False  # no `threading.Event`: its lock could be held by the very handler that a second signal interrupts

    def stop(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
        nonlocal asked
        if asked:
            os._exit(128 + number)
        asked = True
        deadline = threading.Timer(PATIENCE, _give_up)
        deadline.daemon = True
        deadline.start()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    return lambda: asked


def _give_up() -> None:
    try:
        sys.stderr.write(
            f"fraud: could not stop within {PATIENCE:.0f} s "
            "(is the broker there, were all processes told?): giving up\n"
        )
        sys.stderr.flush()
    finally:  # also when nobody listens any more: a supervisor that was killed
        os._exit(GAVE_UP)
