import json
import subprocess
import sys

import pytest
import structlog

from broker.logs import logs_to_stderr

SCRIPT = """
import structlog
from broker.logs import logs_to_stderr
logs_to_stderr(structured={structured}, process={process})
log = structlog.get_logger("x")
log.info("a\\nb \\x1b[31m \\u202e", place="t/0")
log.debug("unseen")
try:
    1 / 0
except ZeroDivisionError:
    log.exception("failed")
"""


def said(*, structured: bool, process: int | None) -> list[str]:
    script = SCRIPT.format(structured=structured, process=process)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert not done.stdout
    return done.stderr.splitlines()


def test_a_structured_log_is_one_json_object_a_line_with_the_process_in_it() -> None:
    first, second = map(json.loads, said(structured=True, process=3))

    assert first.pop("timestamp").endswith("Z")
    assert first == {"event": "a\nb \x1b[31m \u202e", "level": "info", "place": "t/0", "process": 3}
    assert "ZeroDivisionError" in second["exception"]


def test_nothing_of_a_record_can_write_to_the_terminal_by_way_of_it() -> None:
    assert all(line.isascii() and line.isprintable() for line in said(structured=True, process=None))


def test_for_a_person_it_is_text() -> None:
    lines = said(structured=False, process=3)

    assert "process=3" in lines[0]
    assert not lines[0].startswith("{")


@pytest.fixture(autouse=True)
def ours():
    before = structlog.get_config()
    yield
    structlog.configure(**before)


def test_a_traceback_shows_no_value_of_a_variable(capsys):
    logs_to_stderr()
    config = {"sasl.password": "canary"}
    try:
        assert config["sasl.username"]
    except KeyError:
        structlog.get_logger().exception("a client")

    said = capsys.readouterr().err
    assert "KeyError: 'sasl.username'" in said
    assert "canary" not in said


@pytest.mark.parametrize("text", ["a\nfraud: all is well", "a\rb", "\x1b[2Jb", "\u202eb", "\x9b2J", "\u2028"])
def test_an_entry_is_one_line_whatever_is_in_it(text, capsys):
    logs_to_stderr()
    structlog.get_logger().warning(text, place=text)

    (line,) = capsys.readouterr().err.split("\n")[:-1]
    assert line.replace("\x1b[", "").isprintable()  # but for the colours
    assert text not in line
