"""A Kafka and a Bytewax in pure Python, one thread, one seed: crashes and broker faults by the thousand.

What runs is the real code: source, decoder, key groups, join, judge, resume filter, fence and sinks, wired by
`dataflows.fraud.build`. What is played: the Kafka client (`clients`), the brokers (`cluster`), Bytewax's workers, its
epochs and recovery store (`driver`), and time (`clock`). A `schedule` starts and ends processes until all is read, and
counts.

The tests ask the same of the fake Kafka and of a real one, of the played Bytewax and of the real one. `bugs` breaks the
product in twenty-one ways, and each has to show.

Not covered: brokers that lose what they confirmed, a recovery store that is damaged or an older copy, a changed pack,
lists, and two clusters that write to one recovery store, which locks refuse.
"""
