"""`fraud skip`."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter, validators

from broker.cluster import ends_now
from broker.config import consumer_config
from broker.group import committed
from broker.logs import logs_to_stderr
from cli.errors import UsageError
from cli.project import read_project
from cli.terminal import stdout
from dataflows.store.locks import StoreLock
from dataflows.store.skips import MOST, Skips, too_many


def skip(
    partition: str,
    /,
    *,
    to: Annotated[int | None, Parameter(validator=validators.Number(gte=1))] = None,
    recovery_dir: Path = Path("recovery"),
) -> int:
    """Read a partition on behind records that cannot be read. Each skipped offset becomes a dead letter.

    Args:
        partition: Which one, topic/partition.
        to: The offset to go on at; without it, the one after where the group stands.
        recovery_dir: Where the state is kept.
    """
    logs_to_stderr()
    settings, pack = read_project()
    topic, _, number = partition.rpartition("/")
    if topic not in pack.topics_in or not number.isdecimal():
        msg = f"expected topic/partition with one of the topics {', '.join(pack.topics_in)}, got {partition!r}"
        raise UsageError(msg)
    if not any(recovery_dir.glob("part-*.sqlite3")):
        msg = (
            f"{recovery_dir}: expected a recovery store, where to note the skip, got none: name it with --recovery-dir"
        )
        raise UsageError(msg)
    lock = StoreLock.take(recovery_dir, 0, 1)
    try:
        place = [(topic, int(number))]
        address = f"{topic}/{int(number)}"
        position = committed(consumer_config(settings), place).get(address)
        if to is None and position is None:
            msg = f"--to: expected an offset, since the group {settings.application_id} has none for {address} yet"
            raise UsageError(msg)
        begin = position or 0
        target = begin + 1 if to is None else to
        (end,) = ends_now(settings, place).values()
        if not begin < target <= end:
            msg = f"--to: expected an offset after {begin}, where the group stands, and at most {end}, got {target}"
            raise UsageError(msg)
        if position is not None and target - position > MOST:
            raise UsageError(too_many(address, position, target))
        Skips.read(recovery_dir).note(recovery_dir, address, target)
    finally:
        lock.release()
    stdout().print(f"{address}: the next start goes on at offset {target}, if it has not come so far by then")
    return 0
