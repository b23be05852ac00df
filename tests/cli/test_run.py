import json
import signal
import stat
import subprocess
import time


def test_run_judges_until_it_is_told_to_stop_and_then_goes_on_from_there(  # noqa: PLR0917  (fixtures)
    fraud, transfers, embedded, produce, consume_all, tmp_path
) -> None:
    value = b'{"source": "a", "target": "b", "amount": 900, "currency": "EUR"}'
    for round_number in (1, 2):
        with fraud.running("run", "--snapshot-interval", 1, "--recovery-dir", "state") as process:
            produce(embedded, transfers("TRANSACTIONS_TOPIC"), [value] * 3)
            consume_all(embedded, [transfers("FRAUD_TOPIC")], 3 * round_number)
            process.send_signal(signal.SIGTERM)
            _, said = process.communicate(timeout=30)
            assert process.returncode == 0, said

    verdicts = consume_all(embedded, [transfers("FRAUD_TOPIC")], 6, extra_seconds=0.3)
    origins = [json.loads(message.value())["verdict"]["origin"] for message in verdicts]
    assert len(origins) == len(set(origins)) == 6
    assert stat.S_IMODE((tmp_path / "state").stat().st_mode) == 0o700


def test_no_process_is_left_when_run_is_killed(fraud, transfers, embedded, produce, consume_all) -> None:
    produce(embedded, transfers("TRANSACTIONS_TOPIC"), [b"{}"])
    with fraud.running("run") as process:
        consume_all(embedded, [transfers("DEAD_LETTER_TOPIC")], 1)
        listed = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True, check=True).stdout
        process.kill()

    deadline = time.monotonic() + 30
    while any(is_alive(child) for child in listed.split()):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def is_alive(pid: str) -> bool:
    state = subprocess.run(["ps", "-o", "stat=", "-p", pid], capture_output=True, text=True, check=False).stdout
    return state.strip()[:1] not in {"", "Z"}


def test_a_pack_that_is_wrong_is_told_and_nothing_is_started(fraud, transfers, tmp_path) -> None:
    (tmp_path / "x.toml").write_text("[event.x]\n")
    fraud.environment["FRAUD_PACKS"] = "x.toml"

    told = fraud("run", code=1)

    assert "x.toml:1:2: event.x.topic: is missing" in told
    assert not (tmp_path / "recovery").exists()


def test_an_embedded_broker_is_not_taken_for_one_that_isolates_transactions(fraud, transfers) -> None:
    fraud.environment["DELIVERY"] = "exactly_once"

    told = fraud("run", code=1)

    assert "is an embedded broker, whose transactions isolate nothing: set DELIVERY=at_least_once" in told


def test_a_recovery_folder_that_is_a_file_is_told_in_one_line(fraud, transfers, tmp_path) -> None:
    (tmp_path / "state").touch()

    assert fraud("run", "--recovery-dir", "state", code=1) == "fraud: state: expected a folder, got a file\n"


def test_a_port_that_is_none_is_told_in_one_line_and_nothing_is_made(fraud, transfers, tmp_path) -> None:
    fraud.environment |= {"BYTEWAX_DATAFLOW_API_ENABLED": "1", "BYTEWAX_DATAFLOW_API_PORT": "abc"}

    told = fraud("run", code=1)

    assert told == "fraud: BYTEWAX_DATAFLOW_API_PORT: expected the port, from 1 to 65535, got 'abc'\n"
    assert not (tmp_path / "recovery").exists()


def test_a_list_decides_as_its_topic_says_now_and_after_a_restart(  # noqa: PLR0917  (fixtures)
    fraud, transfers, embedded, produce, consume_all, tmp_path
) -> None:
    topic = f"lists.{transfers('TRANSACTIONS_TOPIC')}"
    (tmp_path / "mine.toml").write_text(
        f"""
list.watched = {{ topic = "{topic}" }}
event.transfer = {{ topic = "${{TRANSACTIONS_TOPIC}}", fields = {{ source = "str" }} }}
[rule.watched]
on = "transfer"
when = "source in watched"
reason = "watched"
score = 50
outcome = "review"
"""
    )
    fraud.environment["FRAUD_PACKS"] = "mine.toml"
    embedded.create_topic(topic, 2)
    produce(embedded, topic, [(b"a", b"{}"), (b"b", b"{}"), (b"b", None)])
    sent = [b'{"source": "a"}', b'{"source": "b"}']

    with fraud.running("run") as process:
        produce(embedded, transfers("TRANSACTIONS_TOPIC"), sent)
        consume_all(embedded, [transfers("REVIEW_TOPIC")], 1)
        consume_all(embedded, [transfers("LEGIT_TOPIC")], 1)
        produce(embedded, topic, [(b"b", b"{}")])
        time.sleep(0.5)
        produce(embedded, transfers("TRANSACTIONS_TOPIC"), sent)
        consume_all(embedded, [transfers("REVIEW_TOPIC")], 3)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=30)
    produce(embedded, topic, [(b"a", None)])

    with fraud.running("run") as process:
        produce(embedded, transfers("TRANSACTIONS_TOPIC"), sent)
        (reviewed, *_) = consume_all(embedded, [transfers("REVIEW_TOPIC")], 4)[3:]
        assert json.loads(reviewed.value())["source"] == "b"
        assert len(consume_all(embedded, [transfers("LEGIT_TOPIC")], 2, extra_seconds=0.3)) == 2
