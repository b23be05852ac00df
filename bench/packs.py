"""What a rule and a feature cost: microseconds an event, in one thread, without Kafka.

    python -m bench.packs                    # 1, 10, 100 rules and 1, 10, 30 features
    python -m bench.packs --busy             # one key with all events: exact windows beside panes
    python -m bench.packs --events 50000 --rounds 3

Each row is the best of several rounds, and beside it what decoding alone takes in the same round: quote the ratio, for
other work on the machine drifts.
"""

import argparse
import random
import time

from detection.features import GroupState
from detection.loading import parse
from detection.program import Decoder, Program
from detection.records import Record

USERS = 10_000
BATCH = 1_000
START = 1_767_225_600_000
EVENT = """
[event.pay]
topic = "pays"
time = "at"
fields = { user = "str", amount = "money", n = "int" }
"""
FUNCTIONS = ("count", "sum", "avg", "previous", "gap", "first_seen_age")
WINDOWS = ("10s", "60s", "10m", "1h", "24h")


def feature(number: int) -> str:
    """A cheap aggregate, each of another kind and window."""
    fn = FUNCTIONS[number % len(FUNCTIONS)]
    of = 'of = "amount"\n' if fn in {"sum", "avg", "previous"} else ""
    window = WINDOWS[number // len(FUNCTIONS) % len(WINDOWS)]
    return f'[feature.f{number}]\non = "pay"\nkey = ["user"]\nfn = "{fn}"\n{of}window = "{window}"\n'


def rule(number: int) -> str:
    """A condition over a feature and two fields, that does not fire."""
    when = f"f0 > {100 + number} && amount > {10 + number} || n == {-1 - number}"
    return f'[rule.r{number}]\non = "pay"\nwhen = "{when}"\nreason = ""\nscore = 1\noutcome = "block"\n'


def busy(fn: str, resolution: str) -> Program:
    """One feature over all that the stream holds."""
    of = "" if fn == "count" else 'of = "amount"\n'
    panes = f'resolution = "{resolution}"\n' if resolution else ""
    text = f'[feature.f0]\non = "pay"\nkey = ["bank"]\nfn = "{fn}"\n{of}window = "24h"\n{panes}'
    return Program(parse({"bench.toml": EVENT.replace('n = "int"', 'n = "int", bank = "str"') + text + rule(0)}))


def pack(features: int, rules: int) -> Program:
    """A pack with so many of them."""
    texts = [EVENT, *map(feature, range(features)), *map(rule, range(rules))]
    return Program(parse({"bench.toml": "".join(texts)}))


def records(number: int, *, busy: bool) -> list[Record]:
    """Payments of many users, 10 ms apart; all through one bank, if so asked."""
    bank = b'"bank":"b",' if busy else b""
    chance = random.Random(5)
    return [
        Record(
            "pays",
            0,
            offset,
            START + offset * 10,
            None,
            b'{"user":"user-%05d",%b"amount":%d.%02d,"n":%d,"at":%d}'
            % (chance.randrange(USERS), bank, chance.randrange(9), chance.randrange(100), offset, START + offset * 10),
        )
        for offset in range(number)
    ]


def cost(program: Program, stream: list[Record]) -> tuple[float, float]:
    """Microseconds an event: decoding alone, and all of it."""
    decoder = Decoder(program)
    states = [GroupState(step) for step in program.steps]
    judge = program.judges[0].judge
    decoding = 0.0
    begin = time.perf_counter()
    for first in range(0, len(stream), BATCH):
        batch = stream[first : first + BATCH]
        before = time.perf_counter()
        events = decoder.decode(batch)
        decoding += time.perf_counter() - before
        for state in states:
            state.update(events, [])
        for event in events:
            judge(event)
    return decoding / len(stream) * 1e6, (time.perf_counter() - begin) / len(stream) * 1e6


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--busy", action="store_true")
    options = parser.parse_args()
    stream = records(options.events, busy=options.busy)
    if options.busy:
        print("function  events in the window  exact us  panes us")
        for fn in ("count", "stddev", "distinct"):
            exact, panes = (
                min(cost(busy(fn, resolution), stream)[1] for _ in range(options.rounds)) for resolution in ("", "5s")
            )
            print(f"{fn:8} {options.events:21,} {exact:9.2f} {panes:9.2f}", flush=True)
        return
    print("features  rules  decode us  all us  ratio")
    for features, rules in ((1, 1), (1, 10), (1, 100), (1, 0), (10, 1), (30, 1)):
        best = min((cost(pack(features, rules), stream) for _ in range(options.rounds)), key=lambda found: found[1])
        print(f"{features:8} {rules:6} {best[0]:10.2f} {best[1]:7.2f} {best[1] / best[0]:6.1f}", flush=True)


if __name__ == "__main__":
    main()
