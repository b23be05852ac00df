"""Crash loops that one record causes, and that end."""

import asyncio
import json
import os
import signal
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Message

from dataflows.store.quarantine import Journal
from dataflows.supervision.launcher import Launcher, Patience, dataflow_command, prepare_store, process_environment
from tests.conftest import Broker
from tests.reading import read_all

PACK = """
event.payment = { topic = "TOPIC", fields = { user = "str", n = "int" }, block_topic = "TOPIC.block", review_topic = "TOPIC.block", accept_topic = "TOPIC.accept" }
feature.seen = { on = "payment", key = ["user"], fn = "count", window = "1h" }
rule.often = { on = "payment", when = "seen >= 3", reason = "{seen}", score = 80, outcome = "block" }
"""


class Scene:
    def __init__(self, folder: Path, broker: Broker, new_topic: Callable[..., str], produce: Callable[..., None]):
        self.folder = folder
        self.broker = broker
        self.topic = new_topic(broker, 2)
        self.dead = new_topic(broker, 1, "dead")
        pack = PACK.replace("TOPIC.block", new_topic(broker, 1, "block")).replace(
            "TOPIC.accept", new_topic(broker, 1, "accept")
        )
        (folder / "pack.toml").write_text(pack.replace("TOPIC", self.topic))
        self.outputs = [
            self.dead,
            *{word for word in pack.split('"') if word.endswith(("block", "accept"))} - {"block"},
        ]
        self.store = folder / "store"
        prepare_store(self.store, 4)
        self.said: list[str] = []
        for partition in range(2):
            values = [json.dumps({"user": f"u{n % 40}-{partition}", "n": n}).encode() for n in range(100)]
            if partition == 1:
                values[57] = values[57][:-1] + b', "x": "POISON"}'
            produce(broker, self.topic, values, partition=partition)
        self.poison = f"{self.topic}/1/57"

    def run(self, poison: str, *, processes: int, delivery: str, number: int = 200) -> list[Message]:
        """Start, wait for so many answers, stop."""
        settings = {
            "POISON": poison,
            "KAFKA_BROKER_URL": self.broker.address,
            "FRAUD_PACKS": str(self.folder / "pack.toml"),
            "DEAD_LETTER_TOPIC": self.dead,
            "APPLICATION_ID": self.topic,
            "DELIVERY": delivery,
        }

        def command(rank: int, addresses: Sequence[str]) -> list[str]:
            ours = dataflow_command(rank, addresses, recovery=self.store, snapshot_seconds=10)
            return ["tests.dataflows.poison_flow" if word == "dataflows.fraud" else word for word in ours]

        launcher = Launcher(
            command,
            processes,
            environment=lambda rank: process_environment(rank, {**os.environ, **settings}, self.folder),
            write=self.said.append,
            patience=Patience(first=0.01, longest=0.01),
            journal=Journal(self.store),
        )

        async def until_answered() -> list[Message]:
            running = asyncio.create_task(launcher.run())
            try:
                return await asyncio.to_thread(
                    read_all,
                    self.broker,
                    self.outputs,
                    number,
                    seconds=120,
                    extra_seconds=1.5,
                    until=lambda found: len({origin(message) for message in found}) >= number,
                )
            finally:
                os.kill(os.getpid(), signal.SIGTERM)
                await running

        return asyncio.run(until_answered())


def origin(message: Message) -> str:
    told = dict(message.headers() or []).get("fraud.origin")
    return told.decode() if told else json.loads(message.value())["verdict"]["origin"]


@pytest.fixture
def scene(tmp_path: Path, embedded: Broker, new_topic, produce) -> Scene:
    return Scene(tmp_path, embedded, new_topic, produce)


@pytest.fixture
def real_scene(tmp_path: Path, kafka: Broker, new_topic, produce) -> Scene:
    return Scene(tmp_path, kafka, new_topic, produce)


def letters(messages: list[Message], scene: Scene) -> dict[str, Any]:
    return {origin(m): dict(m.headers())["fraud.error"].decode() for m in messages if m.topic() == scene.dead}


@pytest.mark.parametrize("stage", ["features"])  # each has its test in test_quarantine.py
def test_a_record_that_makes_a_stage_raise_is_a_dead_letter_after_3_tries(stage: str, scene: Scene) -> None:
    messages = scene.run(f"{stage}:raise", processes=1, delivery="at_least_once")

    assert {origin(message) for message in messages} == {f"{scene.topic}/{p}/{n}" for p in range(2) for n in range(100)}
    (error,) = letters(messages, scene).values()
    assert error.startswith(f"crashed the dataflow 3 times: {stage}: RuntimeError: planted\nTraceback"), error
    assert set(letters(messages, scene)) == {scene.poison}
    assert sum("ended with 1" in line for line in scene.said) == 3, scene.said
    assert {place: case.tries for place, case in Journal(scene.store).read().items()} == {scene.poison: 3}


@pytest.mark.parametrize(("poison", "processes"), [("rules:SIGKILL", 1), ("features:SIGSEGV", 2)])
def test_a_record_that_kills_its_process_is_found_though_it_leaves_no_word(
    poison: str, processes: int, scene: Scene
) -> None:
    messages = scene.run(poison, processes=processes, delivery="at_least_once")

    assert {origin(message) for message in messages} == {f"{scene.topic}/{p}/{n}" for p in range(2) for n in range(100)}
    way = poison.partition(":")[2]
    assert letters(messages, scene) == {
        scene.poison: f"crashed the dataflow 3 times: the process died on it ({way})"
    }, scene.said
    # Three deaths until the processes are careful, and three of careful ones.
    assert sum("starting all again" in line for line in scene.said) == 6, "\n".join(scene.said)


@pytest.mark.kafka
@pytest.mark.parametrize(("poison", "processes"), [("rules:raise", 2), ("features:SIGKILL", 2)])
def test_on_a_real_kafka_each_record_has_exactly_one_answer_all_the_same(
    poison: str, processes: int, real_scene: Scene
) -> None:
    messages = real_scene.run(poison, processes=processes, delivery="exactly_once")

    times = Counter(origin(message) for message in messages)
    assert times == {f"{real_scene.topic}/{p}/{n}": 1 for p in range(2) for n in range(100)}
    assert set(letters(messages, real_scene)) == {real_scene.poison}
    # The windows are as if the record had never been there: users are seen up to three times.
    seen = Counter(json.loads(m.value())["user"] for m in messages if m.topic() != real_scene.dead)
    blocked = [json.loads(m.value())["user"] for m in messages if m.topic().endswith("block")]
    assert Counter(blocked) == {user: 1 for user, number in seen.items() if number == 3}
