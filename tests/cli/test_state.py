import json

from tests.dataflows.damage import begun, killed


def test_a_store_is_shown_in_a_few_lines(fraud, tmp_path) -> None:
    killed(tmp_path / "recovery")

    lines = fraud("state").splitlines()

    assert lines[0].startswith("store      recovery: 3 parts, ")
    assert lines[0].endswith(", 2 starts")
    assert lines[1] == "of         deployment fraud, Kafka cluster c1, pack 0123456789ab, at most 0 workers"
    assert lines[2].startswith("snapshot   epoch ")
    assert lines[2].endswith(" s ago")
    assert any(line.startswith("step       user: ") for line in lines)
    assert any(line.startswith("  log      payment/user: ") and " keys in " in line for line in lines)


def test_a_store_is_one_json_object_too(fraud, tmp_path) -> None:
    killed(tmp_path / "state")

    told = json.loads(fraud("state", "--recovery-dir", "state", "--json"))

    assert told["folder"] == "state"
    assert told["age_seconds"] >= 0
    assert told["steps"]["user"]["logs"]["payment/user"]["keys"] > 5


def test_a_store_that_was_just_made_has_nothing(fraud, tmp_path) -> None:
    begun(tmp_path / "recovery")

    assert fraud("state").splitlines()[-1] == "snapshot   none yet"


def test_no_store_is_told_in_one_line(fraud) -> None:
    assert fraud("state", code=1).startswith("fraud: recovery: expected the folder of a recovery store, got nothing: ")


def test_the_offsets_are_those_of_a_running_dataflow(fraud, transfers, embedded, produce, consume_all) -> None:
    topic = transfers("TRANSACTIONS_TOPIC")
    fraud.environment["DELIVERY"] = "at_least_once"  # the embedded broker isolates no transactions
    with fraud.running("run", "--snapshot-interval", 1):
        produce(embedded, topic, [b"{}"] * 7, partition=1)
        consume_all(embedded, [transfers("DEAD_LETTER_TOPIC")], 7)
        offsets = {}
        while offsets.get(f"{topic}/1") != 7:
            offsets = json.loads(fraud("state", "--json"))["offsets"]

    assert offsets == {f"{topic}/1": 7}
