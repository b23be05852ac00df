"""What the dataflow tests judge: a pack that takes every way through the dataflow, and traffic for it."""

import json
import random
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cache
from typing import Any

from bytewax.recovery import RecoveryConfig
from bytewax.testing import TestingSink, TestingSource, cluster_main, run_main

from dataflows.fraud import build
from dataflows.sinks import Sinks
from detection.loading import parse
from detection.pack import Pack
from detection.program import Engine
from detection.records import DeadLetter, Record, Verdict

START = 1_767_225_600_000  # 2026-01-01T00:00:00Z, ms

# `payment` goes to four keyed steps, to one of them by two keys, and is joined; `login` goes to one of them alone, `ping` by none.
WIDE = """
lateness = "20s"

[event.payment]
topic = "payments"
time = "at"
fields = { user = "str", amount = "money", device = "str?", merchant = "str", friend = "str?" }
block_topic = "payments.block"
review_topic = "payments.review"
accept_topic = "payments.accept"

[event.login]
topic = "logins"
time = "at?"
fields = { user = "str" }
block_topic = "logins.block"
review_topic = "logins.review"
accept_topic = "logins.accept"

[event.ping]
topic = "pings"
fields = { load = "int" }
block_topic = "pings.block"
review_topic = "pings.review"
accept_topic = "pings.accept"

[feature.user_spent]
on = "payment"
key = ["user"]
fn = "sum"
of = "amount"
window = "30s"

[feature.device_users]
on = "payment"
key = ["device"]
fn = "distinct"
of = "user"
window = "60s"

[feature.merchant_sales]
on = "payment"
key = ["merchant"]
fn = "count"
window = "15s"

[feature.pair]
on = "payment"
key = ["user", "merchant"]
fn = "count"
window = "45s"

[feature.received]
on = "payment"
key = ["user"]
over_key = ["friend"]
fn = "sum"
of = "amount"
window = "60s"

[feature.logins]
on = "login"
key = ["user"]
fn = "count"
window = "20s"

[rule.spender]
on = "payment"
when = "user_spent > 600"
reason = "{user} spent {user_spent}"
score = 50
outcome = "review"

[rule.shared_device]
on = "payment"
when = "device_users >= 3"
reason = "{device_users} users on {device}"
score = 80
outcome = "block"

[rule.crowd]
on = "payment"
when = "merchant_sales > 6"
reason = "{merchant_sales} at {merchant}"
score = 40
outcome = "review"

[rule.habit]
on = "payment"
when = "pair >= 3"
reason = "{pair}"
score = 10
outcome = "review"
mode = "shadow"

[rule.passing_on]
on = "payment"
when = "received > 300 && amount > 50"
reason = "{user} received {received}"
score = 30
outcome = "review"

[rule.many_logins]
on = "login"
when = "logins >= 3"
reason = "{logins} logins"
score = 90
outcome = "block"

[rule.overload]
on = "ping"
when = "load > 90"
reason = "{load}"
score = 90
outcome = "block"
"""

# Two topics of a broker have no common order; a source made of records has one.
LOOKING = """
[feature.user_logins]
on = "payment"
key = ["user"]
over = "login"
fn = "count"
window = "60s"

[rule.busy]
on = "payment"
when = "user_logins >= 2"
reason = "{user_logins} logins of {user}"
score = 5
outcome = "review"
"""

RUBBISH = (None, b"", b"no json", b"[]", b'{"user":1}', b'{"load":"much"}', b'{"user":"u","user":"v"}', b"\xff")


@cache
def wide() -> Pack:
    return parse({"wide.toml": WIDE})


@cache
def looking() -> Pack:
    """The same, and payments look at logins."""
    return parse({"wide.toml": WIDE, "looking.toml": LOOKING})


def payment(number: int, *, at: int, partition: int = 0, offset: int = 0, **members: Any) -> Record:
    """A payment; `at` is in ms since START."""
    value = {"user": f"u{number}", "amount": 1.5, "merchant": "m", "at": START + at, **members}
    return Record("payments", partition, offset, START + at, b"u%d" % number, json.dumps(value).encode())


def traffic(number: int, seed: int = 1, partitions: int = 3) -> list[Record]:
    """Records of all kinds: equal and late times, keys missing, rubbish. No key occurs in two partitions."""
    chance = random.Random(seed)
    offsets: dict[tuple[str, int], int] = {}
    records = []
    for step in range(number):
        topic = chance.choice(["payments"] * 5 + ["logins"] * 3 + ["pings"])
        partition = chance.randrange(partitions)
        offset = offsets.get((topic, partition), -1) + chance.choice([1, 1, 1, 3])  # transactions leave gaps
        offsets[topic, partition] = offset
        at = START + step // 2 * 200 - (chance.choice([0, 0, 900, 25_000]) if chance.random() < 0.3 else 0)
        user = f"u{partition}-{chance.randrange(6)}"
        value: dict[str, Any] = {
            "payments": {
                "user": user,
                "amount": chance.choice([1, 99.99, "250", 0.000001]),
                "merchant": f"m{partition}-{chance.randrange(3)}",
                "at": at,
                "friend": f"u{partition}-{step % 6}",
                **({"device": f"d{partition}-{chance.randrange(3)}"} if chance.random() < 0.7 else {}),
            },
            "logins": {"user": user, **({"at": at} if chance.random() < 0.8 else {})},
            "pings": {"load": chance.randrange(100)},
        }[topic]
        if chance.random() < 0.1:
            value["verdict"] = {"old": chance.random()}
        raw = chance.choice(RUBBISH) if chance.random() < 0.08 else json.dumps(value).encode()
        key = chance.choice([user.encode(), None, b""])
        records.append(Record(topic, partition, offset, at, key, raw, [("h", b"1")] if chance.random() < 0.2 else None))
    return records


@dataclass
class Outputs:
    """What came out of each branch."""

    fraud: list[Any] = field(default_factory=list)
    review: list[Any] = field(default_factory=list)
    legit: list[Any] = field(default_factory=list)
    dead_letters: list[Any] = field(default_factory=list)

    def sinks(self) -> Sinks:
        return Sinks(*(TestingSink(out) for out in (self.fraud, self.review, self.legit, self.dead_letters)))

    def by_origin(self) -> dict[str, tuple[Any, ...]]:
        """Everything that came out; fails when a record came out twice."""
        found: dict[str, tuple[Any, ...]] = {}
        for place, answer in rows(self):
            assert place not in found, f"{place} came out twice"
            found[place] = answer
        return found

    def partition(self, topic: str, partition: int, decision: str) -> list[int]:
        """The offsets of one source partition in the order in which one branch had them."""
        branch = {"block": self.fraud, "review": self.review, "accept": self.legit}[decision]
        places = [origin(verdict).rsplit("/", 2) for verdict in branch]
        return [int(offset) for name, part, offset in places if (name, int(part)) == (topic, partition)]


def rows(outputs: Outputs) -> Iterator[tuple[str, tuple[Any, ...]]]:
    for branch in ("fraud", "review", "legit", "dead_letters"):
        for item in getattr(outputs, branch):
            yield origin(item), row(branch, item)


def row(branch: str, item: Verdict | DeadLetter) -> tuple[Any, ...]:
    """All that matters of an answer, in builtins."""
    if isinstance(item, DeadLetter):
        return branch, item.record.topic, item.record.key, item.record.value, tuple(item.headers())
    return branch, item.topic, item.key, item.value, item.decision


def origin(item: Verdict | DeadLetter) -> str:
    if isinstance(item, DeadLetter):
        return item.record.origin
    found: str = json.loads(item.value)["verdict"]["origin"]
    return found


def engine_says(pack: Pack, records: Iterable[Record]) -> dict[str, tuple[Any, ...]]:
    """The answers of the engine without a dataflow, by origin."""
    engine = Engine(pack)
    branches = {"block": "fraud", "review": "review", "accept": "legit"}
    answers = {}
    for record in records:
        item = engine.judge(record)
        branch = "dead_letters" if isinstance(item, DeadLetter) else branches[item.decision]
        answers[record.origin] = row(branch, item)
    return answers


def two_threads(flow: Any, **options: Any) -> None:
    cluster_main(flow, [], 0, worker_count_per_proc=2, **options)


ENTRIES: dict[str, Callable[..., None]] = {"one worker": run_main, "two threads": two_threads}


def run(
    pack: Pack,
    records: Iterable[Any],
    *,
    batch: int = 10,
    entry: str = "one worker",
    store: RecoveryConfig | None = None,
    outputs: Outputs | None = None,
    epoch: timedelta = timedelta(0),
) -> Outputs:
    """Send records and sentinels through the dataflow; the outputs may be those of an earlier run."""
    outputs = outputs or Outputs()
    ENTRIES[entry](
        build(pack, TestingSource(records, batch), outputs.sinks()), epoch_interval=epoch, recovery_config=store
    )
    return outputs
