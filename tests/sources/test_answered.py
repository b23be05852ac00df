import json
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewPartitions

from broker.cluster import ends_now, places
from broker.config import consumer_config
from broker.errors import BrokerError
from detection.settings import Settings
from sources import answered as module
from sources.answered import Answered, Tails, origin_of
from sources.kafka import LANES, KafkaSource, LaneState, lane_of
from sources.reading import SourceError
from tests.conftest import Broker, wait_until


def verdict(origin: str) -> bytes:
    return json.dumps({"a": 1, "verdict": {"origin": origin, "decision": "accept"}}).encode()


@pytest.mark.parametrize(
    ("value", "headers", "origin"),
    [
        (verdict("t/0/7"), None, "t/0/7"),
        (b'{"origin":"t/0/1","verdict":{"input":{"verdict":{"origin":"t/0/2"}},"origin":"t/0/3"}}', None, "t/0/3"),
        (None, [("x", None), ("fraud.origin", b"t/1/8")], "t/1/8"),
        (verdict("t/0/7"), [("fraud.origin", b"t/1/8")], "t/1/8"),  # an input that is a verdict itself
        (b"rubbish", None, None),
        (b'{"verdict":"guilty"}', None, None),
        (b'{"verdict":{"origin":7}}', None, None),
        (b'{"verdict":{"origin":"' + b"\xff" + b'"}}', None, None),
        (b"[" * 100_000, None, None),
        (None, None, None),
    ],
)
def test_the_origin_is_that_of_the_answer_and_of_nothing_inside_the_input(value, headers, origin) -> None:
    assert origin_of(value, headers) == origin


def test_marks_go_with_the_records_and_hold_for_their_partition_only() -> None:
    answered = Answered()
    answered.mark("t", 0, [3, 5])
    answered.mark("t", 1, [])

    assert answered.is_pending("t", 0)
    assert not answered.is_pending("t", 1)
    assert [answered.is_answered("t", 1, offset) for offset in (3, 5)] == [False, False]
    assert [answered.is_answered("t", 0, offset) for offset in (2, 3, 4)] == [False, True, False]
    assert answered
    assert answered.is_answered("t", 0, 5)
    assert not answered
    assert not answered.is_pending("t", 0)


def test_a_mark_whose_record_is_gone_is_not_waited_for() -> None:
    answered = Answered()
    answered.mark("t", 0, [3, 5])

    assert not answered.is_answered("t", 0, 6)  # compacted, or a hole
    assert not answered


# --- the tails, on a real broker ------------------------------------------------------------------------------------


class Outputs:
    """Two partitions that transactions write to."""

    def __init__(self, broker: Broker, topic: str) -> None:
        self.settings = Settings(kafka_broker_url=broker.address, application_id=uuid4().hex)
        self.topic = topic
        self._producer = Producer({"bootstrap.servers": broker.address, "transactional.id": uuid4().hex})
        self._producer.init_transactions()

    def write(self, *origins: str, commit: bool = True, partition: int = 0) -> None:
        self._producer.begin_transaction()
        for origin in origins:
            self._producer.produce(self.topic, verdict(origin), partition=partition)
        self._producer.flush()
        if commit:
            self._producer.commit_transaction()
        else:
            self._producer.abort_transaction()

    def ends(self) -> dict[str, int]:
        return ends_now(self.settings, places({self.topic: 2}))

    def tails(self, first: dict[str, int] | None = None) -> Tails:
        """With the ends of now."""
        ends = self.ends()
        return Tails(consumer_config(self.settings), lambda: ends, first or {})


def behind(bounds: dict[str, int], tails: Tails) -> list[int]:
    """The answered offsets of in/0."""
    tails.read(bounds)
    return tails.answers({"in/0": 0})["in/0"]


@pytest.fixture
def outputs(kafka: Broker, new_topic: Callable[..., str]) -> Outputs:
    return Outputs(kafka, new_topic(kafka, 2))


@pytest.mark.kafka
def test_what_is_committed_between_bound_and_end_is_answered_and_nothing_else(outputs: Outputs) -> None:
    outputs.write("in/0/1", "in/0/2")
    bounds = outputs.ends()
    outputs.write("in/0/3", "in/1/4")
    outputs.write("in/0/9", commit=False)  # taken back
    outputs.write("in/0/5", "in/0/1", partition=1)
    tails = outputs.tails()
    outputs.write("in/0/6")  # by who started after us

    tails.read(bounds)

    found = tails.answers({"in/0": 2, "in/1": -2, "in/2": -2})
    assert {address: sorted(offsets) for address, offsets in found.items()} == {"in/0": [3, 5], "in/1": [4], "in/2": []}
    assert sorted(tails.origins()) == ["in/0", "in/1"]


@pytest.mark.kafka
def test_where_the_outputs_end_is_asked_once_and_not_before_somebody_wants_to_know(outputs: Outputs) -> None:
    tails = Tails(consumer_config(outputs.settings), outputs.ends, None)
    outputs.write("in/0/1")  # by a peer of before, who is not shut out yet
    began = tails.bounds(None)
    outputs.write("in/0/2")  # by our own

    assert began == tails.ends
    assert behind({}, tails) == [1]
    assert tails.bounds({"old/0": 7}) == {**began, "old/0": 7}


def test_ends_that_the_cluster_does_not_tell_are_an_error_of_the_source_and_asked_for_again() -> None:
    answers: list[Any] = [BrokerError("b:9: does not tell where its topics end"), {"out/0": 0}]

    def ends() -> dict[str, int]:
        answer = answers.pop(0)
        if isinstance(answer, BrokerError):
            raise answer
        return answer

    tails = Tails({}, ends, None, client=lambda _: pytest.fail("nothing is to be read"))

    with pytest.raises(SourceError, match=r"^b:9: does not tell where its topics end$"):
        tails.read({})
    tails.read({})
    assert tails.ends == {"out/0": 0}


@pytest.mark.kafka
def test_a_lane_with_a_lower_bound_gets_what_lies_before_the_other_ones(outputs: Outputs) -> None:
    low = outputs.ends()
    outputs.write("in/0/1")
    high = outputs.ends()
    outputs.write("in/0/2")
    tails = outputs.tails()

    tails.read(high)
    assert tails.answers({"in/0": 0}) == {"in/0": [2]}
    tails.read(low)
    assert sorted(tails.answers({"in/0": 0})["in/0"]) == [1, 2]
    tails.read(high)
    assert tails.answers({"in/0": 2}) == {"in/0": [2]}


@pytest.mark.kafka
def test_a_partition_without_a_bound_is_read_from_its_beginning(outputs: Outputs) -> None:
    outputs.write("in/0/1")
    outputs.write("in/0/2", partition=1)
    bounds = outputs.ends()
    del bounds[f"{outputs.topic}/1"]

    assert behind(bounds, outputs.tails()) == [2]


@pytest.mark.kafka
def test_a_partition_with_a_bound_that_the_cluster_leaves_out_is_missed(outputs: Outputs) -> None:
    left_out = {place: end for place, end in outputs.ends().items() if not place.endswith("/1")}
    tails = Tails(consumer_config(outputs.settings), lambda: left_out, {})

    with pytest.raises(SourceError, match=f"^{outputs.topic}/1: was written to before"):
        tails.read(outputs.ends())


@pytest.mark.kafka
def test_the_bounds_of_a_snapshot_win_over_those_of_the_first_start(outputs: Outputs) -> None:
    tails = outputs.tails({"old/0": 1, "new/0": 2})

    assert tails.bounds(None) == {"old/0": 1, "new/0": 2}
    assert tails.bounds({"old/0": 8, "gone/0": 9}) == {"old/0": 8, "new/0": 2, "gone/0": 9}


@pytest.mark.kafka
def test_outputs_that_are_gone_or_were_made_anew_hold_what_they_hold(kafka: Broker, outputs: Outputs) -> None:
    outputs.write("in/0/1", "in/0/2", "in/0/3")
    admin = AdminClient({"bootstrap.servers": kafka.address})
    for future in admin.delete_records([TopicPartition(outputs.topic, 0, 1)]).values():
        future.result()
    tails = outputs.tails()

    # Of one transaction, so in its order.
    assert behind({f"{outputs.topic}/0": 100, "gone/0": 3}, tails) == [2, 3]
    assert behind({f"{outputs.topic}/0": 0}, outputs.tails()) == [2, 3]


@pytest.mark.kafka
def test_a_strangers_open_transaction_is_told_and_not_read_past(
    kafka: Broker, outputs: Outputs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PATIENCE", 1.0)
    stranger = Producer({"bootstrap.servers": kafka.address, "transactional.id": uuid4().hex})
    stranger.init_transactions()
    stranger.begin_transaction()
    stranger.produce(outputs.topic, b"mine", partition=0)
    stranger.flush()

    with pytest.raises(SourceError, match=rf"^{outputs.topic}/0: .* cannot be read to its end .*open\?"):
        outputs.tails().read({})
    stranger.abort_transaction()


# --- the source -----------------------------------------------------------------------------------------------------


class Told:
    """A cluster that tells what a test says."""

    def __init__(self) -> None:
        self.partitions: dict[str, int] = {}
        self.ends: dict[str, int] = {}
        self.refreshed = 0

    def refresh(self) -> None:
        self.refreshed += 1


@pytest.mark.kafka
def test_bounds_stay_until_every_answered_record_was_read_again(
    kafka: Broker, new_topic: Callable[..., str], produce: Callable[..., None], outputs: Outputs
) -> None:
    topic = new_topic(kafka)
    produce(kafka, topic, [b"%d" % n for n in range(5)], partition=0)
    outputs.write(*[f"{topic}/0/{offset}" for offset in range(1, 4)])
    cluster, answered = Told(), Answered()
    cluster.ends = {f"{outputs.topic}/0": 70, f"{outputs.topic}/1": 80}
    source = KafkaSource(
        consumer_config(outputs.settings),
        [topic],
        tails=outputs.tails(),
        answered=answered,
        cluster=lambda: cluster,
    )
    old: LaneState = {"offsets": {f"{topic}/0": 1}, "bounds": {f"{outputs.topic}/0": 0, f"{outputs.topic}/1": 0}}
    lanes = [source.build_part("s", f"lane-{number:02}", old) for number in range(LANES)]
    mine = lanes[lane_of(topic, 0)]

    assert mine.snapshot() == old
    for offset in (1, 2):
        assert answered.is_answered(topic, 0, offset)
        assert mine.snapshot()["bounds"] == old["bounds"]
    assert answered.is_answered(topic, 0, 3)
    assert mine.snapshot()["bounds"] == cluster.ends
    assert lanes[lane_of(topic, 0) - 1].snapshot()["bounds"] == cluster.ends
    for lane in lanes:
        lane.close()


@pytest.mark.kafka
def test_partitions_that_a_topic_gains_are_read_in_their_lanes(
    kafka: Broker, new_topic: Callable[..., str], produce: Callable[..., None], outputs: Outputs
) -> None:
    topic = new_topic(kafka)
    cluster = Told()
    source = KafkaSource(consumer_config(outputs.settings), [topic], cluster=lambda: cluster)
    lanes = [source.build_part("s", f"lane-{number:02}", None) for number in range(LANES)]
    admin = AdminClient({"bootstrap.servers": kafka.address})
    for future in admin.create_partitions([NewPartitions(topic, 3)]).values():
        future.result()
    for partition in range(3):
        produce(kafka, topic, [b"x", b"y"], partition=partition)
    cluster.partitions = {topic: 3}
    found: list[tuple[int, int]] = []

    def turn() -> bool:
        for number, lane in enumerate(lanes):
            records = list(lane.next_batch())
            assert all(lane_of(topic, record.partition) == number for record in records)
            found.extend((record.partition, record.offset) for record in records)
        return len(found) == 6

    wait_until(turn)
    assert sorted(found) == [(partition, offset) for partition in range(3) for offset in range(2)]
    assert lanes[lane_of(topic, 2)].snapshot()["offsets"] == {f"{topic}/2": 2}
    for lane in lanes:
        lane.close()
