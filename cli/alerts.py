"""`fraud alerts`."""

import os
import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter, validators

from broker.logs import logs_to_stderr
from broker.topics import create_missing
from cli.project import read_project, topics_of
from dataflows.supervision.launcher import prepare_store

_PARTS = 4


def alerts(
    *,
    recovery_dir: Path = Path("recovery-alerts"),
    snapshot_interval: Annotated[int, Parameter(validator=validators.Number(gte=1))] = 10,
) -> int:
    """Run the dataflow of alerts.

    Args:
        recovery_dir: Where it is kept what waits to be sent. Made if it is missing.
        snapshot_interval: Seconds between two snapshots: what was sent since then is sent again after a kill.
    """
    logs_to_stderr()
    settings, pack = read_project()
    for name in create_missing(settings, topics_of(settings, pack)):
        sys.stderr.write(f"fraud: created topic {name}\n")
    if prepare_store(recovery_dir, _PARTS):
        sys.stderr.write(f"fraud: made a recovery store in {recovery_dir}\n")
    sys.stderr.flush()
    module = ["-m", "bytewax.run", "dataflows.alerts", "-r", str(recovery_dir), "-s", str(snapshot_interval), "-b", "0"]
    os.execv(sys.executable, [sys.executable, *module])  # noqa: S606  (no shell; the signals are the dataflow's)
