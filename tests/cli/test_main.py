import os
import re
import subprocess
import sys

import pytest

from cli.main import app

COMMANDS = sorted(name for name in app if not name.startswith("-"))


def test_every_command_is_there() -> None:
    ours = [
        "alerts", "audit", "check", "clicks", "demo", "evaluate", "features", "models", "report", "run", "simulate", "skip", "state", "tail", "topics",
        "train", "web",
    ]  # fmt: skip
    assert ours == COMMANDS


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_each_command_has_an_example(command: str, fraud) -> None:
    told = fraud(command, "--help")

    assert re.search(rf"^Examples:\n +fraud {command}", told, re.MULTILINE)


@pytest.mark.parametrize("arguments", [["--help"], *([command, "--help"] for command in COMMANDS)])
def test_examples_fit_a_terminal_of_80_columns(arguments: list[str], fraud) -> None:
    fraud.environment["COLUMNS"] = "300"

    examples = fraud(*arguments).partition("Examples:")[2]

    assert max(map(len, examples.splitlines())) < 80


def test_the_help_waits_for_no_client_and_no_engine(fraud) -> None:
    environment = {**os.environ, "PYTHONPROFILEIMPORTTIME": "1"}

    told = subprocess.run(fraud.command("--help"), env=environment, capture_output=True, text=True, check=True).stderr

    imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in told.splitlines()}
    assert "cli" in imported
    assert not imported & {
        "bytewax",
        "cel_expr_python",
        "confluent_kafka",
        "lightgbm",
        "numpy",
        "pydantic",
        "starlette",
    }


def test_the_help_loads_no_kafka_client_and_no_settings() -> None:
    script = """
import sys
sys.argv = ["fraud", "--help"]
from cli.main import main
try:
    main()
except SystemExit:
    sys.exit(" ".join({"confluent_kafka", "bytewax", "pydantic", "structlog"} & sys.modules.keys()))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.stderr.strip() == ""


@pytest.mark.parametrize(
    "arguments",
    [
        ["nonsense"],
        ["run", "--processes", "0"],
        ["run", "--nonsense"],
        ["topics", "--partitions", "0"],
        ["simulate"],
        ["simulate", "nonsense"],
        ["simulate", "transfers", "--counter"],
        ["simulate", "clicks", "--rate", "0"],
        ["simulate", "clicks", "--fraud-share", "1.5"],
        ["tail", "--decision", "nonsense"],
        ["tail", "--count", "0"],
        ["audit", "--settle", "-1"],
        ["clicks", "--port", "65536"],
        ["demo", "--broker", "nonsense"],
        ["demo", "--rate", "1000000"],
        ["web", "--port", "65536"],
    ],
)
def test_wrong_usage_is_told_with_exit_code_2(arguments: list[str], fraud) -> None:
    assert fraud(*arguments, code=2)


@pytest.mark.parametrize(
    "command",
    [["check"], ["run"], ["topics"], ["tail"], ["web"], ["audit"], ["simulate", "clicks"], ["clicks"]],
)
def test_a_wrong_setting_is_told_in_a_line_with_exit_code_1(command: list[str], fraud) -> None:
    fraud.environment |= {"KAFKA_BROKER_URL": "here:or:there"}

    (line,) = fraud(*command, code=1).splitlines()

    assert line.startswith("fraud: KAFKA_BROKER_URL: expected ")


@pytest.mark.parametrize("command", [["tail"], ["simulate", "clicks"], ["clicks", "--port", "0"]])
def test_a_missing_topic_is_told_in_a_line_with_exit_code_3(command: list[str], fraud, embedded) -> None:
    fraud.environment |= {"KAFKA_BROKER_URL": embedded.address}

    (line,) = fraud(*command, code=3).splitlines()

    assert line.startswith("fraud: topic")
    assert line.endswith("create what is missing with `fraud topics`")


@pytest.mark.parametrize("command", [["train"], ["evaluate", "--transactions", "a.csv"], ["models", "compare"]])
def test_a_command_without_its_extra_says_what_to_install(command: list[str]) -> None:
    program = f"""
import sys
sys.modules["lightgbm"] = sys.modules["numpy"] = None  # as if they were not installed
sys.argv = {["fraud", *command]!r}
from cli.main import main
main()
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)

    assert ended.returncode != 0
    assert (
        ended.stderr == "fraud: training needs LightGBM, NumPy and scikit-learn: pip install 'fraud-streams[train]'\n"
    )
