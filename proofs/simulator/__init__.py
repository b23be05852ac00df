"""A Kafka and a Bytewax in pure Python, one thread, one seed: crashes and broker faults by the thousand."""
