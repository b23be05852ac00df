"""The dataflow as an operator starts, stops and kills it: `python -m bytewax.run dataflows.fraud`."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.request import urlopen
from uuid import uuid4

import pytest
from bytewax.recovery import init_db_dir
from confluent_kafka import Message, Producer

from broker.apache import ApacheKafka
from broker.ports import free_ports
from dataflows.supervision.stopping import GAVE_UP
from detection.loading import load
from detection.records import Record
from tests.conftest import Broker, wait_until
from tests.dataflows.examples import START, WIDE, engine_says
from tests.dataflows.scored import SCORED, put
from tests.reading import read_all

CLICKS = Path(__file__).parents[2] / "packs" / "clicks.toml"
FOR_EVER = {"retention_ms": "-1"}  # the records are older than a topic keeps them otherwise
BRANCHES = ("payments", "logins", "pings")


class Scene:
    """A broker with topics of its own, a pack that names them, a recovery store, and the processes of a test."""

    def __init__(self, folder: Path, broker: Broker, new_topic: Callable[..., str], partitions: int) -> None:
        self.folder = folder
        self.broker = broker
        self.inputs = {name: new_topic(broker, partitions, name, **FOR_EVER) for name in BRANCHES}
        self.dead = new_topic(broker, 1, "dead")
        self.outputs = [self.dead]
        text = WIDE
        for name, topic in self.inputs.items():
            for decision in ("block", "review", "accept"):
                self.outputs.append(new_topic(broker, 2, f"{name}.{decision}"))
                text = text.replace(f'"{name}.{decision}"', f'"{self.outputs[-1]}"')
            text = text.replace(f'topic = "{name}"', f'topic = "{topic}"')
        self.pack = folder / "pack.toml"
        self.pack.write_text(text)
        self.store = folder / "store"
        self.store.mkdir()
        init_db_dir(self.store, 2)
        self.group = uuid4().hex
        self.processes: list[subprocess.Popen[str]] = []

    def start(
        self, *arguments: str, ignoring: signal.Signals | None = None, store: bool = True, **settings: str
    ) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "bytewax.run", "dataflows.fraud", *arguments]
        command += ["-r", str(self.store), "-s", "1", "-b", "0"] if store else []
        return self.launch(command, ignoring=ignoring, **settings)

    def supervise(self, processes: int, **settings: str) -> subprocess.Popen[str]:
        """The same under `fraud run`."""
        command = [sys.executable, "-m", "cli.main", "run", "--processes", str(processes), "--health-port", "0"]
        return self.launch([*command, "--recovery-dir", str(self.store), "--snapshot-interval", "1"], **settings)

    def launch(
        self, command: list[str], *, ignoring: signal.Signals | None = None, **settings: str
    ) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            command,
            cwd=self.folder,
            env=environment(
                KAFKA_BROKER_URL=self.broker.address,
                FRAUD_PACKS=str(self.pack),
                DEAD_LETTER_TOPIC=self.dead,
                APPLICATION_ID=self.group,
                **settings,
            ),
            stdout=subprocess.DEVNULL,
            stderr=(self.folder / f"log-{len(self.processes)}").open("w"),
            text=True,
            preexec_fn=None if ignoring is None else lambda: signal.signal(ignoring, signal.SIG_IGN),  # noqa: PLW1509
        )
        self.processes.append(process)
        return process

    def log(self) -> str:
        return "\n".join(path.read_text() for path in sorted(self.folder.glob("log-*")))

    def read(self, number: int, *, extra_seconds: float = 0.3) -> list[Message]:
        """What came out; waits for so many different records of the input."""
        return read_all(
            self.broker,
            self.outputs,
            number,
            extra_seconds=extra_seconds,
            until=lambda found: len({place(message) for message in found}) >= number,
        )

    def end(self) -> None:
        for process in self.processes:
            process.kill()
            process.wait()


def environment(**ours: str) -> dict[str, str]:
    theirs = ("KAFKA_", "FRAUD_", "BYTEWAX_", "APPLICATION_ID", "DEAD_LETTER")
    return {**{name: value for name, value in os.environ.items() if not name.startswith(theirs)}, **ours}


def place(message: Message) -> str:
    """Where the input of an output record was."""
    origin = dict(message.headers() or []).get("fraud.origin")
    return origin.decode() if origin else json.loads(message.value())["verdict"]["origin"]


@pytest.fixture
def scene(tmp_path: Path, kafka: Broker, new_topic: Callable[..., str]) -> Iterator[Scene]:
    made = Scene(tmp_path, kafka, new_topic, 3)
    yield made
    made.end()
    sys.stdout.write(made.log())  # pytest shows it where the test failed


class Feed:
    """Writes records of all kinds into a scene, on and on; keys stay within their partition."""

    def __init__(self, scene: Scene) -> None:
        self._producer = Producer({"bootstrap.servers": scene.broker.address, "linger.ms": 5})
        self._scene = scene
        self.written: list[Record] = []
        self._offsets: Counter[tuple[str, int]] = Counter()

    def write(self, number: int, *, wait: bool = True) -> None:
        for n in range(len(self.written), len(self.written) + number):
            name = BRANCHES[n % 3] if n % 7 else "payments"
            topic, partition = self._scene.inputs[name], n % 5 % 3
            user = f"u{partition}-{n % 11}"
            at = START + n * 50 - (30_000 if n % 13 == 0 else 0)
            value: dict[str, Any] = {
                "payments": {"user": user, "amount": n % 90, "merchant": f"m{partition}-{n % 4}", "at": at, "device": f"d{partition}-{n % 5}"},
                "logins": {"user": user, "at": at},
                "pings": {"load": n % 100},
            }[name]  # fmt: skip
            raw = b"rubbish %d" % n if n % 17 == 5 else json.dumps(value).encode()
            key = user.encode() if n % 3 else None
            stamp = int(time.time() * 1000) if name == "pings" else START + n * 50
            self._producer.produce(topic, raw, key, partition, timestamp=stamp)
            offset = self._offsets[topic, partition]
            self._offsets[topic, partition] += 1
            self.written.append(Record(topic, partition, offset, stamp, key, raw))
        if wait:
            self.flush()

    def flush(self) -> None:
        assert not self._producer.flush(30)


@pytest.fixture
def feed(scene: Scene) -> Feed:
    return Feed(scene)


def answers(messages: list[Message]) -> dict[str, tuple[Any, ...]]:
    """What came out by origin, as `engine_says` has it but for the branch, which the topic names."""
    return {
        place(message): (message.topic(), message.key(), message.value(), tuple(message.headers() or []))
        for message in messages
    }


def expected(scene: Scene, records: list[Record]) -> dict[str, tuple[Any, ...]]:
    said = {}
    for origin, answer in engine_says(load([scene.pack]), records).items():
        if answer[0] == "dead_letters":
            _, _, key, value, headers = answer
            said[origin] = (scene.dead, key, value, headers)
        else:
            _, topic, key, value, _ = answer
            said[origin] = (topic, key, value, ())
    return said


@pytest.mark.kafka
@pytest.mark.parametrize("workers", ["1", "2"])
def test_each_record_is_answered_once_and_as_the_engine_says(workers: str, scene: Scene, feed: Feed) -> None:
    scene.start("-w", workers)
    feed.write(3_000)

    messages = scene.read(3_000)

    assert len(messages) == 3_000, scene.log()
    assert answers(messages) == expected(scene, feed.written)


@pytest.mark.kafka
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("ignoring", [None, signal.SIGINT], ids=["", "SIGINT ignored"])
def test_a_signal_ends_it_with_0_and_the_next_run_replays_nothing(
    number: signal.Signals, ignoring: signal.Signals | None, scene: Scene, feed: Feed
) -> None:
    feed.write(10_000)
    first = scene.start("-w", "2" if ignoring else "1", ignoring=ignoring)
    scene.read(1, extra_seconds=0)
    feed.write(5_000, wait=False)
    first.send_signal(number)
    began = time.monotonic()
    feed.flush()
    assert first.wait(15) == 0, scene.log()
    assert time.monotonic() - began < 10
    second = scene.start()
    messages = scene.read(15_000)
    second.send_signal(number)
    assert second.wait(15) == 0, scene.log()

    assert {origin: times for origin, times in Counter(map(place, messages)).items() if times > 1} == {}
    assert answers(messages) == expected(scene, feed.written)


@pytest.mark.kafka
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_one_signal_stops_both_processes_of_a_supervisor_and_nothing_is_replayed(
    number: signal.Signals, scene: Scene, feed: Feed
) -> None:
    delivery = {"DELIVERY": "at_least_once"}  # so that what is judged again would be seen
    feed.write(10_000)
    first = scene.supervise(2, **delivery)
    scene.read(1, extra_seconds=0)
    feed.write(5_000, wait=False)
    first.send_signal(number)
    began = time.monotonic()
    feed.flush()
    assert first.wait(15) == 0, scene.log()
    assert time.monotonic() - began < 10
    second = scene.supervise(2, **delivery)
    messages = scene.read(15_000)
    second.send_signal(number)
    assert second.wait(15) == 0, scene.log()

    assert {origin: times for origin, times in Counter(map(place, messages)).items() if times > 1} == {}
    assert answers(messages) == expected(scene, feed.written)


@pytest.mark.kafka
def test_a_kill_loses_nothing_doubles_nothing_and_changes_no_verdict(scene: Scene, feed: Feed) -> None:
    feed.write(10_000)
    for seen in (1, 9_000):
        process = scene.start()
        scene.read(seen, extra_seconds=0)
        feed.write(3_000, wait=False)
        process.kill()
        process.wait()
        feed.flush()
    process = scene.start()
    messages = scene.read(16_000)

    assert answers(messages) == expected(scene, feed.written)
    assert len(messages) == 16_000
    process.terminate()
    assert process.wait(15) == 0, scene.log()


@pytest.mark.kafka
def test_a_stop_without_a_recovery_store_loses_nothing(scene: Scene, feed: Feed) -> None:
    for total in (500, 1_000):
        feed.write(500)
        process = scene.start(store=False)
        messages = scene.read(total)
        process.terminate()
        assert process.wait(15) == 0, scene.log()

    assert set(answers(messages)) == {record.origin for record in feed.written}


@pytest.mark.kafka
def test_two_processes_answer_each_record_once_and_one_that_is_told_alone_gives_up(scene: Scene, feed: Feed) -> None:
    addresses = ";".join(f"127.0.0.1:{port}" for port in free_ports(2))
    first, second = (scene.start("-i", str(rank), "-a", addresses) for rank in range(2))
    feed.write(1_000)
    messages = scene.read(1_000)
    assert len(messages) == 1_000
    assert answers(messages) == expected(scene, feed.written)

    first.terminate()
    assert first.wait(20) == GAVE_UP
    assert "giving up" in scene.log()
    assert second.wait(20) != 0  # so that all are started again


@pytest.mark.kafka
def test_a_second_signal_ends_it_at_once(scene: Scene, feed: Feed) -> None:
    addresses = ";".join(f"127.0.0.1:{port}" for port in free_ports(2))
    first, _ = (scene.start("-i", str(rank), "-a", addresses) for rank in range(2))
    feed.write(10)
    scene.read(10)
    first.terminate()
    first.send_signal(signal.SIGINT)

    assert first.wait(5) in {128 + signal.SIGINT, 128 + signal.SIGTERM}  # whichever was heard second


@pytest.mark.kafka
def test_the_metrics_are_served(scene: Scene, feed: Feed) -> None:
    (port,) = free_ports(1)
    scene.start(BYTEWAX_DATAFLOW_API_ENABLED="1", BYTEWAX_DATAFLOW_API_PORT=str(port))
    feed.write(300)
    scene.read(300)

    with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as page:
        lines = page.read().decode().splitlines()

    counts = {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines if line[:1] != "#")}
    judged = sum(value for name, value in counts.items() if name.startswith("fraud_verdicts_total"))
    dead = sum(value for name, value in counts.items() if name.startswith("fraud_dead_letters_total"))
    assert dead == sum(record.value.startswith(b"rubbish") for record in feed.written if record.value)
    assert judged + dead == 300


@pytest.mark.kafka
def test_another_model_is_used_while_it_runs_and_a_wrong_one_is_refused(scene: Scene, feed: Feed) -> None:
    scene.pack.write_text(scene.pack.read_text() + SCORED)
    first = put(scene.folder, 1)
    scene.start("-w", "2")
    feed.write(300)
    scene.read(300)
    second = put(scene.folder, 2)

    def comes(told: str) -> bool:  # a model is put in before a batch: without events nobody needs it
        feed.write(20)
        return told in scene.log()

    wait_until(lambda: comes(second))
    (scene.folder / "payments.model").write_bytes(b"damaged")
    wait_until(lambda: comes("a model is refused, what is in use stays"))
    feed.write(300)
    messages = scene.read(len(feed.written))

    assert len(messages) == len(feed.written), scene.log()
    assert scene.log().count("a model is put in its place") == 1
    found = answers(messages)
    told = {
        origin: json.loads(value)["verdict"].get("model")
        for origin, (topic, _, value, _) in found.items()
        if topic != scene.dead
    }
    for partition in range(3):
        place = f"{scene.inputs['payments']}/{partition}"
        ids = [
            told[f"{place}/{offset}"]["payments"]["id"]
            for offset in range(len(feed.written))
            if f"{place}/{offset}" in told
        ]
        assert ids == sorted(ids, key=[first, second].index)
        assert set(ids) == {first, second}
    (line,) = refused(scene.folder, KAFKA_BROKER_URL=scene.broker.address, FRAUD_PACKS=str(scene.pack))
    assert "payments.model: manifest: expected a line of JSON with a format" in line


# --- strangers -------------------------------------------------------------------------------------------------------


def kcat_produce(address: str, topic: str, line: str) -> None:
    subprocess.run(["kcat", "-P", "-b", address, "-t", topic], input=line, text=True, check=True, timeout=30)


def kcat_consume(address: str, topic: str) -> str:
    command = ["kcat", "-C", "-b", address, "-t", topic, "-o", "beginning", "-c", "1", "-q"]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout


def java_produce(address: str, topic: str, line: str) -> None:
    main = "org.apache.kafka.tools.ConsoleProducer"
    ApacheKafka.run_tool(main, "--bootstrap-server", address, "--topic", topic, feed=line)


def java_consume(address: str, topic: str) -> str:
    main = "org.apache.kafka.tools.consumer.ConsoleConsumer"
    limits = ("--from-beginning", "--max-messages", "1", "--timeout-ms", "30000")
    return ApacheKafka.run_tool(main, "--bootstrap-server", address, "--topic", topic, *limits)


STRANGERS = {"java": (java_produce, java_consume)} | (
    {"kcat": (kcat_produce, kcat_consume)} if shutil.which("kcat") else {}
)


@pytest.mark.kafka
@pytest.mark.parametrize("stranger", STRANGERS)
def test_a_stranger_clicks_three_times_and_reads_the_fraud(stranger: str, scene: Scene, new_topic) -> None:
    produce, consume = STRANGERS[stranger]
    text = CLICKS.read_text()
    topics = {}
    for name in ("clicks", "clicks.fraud", "clicks.review", "clicks.legit", "fcd-producer", "fcd-consumer"):
        topics[name] = new_topic(scene.broker, 2, name)
        text = text.replace(f'topic = "{name}"', f'topic = "{topics[name]}"')
    scene.pack.write_text(text)
    scene.start()

    produce(scene.broker.address, topics["clicks"], 3 * '{"session_id":"s","url":"/ad","page":"ü"}\n')

    verdict = json.loads(consume(scene.broker.address, topics["clicks.fraud"]))
    assert verdict["fraudulent"] is True
    assert verdict["reason"] == ["3 clicks on /ad in 10 s"]
    assert verdict["page"] == "ü"


# --- reasons not to start --------------------------------------------------------------------------------------------


def refused(folder: Path, seconds: float = 30, **settings: str) -> list[str]:
    """The lines that a start which is refused tells."""
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "bytewax.run", "dataflows.fraud"],
        cwd=folder,
        env=environment(**settings),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    assert time.monotonic() - began < seconds
    assert not done.stdout
    return done.stderr.splitlines()


def test_without_a_broker_it_says_so_in_one_line(tmp_path: Path) -> None:
    with socket.socket() as taken:  # bound, but nobody listens
        taken.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{taken.getsockname()[1]}"

        (line,) = refused(tmp_path, KAFKA_BROKER_URL=address)

    assert line.startswith(f"fraud: no Kafka broker answers at {address} within 9 s")


def test_a_missing_topic_is_one_line_that_names_the_command(tmp_path: Path, embedded) -> None:
    (line,) = refused(tmp_path, KAFKA_BROKER_URL=embedded.address, FRAUD_PACKS=str(CLICKS))

    assert line.startswith("fraud: topics clicks, ")
    assert line.endswith("`fraud topics`")


def test_a_bad_pack_is_told_problem_by_problem(tmp_path: Path) -> None:
    pack = tmp_path / "bad.toml"
    pack.write_text(
        '[event.e]\ntopic = "t"\nfields = { a = "text" }\n\n[rule.r]\non = "f"\nwhen = "true"\nreason = ""\nscore = 1\noutcome = "block"\n'
    )

    lines = refused(tmp_path, FRAUD_PACKS=str(pack))

    assert len(lines) == 2
    assert all(line.startswith(f"fraud: {pack}:") for line in lines)


def test_bad_settings_are_told_one_by_one(tmp_path: Path) -> None:
    lines = refused(tmp_path, KAFKA_BROKER_URL="nowhere:port", FRAUD_TOPIC="a b", KAFKA_ACKS="0")

    assert [line.split(":")[1].strip() for line in lines] == ["KAFKA_BROKER_URL", "FRAUD_TOPIC"]


def test_a_setting_that_would_lose_events_is_refused(tmp_path: Path) -> None:
    (line,) = refused(tmp_path, KAFKA_ACKS="0")

    assert line.startswith("fraud: KAFKA_ACKS: ")
