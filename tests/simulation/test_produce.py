import threading

import confluent_kafka
import pytest

from simulation import TRAFFIC, Labelled
from simulation.produce import DeliveryError, run

WALL_START = 1_700_000_000_000_000
BATCH_SECONDS = 0.005


class FakeClock:
    """A clock that only waiting moves; a wait may take longer than asked, as on a real machine."""

    def __init__(self, oversleep=0.0):
        self.seconds = 5_000.0
        self.oversleep = oversleep
        self.stop_at = float("inf")
        self.stop = threading.Event()

    def now(self):
        return WALL_START + round((self.seconds - 5_000) * 1_000_000)

    def monotonic(self):
        return self.seconds

    def sleep(self, seconds):
        assert seconds > 0
        self.pass_time(seconds + self.oversleep)

    def pass_time(self, seconds):
        self.seconds += seconds
        if self.seconds >= self.stop_at:
            self.stop.set()


class Refused:
    def str(self):
        return "Broker: Policy violation"


class FakeProducer:
    """Takes records into a queue, which polling empties; may be full, slow, or refuse records."""

    def __init__(self, clock, *, full_times=0, seconds_per_record=0.0, refused=(), stuck=0, slow_reports=False):
        self.clock = clock
        self.full_times = full_times
        self.seconds_per_record = seconds_per_record
        self.refused = refused
        self.stuck = stuck
        self.slow_reports = slow_reports  # none has come yet when nobody waits for it
        self.stalls = {}
        self.sent = []
        self.reports = []

    def produce(self, topic, *, value, key, timestamp, headers, on_delivery):
        if self.full_times:
            self.full_times -= 1
            raise BufferError
        number = len(self.sent)
        self.clock.pass_time(self.seconds_per_record + self.stalls.pop(number, 0.0))
        self.sent.append((self.clock.seconds - 5_000, topic, value, key, timestamp, headers))
        self.reports.append((on_delivery, Refused() if number in self.refused else None))

    def poll(self, timeout):
        if self.slow_reports and not timeout:
            return 0
        self.clock.pass_time(timeout)
        reports, self.reports = self.reports, []
        for on_delivery, error in reports:
            on_delivery(error, None)
        return len(reports)

    def flush(self, timeout):
        self.poll(0.001)
        return self.stuck

    def lateness(self, rate):
        return [sent[0] - number / rate for number, sent in enumerate(self.sent)]


def numbered():
    """Make records whose value is their number."""
    count = 0

    def generate(at):
        nonlocal count
        count += 1
        return Labelled(
            event="click", key=b"k", value=b"%d" % (count - 1), at=at, fraudulent=count % 4 == 0, story="a story"
        )

    return generate


def values(producer):
    return [int(sent[2]) for sent in producer.sent]


@pytest.mark.parametrize("rate", [0.5, 7, 199.9, 333.3, 20_000, 123_456])
@pytest.mark.parametrize("oversleep", [0.0, 0.0007])
def test_every_record_is_sent_at_its_time_or_within_one_batch_after_it_with_no_drift(rate, oversleep):
    clock = FakeClock(oversleep)
    producer = FakeProducer(clock)

    run(numbered(), producer, "t", rate=rate, count=max(20, int(rate * 3)), clock=clock)

    lateness = producer.lateness(rate)
    assert min(lateness) >= -1e-9
    assert max(lateness) <= BATCH_SECONDS + oversleep + 1e-9
    assert max(lateness[-10:]) <= max(lateness[:1000]) + 1e-9


def test_the_time_produce_takes_is_not_added_to_the_schedule():
    clock = FakeClock()
    producer = FakeProducer(clock, seconds_per_record=40e-6)  # four fifths of the time there is

    run(numbered(), producer, "t", rate=20_000, count=40_000, clock=clock)

    assert max(producer.lateness(20_000)) <= 2 * BATCH_SECONDS


def test_a_stall_is_caught_up_and_changes_no_event_time():
    clock = FakeClock()
    producer = FakeProducer(clock)
    producer.stalls = {500: 2.0}

    done = run(numbered(), producer, "t", rate=1_000, count=5_000, clock=clock)

    lateness = producer.lateness(1_000)
    assert max(lateness) >= 2.0
    assert max(lateness[3_000:]) <= BATCH_SECONDS
    assert done.late_seconds == pytest.approx(0, abs=1e-9)
    assert [sent[4] for sent in producer.sent] == [WALL_START // 1_000 + number for number in range(5_000)]


def test_a_rate_nobody_can_keep_shows_as_lateness():
    clock = FakeClock()
    producer = FakeProducer(clock, seconds_per_record=100e-6)  # 10,000 a second

    done = run(numbered(), producer, "t", rate=20_000, count=20_000, clock=clock)

    assert done.sent == 20_000
    assert done.late_seconds == pytest.approx(1.0, rel=0.02)


@pytest.mark.parametrize("rate", [0.5, 333.3, 20_000])
def test_no_record_happens_later_than_it_is_sent(rate):
    clock = FakeClock()
    producer = FakeProducer(clock)

    run(numbered(), producer, "t", rate=rate, count=1_000, clock=clock)

    assert all(timestamp <= WALL_START / 1_000 + at * 1_000 + 1e-6 for at, _, _, _, timestamp, _ in producer.sent)


@pytest.mark.parametrize("count", [0, 1, 99, 100, 101])
def test_exactly_count_records_are_sent_in_order_each_once(count):
    clock = FakeClock()
    producer = FakeProducer(clock)

    done = run(numbered(), producer, "t", rate=20_000, count=count, clock=clock)

    assert values(producer) == list(range(count))
    assert (done.sent, done.frauds) == (count, count // 4)


def test_topic_key_and_label_travel_with_the_record():
    clock = FakeClock()
    producer = FakeProducer(clock)

    run(numbered(), producer, "clicks", rate=100, count=4, clock=clock)

    assert [(topic, key, headers) for _, topic, _, key, _, headers in producer.sent] == [
        ("clicks", b"k", [("label", label), ("story", "a story")]) for label in (b"legit", b"legit", b"legit", b"fraud")
    ]


def test_a_full_queue_delays_records_but_loses_and_doubles_none():
    clock = FakeClock()
    producer = FakeProducer(clock, full_times=7)

    done = run(numbered(), producer, "t", rate=1_000, count=50, clock=clock)

    assert values(producer) == list(range(50))
    assert done.sent == 50


def test_stop_ends_the_wait_for_a_full_queue_and_counts_only_what_was_taken():
    clock = FakeClock()
    clock.stop_at = 5_003.0
    producer = FakeProducer(clock, full_times=1_000_000)

    done = run(numbered(), producer, "t", rate=1_000, clock=clock, stop=clock.stop)

    assert (done.sent, done.frauds) == (0, 0)
    assert done.seconds == pytest.approx(3.0, abs=0.11)


@pytest.mark.parametrize(("rate", "sent"), [(0.1, 1), (1_000, 3_501)])
def test_stop_ends_the_run_within_a_tenth_of_a_second_at_any_rate(rate, sent):
    clock = FakeClock()
    clock.stop_at = 5_003.5
    producer = FakeProducer(clock)

    done = run(numbered(), producer, "t", rate=rate, clock=clock, stop=clock.stop)

    assert done.seconds == pytest.approx(3.5, abs=0.11)
    assert done.sent == len(producer.sent) == pytest.approx(sent, abs=5)


def test_a_stop_set_before_the_run_sends_nothing():
    clock = FakeClock()
    clock.stop.set()
    producer = FakeProducer(clock)

    assert run(numbered(), producer, "t", rate=10, clock=clock, stop=clock.stop).sent == 0


def test_a_refused_record_ends_the_run_with_its_topic_and_reason():
    clock = FakeClock()
    producer = FakeProducer(clock, refused={150})

    with pytest.raises(DeliveryError, match=r"clicks: .* got 1 refused: Broker: Policy violation"):
        run(numbered(), producer, "clicks", rate=1_000, clock=clock)


def test_a_record_refused_at_the_very_end_is_an_error_too():
    clock = FakeClock()
    producer = FakeProducer(clock, refused={0}, slow_reports=True)

    with pytest.raises(DeliveryError, match="got 1 refused"):
        run(numbered(), producer, "t", rate=1_000, count=1, clock=clock)


def test_a_record_refused_while_the_queue_is_full_is_an_error_and_no_endless_wait():
    clock = FakeClock()
    clock.stop_at = 5_060.0
    producer = FakeProducer(clock, refused={0}, slow_reports=True)
    generate = numbered()

    def fill_up(at):
        if len(producer.sent) == 1:
            producer.full_times = 1_000_000
        return generate(at)

    with pytest.raises(DeliveryError, match="got 1 refused"):
        run(fill_up, producer, "t", rate=10, count=5, clock=clock, stop=clock.stop)

    assert not clock.stop.is_set()


def test_records_still_on_their_way_at_the_deadline_are_an_error():
    clock = FakeClock()
    producer = FakeProducer(clock, stuck=3)

    with pytest.raises(DeliveryError, match=r"t: expected all records delivered within 30 s, got 3 still on their way"):
        run(numbered(), producer, "t", rate=1_000, count=10, clock=clock)


def test_progress_is_told_once_a_second():
    clock = FakeClock()
    told = []

    run(numbered(), FakeProducer(clock), "t", rate=1_000, count=3_500, clock=clock, on_progress=told.append)

    assert [round(progress.seconds, 1) for progress in told] == [1.0, 2.0, 3.0]
    assert [progress.sent for progress in told] == pytest.approx([1_000, 2_000, 3_000], abs=6)


@pytest.mark.parametrize("rate", [0, -1, float("nan"), float("inf")])
def test_a_rate_that_is_none_is_refused(rate):
    with pytest.raises(ValueError, match="rate: expected more than 0 records per second, got "):
        run(numbered(), FakeProducer(FakeClock()), "t", rate=rate)


def test_a_negative_count_is_refused():
    with pytest.raises(ValueError, match="count: expected 0 or more, got -1"):
        run(numbered(), FakeProducer(FakeClock()), "t", rate=1, count=-1)


@pytest.mark.parametrize("name", TRAFFIC)
def test_through_the_real_client_records_arrive_with_label_key_and_event_time(name):
    producer = confluent_kafka.Producer({"test.mock.num.brokers": 1})
    broker = next(iter(producer.list_topics(timeout=10).brokers.values()))
    generated = []
    generate = TRAFFIC[name].generator(3, 0.2)

    def remember(at):
        generated.append(generate(at))
        return generated[-1]

    run(remember, producer, TRAFFIC[name].topic, rate=100_000, count=200)

    consumer = confluent_kafka.Consumer(
        {"bootstrap.servers": f"{broker.host}:{broker.port}", "group.id": "g", "auto.offset.reset": "earliest"}
    )
    partitions = producer.list_topics(TRAFFIC[name].topic, timeout=10).topics[TRAFFIC[name].topic].partitions
    consumer.assign([confluent_kafka.TopicPartition(TRAFFIC[name].topic, number, 0) for number in partitions])
    arrived = [consumer.poll(10) for _ in generated]
    consumer.close()

    def told(key, value, at, label, story):
        return key or b"", value, at, label, story

    assert sorted(
        told(m.key(), m.value(), m.timestamp()[1], dict(m.headers())["label"], dict(m.headers())["story"])
        for m in arrived
    ) == sorted(
        told(r.key, r.value, r.at // 1_000, b"fraud" if r.fraudulent else b"legit", r.story.encode()) for r in generated
    )
