"""How fast a pack goes from Kafka to Kafka, against a bare loop with the click rule, and how late verdicts are.

    python -m bench.throughput                     # 1,000,000 clicks, three alternating pairs
    python -m bench.throughput --records 200000 --pairs 1
    python -m bench.throughput --pack payments     # the payments pack with all its rules; the bare loop stays
    python -m bench.throughput --latency 20        # 20 s at 5,000 clicks/s: append to append
    python -m bench.throughput --latency 20 --rate 2000 --trees 100   # the same with a model

Starts a real Apache Kafka (or uses TEST_KAFKA_BROKER). Runs alternate, since other work on the machine drifts: quote
the ratio of the medians. The rate is between the first and the last output record, by the broker's clock; CPU seconds
are those of the process.
"""

import argparse
import json
import os
import random
import resource
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec
from bytewax.recovery import init_db_dir
from confluent_kafka import Consumer, KafkaException, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]

from bench.models import forest, put
from broker.apache import ApacheKafka
from simulation import TRAFFIC

PARTITIONS = 4
SESSIONS_PER_RECORD = 0.2
BURSTS = 0.05
LIMIT = 3
BARE = "bare"
AT_LEAST_ONCE = "at_least_once"
ROOT = Path(__file__).parent.parent
PACKS = {
    "clicks": {"in": "clicks", "fraud": "clicks.fraud", "review": "clicks.review", "legit": "clicks.legit"},
    "payments": {
        "in": "transactions",
        "fraud": "fraud_alerts",
        "review": "transactions.review",
        "legit": "classified_transactions",
    },
}
"""The topics of each pack, which the bench replaces by its own."""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--pack", choices=PACKS, default="clicks")
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--against", choices=[BARE, AT_LEAST_ONCE], default=BARE)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--snapshot", type=int, default=10, help="snapshot interval, s")
    parser.add_argument("--delivery", choices=["exactly_once", AT_LEAST_ONCE], default="exactly_once")
    parser.add_argument("--latency", type=int, default=0, help="measure latency for so many seconds instead")
    parser.add_argument("--rate", type=int, default=5_000, help="clicks a second for --latency")
    parser.add_argument("--trees", type=int, default=0, help="score with so many trees for --latency")
    parser.add_argument("--bare", metavar="BROKER,IN,FRAUD,LEGIT,RECORDS", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.bare:
        bare_loop(*options.bare.split(","))
        return
    with kafka() as broker:
        if options.latency:
            latency(
                broker, options.latency, options.rate, options.snapshot, delivery=options.delivery, trees=options.trees
            )
        else:
            throughput(
                broker,
                options.pack,
                options.records,
                options.pairs,
                delivery=options.delivery,
                against=options.against,
                processes=options.processes,
                snapshot=options.snapshot,
            )


@contextmanager
def kafka() -> Iterator[str]:
    """The address of a broker."""
    if address := os.environ.get("TEST_KAFKA_BROKER"):
        yield address
    else:
        with ApacheKafka() as broker:
            yield broker.address


# --- throughput ------------------------------------------------------------------------------------------------------


def throughput(
    broker: str, pack: str, records: int, pairs: int, *, delivery: str, against: str, processes: int, snapshot: int
) -> None:
    """Alternate the dataflow and what it is held against; over the same records, if they are clicks."""
    topics = {"fraud": f"bench-{pack}", BARE: "bench-clicks", AT_LEAST_ONCE: f"bench-{pack}"}
    for topic in {topics["fraud"], topics[against]}:
        create(broker, [topic])
        fill(broker, topic, payments(records) if topic == "bench-payments" else clicks(records))
    rates: dict[str, list[float]] = {"fraud": [], against: []}
    for pair in range(pairs):
        for name, found in rates.items():
            topic = topics[name]
            outputs = [f"{name}-{pair}-fraud", f"{name}-{pair}-legit", f"{name}-{pair}-review"]
            create(broker, [*outputs, f"{name}-{pair}-dead"])
            before = children_cpu()
            if name == BARE:
                arguments = ",".join([broker, topic, *outputs[:2], str(records)])
                subprocess.run([sys.executable, "-m", "bench.throughput", "--bare", arguments], check=True)
            else:
                with dataflow(
                    broker,
                    pack,
                    topic,
                    f"{name}-{pair}",
                    processes=processes,
                    snapshot=snapshot,
                    delivery=AT_LEAST_ONCE if name == AT_LEAST_ONCE else delivery,
                ):
                    wait_for(broker, outputs, records)
            cpu = (children_cpu() - before) / records * 1e6
            rate, frauds = measure(broker, outputs, records)
            found.append(rate)
            print(f"{name:13} {rate:10,.0f} events/s {cpu:6.2f} CPU s per million, {frauds:,} frauds", flush=True)
    fraud, other = statistics.median(rates["fraud"]), statistics.median(rates[against])
    print(f"median {fraud:,.0f} events/s, {against} {other:,.0f}: ratio {fraud / other:.2f}")


class BareClick(msgspec.Struct, gc=False):
    """What the bare loop decodes."""

    session_id: str
    url: str
    timestamp: int


def bare_loop(broker: str, topic: str, fraud: str, legit: str, records: str) -> None:
    """The least that can be called the click rule: no state on disk, no bad input, no late events."""
    consumer = Consumer(
        {
            "bootstrap.servers": broker,
            "group.id": "bare",
            "enable.auto.commit": False,
            "fetch.wait.max.ms": 10,
            "queued.min.messages": 200_000,
            "queued.max.messages.kbytes": 65_536,
        }
    )
    producer = Producer(
        {
            "bootstrap.servers": broker,
            "linger.ms": 5,
            "compression.type": "lz4",
            "batch.num.messages": 10_000,
            "queue.buffering.max.messages": 2_000_000,
            "queue.buffering.max.kbytes": 2_000_000,
            "delivery.report.only.error": True,
        }
    )
    consumer.assign([TopicPartition(topic, partition, 0) for partition in range(PARTITIONS)])
    decode = msgspec.json.Decoder(BareClick).decode
    times: dict[tuple[str, str], list[int]] = {}
    left = int(records)
    while left:
        batches: tuple[list[dict[str, bytes | None]], list[dict[str, bytes | None]]] = ([], [])
        for message in consumer.consume(10_000, 0.1):
            value = message.value()
            assert isinstance(value, bytes)
            click = decode(value)
            seen = times.setdefault((click.session_id, click.url), [])
            while seen and seen[0] <= click.timestamp - 10_000:
                del seen[0]
            seen.append(click.timestamp)
            count = len(seen)
            judged = b'%b,"count":%d,"fraudulent":%b}' % (value[:-1], count, b"true" if count >= LIMIT else b"false")
            batches[count < LIMIT].append({"key": message.key(), "value": judged})
            left -= 1
        for name, batch in zip((fraud, legit), batches, strict=True):
            if producer.produce_batch(name, batch) != len(batch):
                sys.exit("bare loop: the queue is full")
        producer.poll(0)
    producer.flush()


def wait_for(broker: str, topics: list[str], records: int) -> None:
    """Until the topics hold so many records."""
    consumer = Consumer({"bootstrap.servers": broker, "group.id": "bench"})
    deadline = time.monotonic() + 600
    while time.monotonic() < deadline:
        time.sleep(0.1)
        try:
            written = sum(consumer.get_watermark_offsets(part)[1] for part in parts(topics))
        except KafkaException:  # a topic this young may have no leader yet
            continue
        if written >= records:
            consumer.close()
            return
    sys.exit(f"bench: expected {records} records in {topics} within 600 s")


def measure(broker: str, topics: list[str], records: int) -> tuple[float, int]:
    """Records a second between the first and the last append, and how many the first topic holds."""
    stamps: list[int] = []
    frauds = 0
    for topic, _, stamp in read(broker, topics, records):
        stamps.append(stamp)
        frauds += topic == topics[0]
    return records / (max(stamps) - min(stamps)) * 1000, frauds


# --- latency ---------------------------------------------------------------------------------------------------------


def latency(broker: str, seconds: int, rate: int, snapshot: int, *, delivery: str, trees: int) -> None:
    """Clicks at a steady rate; how long after the input's append the verdict is appended, and seen by a reader.

    The reader takes what is committed only, as most do.
    """
    topic = "bench-latency"
    outputs = ["latency-fraud", "latency-legit"]
    create(broker, [topic, *outputs, "latency-dead", "latency-review"])
    producer = Producer({"bootstrap.servers": broker, "linger.ms": 1, "enable.idempotence": True})
    seen: list[tuple[float, Sequence[Message]]] = []
    warm_up, total = 2 * rate, (seconds + 2) * rate
    reading = threading.Thread(target=follow, args=(broker, outputs, total, seen))
    with dataflow(broker, "clicks", topic, "latency", processes=1, snapshot=snapshot, delivery=delivery, trees=trees):
        reading.start()
        time.sleep(3)
        begin = time.monotonic()
        for number, (key, value) in enumerate(clicks(total)):
            producer.produce(topic, value, key)
            if number % 10 == 0:
                producer.poll(0)
                ahead = begin + number / rate - time.monotonic()
                if ahead > 0:
                    time.sleep(ahead)
        producer.flush()
        reading.join()
    sent = {(part, offset): stamp for _, (part, offset), stamp in read(broker, [topic], total)}
    appended, committed = [], []
    for moment, message in ((moment, message) for moment, messages in seen for message in messages):
        answer = message.value()
        assert isinstance(answer, bytes)
        _, part, offset = json.loads(answer)["verdict"]["origin"].rsplit("/", 2)
        if int(offset) >= warm_up // PARTITIONS:
            came = sent[int(part), int(offset)]
            appended.append(message.timestamp()[1] - came)
            committed.append(moment * 1000 - came)
    print(f"{rate:,} clicks/s for {seconds} s, a snapshot every {snapshot} s:")
    for reader, late in (("appended", appended), ("seen by a read_committed reader", committed)):
        cuts = statistics.quantiles(late, n=1000)
        told = ", ".join(f"p{name} {cuts[cut]:.0f} ms" for name, cut in (("50", 499), ("99", 989), ("99.9", 998)))
        print(f"  {reader}: {told}, max {max(late):.0f} ms")


def follow(broker: str, topics: list[str], records: int, seen: list[tuple[float, Sequence[Message]]]) -> None:
    """Note when a reader sees what; ends after so many records, or when none come for a minute."""
    consumer = Consumer(
        {
            "bootstrap.servers": broker,
            "group.id": "bench",
            "enable.auto.commit": False,
            "fetch.wait.max.ms": 10,
            "isolation.level": "read_committed",
        }
    )
    consumer.assign(parts(topics))
    deadline = time.monotonic() + 60
    while records > 0 and time.monotonic() < deadline:
        if messages := consumer.consume(500, 0.002):
            seen.append((time.time(), messages))
            records -= len(messages)
            deadline = time.monotonic() + 60
    consumer.close()


# --- parts -----------------------------------------------------------------------------------------------------------


@contextmanager
def dataflow(
    broker: str,
    pack: str,
    topic: str,
    name: str,
    *,
    processes: int,
    snapshot: int,
    delivery: str = "exactly_once",
    trees: int = 0,
) -> Iterator[None]:
    """The real thing: `bytewax.run dataflows.fraud` with a recovery store, as an operator starts it."""
    folder = Path(tempfile.mkdtemp())
    file = folder / f"{pack}.toml"
    text, _, _ = (ROOT / "packs" / file.name).read_text().partition("# The counter form")
    for role, old in PACKS[pack].items():
        text = text.replace(f'topic = "{old}"', f'topic = "{topic if role == "in" else f"{name}-{role}"}"')
    if trees:
        text += put(folder, text, "click", ["clicks_on_url"], forest(trees, 31, 1))
    file.write_text(text)
    store = folder / "store"
    store.mkdir()
    init_db_dir(store, 2)  # type: ignore[no-untyped-call]
    environment = {
        **os.environ,
        "KAFKA_BROKER_URL": broker,
        "FRAUD_PACKS": str(file),
        "DEAD_LETTER_TOPIC": f"{name}-dead",
        "DELIVERY": delivery,
        "APPLICATION_ID": f"bench-{name}-{os.getpid()}",
    }
    command = [sys.executable, "-m", "bytewax.run", "dataflows.fraud", "-r", str(store), "-s", str(snapshot), "-b", "0"]
    addresses = ";".join(f"127.0.0.1:{2101 + rank}" for rank in range(processes))
    ranks = [["-i", str(rank), "-a", addresses] if processes > 1 else [] for rank in range(processes)]
    children = [subprocess.Popen([*command, *rank], env=environment, cwd=ROOT) for rank in ranks]
    try:
        yield
    finally:
        for child in children:
            child.send_signal(signal.SIGTERM)
        codes = [child.wait(30) for child in children]
        shutil.rmtree(folder)
    if any(codes):
        sys.exit(f"bench: the dataflow ended with {codes}")


def create(broker: str, topics: list[str]) -> None:
    """Topics whose records carry the time of their append."""
    config = {"message.timestamp.type": "LogAppendTime"}
    news = [NewTopic(topic, PARTITIONS, 1, config=config) for topic in topics]
    admin = AdminClient({"bootstrap.servers": broker})
    for done in admin.create_topics(news).values():
        done.result()


def clicks(records: int) -> Iterator[tuple[bytes, bytes]]:
    """Clicks of many sessions, a millisecond apart, a few of them in bursts. The event time is now and later."""
    chance = random.Random(7)
    start = int(time.time() * 1000) - records
    sessions = int(records * SESSIONS_PER_RECORD) or 1
    for number in range(records):
        session = chance.randrange(sessions) if chance.random() > BURSTS else number // 50 % 1000
        url = session * 7 % 100
        key = b"session-%07d" % session
        yield (
            key,
            b'{"session_id":"%b","url":"https://shop.example/item/%d","timestamp":%d}' % (key, url, start + number),
        )


def payments(records: int) -> Iterator[tuple[bytes, bytes]]:
    """Payments a millisecond apart, 5 % of them frauds.

    Of as many simulated populations as it takes for each user to pay a few times only: of one, everybody would pay each
    second, and every payment would be a fraud.
    """
    populations = [TRAFFIC["payments"].generator(seed, 0.05) for seed in range(max(1, records // 100_000))]
    start = int(time.time() * 1000) - records
    for number in range(records):
        payment = populations[number % len(populations)]((start + number) * 1000)
        assert payment.key is not None
        yield payment.key, payment.value


def fill(broker: str, topic: str, records: Iterable[tuple[bytes, bytes]]) -> None:
    """Produce them."""
    producer = Producer(
        {
            "bootstrap.servers": broker,
            "linger.ms": 20,
            "enable.idempotence": True,
            "compression.type": "lz4",
            "queue.buffering.max.messages": 2_000_000,
        }
    )
    for key, value in records:
        producer.produce(topic, value, key)
        producer.poll(0)
    producer.flush()


def parts(topics: list[str]) -> list[TopicPartition]:
    """All partitions of the topics, from their beginning."""
    return [TopicPartition(topic, partition, 0) for topic in topics for partition in range(PARTITIONS)]


def read(broker: str, topics: list[str], records: int) -> Iterator[tuple[str, tuple[int, int], int]]:
    """Topic, place and time of append of each record."""
    for topic, place, stamp, _ in read_values(broker, topics, records):
        yield topic, place, stamp


def read_values(broker: str, topics: list[str], records: int) -> Iterator[tuple[str, tuple[int, int], int, bytes]]:
    """The same with the value."""
    consumer = Consumer({"bootstrap.servers": broker, "group.id": "bench", "enable.auto.commit": False})
    consumer.assign(parts(topics))
    while records > 0:
        for message in consumer.consume(10_000, 1.0):
            value = message.value()
            assert isinstance(value, bytes)
            yield (
                str(message.topic()),
                (int(message.partition() or 0), int(message.offset() or 0)),
                message.timestamp()[1],
                value,
            )
            records -= 1
    consumer.close()


def children_cpu() -> float:
    """CPU seconds of the children that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    main()
