import json
from uuid import uuid4

import pytest
from confluent_kafka import Producer

from cli.demo_parts import Reader
from detection.loading import load
from detection.settings import Settings
from sources.verdicts import OtherError

VERDICT = {"fraudulent": True, "reason": [], "verdict": {"decision": "block", "origin": "nowhere", "rules": []}}


class Unreadable:
    """A record whose header has a name that is not UTF-8: no client of ours can write one."""

    def __init__(self, topic: str) -> None:
        self.topic = lambda: topic
        self.timestamp = lambda: (1, 0)
        self.partition = self.offset = lambda: 0

    def headers(self) -> None:
        msg = "<method 'headers'> returned a result with an exception set"
        raise SystemError(msg)


@pytest.fixture
def reader(embedded, tmp_path):
    suffix = uuid4().hex[:12]
    topics = {name: f"{name}.{suffix}" for name in ("transactions_topic", "fraud_topic", "review_topic", "legit_topic")}
    settings = Settings.model_construct(
        kafka_broker_url=embedded.address, dead_letter_topic=f"dead.{suffix}", application_id=suffix, **topics
    )
    pack = load([path for path in settings.fraud_packs if path.name == "transfers.toml"], settings.topics)
    for topic in (*topics.values(), settings.dead_letter_topic):
        embedded.create_topic(topic, 1)
    reader = Reader(settings, pack)
    reader.settings = settings
    yield reader
    reader.close()


def test_what_strangers_write_is_counted_and_ends_nothing(reader, embedded) -> None:
    settings = reader.settings
    producer = Producer({"bootstrap.servers": embedded.address})
    for value in (b"hello", b"\xff", b'{"reason": ' + b"[" * 100_000, json.dumps(VERDICT).encode(), None):
        producer.produce(settings.fraud_topic, value, timestamp=2**61)
    producer.produce(settings.dead_letter_topic, b"no headers")
    producer.produce(settings.dead_letter_topic, b"another origin", headers={"fraud.origin": "x"})
    assert producer.flush(30) == 0

    while reader.score.others < 7:
        reader.read(1)

    assert reader.score.others == 7
    assert (reader.score.verdicts.total(), reader.score.dead_letters, reader.score.missing) == (0, 0, 0)


def test_an_event_whose_headers_cannot_be_read_has_no_label(reader) -> None:
    reader._take(Unreadable(reader.settings.transactions_topic))

    assert reader.score.missing == 1


def test_a_dead_letter_whose_headers_cannot_be_read_is_somebody_elses(reader) -> None:
    with pytest.raises(OtherError, match="with names in UTF-8"):
        reader._take(Unreadable(reader.settings.dead_letter_topic))
