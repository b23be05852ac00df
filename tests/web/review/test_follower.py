import pytest
from confluent_kafka import Producer

from tests.conftest import wait_until
from web.review.follower import Follower


def write(deployment, topic: str, *values: str) -> None:
    producer = Producer({"bootstrap.servers": deployment.settings.kafka_broker_url})
    for value in values:
        producer.produce(topic, value, partition=0)
    assert producer.flush(30) == 0


def test_all_that_there_is_is_read_before_all_is_well(deployment) -> None:
    topic = deployment.settings.audit_topic
    write(deployment, topic, *map(str, range(500)))
    taken: list[bytes] = []
    follower = Follower(deployment.settings, [topic], lambda message: taken.append(message.value()))

    assert follower.problem
    follower.start()
    wait_until(lambda: not follower.problem)

    assert taken == [str(number).encode() for number in range(500)]
    assert not follower.older
    write(deployment, topic, "new")
    wait_until(lambda: taken[-1] == b"new")
    follower.close()


def test_of_a_tail_it_is_told_that_there_is_more(deployment) -> None:
    topic = deployment.settings.fraud_topic
    write(deployment, topic, "1", "2", "3")
    taken: list[bytes] = []
    follower = Follower(deployment.settings, [topic], lambda message: taken.append(message.value()), tail=2)

    follower.start()
    wait_until(lambda: not follower.problem)
    follower.close()

    assert (taken, follower.older) == ([b"2", b"3"], True)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_fault_in_our_own_code_is_no_silence(deployment) -> None:
    topic = deployment.settings.audit_topic
    follower = Follower(deployment.settings, [topic], lambda message: 1 // 0)

    follower.start()
    wait_until(lambda: not follower.problem)
    write(deployment, topic, "x")

    wait_until(lambda: "nothing is read any more" in follower.problem)
    follower.close()
