"""`fraud simulate`."""

import secrets
import sys
import threading
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Literal

from confluent_kafka import Producer
from cyclopts import Parameter, validators
from rich.progress import BarColumn, TextColumn
from rich.progress import Progress as Bar

from broker.config import producer_config
from broker.logs import logs_to_stderr
from broker.topics import preflight
from cli.errors import UsageError
from cli.stopping import stop_event
from cli.terminal import Terminal, stdout
from detection.settings import Settings
from simulation import DEFAULT_FRAUD_SHARE, TRAFFIC
from simulation.files import write_season
from simulation.handbook import season
from simulation.produce import Progress, run

_EVENTS_PER_SECOND = 10.0

Positive = Annotated[float, Parameter(validator=validators.Number(gt=0))]
Share = Annotated[float, Parameter(validator=validators.Number(gte=0, lte=1))]


def simulate(
    kind: Literal["clicks", "transfers", "payments", "handbook"],
    /,
    *,
    counter: bool = False,
    rate: Positive | None = None,
    count: Annotated[int, Parameter(validator=validators.Number(gte=0))] | None = None,
    seconds: Positive | None = None,
    seed: int | None = None,
    fraud_share: Share = DEFAULT_FRAUD_SHARE,
    output: Path | None = None,
) -> int:
    """Send labelled traffic, or write a season of card payments to a file.

    Args:
        kind: What to send; handbook: 183 days of card payments, for `fraud evaluate`.
        counter: Clicks in their counter form: how often one button was pressed.
        rate: Events per second. Without it: 10, and for transfers TRANSACTIONS_PER_SECOND.
        count: End after so many events.
        seconds: End after so long.
        seed: Send the same events again as a run with this seed did. Without it: another one each time.
        fraud_share: Which share of the events is a fraud.
        output: The .csv or .parquet file that handbook writes.
    """
    if (output is None) == (kind == "handbook"):
        msg = f"--output: expected with handbook, and with nothing else, got {output or 'none'} with {kind}"
        raise UsageError(msg)
    if counter and kind != "clicks":
        msg = f"--counter: expected with clicks, got {kind}"
        raise UsageError(msg)
    seed = secrets.randbits(32) if seed is None else seed
    if output is not None:
        return _write_season(seed, output)
    logs_to_stderr()
    console = stdout()
    settings = Settings()
    traffic = TRAFFIC["counter" if counter else kind]
    topic = settings.transactions_topic if kind == "transfers" else traffic.topic
    rate = rate or (settings.transactions_per_second if kind == "transfers" else _EVENTS_PER_SECOND)
    preflight(settings, [topic])
    stop = stop_event()
    console.print(f"{topic} on {settings.kafka_broker_url}: {rate:g} a second, seed {seed}")
    if seconds is not None:
        end = threading.Timer(seconds, stop.set)
        end.daemon = True
        end.start()
    total = count if seconds is None else None
    bar = Bar(TextColumn("{task.description}"), BarColumn(), console=Terminal(stderr=True), transient=True)
    with bar if sys.stderr.isatty() else nullcontext():
        task = bar.add_task("starting", total=total)

        def show(progress: Progress) -> None:
            behind = f", {progress.late_seconds:.1f} s behind" if progress.late_seconds > 1 else ""
            told = f"{progress.sent:,} sent, {progress.frauds:,} frauds{behind}"
            bar.update(task, completed=progress.sent, description=told)

        producer = Producer(producer_config(settings))
        generate = traffic.generator(seed, fraud_share)
        done = run(generate, producer, topic, rate=rate, count=count, on_progress=show, stop=stop)
    console.print(
        f"sent {done.sent:,} events in {done.seconds:.1f} s ({done.sent / max(done.seconds, 1e-9):,.1f} a second), "
        f"{done.frauds:,} of them frauds"
    )
    return 0


def _write_season(seed: int, output: Path) -> int:
    drawn = season(seed)
    write_season(drawn, output)
    frauds = sum(payment.scenario > 0 for payment in drawn.payments)
    count = len(drawn.payments)
    stdout().print(f"{count:,} payments, {frauds:,} of them frauds ({frauds / count:.2%}), seed {seed}: {output}")
    return 0
