"""Alerts of the real dataflow on a real Kafka: from an event to a web server, through kills and slow receivers."""

import json
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from bytewax.recovery import init_db_dir
from confluent_kafka import Producer

from tests.conftest import Broker, wait_until
from tests.dataflows.test_start import environment
from tests.reading import read_all
from tests.sinks.receivers import hook

PACK = """
[event.payment]
topic = "TAG.payments"
fields = { user = "str", amount = "money" }
block_topic = "TAG.block"
review_topic = "TAG.review"
accept_topic = "TAG.accept"

[rule.large]
on = "payment"
when = "amount > 900.0"
reason = "{amount} by {user}"
score = 50
outcome = "block"

[alert.ops]
to = ["${ALERTS_OPS}"]
dedupe = { per = ["user"], for = "1h" }
"""
AGAIN_SECONDS = 5.0
"""How long before a kill what is sent again was sent: since the last snapshot (each second), on a machine with more to do."""


class Scene:
    def __init__(self, folder: Path, broker: Broker, new_topic: Callable[..., str]) -> None:
        self.folder, self.broker = folder, broker
        self.inputs = new_topic(broker, 2, "payments")
        self.outputs = [new_topic(broker, 2, name) for name in ("block", "review", "accept")]
        self.dead, self.undelivered = new_topic(broker, 1, "dead"), new_topic(broker, 1, "undelivered")
        text = PACK.replace("TAG.payments", self.inputs)
        for name, topic in zip(("block", "review", "accept"), self.outputs, strict=True):
            text = text.replace(f"TAG.{name}", topic)
        (folder / "pack.toml").write_text(text)
        for name in ("fraud", "alerts"):
            (folder / name).mkdir()
            init_db_dir(folder / name, 2)
        self.group = uuid4().hex
        self.producer = Producer({"bootstrap.servers": broker.address, "linger.ms": 5})
        self.processes: list[subprocess.Popen[bytes]] = []

    def start(self, name: str, url: str = "json://127.0.0.1:9", *, command: bool = False) -> subprocess.Popen[bytes]:
        """`dataflows.fraud` or `dataflows.alerts`, the latter also as `fraud alerts`, which makes its store."""
        given = ["bytewax.run", f"dataflows.{name}", "-r", str(self.folder / name), "-s", "1", "-b", "0"]
        if command:
            shutil.rmtree(self.folder / name)
            given = ["cli.main", name, "--recovery-dir", str(self.folder / name), "--snapshot-interval", "1"]
        variables = environment(
            KAFKA_BROKER_URL=self.broker.address,
            FRAUD_PACKS=str(self.folder / "pack.toml"),
            APPLICATION_ID=self.group,
            DEAD_LETTER_TOPIC=self.dead,
            ALERT_DEAD_LETTER_TOPIC=self.undelivered,
            ALERTS_OPS=url,
        )
        with (self.folder / f"log-{name}").open("a") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", *given], cwd=self.folder, env=variables, stdout=log, stderr=log
            )
        self.processes.append(process)
        return process

    def begin(self, url: str, *, command: bool = False) -> subprocess.Popen[bytes]:
        """Start both, alerts by their command or not, and wait until the first start of alerts has its place."""
        self.start("fraud")
        alerts = self.start("alerts", url, command=command)
        path = self.folder / "alerts" / "deployment.json"
        wait_until(lambda: path.exists() and bool(json.loads(path.read_bytes())["outputs"]), 120)
        return alerts

    def pay(self, user: str, amount: float) -> None:
        self.producer.produce(self.inputs, json.dumps({"user": user, "amount": amount}), user)
        self.producer.poll(0)

    def log(self) -> str:
        return "\n".join(path.read_text() for path in sorted(self.folder.glob("log-*")))

    def end(self) -> None:
        for process in self.processes:
            process.kill()
            process.wait()


@pytest.fixture
def scene(tmp_path: Path, kafka: Broker, new_topic: Callable[..., str]) -> Iterator[Scene]:
    made = Scene(tmp_path, kafka, new_topic)
    yield made
    made.end()
    sys.stdout.write(made.log())  # pytest shows it where the test failed


def title(number: int) -> str:
    return f"FRAUD large: user u{number:04}"


@pytest.mark.kafka
def test_each_fraud_of_the_dataflow_reaches_the_web_server_once(scene: Scene) -> None:
    with hook() as server:
        alerts = scene.begin(server.url(), command=True)
        for number in range(100):
            scene.pay(f"u{number:04}", 1_000 if number % 5 == 0 else 10)
            scene.pay(f"u{number:04}", 1_000 if number % 5 == 0 else 10)  # the same again is no news
        scene.producer.flush()
        wait_until(lambda: len(set(server.titles)) == 20, 120)
        read_all(scene.broker, scene.outputs, 200)
        alerts.send_signal(signal.SIGTERM)
        assert alerts.wait(30) == 0, scene.log()

    assert (scene.folder / "alerts").stat().st_mode & 0o777 == 0o700
    assert "made a recovery store" in scene.log()
    assert Counter(server.titles) == {title(number): 1 for number in range(0, 100, 5)}
    assert server.got[0]["message"].startswith("Decision: FRAUD\nRule: large\nWhy: 1000 by u")


@pytest.mark.kafka
def test_kills_lose_no_alert_and_repeat_at_most_what_was_sent_since_the_last_snapshot(scene: Scene) -> None:
    took: list[float] = []

    def take(_number: int) -> int:
        took.append(time.monotonic())
        return 200

    with hook(take) as server:
        alerts = scene.begin(server.url())
        scene.pay("u0000", 1_000)
        scene.producer.flush()
        wait_until(lambda: len(server.got) == 1, 120)
        number, kills = 1, []
        while len(kills) < 3:
            # One that is killed before its first snapshot has what the one before it sent to send again.
            wait_until(lambda: len(server.got) > (kills[-1][1] if kills else 0), 120)
            until = time.monotonic() + 8.0
            while time.monotonic() < until:
                scene.pay(f"u{number:04}", 1_000)
                number += 1
                time.sleep(0.02)
            alerts.kill()
            alerts.wait()
            kills.append((time.monotonic(), len(server.got)))
            alerts = scene.start("alerts", server.url())
        scene.producer.flush()
        wait_until(lambda: len(set(server.titles)) == number, 180)
        alerts.send_signal(signal.SIGTERM)
        assert alerts.wait(30) == 0, scene.log()

    assert set(server.titles) == {title(one) for one in range(number)}
    first = {told: place for place, told in reversed(list(enumerate(server.titles)))}
    again = [place for place, told in enumerate(server.titles) if first[told] != place]
    for place in again:
        killed = next(at for at, count in reversed(kills) if count <= place)
        assert took[first[server.titles[place]]] > killed - AGAIN_SECONDS
    print(f"{number} alerts, {len(again)} again after {len(kills)} kills")  # noqa: T201


@pytest.mark.kafka
def test_a_slow_receiver_does_not_slow_detection(scene: Scene) -> None:
    def answer(_number: int) -> int:
        time.sleep(2.0)
        return 200

    with hook(answer) as server:
        alerts = scene.begin(server.url())
        scene.pay("first", 10)
        scene.producer.flush()
        read_all(scene.broker, scene.outputs, 1, seconds=120)
        began = time.monotonic()
        for number in range(4_000):  # four times what waits before the dataflow of alerts waits
            scene.pay(f"u{number:04}", 1_000)
        scene.producer.flush()
        read_all(scene.broker, scene.outputs, 4_001, seconds=120)
        seconds = time.monotonic() - began
        told = len(server.got)
        alerts.send_signal(signal.SIGTERM)  # also while the queue is full
        assert alerts.wait(30) == 0, scene.log()

    print(f"4,000 frauds judged in {seconds:.1f} s, meanwhile {told} alerts were taken")  # noqa: T201
    assert told <= seconds / 2.0 + 1
    assert seconds < 60.0
