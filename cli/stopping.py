"""How a command that goes on until somebody stops it hears of that."""

import signal
import threading


def stop_event() -> threading.Event:
    """An event that SIGINT and SIGTERM set, from now on."""
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda _number, _frame: stop.set())
    return stop
