import os
import re
import subprocess
import sys

import pytest

from cli.main import app

COMMANDS = sorted(name for name in app if not name.startswith("-"))


def test_every_command_is_there() -> None:
    ours = ["audit", "check", "demo", "features", "run", "simulate", "skip", "state", "tail", "topics"]
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


def test_the_help_takes_less_than_200_ms_of_processor_time(fraud) -> None:
    def seconds() -> float:
        process = subprocess.Popen(fraud.command("--help"), stdout=subprocess.DEVNULL)
        usage = os.wait4(process.pid, 0)[2]
        process.returncode = 0
        return usage.ru_utime + usage.ru_stime

    assert min(seconds() for _ in range(5)) < 0.2


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
        ["demo", "--broker", "nonsense"],
        ["demo", "--rate", "1000000"],
    ],
)
def test_wrong_usage_is_told_with_exit_code_2(arguments: list[str], fraud) -> None:
    assert fraud(*arguments, code=2)


@pytest.mark.parametrize("command", [["check"], ["run"], ["topics"], ["tail"], ["audit"], ["simulate", "clicks"]])
def test_a_wrong_setting_is_told_in_a_line_with_exit_code_1(command: list[str], fraud) -> None:
    fraud.environment |= {"KAFKA_BROKER_URL": "here:or:there"}

    (line,) = fraud(*command, code=1).splitlines()

    assert line.startswith("fraud: KAFKA_BROKER_URL: expected ")


@pytest.mark.parametrize("command", [["tail"], ["simulate", "clicks"]])
def test_a_missing_topic_is_told_in_a_line_with_exit_code_3(command: list[str], fraud, embedded) -> None:
    fraud.environment |= {"KAFKA_BROKER_URL": embedded.address}

    (line,) = fraud(*command, code=3).splitlines()

    assert line.startswith("fraud: topic")
    assert line.endswith("create what is missing with `fraud topics`")
