"""Measures the rate at which labelled traffic is produced, against librdkafka's embedded mock broker.

Run: python bench/simulate_rate.py [kind] [rate] [seconds]
"""

import sys

from confluent_kafka import Producer

from simulation import DEFAULT_FRAUD_SHARE, TRAFFIC
from simulation.produce import Progress, run


def main() -> None:
    """Produce one kind of traffic and print what was asked for and what came of it."""
    name, rate, seconds = [*sys.argv[1:], *("clicks", "20000", "5")[len(sys.argv) - 1 :]]
    kind = TRAFFIC[name]
    asked = float(rate)
    newest: list[Progress] = []
    producer = Producer({"test.mock.num.brokers": 1, "linger.ms": 5})
    producer.list_topics(kind.topic, timeout=10)  # so that creating the topic is not part of the measurement
    done = run(
        kind.generator(1, DEFAULT_FRAUD_SHARE),
        producer,
        kind.topic,
        rate=asked,
        count=int(asked * float(seconds)),
        on_progress=newest.append,
    )
    most_late = max((progress.late_seconds for progress in newest), default=done.late_seconds)
    achieved = done.sent / done.seconds
    print(
        f"{name}: asked {asked:,.0f}/s, got {achieved:,.0f}/s ({achieved / asked - 1:+.2%}) over {done.seconds:.2f} s"
    )
    print(f"{done.sent:,} delivered, {done.frauds / done.sent:.2%} fraud, at most {most_late * 1_000:.1f} ms late")


if __name__ == "__main__":
    main()
