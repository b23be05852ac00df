import signal
import subprocess
import sys

import pytest

from dataflows.supervision.stopping import GAVE_UP

SCRIPT = """
import sys, time
import dataflows.supervision.stopping
dataflows.supervision.stopping.PATIENCE = float(sys.argv[1])
asked = dataflows.supervision.stopping.on_signals()
print(asked(), flush=True)
while not asked():
    time.sleep(0.01)
print("asked", flush=True)
time.sleep(float(sys.argv[2]))
"""


def start(patience: float, work: float, *ignored: signal.Signals) -> subprocess.Popen[str]:
    """A process that works on for a while after it was asked to stop."""
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(patience), str(work)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: [signal.signal(number, signal.SIG_IGN) for number in ignored],  # noqa: PLW1509
    )
    assert process.stdout
    assert process.stdout.readline() == "False\n"
    return process


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("ignored", [(), (signal.SIGINT, signal.SIGTERM)], ids=["", "ignored before"])
def test_a_signal_asks_and_the_process_ends_by_itself(number, ignored) -> None:
    with start(10, 0, *ignored) as process:
        process.send_signal(number)

        assert process.wait(10) == 0


def test_a_process_that_cannot_stop_gives_up_and_says_so() -> None:
    with start(0.1, 60) as process:
        process.send_signal(signal.SIGTERM)

        assert process.wait(10) == GAVE_UP
        assert process.stderr.read().startswith("fraud: could not stop within 0 s (")


def test_a_process_gives_up_also_when_nobody_hears_it_any_more() -> None:
    with start(0.1, 60) as process:
        process.stderr.close()  # as after the kill of a supervisor
        process.send_signal(signal.SIGTERM)

        assert process.wait(10) == GAVE_UP


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_ends_the_process_at_once(number) -> None:
    with start(60, 60) as process:
        process.send_signal(signal.SIGTERM)
        assert process.stdout.readline() == "asked\n"
        process.send_signal(number)

        assert process.wait(10) == 128 + number
