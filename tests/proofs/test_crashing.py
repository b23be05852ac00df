import signal
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from proofs.crashing import POINTS, Point, arm

ROOT = Path(__file__).parents[2]
SCRIPT = """
import sys
from proofs.crashing import Point, arm
import armed
arm(Point("armed", "Door.open", sys.argv[1]), int(sys.argv[2]))
door = armed.Door()
for number in range(3):
    print(number, flush=True)
    print(door.open(), flush=True)
"""


@pytest.mark.parametrize("name", POINTS)
def test_a_point_is_a_method_that_there_is(name: str) -> None:
    point = POINTS[name]
    owner = import_module(point.module)
    for part in point.name.split("."):
        owner = getattr(owner, part)

    assert callable(owner)
    assert point.calls >= 1


@pytest.mark.parametrize(
    ("when", "call", "said"),
    [("before", 1, "0"), ("after", 1, "0 open"), ("before", 2, "0 open 1"), ("after", 3, "0 open 1 open 2 open")],
)
def test_a_process_dies_before_or_after_the_call_it_was_told(when: str, call: int, said: str, tmp_path) -> None:
    (tmp_path / "armed.py").write_text(
        "class Door:\n    def open(self):\n        print('open', end='', flush=True)\n        return ''\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, when, str(call)],
        env={"PYTHONPATH": f"{tmp_path}:{ROOT}"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == -signal.SIGKILL, done.stderr
    assert done.stdout.split() == said.split()


def test_a_point_that_is_gone_is_an_error() -> None:
    with pytest.raises(AttributeError):
        arm(Point("sources.kafka", "Reader.no_such", "before"), 1)
