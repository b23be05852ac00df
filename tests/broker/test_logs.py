import pytest
import structlog

from broker.logs import logs_to_stderr


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
