"""The offsets that a stop leaves to the group."""

import subprocess
import sys
from collections.abc import Callable
from uuid import uuid4

import pytest

from broker.errors import BrokerError
from broker.group import commit, committed
from tests.conftest import Broker

UNREACHABLE = {"bootstrap.servers": "127.0.0.1:1", "group.id": "g", "enable.auto.commit": False}

ENDS = f"""
from broker.errors import BrokerError
from broker.group import commit
try:
    commit({UNREACHABLE!r}, {{"t/0": 1}})
except BrokerError as error:
    print(error)
"""


def group(broker: Broker) -> dict[str, object]:
    return {"bootstrap.servers": broker.address, "group.id": uuid4().hex, "enable.auto.commit": False}


def test_nothing_to_commit_asks_nobody() -> None:
    commit(UNREACHABLE, {})


def test_a_broker_that_is_away_keeps_no_process_from_ending_in_time() -> None:
    # A stop has 10 s in all; closing a consumer with an open commit would take 45.
    done = subprocess.run([sys.executable, "-c", ENDS], capture_output=True, text=True, timeout=20, check=True)

    assert done.stdout.startswith("127.0.0.1:1: does not take the offsets of the group: ")


@pytest.mark.kafka
def test_a_process_whose_peer_told_of_a_newer_snapshot_takes_nothing_back(
    kafka: Broker, new_topic: Callable[..., str]
) -> None:
    topic = new_topic(kafka, 3)
    parts = [(topic, 0), (topic, 1), (topic, 2)]
    config = group(kafka)
    commit(config, {f"{topic}/0": 7, f"{topic}/1": 5})

    commit(config, {f"{topic}/0": 6, f"{topic}/1": 8, f"{topic}/2": 0})

    assert committed(config, parts) == {f"{topic}/0": 7, f"{topic}/1": 8, f"{topic}/2": 0}


@pytest.mark.kafka
def test_what_the_broker_refuses_is_told_with_its_reason(kafka: Broker, new_topic: Callable[..., str]) -> None:
    topic = new_topic(kafka, 1)

    with pytest.raises(BrokerError, match=r"does not take the offsets of the group: .*[Uu]nknown topic"):
        commit(group(kafka), {f"{topic}/9": 1})
