"""The offsets that a stop leaves to the group."""

import subprocess
import sys

from broker.group import commit

UNREACHABLE = {"bootstrap.servers": "127.0.0.1:1", "group.id": "g", "enable.auto.commit": False}

ENDS = f"""
from broker.group import commit
print(commit({UNREACHABLE!r}, {{"t/0": 1}}))
"""


def test_nothing_to_commit_is_committed() -> None:
    assert commit(UNREACHABLE, {})


def test_a_broker_that_is_away_keeps_no_process_from_ending_in_time() -> None:
    # A stop has 10 s in all; closing a consumer with an open commit would take 45.
    done = subprocess.run([sys.executable, "-c", ENDS], capture_output=True, text=True, timeout=20, check=True)

    assert done.stdout == "False\n"
