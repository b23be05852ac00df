"""Two processes of one dataflow: what crosses between them is pickled."""

import json
import os
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from time import sleep

import pytest

from broker.ports import free_ports
from tests.conftest import wait_until
from tests.dataflows.cluster_flow import PARTITIONS, records
from tests.dataflows.examples import engine_says, looking


def cluster(**environment: str) -> Callable[[int], subprocess.Popen[str]]:
    """Starts the one or the other of two processes."""
    addresses = ";".join(f"127.0.0.1:{port}" for port in free_ports(2))
    command = [sys.executable, "-m", "bytewax.run", "tests.dataflows.cluster_flow", "-a", addresses, "-i"]

    def start(rank: int) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*command, str(rank)], env={**os.environ, **environment}, stderr=subprocess.PIPE, text=True
        )

    return start


@pytest.mark.parametrize("first", [0, 1])
def test_no_part_is_built_before_all_processes_have_made_their_dataflow(first: int, tmp_path: Path) -> None:
    """What the fence rests on: until then nobody looks where the outputs end."""
    output = tmp_path / "output"
    output.mkdir()
    start = cluster(OUTPUT=str(output), IMPORTED=str(tmp_path / "imported"))
    processes = [start(first)]
    try:
        wait_until((tmp_path / "imported").exists)
        sleep(0.5)
        assert not [*output.iterdir()]

        processes.append(start(1 - first))
        errors = [process.communicate(timeout=60)[1] for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0, 0], errors
    assert [*output.iterdir()]


def test_two_processes_say_what_the_engine_says_each_partition_in_its_order(tmp_path: Path) -> None:
    start = cluster(OUTPUT=str(tmp_path))
    processes = [start(rank) for rank in range(2)]
    try:
        errors = [process.communicate(timeout=60)[1] for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0, 0], errors

    lines = {path.name: [json.loads(line) for line in path.read_text().splitlines()] for path in tmp_path.iterdir()}
    assert len([name for name, found in lines.items() if found and name.endswith("-1")]) == 4  # both had work
    answers = [tuple(line) for found in lines.values() for line in found]
    expected = engine_says(looking(), records())
    assert len(answers) == len(expected)
    assert dict(answers) == {place: repr(answer) for place, answer in expected.items()}

    order = defaultdict(list)
    for name, found in lines.items():
        for place, _ in found:
            topic, partition, offset = place.split("/")
            if topic == "payments" and "dead" not in name:
                order[name.split("-")[0], partition].append((name, int(offset)))
    assert len({partition for _, partition in order}) == PARTITIONS
    assert all(offsets == sorted(offsets) for offsets in order.values())
