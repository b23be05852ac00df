"""When events were sent: asked of Kafka for those that have their verdict, so that nobody reads all events again."""

from collections.abc import Mapping
from time import monotonic
from typing import Any, Final

from confluent_kafka import Consumer, TopicPartition

from web.live.sampled import Place

CONFIG: Final[dict[str, Any]] = {
    "auto.offset.reset": "latest",
    "enable.partition.eof": True,
    "queued.min.messages": 1,
    "fetch.message.max.bytes": 65_536,
}
MOST: Final = 200
"""Records of a partition that are read in a look."""

_WAIT_SECONDS: Final = 0.3
"""As a rule the ends of the partitions come in a few ms."""

_LOOK_SECONDS: Final = 0.02
_BATCH: Final = 1_000


def sent(consumer: Consumer, starts: Mapping[Place, int]) -> tuple[list[tuple[str, int]], dict[Place, int]]:
    """When records were sent that are there from an offset on.

    Up to `MOST` of a partition, and only for a moment: it is a sample.

    Args:
        consumer: A consumer with `CONFIG`, which has no partition between two calls.
        starts: Where to begin in each partition.

    Returns:
        The address of each record with its time, ms since the epoch; and of the starts those that nothing was heard of.
    """
    found: list[tuple[str, int]] = []
    left = dict.fromkeys(starts, MOST)
    deadline = monotonic() + _WAIT_SECONDS
    consumer.assign([TopicPartition(topic, number, start) for (topic, number), start in starts.items()])
    while left and (wait := deadline - monotonic()) > 0:
        for message in consumer.consume(_BATCH, min(wait, _LOOK_SECONDS)):
            place = (str(message.topic()), message.partition() or 0)
            if message.error() is not None:
                left.pop(place, None)  # its end, as a rule
            elif place in left:
                found.append((f"{place[0]}/{place[1]}/{message.offset()}", message.timestamp()[1]))
                left[place] -= 1
                if not left[place]:
                    del left[place]
    consumer.unassign()
    return found, {place: starts[place] for place, more in left.items() if more == MOST}
