"""`fraud topics`."""

from typing import Annotated

from confluent_kafka.admin import AdminClient
from cyclopts import Parameter, validators

from broker.config import admin_config
from broker.logs import logs_to_stderr
from broker.topics import create_missing, preflight
from cli.project import read_project, topics_of
from cli.terminal import stdout

Partitions = Annotated[int, Parameter(validator=validators.Number(gte=1))]


def topics(*, partitions: Partitions = 4, replication: int = -1, dry_run: bool = False) -> int:
    """Create missing topics.

    Args:
        partitions: How many partitions a new topic gets: as many processes can share the work.
        replication: How many copies of each partition; -1: as the broker wants it.
        dry_run: Only say what would be created.
    """
    logs_to_stderr()
    console = stdout()
    settings, pack = read_project()
    wanted = topics_of(settings, pack, partitions=partitions, replication=replication)
    if dry_run:
        preflight(settings, [])  # tells in one line why nobody answers
        existing = AdminClient(admin_config(settings)).list_topics(timeout=10).topics
        for name in wanted:
            news = f"would create  {name} ({wanted[name].partitions} partitions)"
            console.print(f"exists        {name}" if name in existing else news)
        return 0
    created = create_missing(settings, wanted)
    for name, count in preflight(settings, wanted).items():
        console.print(f"{'created' if name in created else 'exists '}  {name} ({count} partitions)")
    return 0
