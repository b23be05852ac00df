"""What a person is told when the broker does not do what was asked: one line, with what to change."""

import re

from confluent_kafka import KafkaError, KafkaException

_TIMING = re.compile(r" \(after \d+ms in state .*")
_NO_ANSWER = frozenset(
    {
        KafkaError._TRANSPORT,  # noqa: SLF001  these names are public: the underscore marks the client's own errors
        KafkaError._TIMED_OUT,  # noqa: SLF001
        KafkaError._ALL_BROKERS_DOWN,  # noqa: SLF001
        KafkaError._RESOLVE,  # noqa: SLF001
    }
)


MOVING = frozenset(
    {
        KafkaError.NOT_LEADER_FOR_PARTITION,
        KafkaError.LEADER_NOT_AVAILABLE,
        KafkaError.FENCED_LEADER_EPOCH,
        KafkaError.UNKNOWN_LEADER_EPOCH,
        KafkaError._UNKNOWN_PARTITION,  # noqa: SLF001  (its public name) the client has not heard of a young one yet
    }
)
"""Said of a partition that is looking for its leader: young, or of a broker that goes, comes or was frozen."""


class BrokerError(Exception):
    """Kafka cannot be reached, or does not do what was asked."""


def explain(error: KafkaError, address: str, seconds: float) -> BrokerError:
    """Turn an error of the client into the line to show.

    Args:
        error: What the client reports.
        address: Where it was told to connect.
        seconds: How long it was tried.
    """
    reason = without_timing(" ".join(error.str().split()))  # a TLS reason comes with line breaks
    code = error.code()
    if "certificate verify failed" in reason:  # librdkafka does not say why
        line = (
            f"no TLS with {address}: its certificate has expired, is for another host, or is of an authority that "
            "KAFKA_SSL_CA_LOCATION does not name"
        )
    elif is_tls(error):
        line = f"no TLS with {address}: {reason}: check KAFKA_SECURITY_PROTOCOL and KAFKA_SSL_CA_LOCATION"
    elif code in _NO_ANSWER:
        line = f"no Kafka broker answers at {address} within {seconds:g} s: start one, or set KAFKA_BROKER_URL"
    elif is_login(error):
        line = (
            f"{address} refuses the login: {reason}: "
            "check KAFKA_SASL_MECHANISM, KAFKA_SASL_USERNAME and KAFKA_SASL_PASSWORD"
        )
    else:
        line = f"{address}: {reason}"
    return BrokerError(line)


def without_timing(text: str) -> str:
    """A client's line without how long it took, which is another each time."""
    return _TIMING.sub("", text)


def is_login(error: KafkaError) -> bool:
    """Whether the broker does not let us in."""
    return error.code() in {KafkaError._AUTHENTICATION, KafkaError.SASL_AUTHENTICATION_FAILED}  # noqa: SLF001


def is_tls(error: KafkaError) -> bool:
    """Whether one side speaks TLS and the other does not, or not so; librdkafka then guesses at the listener."""
    return error.code() == KafkaError._SSL or "listener?" in error.str()  # noqa: SLF001


def error_in(exception: KafkaException) -> KafkaError:
    """The error an exception of the client carries."""
    error: KafkaError = exception.args[0]
    return error
