"""What a person is told when the broker does not do what was asked: one line, with what to change."""

from confluent_kafka import KafkaError, KafkaException

_LOGIN = frozenset({KafkaError._AUTHENTICATION, KafkaError.SASL_AUTHENTICATION_FAILED})  # noqa: SLF001  public names
_NO_ANSWER = frozenset(
    {
        KafkaError._TRANSPORT,  # noqa: SLF001
        KafkaError._TIMED_OUT,  # noqa: SLF001
        KafkaError._ALL_BROKERS_DOWN,  # noqa: SLF001
        KafkaError._RESOLVE,  # noqa: SLF001
    }
)


class BrokerError(Exception):
    """Kafka cannot be reached, or does not do what was asked."""


def explain(error: KafkaError, address: str, seconds: float) -> BrokerError:
    """Turn an error of the client into the line to show.

    Args:
        error: What the client reports.
        address: Where it was told to connect.
        seconds: How long it was tried.
    """
    reason = " ".join(error.str().split())  # a TLS reason comes with line breaks
    code = error.code()
    if code in _NO_ANSWER:
        line = f"no Kafka broker answers at {address} within {seconds:g} s: start one, or set KAFKA_BROKER_URL"
    elif code in _LOGIN:
        line = (
            f"{address} refuses the login: {reason}: "
            "check KAFKA_SASL_MECHANISM, KAFKA_SASL_USERNAME and KAFKA_SASL_PASSWORD"
        )
    elif code == KafkaError._SSL:  # noqa: SLF001
        line = f"no TLS with {address}: {reason}: check KAFKA_SECURITY_PROTOCOL and KAFKA_SSL_CA_LOCATION"
    else:
        line = f"{address}: {reason}"
    return BrokerError(line)


def error_in(exception: KafkaException) -> KafkaError:
    """The error an exception of the client carries."""
    error: KafkaError = exception.args[0]
    return error
