"""Two processes of one dataflow: what crosses between them is pickled."""

import json
import os
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

from dataflows.supervision.launcher import free_ports
from tests.dataflows.cluster_flow import PARTITIONS, records
from tests.dataflows.examples import engine_says, looking


def test_two_processes_say_what_the_engine_says_each_partition_in_its_order(tmp_path: Path) -> None:
    addresses = ";".join(f"127.0.0.1:{port}" for port in free_ports(2))
    command = [sys.executable, "-m", "bytewax.run", "tests.dataflows.cluster_flow", "-a", addresses, "-i"]
    environment = {**os.environ, "OUTPUT": str(tmp_path)}
    processes = [
        subprocess.Popen([*command, str(rank)], env=environment, stderr=subprocess.PIPE, text=True) for rank in range(2)
    ]
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
