import json
import threading
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest

from broker.config import consumer_config
from detection.lists import ALWAYS, Lists
from detection.loading import parse
from detection.settings import Settings
from sources.lists import KafkaLists
from sources.reading import SourceError
from tests.conftest import Broker, wait_until

ON: tuple[int, int, Any] = (*ALWAYS, None)


def config(broker: Broker) -> dict[str, Any]:
    return consumer_config(Settings(kafka_broker_url=broker.address, application_id=uuid4().hex))


def lists_of(*names: str) -> Lists:
    texts = [f'list.{name} = {{ topic = "of.{name}" }}\n' for name in names]
    return Lists(parse({"p.toml": f'event.e = {{ topic = "t", fields = {{ user = "str" }} }}\n{"".join(texts)}'}))


def test_lists_are_whole_after_the_first_call_and_follow_their_topics_from_there(
    any_broker: Broker, new_topic: Callable[..., str], produce: Callable[..., None]
) -> None:
    first, second, empty = (new_topic(any_broker, partitions=3, suffix=suffix) for suffix in "abc")
    produce(any_broker, first, [(f"m{number}".encode(), b"{}") for number in range(6_000)])
    produce(any_broker, first, [(f"m{number}".encode(), None) for number in range(0, 6_000, 2)])
    produce(any_broker, second, [(b"m1", b'{"until": 1}')])
    lists = lists_of("a", "b", "c")
    refresh = KafkaLists(config(any_broker), {first: "a", second: "b", empty: "c"})

    refresh(lists)

    assert lists.entries["a"] == {f"m{number}": ON for number in range(1, 6_000, 2)}
    assert lists.entries["b"] == {"m1": (ALWAYS[0], 1_000, None)}
    assert lists.entries["c"] == {}

    produce(any_broker, first, [(b"m1", None), (b"new", b"{}")])
    produce(any_broker, empty, [(b"x", b"{}")])

    def arrived() -> bool:
        refresh(lists)
        return "m1" not in lists.entries["a"] and "new" in lists.entries["a"] and lists.entries["c"] == {"x": ON}

    wait_until(arrived)
    assert len(lists.entries["a"]) == 3_000


def test_a_record_that_cannot_be_used_is_told_counted_and_passed_over(
    any_broker: Broker, new_topic: Callable[..., str], produce: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    topic = new_topic(any_broker)
    produce(any_broker, topic, [(b"a", b"{}"), (b"a", b"no JSON"), (None, b"{}"), (b"\xff", b"{}"), (b"b", b"{}")])
    lists = lists_of("a")

    KafkaLists(config(any_broker), {topic: "a"})(lists)

    assert lists.entries["a"] == {"a": ON, "b": ON}
    assert lists.refused == {"a": 3}
    told = capsys.readouterr().out
    assert f"{topic}/0/1" in told
    assert "not JSON" in told


def test_workers_that_come_second_wait_until_the_lists_are_whole(
    embedded: Broker, new_topic: Callable[..., str], produce: Callable[..., None]
) -> None:
    topic = new_topic(embedded)
    produce(embedded, topic, [(str(number).encode(), b"{}") for number in range(5_000)])
    lists = lists_of("a")
    refresh = KafkaLists(config(embedded), {topic: "a"})
    seen: list[int] = []

    def work() -> None:
        refresh(lists)
        seen.append(len(lists.entries["a"]))

    workers = [threading.Thread(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()

    assert seen == [5_000] * 4


@pytest.mark.kafka
def test_a_topic_that_is_missing_is_told(kafka: Broker, topic_name: Callable[..., str]) -> None:
    topic = topic_name()

    with pytest.raises(SourceError, match=f"topics {topic}: do not exist; create what is missing with `fraud topics`"):
        KafkaLists(config(kafka), {topic: "a"})(lists_of("a"))


@pytest.mark.kafka
def test_what_compaction_leaves_is_enough(
    kafka: Broker, new_topic: Callable[..., str], produce: Callable[..., None]
) -> None:
    topic = new_topic(kafka, cleanup_policy="compact", segment_ms="100", min_cleanable_dirty_ratio="0.01")
    produce(kafka, topic, [(b"a", json.dumps({"until": number}).encode()) for number in range(1, 500)])
    lists = lists_of("a")

    KafkaLists(config(kafka), {topic: "a"})(lists)

    assert lists.entries["a"] == {"a": (ALWAYS[0], 499_000, None)}


def test_without_a_topic_nothing_is_opened() -> None:
    def client(_: dict[str, Any]) -> Any:
        pytest.fail("expected no client, for there is nothing to read")

    KafkaLists({}, {}, client=client)(lists_of())
