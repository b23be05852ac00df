"""A Kafka broker inside this process, for the demo and the fast tests: the mock cluster that librdkafka contains.

It speaks the real protocol on a real port, to any client of any process: produce, consume, groups and idempotence work.
What it does not do, measured with librdkafka 2.16.0:

- It keeps only the newest 5 MiB of a partition, as the producer compressed them, and drops whole batches: 44,000 of
  300,000 random records of 100 bytes were left, 24 of 100 of 200 kB, and with lz4 631,000 of a million JSON objects
  that looked alike. Offsets go on, so a reader that falls behind finds a gap. Nothing is on disk.
- Transactions succeed and isolate nothing: `read_committed` reads everything. So: at least once here, not exactly.
- It creates no topic on an admin client's request (that times out). A topic a producer names appears with four
  partitions; `create_topic` makes one with as many as wanted (one with 1,000 was written and read).
- Clients built on librdkafka (kcat among them) work with it. Java's of Kafka 4.1 do not: they connect, and look for
  another broker for ever.
- No TLS, no login, no topic settings, no retention by time, no compaction.

It is up in 2 ms and gone in 3. Several brokers in one cluster work (5 tried); this is for one, because a lost broker
is the business of a real Kafka: `broker.apache`.
"""

import ctypes
from types import TracebackType
from typing import Self

from confluent_kafka import cimpl

_PRODUCER = 0  # rd_kafka_type_t
_ERROR_BYTES = 512


def _library() -> ctypes.CDLL:
    """Take librdkafka as confluent_kafka has loaded it, with calls of its public headers rdkafka.h and rdkafka_mock.h.

    confluent_kafka itself reaches the mock cluster too (`test.mock.num.brokers`), but cannot create a topic there.
    """
    library = ctypes.CDLL(cimpl.__file__)  # a symbol is also looked for in what the extension module links
    pointer, text, number = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int
    for name, result, arguments in (
        ("rd_kafka_conf_new", pointer, []),
        ("rd_kafka_conf_set", number, [pointer, text, text, text, ctypes.c_size_t]),
        ("rd_kafka_new", pointer, [number, pointer, text, ctypes.c_size_t]),
        ("rd_kafka_destroy", None, [pointer]),
        ("rd_kafka_mock_cluster_new", pointer, [pointer, number]),
        ("rd_kafka_mock_cluster_destroy", None, [pointer]),
        ("rd_kafka_mock_cluster_bootstraps", text, [pointer]),
        ("rd_kafka_mock_topic_create", number, [pointer, text, number, number]),
    ):
        function = getattr(library, name)
        function.restype = result
        function.argtypes = arguments
    return library


class EmbeddedBroker:
    """One broker on a free port of 127.0.0.1, from `with` to its end.

    Attributes:
        address: Where it answers, "127.0.0.1:PORT".
    """

    address: str

    def __enter__(self) -> Self:
        """Start it."""
        self._library = library = _library()
        error = ctypes.create_string_buffer(_ERROR_BYTES)
        configuration = library.rd_kafka_conf_new()
        # The client that carries the cluster never connects anywhere, so it has nothing to say.
        library.rd_kafka_conf_set(configuration, b"log_level", b"0", error, _ERROR_BYTES)
        self._client = library.rd_kafka_new(_PRODUCER, configuration, error, _ERROR_BYTES)
        if not self._client:
            msg = f"embedded broker: expected to start, got {error.value.decode()}"
            raise OSError(msg)
        self._cluster = library.rd_kafka_mock_cluster_new(self._client, 1)
        if not self._cluster:
            library.rd_kafka_destroy(self._client)
            msg = "embedded broker: expected to listen on a port of 127.0.0.1, got none"
            raise OSError(msg)
        self.address = library.rd_kafka_mock_cluster_bootstraps(self._cluster).decode()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop it. What it held is gone; clients that are still open go on looking for it."""
        self._library.rd_kafka_mock_cluster_destroy(self._cluster)
        self._library.rd_kafka_destroy(self._client)

    def create_topic(self, name: str, partitions: int = 4) -> None:
        """Make a topic.

        Raises:
            ValueError: There is one of that name, or `partitions` is less than 1.
        """
        if partitions < 1:
            msg = f"embedded broker: expected at least 1 partition for {name}, got {partitions}"
            raise ValueError(msg)
        if self._library.rd_kafka_mock_topic_create(self._cluster, name.encode(), partitions, 1):
            msg = f"embedded broker: expected a name no topic has, got {name!r}"
            raise ValueError(msg)
