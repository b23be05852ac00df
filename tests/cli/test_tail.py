import json
import re
import signal
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from confluent_kafka import Producer

from cli.tail import json_line, read_line
from detection.loading import load
from detection.program import Engine
from detection.records import DeadLetter, Record
from sources.verdicts import clock

PACK = Path(__file__).parents[2] / "packs" / "transfers.toml"
EVIL = "\x1b[31mX\x1b[0m\n\u202eEUR\x9b"


def transfer(amount: float, currency: str = "EUR") -> bytes:
    return json.dumps({"source": "a", "target": "b", "amount": amount, "currency": currency}).encode()


@pytest.fixture
def judged(transfers, embedded) -> Callable[[Iterable[bytes]], None]:
    """Writes the verdicts on these values to their topics, as the dataflow would."""

    def write(values: Iterable[bytes]) -> None:
        variables = ("TRANSACTIONS_TOPIC", "FRAUD_TOPIC", "REVIEW_TOPIC", "LEGIT_TOPIC")
        engine = Engine(load([PACK], {variable: transfers(variable) for variable in variables}))
        producer = Producer({"bootstrap.servers": embedded.address, "queue.buffering.max.messages": 1_000_000})
        for offset, value in enumerate(values):
            record = Record(transfers("TRANSACTIONS_TOPIC"), 0, offset, 1_700_000_000_000, b"key", value)
            verdict = engine.judge(record)
            if isinstance(verdict, DeadLetter):
                producer.produce(transfers("DEAD_LETTER_TOPIC"), value, b"key", headers=verdict.headers())
            else:
                producer.produce(verdict.topic, verdict.value, verdict.key)
        assert producer.flush(30) == 0

    return write


def test_each_verdict_and_dead_letter_is_a_line_with_its_decision_in_words(fraud, transfers, judged) -> None:
    judged([transfer(900), transfer(899.99), b"{"])

    told = fraud("tail", "--from-beginning", "--count", 3, "--show-personal")

    lines = sorted(line.split(maxsplit=4) for line in told.splitlines())

    topic = transfers("TRANSACTIONS_TOPIC")
    shown = {word: rest for _, word, *rest in lines}
    assert shown["FRAUD"] == [topic, "key", "Transfer of 900 EUR"]
    assert shown["LEGIT"] == [topic, "key"]
    assert shown["DEAD"][:2] == [topic, "key"]
    assert len(shown["DEAD"][2]) > 10
    assert all(re.fullmatch(r"\d\d:\d\d:\d\d\.\d{3}Z", line[0]) for line in lines)


@pytest.mark.parametrize(("decision", "words"), [("fraud", {"FRAUD"}), ("dead", {"DEAD"}), ("legit", {"LEGIT"})])
def test_only_the_decisions_asked_for_are_shown(decision: str, words: set[str], fraud, judged) -> None:
    judged([transfer(900), transfer(1), b"{"] * 2)

    told = fraud("tail", "--from-beginning", "--decision", decision, "--count", 2)

    assert {line.split()[1] for line in told.splitlines()} == words


def test_an_event_cannot_send_commands_to_the_terminal_nor_write_lines_of_its_own(fraud, judged) -> None:
    fraud.environment["FORCE_COLOR"] = "1"
    judged([transfer(900, EVIL)])

    told = fraud("tail", "--from-beginning", "--count", 1)

    assert "Transfer of 900 X��EUR�" in told
    assert "\x1b[31mX" not in told
    assert not {"\u202e", "\x9b"} & set(told)
    assert told.count("\n") == 1


def test_no_color_is_obeyed(fraud, judged) -> None:
    judged([transfer(900)])
    fraud.environment["FORCE_COLOR"] = "1"
    assert "\x1b[" in fraud("tail", "--from-beginning", "--count", 1)

    fraud.environment["NO_COLOR"] = "1"
    assert not re.search(r"\x1b\[[\d;]*3\d", fraud("tail", "--from-beginning", "--count", 1))


def test_json_is_the_verdict_itself_on_one_line(fraud, judged) -> None:
    judged([b'{\n "source": "a", "target": "b",\n "amount": 900.10, "currency": "\x7f\xc2\x9b"}'])

    (line,) = fraud("tail", "--from-beginning", "--json", "--count", 1, "--show-personal").splitlines()

    assert line.startswith('{"source":"a","target":"b","amount":900.10,"currency":"\\u007f\\u009b","fraudulent":true,')
    assert json.loads(line)["currency"] == "\x7f\x9b"


@pytest.mark.parametrize("options", [(), ("--json",)])
def test_personal_fields_are_masked_unless_they_are_asked_for(options: tuple[str, ...], fraud, judged) -> None:
    extended = fraud.folder / "personal.toml"
    extended.write_text(f'extends = ["{PACK}"]\npii = ["currency"]\n')
    fraud.environment["FRAUD_PACKS"] = str(extended)
    judged([transfer(900, "carol@example.com")])

    masked = fraud("tail", "--from-beginning", *options, "--count", 1)
    shown = fraud("tail", "--from-beginning", *options, "--count", 1, "--show-personal")

    assert "carol" not in masked
    assert "Transfer of 900 ***om" in masked
    assert "Transfer of 900 carol@example.com" in shown


def test_a_dead_letter_as_json_has_its_error_and_its_value(fraud, transfers, judged) -> None:
    judged([b"\xff{"])

    (line,) = fraud("tail", "--from-beginning", "--json", "--count", 1, "--show-personal").splitlines()

    letter = json.loads(line)
    assert (letter["decision"], letter["topic"]) == ("dead", transfers("TRANSACTIONS_TOPIC"))
    assert letter["value"] == "\\xff{"
    assert letter["error"]


def test_what_somebody_else_wrote_into_an_output_topic_is_shown_and_stops_nothing(
    fraud, transfers, embedded, produce
) -> None:
    produce(embedded, transfers("FRAUD_TOPIC"), [b"hello", b"[]", None])

    told = fraud("tail", "--from-beginning", "--count", 3)

    assert [line.split()[1] for line in told.splitlines()] == ["OTHER"] * 3


@pytest.mark.parametrize(
    "value",
    [
        b"\xff",
        b'{"fraudulent": true, "reason": ["\xff"], "verdict": {"decision": "block", "origin": "a/0/0", "rules": []}}',
        b'{"x": ' + b"[" * 100_000,
        b'{"reason": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"fraudulent": true, "reason": [], "verdict": {"decision": "burn", "origin": "a/0/0", "rules": []}}',
    ],
    ids=["no text", "reason not UTF-8", "deep and open", "deep", "another decision"],
)
@pytest.mark.parametrize("options", [(), ("--json",)])
def test_no_value_of_a_stranger_ends_it(value: bytes, options: tuple[str, ...], fraud, transfers, embedded) -> None:
    producer = Producer({"bootstrap.servers": embedded.address})
    producer.produce(transfers("FRAUD_TOPIC"), value, timestamp=2**61)
    assert producer.flush(30) == 0

    told = fraud("tail", "--from-beginning", "--count", 1, *options)

    assert told.count("\n") == 1
    if options:
        assert json.loads(told)["decision"] == "other"
    else:
        assert re.match(r"- +OTHER ", told)


class Unreadable:
    """A record whose header has a name that is not UTF-8: no client of ours can write one."""

    def __init__(self, topic: str, at: int = 0) -> None:
        self.topic = lambda: topic
        self.key = self.value = lambda: b"x"
        self.timestamp = lambda: (1, at)
        self.partition = self.offset = lambda: 0

    def headers(self) -> None:
        msg = "<method 'headers'> returned a result with an exception set"
        raise SystemError(msg)


def test_a_dead_letter_whose_headers_cannot_be_read_is_somebody_elses() -> None:
    line = read_line(Unreadable("dead"), "dead")

    assert (line.word, line.topic) == ("OTHER", "dead")
    assert "with names in UTF-8" in line.text
    assert json.loads(json_line(Unreadable("dead"), line))["value"] == "x"


@pytest.mark.parametrize(
    ("at", "shown"),
    [
        (-1, "-"),
        (-(2**63), "-"),
        (0, "00:00:00.000Z"),
        (1_700_000_000_001, "22:13:20.001Z"),
        (253_402_300_800_000, "-"),
        (2**63 - 1, "-"),
    ],
)
def test_a_record_without_a_time_that_a_clock_shows_has_a_dash(at: int, shown: str) -> None:
    assert clock(at) == shown


def test_only_what_is_new_is_shown_without_being_asked_for_more(fraud, judged) -> None:
    judged([transfer(901)] * 5)
    with fraud.running("tail", "--count", 1) as process:
        # It does not say when it has begun to read: what it is to see comes again and again.
        while process.poll() is None:
            judged([transfer(902)])

        assert "Transfer of 902 EUR" in process.stdout.read()


def test_a_closed_pipe_ends_it_without_a_word(fraud, judged) -> None:
    judged([transfer(900)] * 3_000)
    with fraud.running("tail", "--from-beginning") as process:
        process.stdout.readline()
        process.stdout.close()

        assert process.wait(30) == 0
        assert process.stderr.read() == ""


def test_an_interrupt_ends_it_with_0(fraud, judged) -> None:
    judged([transfer(900)])
    with fraud.running("tail", "--from-beginning") as process:
        process.stdout.readline()
        process.send_signal(signal.SIGINT)

        assert process.wait(30) == 0
        assert process.stderr.read() == ""
