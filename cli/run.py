"""`fraud run`."""

import asyncio
import os
import sys
import tempfile
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter, validators

from broker.logs import logs_to_stderr
from broker.topics import create_missing
from cli.errors import UsageError
from cli.project import read_project, topics_of
from dataflows.store.locks import StoreLock
from dataflows.store.quarantine import Journal
from dataflows.supervision.health import serve
from dataflows.supervision.launcher import (
    Launcher,
    Patience,
    check_environment,
    check_ports,
    dataflow_command,
    prepare_store,
    process_environment,
)

_LEAST_PARTS = 4
_HEALTH_PORT = 8081

AtLeastOne = Annotated[int, Parameter(validator=validators.Number(gte=1))]
Port = Annotated[int | None, Parameter(validator=validators.Number(gte=0, lte=65_535))]
Seconds = Annotated[float, Parameter(validator=validators.Number(gte=0))]


def run(
    *,
    processes: AtLeastOne = 1,
    workers: AtLeastOne = 1,
    recovery_dir: Path = Path("recovery"),
    snapshot_interval: AtLeastOne = 10,
    partitions: AtLeastOne = 4,
    health_port: Port = None,
    health_host: str = "127.0.0.1",
    frozen_after: Seconds = 60.0,
) -> int:
    """Run the dataflow.

    Args:
        processes: How many processes share the work.
        workers: Threads in each of them; processes are what scales.
        recovery_dir: Where the state is kept, to go on from after a stop or a crash. Made if it is missing.
        snapshot_interval: Seconds between two snapshots of the state.
        partitions: How many partitions a topic gets that has to be created.
        health_port: Where /health, /readyz and /livez are answered; 0: nowhere. Without it 8081, if that is free.
        health_host: The address they are answered on.
        frozen_after: Seconds without a word from a process until all are killed and started again; 0: never.
    """
    logs_to_stderr()
    settings, pack = read_project(model_files=True)
    check_environment(os.environ, processes)
    check_ports(os.environ, processes)
    if recovery_dir.is_dir():
        StoreLock.take(recovery_dir, 0, 1).release()  # no cluster has it: told before anything is started
    for name in create_missing(settings, topics_of(settings, pack, partitions=partitions)):
        _write(f"fraud: created topic {name}")
    # The number of parts is final, and a worker without one has nowhere to put its state: room for four times as many.
    if prepare_store(recovery_dir, max(_LEAST_PARTS, 4 * processes * workers)):
        _write(f"fraud: made a recovery store in {recovery_dir}")
    with tempfile.TemporaryDirectory(prefix="fraud-run-") as folder:
        launcher = Launcher(
            lambda rank, addresses: dataflow_command(
                rank, addresses, recovery=recovery_dir, snapshot_seconds=snapshot_interval, workers=workers
            ),
            processes,
            environment=lambda rank: process_environment(rank, os.environ, Path(folder), terminal=sys.stderr.isatty()),
            write=_write,
            patience=Patience(frozen=frozen_after),
            journal=Journal(recovery_dir),
            tries=settings.quarantine_tries,
        )
        return asyncio.run(_supervise(launcher, health_host, health_port))


async def _supervise(launcher: Launcher, host: str, port: int | None) -> int:
    """Run the processes, and answer for them."""
    if port != 0:
        try:
            await serve(host, _HEALTH_PORT if port is None else port, launcher.health)
        except OSError as error:
            told = f"{host}:{_HEALTH_PORT if port is None else port}: no health can be served there: {error.strerror}"
            if port is not None:
                raise UsageError(told) from None
            _write(f"fraud: {told}; name a --health-port")
    return await launcher.run()


def _write(line: str) -> None:
    sys.stderr.write(line + "\n")
