import json
import os
import signal
import socket
import stat
import subprocess
import time
from contextlib import suppress
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import urlopen

from broker.ports import free_ports
from dataflows.supervision.launcher import check_ports
from detection.settings import SettingsError
from tests.conftest import wait_until

TRANSFER = b'{"source": "a", "target": "b", "amount": 900, "currency": "EUR"}'


def health(port: int) -> dict[str, Any]:
    """What `fraud run` says of itself; not ready while nobody answers."""
    try:
        with urlopen(f"http://127.0.0.1:{port}/health", timeout=5) as answer:
            return json.loads(answer.read())
    except HTTPError as error:
        return json.loads(error.read())
    except URLError:
        return {"ready": False, "restarts": -1}


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


def test_a_port_for_metrics_that_is_taken_is_told_in_one_line_and_nothing_is_made(fraud, transfers, tmp_path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        fraud.environment |= {"BYTEWAX_DATAFLOW_API_ENABLED": "1", "BYTEWAX_DATAFLOW_API_PORT": str(port)}
        told = fraud("run", code=1)

    assert told == f"fraud: BYTEWAX_DATAFLOW_API_PORT: expected a free port, got {port}: Address already in use\n"
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

    def watched(n: int, *, of: int) -> list[str]:
        """Who is reviewed, once `of` verdicts are there; they stand in two partitions, in no order."""
        outputs = [transfers("REVIEW_TOPIC"), transfers("LEGIT_TOPIC")]
        answers = consume_all(embedded, outputs, of, extra_seconds=0.3)
        reviewed = sorted(json.loads(answer.value())["source"] for answer in answers if answer.topic() == outputs[0])
        assert (len(reviewed), len(answers)) == (n, of)
        return reviewed

    with fraud.running("run") as process:
        produce(embedded, transfers("TRANSACTIONS_TOPIC"), sent)
        assert watched(1, of=2) == ["a"]
        produce(embedded, topic, [(b"b", b"{}")])
        time.sleep(1)  # a list is followed, not waited for
        produce(embedded, transfers("TRANSACTIONS_TOPIC"), sent)
        assert watched(3, of=4) == ["a", "a", "b"]
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=30)
    produce(embedded, topic, [(b"a", None)])

    with fraud.running("run"):
        produce(embedded, transfers("TRANSACTIONS_TOPIC"), sent)
        assert watched(4, of=6) == ["a", "a", "b", "b"]


def two_free_ports() -> int:
    """The first of two neighbours."""
    while True:
        (port,) = free_ports(1)
        with suppress(SettingsError):
            check_ports({"BYTEWAX_DATAFLOW_API_ENABLED": "1", "BYTEWAX_DATAFLOW_API_PORT": str(port)}, 2)
            return port


def test_the_health_says_when_all_are_ready_and_how_far_behind_they_are(fraud, transfers, embedded, produce) -> None:
    (port,) = free_ports(1)
    metrics = two_free_ports()
    fraud.environment |= {
        "KAFKA_SASL_PASSWORD": "canary",
        "BYTEWAX_DATAFLOW_API_ENABLED": "1",
        "BYTEWAX_DATAFLOW_API_PORT": str(metrics),
    }
    produce(embedded, transfers("TRANSACTIONS_TOPIC"), [TRANSFER] * 7)
    with fraud.running("run", "--processes", 2, "--health-port", port, "--snapshot-interval", 1):
        wait_until(lambda: health(port)["ready"], 60)
        wait_until(lambda: health(port)["lag"] == {"total": 0, "topics": {transfers("TRANSACTIONS_TOPIC"): 0}})
        told = health(port)
        pages = []
        for process in told["processes"]:
            with urlopen(f"http://127.0.0.1:{process['metrics_port']}/metrics", timeout=10) as page:
                pages.append(page.read().decode())

    assert [process["metrics_port"] for process in told["processes"]] == [metrics, metrics + 1]
    lags = [line for page in pages for line in page.splitlines() if line.startswith("fraud_lag{")]
    topic = transfers("TRANSACTIONS_TOPIC")
    assert sorted(lags) == [f'fraud_lag{{partition="{partition}",topic="{topic}"}} 0.0' for partition in range(2)]
    assert all("\nfraud_restarts 0.0\n" in page for page in pages)
    assert [process["alive"] for process in told["processes"]] == [True, True]
    assert told["snapshot_age_seconds"] < 30
    assert told["restarts"] == 0
    assert "canary" not in json.dumps(told)


def test_a_frozen_process_is_started_again_with_the_other(fraud, transfers) -> None:
    (port,) = free_ports(1)
    fraud.environment["DELIVERY"] = "at_least_once"
    with fraud.running("run", "--processes", 2, "--health-port", port, "--frozen-after", 4) as process:
        wait_until(lambda: health(port)["ready"], 60)
        before = health(port)
        frozen = before["processes"][1]["pid"]
        os.kill(frozen, signal.SIGSTOP)
        wait_until(lambda: health(port)["restarts"] > before["restarts"], 30)
        wait_until(lambda: health(port)["ready"], 60)
        assert not is_alive(str(frozen))
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=30)

    assert process.returncode == 0
    assert "process 1 tells nothing for" in said, said


def test_a_health_port_that_is_taken_is_refused_if_it_was_asked_for(fraud, transfers) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        told = fraud("run", "--health-port", port, code=2)

    assert told.splitlines()[-1].startswith(f"fraud: 127.0.0.1:{port}: no health can be served there: ")


def test_two_processes_stop_at_one_signal_within_10_s_and_nothing_is_judged_twice(
    fraud, transfers, embedded, produce, consume_all
) -> None:
    (port,) = free_ports(1)
    fraud.environment["DELIVERY"] = "at_least_once"  # the most that the embedded broker can do
    sent = 0
    for number in (signal.SIGTERM, signal.SIGINT):
        with fraud.running("run", "--processes", 2, "--health-port", port) as process:
            wait_until(lambda: health(port)["ready"], 60)
            produce(embedded, transfers("TRANSACTIONS_TOPIC"), [TRANSFER] * 3_000)
            sent += 3_000
            process.send_signal(number)
            began = time.monotonic()
            _, said = process.communicate(timeout=30)
            assert process.returncode == 0, said
            assert time.monotonic() - began < 10
    with fraud.running("run", "--health-port", port):
        verdicts = consume_all(embedded, [transfers("FRAUD_TOPIC")], sent, extra_seconds=1)

    origins = [json.loads(message.value())["verdict"]["origin"] for message in verdicts]
    assert len(origins) == len(set(origins)) == sent


def test_a_second_signal_ends_all_at_once(fraud, transfers) -> None:
    (port,) = free_ports(1)
    with fraud.running("run", "--processes", 2, "--health-port", port) as process:
        wait_until(lambda: health(port)["ready"], 60)
        one, other = (each["pid"] for each in health(port)["processes"])
        os.kill(one, signal.SIGSTOP)  # so that it cannot stop, nor can the other then
        process.send_signal(signal.SIGTERM)
        time.sleep(0.5)
        os.kill(one, signal.SIGCONT)
        process.send_signal(signal.SIGINT)
        began = time.monotonic()
        process.communicate(timeout=30)

    assert time.monotonic() - began < 5
    assert not is_alive(str(one))
    assert not is_alive(str(other))


def test_the_log_is_json_with_the_process_in_it_where_no_terminal_is(fraud, transfers) -> None:
    fraud.environment["KAFKA_PORT"] = "tcp://10.0.0.1:9092"  # as Kubernetes sets it: a warning
    (port,) = free_ports(1)
    with fraud.running("run", "--processes", 2, "--health-port", port) as process:
        wait_until(lambda: health(port)["ready"], 60)
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=30)

    told = [json.loads(line) for line in said.splitlines() if line.startswith("{")]
    assert {(line["process"], line["level"]) for line in told if line.get("variable") == "KAFKA_PORT"} == {
        (0, "warning"),
        (1, "warning"),
    }
