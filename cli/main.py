"""The `fraud` command: which commands there are, and how an error becomes one line and an exit code.

A command's module is imported when somebody asks for the command, so `fraud --help` waits for no Kafka client.
"""

import os
import sys
from typing import NoReturn

from cyclopts import App, Parameter


def _version() -> str:
    from importlib.metadata import version  # noqa: PLC0415  (costs as much as all the rest of --help)

    return version("fraud-streams")


app = App(
    name="fraud",
    help="Real-time fraud detection on Kafka: rules declared in packs, verdicts within milliseconds.",
    help_format="plaintext",
    default_parameter=Parameter(negative=""),
    help_epilogue="""Examples:
  fraud demo                      see it work: no Kafka needed
  fraud check packs/mine.toml     is the pack right, do its tests pass?
  fraud run --processes 2         judge what is in Kafka

Settings come from the environment or .env: KAFKA_BROKER_URL, FRAUD_PACKS, …
Exit codes: 0 done, 1 problems found, 2 wrong usage, 3 broker trouble.""",
    version=_version,
    result_action="return_int_as_exit_code_else_zero",
)

app.command(
    "cli.demo:demo",
    name="demo",
    help="Show everything at work: a broker, traffic of all four kinds, the dataflow, and its verdicts live.",
    help_epilogue="""Examples:
  fraud demo                               until Ctrl-C, with a broker inside
                                           and the live page on port 5000
  fraud demo --seconds 30 --summary demo.json
                                           ends by itself, writes what it saw
  fraud demo --broker kafka                a real Apache Kafka, fetched once""",
)
app.command(
    "cli.run:run",
    name="run",
    help="Run the dataflow: create what is missing, start its processes, and start them again when one fails.",
    help_epilogue="""Examples:
  fraud run                                one process, state in ./recovery
  fraud run --processes 4 --recovery-dir /var/lib/fraud
  BYTEWAX_DATAFLOW_API_ENABLED=1 fraud run
                                           /metrics on port 3030; further
                                           processes on 3031, 3032, …""",
)
app.command(
    "cli.alerts:alerts",
    name="alerts",
    help="Tell people of verdicts, as the packs' alerts say.",
    help_epilogue="""Examples:
  fraud alerts                             state in ./recovery-alerts
  ALERT_START=beginning fraud alerts       also of what was judged before""",
)
app.command(
    "cli.state:state",
    name="state",
    help="Show what a recovery store holds: key groups, keys, bytes, the last snapshot, the offsets.",
    help_epilogue="""Examples:
  fraud state                              of ./recovery, also while it runs
  fraud state --recovery-dir /var/lib/fraud --json | jq .age_seconds""",
)
app.command(
    "cli.simulate:simulate",
    name="simulate",
    help="Send labelled traffic to a topic, at a steady rate, or write a season of card payments to a file.",
    help_epilogue="""Examples:
  fraud simulate clicks                    10 clicks a second until Ctrl-C
  fraud simulate clicks --counter --count 100
                                           the counter form of a click page
  fraud simulate transfers --rate 500 --seconds 60
  fraud simulate payments --seed 7 --fraud-share 0.2
  fraud simulate handbook --seed 7 --output season.parquet
                                           183 days, for fraud evaluate""",
)
app.command(
    "cli.clicks:clicks",
    name="clicks",
    help="Serve a page with a button, each press of which is a click on Kafka.",
    help_epilogue="""Examples:
  fraud clicks                             on http://127.0.0.1:5001
  fraud clicks --counter                   sends the count as well
  fraud clicks --host 0.0.0.0 --public --trusted-proxy 10.0.0.7""",
)
app.command(
    "cli.check:check",
    name="check",
    help="Check packs: everything that is wrong with its place, and the rules' inline tests.",
    help_epilogue="""Examples:
  fraud check                              the packs of the settings
  fraud check packs/clicks.toml mine.toml  together, as they would run""",
)
app.command(
    "cli.features:features",
    name="features",
    help="Compute the features of stored events, by the code that runs live, and write them as Parquet.",
    help_epilogue="""Examples:
  fraud features packs/payments.toml --input 2025.jsonl --output out.parquet
  fraud features mine.toml --topic payments --output out.parquet
Input files end in .jsonl, .csv or .parquet.""",
)
models = App(
    name="models",
    help="Look at the packs' models, put a challenger in the champion's place, and take it back.",
    help_epilogue="""Examples:
  fraud models list                        in use, beside it, and before
  fraud models compare --segment country   is the challenger better?
  fraud models promote payments --note "better by 0.02 on May"
  fraud models rollback payments""",
)
models.command("cli.models:list_models", name="list", help="Show the models of the packs.")
models.command(
    "cli.comparing:compare_models",
    name="compare",
    help="Hold the challenger against the champion, on labels that came after both were trained.",
)
models.command("cli.models:promote_model", name="promote", help="Make the challenger the champion.")
models.command("cli.models:rollback_model", name="rollback", help="Go back to the champion before this one.")
app.command(models)
app.command(
    "cli.train:train",
    name="train",
    help="Train a pack's model from events and labels: the champion, or a challenger beside the one there is.",
    help_epilogue="""Examples:
  fraud train                              topics of the packs, LABELS_TOPIC
  fraud train payments --input 2025.parquet --labels chargebacks.jsonl
  fraud train --kind isolation_forest
  fraud train --genuine-after 30d
                                           no label for so long: no fraud
Exit code 1: there is too little to learn from.""",
)
app.command(
    "cli.evaluate:evaluate",
    name="evaluate",
    help="Measure a model on a season of card payments: each test week by one that knew only what was known before.",
    help_epilogue="""Examples:
  fraud evaluate --transactions season.parquet --json figures.json
  fraud simulate handbook --seed 7 --output season.parquet
                                           draws such a file
Columns: TRANSACTION_ID, TX_DATETIME, CUSTOMER_ID, TERMINAL_ID, TX_AMOUNT,
TX_FRAUD.""",
)
app.command(
    "cli.topics:topics",
    name="topics",
    help="Create the topics that the packs read and write, as far as they are missing.",
    help_epilogue="""Examples:
  fraud topics --dry-run                   only say what is missing
  fraud topics --partitions 12 --replication 3""",
)
app.command(
    "cli.tail:tail",
    name="tail",
    help="Follow the verdicts and dead letters, one line each.",
    help_epilogue="""Examples:
  fraud tail                               what comes from now on
  fraud tail --decision fraud --from-beginning --count 20
  fraud tail --json | jq -r .verdict.origin""",
)

app.command(
    "cli.web:web",
    name="web",
    help="Show verdicts as they come, counts and plots in a browser.",
    help_epilogue="""Examples:
  fraud web                                http://127.0.0.1:5000
  FRAUD_WEB_TOKEN=… fraud web --host 0.0.0.0
                                           for others too, who log in""",
)

app.command(
    "cli.audit:audit",
    name="audit",
    help="Count answers: does each record have one verdict or dead letter, and only one?",
    help_epilogue="""Examples:
  fraud audit                              all that is in the topics
  fraud audit --since clicks/0/120000 --since clicks/1/119000
  fraud audit --json before.json           and later:
  fraud audit --same-as before.json        byte for byte the same?
Any time, also while the dataflow runs: it writes nothing. Exit code 0:
exact, 1: records are lost, doubled or foreign, 3: broker trouble.""",
)

app.command(
    "cli.report:report",
    name="report",
    help="Report a day: verdicts, money stopped, hits and false alarms by rule, drift, dead letters.",
    help_epilogue="""Examples:
  fraud report                             yesterday, to the terminal
  fraud report --day 2026-01-31 --zone Europe/Berlin --html report.html
  fraud report --to ALERTS_OPS             by mail, Slack, … as alerts go
Exit code 1: somebody could not be told.""",
)

app.command(
    "cli.skip:skip",
    name="skip",
    help="Read a partition on behind records that cannot be read: each skipped offset becomes a dead letter.",
    help_epilogue="""Examples:
  fraud skip transactions/3                the one record it stands at
  fraud skip transactions/3 --to 120500    a batch of them
While the dataflow is stopped; the next start takes it.""",
)


def main() -> NoReturn:
    """Run a command: the entry point `fraud`."""
    try:
        code: int = app()
        sys.stdout.flush()
    except BrokenPipeError:
        # Who reads our output has enough of it, as `head` does. The interpreter shall not complain at its end either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    except Exception as error:  # noqa: BLE001  (the outermost edge: `tell` raises what it does not know)
        from cli.errors import tell  # noqa: PLC0415  (knows the Kafka client)

        code = tell(error)
    sys.exit(code)


if __name__ == "__main__":
    main()
