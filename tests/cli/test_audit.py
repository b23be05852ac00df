import json
from collections.abc import Callable
from pathlib import Path

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from broker.embedded import EmbeddedBroker
from detection.loading import load
from detection.program import Engine
from detection.records import DeadLetter, Record

PACK = Path(__file__).parents[2] / "packs" / "transfers.toml"
VALUES = [b'{"source": "a", "target": "b", "amount": 900, "currency": "EUR"}', b"{", b'{"source": "a"}'] * 2


@pytest.fixture
def answered(
    fraud, transfers: Callable[[str], str], embedded: EmbeddedBroker, produce: Callable[..., None]
) -> Callable[..., str]:
    """Writes six records and the answers to some of them, commits, and gives the name of the input topic."""
    source = transfers("TRANSACTIONS_TOPIC")
    variables = ("TRANSACTIONS_TOPIC", "FRAUD_TOPIC", "REVIEW_TOPIC", "LEGIT_TOPIC")

    def write(*places: int) -> str:
        engine = Engine(load([PACK], {variable: transfers(variable) for variable in variables}))
        produce(embedded, source, VALUES, partition=1)
        producer = Producer({"bootstrap.servers": embedded.address})
        for place in places:
            answer = engine.judge(Record(source, 1, place, 1_700_000_000_000, None, VALUES[place]))
            if isinstance(answer, DeadLetter):
                producer.produce(transfers("DEAD_LETTER_TOPIC"), VALUES[place], headers=answer.headers())
            else:
                producer.produce(answer.topic, answer.value)
        assert producer.flush(30) == 0
        group = {"bootstrap.servers": embedded.address, "group.id": fraud.environment["APPLICATION_ID"]}
        consumer = Consumer(group)
        consumer.commit(offsets=[TopicPartition(source, 1, len(VALUES))], asynchronous=False)
        consumer.close()
        return source

    return write


def test_an_exact_deployment_is_told_with_exit_code_0(fraud, answered) -> None:
    source = answered(*range(6))

    told = fraud("audit", "--settle", 0).splitlines()

    assert told[0].split() == ["records", "answered", "pending", "lost", "doubled"]
    assert [line.split() for line in told[1:-1]] == [
        [f"{source}/0", "0", "0", "0", "0", "0"],
        [f"{source}/1", "6", "6", "0", "0", "0"],
        ["all", "6", "6", "0", "0", "0"],
    ]
    assert told[-1] == "exact: 6 records, each answered once"


def test_what_is_not_exact_is_told_with_its_places_and_exit_code_1(fraud, answered, tmp_path: Path) -> None:
    source = answered(0, 1, 2, 2, 3, 5)

    told = fraud("audit", "--settle", 0, "--json", tmp_path / "report.json", code=1).splitlines()

    assert f"lost: {source}/1/4" in told
    assert f"doubled: {source}/1/2" in told
    assert told[-1] == "not exact: lost 1, doubled 1, foreign 0"
    report = json.loads((tmp_path / "report.json").read_text())
    assert (report["exact"], report["lost"], report["doubled"]) == (False, 1, 1)
    assert report["inputs"][f"{source}/1"]["records"] == 6


def test_an_audit_may_begin_at_a_record(fraud, answered) -> None:
    source = answered(0, 1, 5)

    told = fraud("audit", "--settle", 0, "--since", f"{source}/1/5").splitlines()

    assert told[-1] == "exact: 1 record, each answered once"


def test_answers_are_held_against_those_of_an_earlier_report(fraud, answered, tmp_path: Path) -> None:
    source = answered(*range(6))
    report = tmp_path / "report.json"
    fraud("audit", "--settle", 0, "--json", report)

    assert fraud("audit", "--settle", 0, "--same-as", report).splitlines()[-1] == f"answers: those of {report}"
    answered()  # six records more
    told = fraud("audit", "--settle", 0, "--same-as", report, code=1).splitlines()
    assert told[-1] == f"answers: not those of {report}: {source}/1"


@pytest.mark.parametrize(
    ("options", "text", "code"),
    [
        (("--since", "clicks"), "fraud: --since: origin: expected topic/partition/offset, got clicks", 2),
        (("--since", "nowhere/0/1"), "fraud: --since: nowhere/0: expected a partition of an input topic", 2),
        (("--same-as", "missing.json"), "fraud: missing.json: No such file or directory", 1),
        (("--same-as", "no.json"), "fraud: --same-as: no.json: expected a report that --json has written, got ", 2),
    ],
)
def test_wrong_usage_is_a_line(options: tuple[str, ...], text: str, code: int, fraud, transfers) -> None:
    (fraud.folder / "no.json").write_text("{}")

    (line,) = fraud("audit", *options, code=code).splitlines()

    assert line.startswith(text)


def test_without_a_broker_one_line_says_so_and_the_exit_code_is_3(fraud) -> None:
    fraud.environment["KAFKA_BROKER_URL"] = "127.0.0.1:1"

    (line,) = fraud("audit", code=3).splitlines()

    assert "no Kafka broker answers at 127.0.0.1:1" in line
