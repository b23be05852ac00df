import json
import signal
from typing import Any

import pytest
from bytewax.recovery import init_db_dir

from tests.conftest import wait_until

TRANSFER = b'{"source": "a", "target": "b", "amount": 900, "currency": "EUR"}'


@pytest.fixture
def topic(fraud, transfers) -> str:
    fraud.environment["DELIVERY"] = "at_least_once"  # the most that the embedded broker can do
    return transfers("TRANSACTIONS_TOPIC")


@pytest.fixture
def store(fraud) -> None:
    (fraud.folder / "recovery").mkdir()
    init_db_dir(fraud.folder / "recovery", 1)


def origins(messages: list[Any]) -> list[str]:
    return sorted(json.loads(message.value())["verdict"]["origin"] for message in messages)


def test_skipped_offsets_are_dead_letters_and_the_next_record_is_judged_each_once(  # noqa: PLR0917  (fixtures)
    fraud, transfers, topic, embedded, produce, consume_all
) -> None:
    def run(verdicts: int, letters: int) -> list[Any]:
        with fraud.running("run", "--health-port", 0) as process:
            consume_all(embedded, [transfers("FRAUD_TOPIC")], verdicts)
            dead = consume_all(embedded, [transfers("DEAD_LETTER_TOPIC")], letters) if letters else []
            process.send_signal(signal.SIGTERM)
            _, said = process.communicate(timeout=30)
            assert process.returncode == 0, said
        return dead

    produce(embedded, topic, [TRANSFER] * 5, partition=0)
    run(5, 0)
    produce(embedded, topic, [TRANSFER] * 4, partition=0)

    told = fraud("skip", f"{topic}/0", "--to", 7)

    assert told == f"{topic}/0: the next start goes on at offset 7, if it has not come so far by then\n"
    dead = run(7, 2)
    run(7, 2)  # it does nothing a second time
    verdicts = consume_all(embedded, [transfers("FRAUD_TOPIC")], 7, extra_seconds=0.3)
    assert origins(verdicts) == [f"{topic}/0/{offset}" for offset in (0, 1, 2, 3, 4, 7, 8)]
    letters = consume_all(embedded, [transfers("DEAD_LETTER_TOPIC")], 2, extra_seconds=0.3)
    assert len(letters) == len(dead) == 2
    assert [message.value() for message in letters] == [None, None]
    told = [dict(message.headers()) for message in letters]
    assert sorted(headers["fraud.origin"].decode() for headers in told) == [f"{topic}/0/5", f"{topic}/0/6"]
    assert {headers["fraud.error"].decode() for headers in told} == {
        f"skipped by an operator: {topic}/0 is read on at offset 7"
    }


def test_a_running_dataflow_is_not_meddled_with(fraud, topic, embedded, produce) -> None:
    produce(embedded, topic, [TRANSFER] * 3, partition=1)
    with fraud.running("run", "--health-port", 0):
        wait_until((fraud.folder / "recovery" / "deployment.json").exists, 60)
        told = fraud("skip", f"{topic}/1", "--to", 2, code=1)

    assert "stop it first" in told


@pytest.mark.parametrize(("to", "told"), [(3, "at most 2, got 3"), (None, "has none for")])
def test_an_offset_that_makes_no_sense_is_refused_and_nothing_is_noted(  # noqa: PLR0917  (fixtures)
    to: int | None, told: str, fraud, topic, store, embedded, produce
) -> None:
    produce(embedded, topic, [TRANSFER] * 2, partition=0)

    assert told in fraud("skip", f"{topic}/0", *(() if to is None else ("--to", to)), code=2)
    assert not (fraud.folder / "recovery" / "skips.json").exists()


@pytest.mark.parametrize("place", ["other/0", "TOPIC", "TOPIC/x", "/0"])
def test_a_partition_of_no_input_is_refused(place: str, fraud, topic, store) -> None:
    assert "expected topic/partition with one of the topics" in fraud("skip", place.replace("TOPIC", topic), code=2)


def test_without_a_store_there_is_nowhere_to_note_it(fraud, topic) -> None:
    assert "expected a recovery store" in fraud("skip", f"{topic}/0", "--to", 1, code=2)
