"""A dataflow for the processes of a cluster: `python -m bytewax.run tests.dataflows.cluster_flow`.

Its traffic is made, each source partition a part of the source; what comes out is written to a file of the process.
A file that IMPORTED names appears when the dataflow is made, before Bytewax runs it.
"""

import json
import os
from pathlib import Path
from typing import Any

from bytewax.dataflow import Dataflow
from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition
from bytewax.outputs import DynamicSink, StatelessSinkPartition
from bytewax.testing import TestingSource

from dataflows.fraud import build
from dataflows.sinks import Sinks
from detection.records import Record
from tests.dataflows.examples import looking, origin, payment, row, traffic
from tests.dataflows.scored import scored

PARTITIONS = 4


def records() -> list[Record]:
    """Traffic, and amounts whose sum leaves 64 bits."""
    end = 1_000_000
    huge = [
        payment(0, at=end + n, partition=3, offset=10_000 + n, user="u3-0", device="d3-0", amount=9_000_000_000_000)
        for n in range(4)
    ]
    return [*traffic(500, seed=5, partitions=PARTITIONS), *huge]


class _Partitions(FixedPartitionedSource[Record, int]):
    def list_parts(self) -> list[str]:
        return [str(partition) for partition in range(PARTITIONS)]

    def build_part(self, step_id: str, for_part: str, resume_state: int | None) -> StatefulSourcePartition[Record, int]:
        mine = [record for record in records() if record.partition == int(for_part)]
        return TestingSource(mine, 7).build_part(step_id, "iterable", resume_state)


class _Lines(DynamicSink[Any]):
    def __init__(self, branch: str) -> None:
        self._branch = branch

    def build(self, step_id: str, worker_index: int, worker_count: int) -> "_LinesPart":
        return _LinesPart(Path(os.environ["OUTPUT"]) / f"{self._branch}-{worker_index}", self._branch)


class _LinesPart(StatelessSinkPartition[Any]):
    def __init__(self, path: Path, branch: str) -> None:
        self._file = path.open("w")
        self._branch = branch

    def write_batch(self, items: list[Any]) -> None:
        for item in items:
            self._file.write(json.dumps([origin(item), repr(row(self._branch, item))]) + "\n")
        self._file.flush()


def flow() -> Dataflow:
    branches = ("fraud", "review", "legit", "dead_letters")
    models = os.environ.get("MODELS")
    pack = scored(Path(models)) if models else looking()
    made = build(pack, _Partitions(), Sinks(*(_Lines(branch) for branch in branches)))
    if imported := os.environ.get("IMPORTED"):
        Path(imported).touch()
    return made
