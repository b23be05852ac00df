"""Batches that are small on the wire and large in memory."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from detection.codec import LARGEST_EVENT
from tests.reading import read_all

pytestmark = pytest.mark.kafka

MEGABYTE = 1_000_000
MOST = 700 * MEGABYTE
"""Bytes of memory that the dataflow may ever have had: with 100 MB from each of two batches."""

INFLATED = {"gzip": 100 * MEGABYTE, "lz4": 100 * MEGABYTE, "zstd": 25 * MEGABYTE, "snappy": 15 * MEGABYTE}
"""The client makes room for zstd in steps of three, the last below 100 MB. Snappy makes no more than about twenty times as much of it."""

BOMB = """
import sys
from confluent_kafka import Producer
address, topic, codec, size = sys.argv[1:]
errors = []
producer = Producer({"bootstrap.servers": address, "compression.type": codec, "message.max.bytes": 900_000_000})
value = b'{"user":"' + b"a" * int(size) + b'"}'
producer.produce(topic, value, partition=0, on_delivery=lambda error, _: errors.append(error))
producer.flush(60)
sys.exit(str(errors[0]) if errors[0] else 0)
"""

PACK = """
[event.pay]
topic = "{input}"
fields = {{ user = "str" }}
accept_topic = "{output}"
[feature.n]
on = "pay"
key = ["user"]
fn = "count"
window = "10s"
[rule.many]
on = "pay"
when = "n > 1000"
reason = "many"
score = 1
outcome = "review"
"""


def bomb(kafka, topic: str, codec: str, size: int) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", BOMB, kafka.address, topic, codec, str(size)],
        capture_output=True,
        text=True,
        check=False,
    )


def environment(kafka, topics: dict[str, str]) -> dict[str, str]:
    theirs = ("KAFKA_", "FRAUD_", "BYTEWAX_", "APPLICATION_ID", "DEAD_LETTER")
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith(theirs)},
        "KAFKA_BROKER_URL": kafka.address,
        "FRAUD_PACKS": "pack.toml",
        "DEAD_LETTER_TOPIC": topics["dead"],
        "REVIEW_TOPIC": topics["review"],
        "FRAUD_TOPIC": topics["block"],
        "APPLICATION_ID": topics["input"],
    }


@contextmanager
def running(kafka, topics: dict[str, str], folder: Path, **more: str) -> Iterator[subprocess.Popen[bytes]]:
    with (
        (folder / "said").open("w") as said,
        subprocess.Popen(
            [sys.executable, "-m", "bytewax.run", "dataflows.fraud"],
            cwd=folder, env=environment(kafka, topics) | more, stdout=said, stderr=said,
        ) as process,
    ):  # fmt: skip
        try:
            yield process
        finally:
            process.kill()


@pytest.fixture
def topics(kafka, new_topic, tmp_path: Path) -> dict[str, str]:
    made = {name: new_topic(kafka, 1, name) for name in ("input", "output", "review", "block", "dead")}
    (tmp_path / "pack.toml").write_text(PACK.format(**made))
    return made


def test_a_batch_that_inflates_to_a_hundred_megabytes_is_a_dead_letter_and_those_behind_it_are_judged(
    kafka, topics: dict[str, str], produce, tmp_path: Path
) -> None:
    for codec, size in INFLATED.items():
        assert not bomb(kafka, topics["input"], codec, size).returncode
        produce(kafka, topics["input"], [b'{"user":"u"}'])
    with running(kafka, topics, tmp_path) as process:
        judged = read_all(kafka, [topics["output"]], len(INFLATED), seconds=60)
        dead = read_all(kafka, [topics["dead"]], len(INFLATED), seconds=10)
        status = Path(f"/proc/{process.pid}/status").read_text()
        process.send_signal(signal.SIGTERM)
        code = process.wait(20)
    assert code == 0, (tmp_path / "said").read_text()
    assert [json.loads(message.value())["user"] for message in judged] == ["u"] * len(INFLATED)
    for message, size in zip(dead, INFLATED.values(), strict=True):
        headers = dict(message.headers())
        assert headers["fraud.length"] == str(size + len('{"user":""}')).encode()
        assert headers["fraud.error"].startswith(f"expected at most {LARGEST_EVENT:,} bytes, got ".encode())
        assert len(message.value()) < MEGABYTE
    (peak,) = (int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM"))
    assert peak < MOST


def test_a_batch_that_inflates_further_than_the_client_allows_stops_the_dataflow_and_says_where(
    kafka, topics: dict[str, str], tmp_path: Path
) -> None:
    assert not bomb(kafka, topics["input"], "zstd", 120 * MEGABYTE).returncode

    done = subprocess.run(
        [sys.executable, "-m", "bytewax.run", "dataflows.fraud"],
        cwd=tmp_path, env=environment(kafka, topics), capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip

    assert done.returncode
    lines = [line for line in done.stderr.splitlines() if '"level": "error"' in line]
    assert len(lines) == 1, done.stderr
    (line,) = lines
    assert f"{topics['input']}/0: Decompression" in line
    assert "KAFKA_RECEIVE_MESSAGE_MAX_BYTES" in line
    with running(kafka, topics, tmp_path, KAFKA_RECEIVE_MESSAGE_MAX_BYTES=str(3 * 120 * MEGABYTE)):
        read_all(kafka, [topics["dead"]], 1, seconds=60)


@pytest.mark.parametrize("codec", INFLATED)
def test_a_topic_that_is_kept_uncompressed_takes_no_bomb(codec: str, kafka, new_topic, produce) -> None:
    topic = new_topic(kafka, 1, "input", compression_type="uncompressed")

    told = bomb(kafka, topic, codec, INFLATED[codec])

    assert told.returncode
    assert "Message size too large" in told.stderr
    produce(kafka, topic, [b"{}"])
