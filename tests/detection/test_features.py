"""Windows over histories: what a feature says is what counting the whole past from scratch says."""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise
from math import asin, cos, isclose, log2, radians, sin, sqrt
from statistics import pstdev
from typing import Any
from zlib import compress, decompress

import msgspec
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from detection.errors import StateError
from detection.features import GroupState
from detection.features.group import read_snapshot
from detection.features.log_state import histories
from detection.loading import parse
from detection.pack import Pack
from detection.program import Decoder, Engine, Program
from detection.records import DeadLetter, Record, Verdict
from detection.sealed import seal

SECOND = 1_000_000
LATENESS = 5
EVENT = """
[event.pay]
topic = "pays"
time = "at"
fields = { user = "str", shop = "str?", n = "int", x = "float", m = "money", tag = "str?", flag = "bool", lat = "float?", lon = "float?", friend = "str?" }
"""
Key = tuple[str, ...]


RED = 'tag == "red"'
WHERE: dict[str, Callable[["Pay"], bool]] = {
    "": lambda _: True,
    "flag": lambda pay: pay["flag"],
    RED: lambda pay: pay["tag"] == "red",
}


@dataclass(frozen=True)
class Spec:
    """A feature as the naive recomputation sees it; with `by` an event looks with these fields, and is not counted.

    `panes` is the resolution in seconds.
    """

    name: str
    key: Key
    fn: str
    of: str | tuple[str, str] | None
    seconds: int
    delay: int = 0
    where: str = ""
    session: int = 0
    by: Key = ()
    panes: int = 0

    @property
    def fields(self) -> tuple[str, ...]:
        return self.of if isinstance(self.of, tuple) else (self.of,) if self.of else ()

    @property
    def log(self) -> tuple[Key, tuple[str, ...], str, int]:
        return self.key, tuple(name for name in self.fields if name in {"tag", "lat", "lon"}), self.where, self.panes

    def pane(self, at: int) -> int:
        """Where the pane of a time begins."""
        return at - at % (self.panes * SECOND) if self.panes else at

    def holds(self, other: int, at: int) -> bool:
        """Whether an event of the time `other` is in the window of one of the time `at`."""
        end = at - self.delay * SECOND
        return self.pane(end - self.seconds * SECOND + 1) <= self.pane(other) <= self.pane(end)

    def counts(self, pay: "Pay") -> bool:
        return WHERE[self.where](pay)

    @property
    def toml(self) -> str:
        of = f"of = {json.dumps(self.of)}\n" if self.of else ""
        return (
            f'[feature.{self.name}]\non = "pay"\nkey = {json.dumps(self.by or self.key)}\nfn = "{self.fn}"\n{of}'
            f'window = "{self.seconds}s"\n'
            + (f'delay = "{self.delay}s"\n' if self.delay else "")
            + (f'session = "{self.session}s"\n' if self.session else "")
            + (f'resolution = "{self.panes}s"\n' if self.panes else "")
            + (f"where = '{self.where}'\n" if self.where else "")
            + (f"over_key = {json.dumps(self.key)}\n" if self.by else "")
        )


SPECS = [
    Spec("count_short", ("user",), "count", None, 2),
    Spec("count_long", ("user",), "count", None, 7),
    Spec("sum_n", ("user",), "sum", "n", 3),
    Spec("sum_m", ("user",), "sum", "m", 7),
    Spec("sum_x", ("user",), "sum", "x", 3),
    Spec("last_n", ("user",), "previous", "n", 3),
    Spec("last_flag", ("user",), "previous", "flag", 7),
    Spec("gap", ("user",), "gap", None, 4),
    Spec("kinds_n", ("user",), "distinct", "n", 4),
    Spec("kinds_tag", ("user",), "distinct", "tag", 4),
    Spec("last_tag", ("user",), "previous", "tag", 2),
    Spec("count_pair", ("user", "shop"), "count", None, 5),
    Spec("sum_pair", ("user", "shop"), "sum", "n", 5),
    Spec("count_shop", ("shop",), "count", None, 6),
    Spec("sum_shop", ("shop", "flag"), "sum", "m", 3),
    Spec("count_number", ("n", "user"), "count", None, 3),
    Spec("count_flagged", ("user",), "count", None, 4, where="flag"),
    Spec("sum_flagged", ("user",), "sum", "m", 4, where="flag"),
    Spec("last_red", ("user",), "previous", "n", 4, where=RED),
    Spec("gap_red", ("user", "shop"), "gap", None, 6, where=RED),
    Spec("avg_n", ("user",), "avg", "n", 4),
    Spec("avg_m", ("user",), "avg", "m", 7),
    Spec("avg_x_before", ("user",), "avg", "x", 4, delay=1),
    Spec("min_m", ("user",), "min", "m", 4),
    Spec("max_x_flagged", ("user",), "max", "x", 4, where="flag"),
    Spec("stddev_n", ("user",), "stddev", "n", 6),
    Spec("stddev_m", ("user",), "stddev", "m", 6),
    Spec("stddev_x", ("shop",), "stddev", "x", 6),
    Spec("known_for", ("user",), "first_seen_age", None, 7),
    Spec("known_before", ("shop",), "first_seen_age", None, 3, delay=1),
    Spec("mode_tag", ("user",), "mode_share", "tag", 6),
    Spec("entropy_n", ("user",), "entropy", "n", 6),
    Spec("entropy_red", ("user",), "entropy", "n", 6, where=RED),
    Spec("speed", ("user",), "speed_kmh", ("lat", "lon"), 7),
    Spec("speed_flagged", ("shop",), "speed_kmh", ("lat", "lon"), 4, where="flag"),
    Spec("speed_before", ("user",), "speed_kmh", ("lat", "lon"), 4, delay=1),
    Spec("visits", ("user",), "count", None, 7, session=2),
    Spec("visit_time", ("user",), "first_seen_age", None, 7, session=1),
    Spec("visit_sum", ("shop",), "sum", "n", 6, session=2, where="flag"),
    Spec("visit_before", ("user",), "previous", "n", 6, session=2, delay=1),
    Spec("rhythm", ("user",), "gap_stddev", None, 7),
    Spec("count_before", ("user",), "count", None, 3, delay=2),
    Spec("last_before", ("user",), "previous", "tag", 3, delay=1),
    Spec("gap_before", ("shop",), "gap", None, 3, delay=2),
    Spec("sum_red_before", ("user",), "sum", "n", 5, delay=1, where=RED),
    Spec("sum_long_before", ("shop",), "sum", "x", 5, delay=6),
    Spec("received", ("friend",), "sum", "n", 5, by=("user",)),
    Spec("givers", ("friend", "shop"), "distinct", "tag", 6, by=("user", "shop")),
    Spec("last_received", ("friend",), "previous", "n", 4, by=("user",)),
    Spec("since_received", ("friend",), "gap", None, 4, by=("user",), where="flag"),
    Spec("received_before", ("friend",), "avg", "m", 4, by=("user",), delay=1),
    Spec("visit_received", ("friend",), "count", None, 7, by=("user",), session=2),
    Spec("share", ("user",), "fraud_rate", "flag", 6),
    Spec("share_before", ("friend",), "fraud_rate", "flag", 6, by=("user",), where=RED),
    Spec("by_friend", ("user",), "max", "n", 5, by=("friend",)),
    Spec("by_friend_there", ("user", "shop"), "first_seen_age", None, 5, by=("friend", "shop")),
    Spec("own_as_friend", ("user", "shop"), "count", None, 5, by=("user", "friend")),
    Spec("panes_count", ("user",), "count", None, 6, panes=2),
    Spec("panes_count_odd", ("user",), "count", None, 5, panes=3),
    Spec("panes_sum_n", ("user",), "sum", "n", 4, panes=2),
    Spec("panes_sum_m", ("user",), "sum", "m", 7, panes=3),
    Spec("panes_sum_x", ("shop",), "sum", "x", 4, panes=2),
    Spec("panes_avg_n", ("user",), "avg", "n", 4, panes=2),
    Spec("panes_avg_m", ("user",), "avg", "m", 6, panes=2, where="flag"),
    Spec("panes_avg_x", ("friend",), "avg", "x", 6, panes=2, by=("user",)),
    Spec("panes_min", ("user",), "min", "m", 4, panes=2),
    Spec("panes_max", ("user",), "max", "x", 4, panes=2, delay=1),
    Spec("panes_stddev_n", ("user",), "stddev", "n", 6, panes=2),
    Spec("panes_stddev_m", ("user",), "stddev", "m", 6, panes=2, delay=3),
    Spec("panes_stddev_x", ("shop",), "stddev", "x", 7, panes=7),
    Spec("panes_kinds", ("user",), "distinct", "tag", 6, panes=2),
    Spec("panes_kinds_x", ("user",), "distinct", "x", 6, panes=2, where=RED),
    Spec("panes_mode", ("user",), "mode_share", "flag", 6, panes=3),
    Spec("panes_entropy", ("friend", "shop"), "entropy", "n", 6, panes=2, by=("user", "shop")),
    Spec("panes_share", ("user",), "fraud_rate", "flag", 6, panes=2),
    Spec("panes_known", ("user",), "first_seen_age", None, 7, panes=2),
    Spec("panes_known_before", ("shop",), "first_seen_age", None, 6, panes=2, delay=2),
]


def pack_of(specs: Iterable[Spec], head: str = f'lateness = "{LATENESS}s"\n{EVENT}') -> Pack:
    specs = list(specs)
    reads = " ".join(f"{{{spec.name}}}" for spec in specs)
    rule = f'[rule.all]\non = "pay"\nwhen = "true"\nreason = "{reads}"\nscore = 1\noutcome = "review"\n'
    return parse({"x.toml": head + "".join(spec.toml for spec in specs) + rule})


PACK = pack_of(SPECS)
Pay = dict[str, Any]


def record(pay: Pay, offset: int) -> Record:
    members = {name: value for name, value in pay.items() if name not in {"partition", "m"} and value is not None}
    members["at"] = pay["at"] // 1000
    value = json.dumps({**members, "m": f"{Decimal(pay['m']).scaleb(-6):f}"}).encode()
    return Record("pays", pay["partition"], offset, -1, None, value)


# --- the naive recomputation -------------------------------------------------------------------------------------


def told(verdict: Verdict | DeadLetter) -> tuple[dict[str, Any], dict[str, Any]]:
    """Values and evidence, as the verdict tells them."""
    assert isinstance(verdict, Verdict), verdict
    answer = json.loads(verdict.value)["verdict"]
    return answer["rules"][0]["values"], answer["evidence"]


def naive(specs: Sequence[Spec], pays: Sequence[Pay]) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    longest = {
        spec.log: max(other.seconds + other.delay + other.panes for other in specs if other.log == spec.log)
        for spec in specs
    }
    answers = []
    for number, pay in enumerate(pays):
        watermark = max(other["at"] for other in pays[: number + 1] if other["partition"] == pay["partition"])
        values, evidence = {}, {}
        for spec in specs:
            needed = (*spec.key, *spec.fields)
            own = spec.by or (*spec.key, *spec.fields)
            keep = watermark - (longest[spec.log] + LATENESS) * SECOND
            window = sorted(
                (
                    (other["at"], at)
                    for at, other in enumerate(pays[: number + (not spec.by)])
                    if all(other.get(name) is not None for name in needed)
                    and all(
                        other[name] == pay.get(mine) for name, mine in zip(spec.key, spec.by or spec.key, strict=True)
                    )
                    and spec.counts(other)
                    and spec.holds(other["at"], pay["at"])
                    and spec.pane(other["at"]) > keep
                ),
            )
            if spec.session:
                near, moment = [], pay["at"] - spec.delay * SECOND
                for at, number_of in reversed(window):
                    if moment - at > spec.session * SECOND:
                        break
                    near.insert(0, (at, number_of))
                    moment = at
                window = near
            counted = spec.counts(pay) and not spec.delay and not spec.by
            if counted:
                window = window or [(pay["at"], number)]
            if any(pay.get(name) is None for name in own):
                window = []
            values[spec.name] = value_of(spec, [pays[at] for _, at in window], pay, counted=counted)
            if any(pay.get(name) is None for name in own):
                values[spec.name] = None
            origins = [f"pays/{pays[at]['partition']}/{at}" for _, at in window]
            if not spec.panes:
                evidence[spec.name] = {"total": len(window), "newest": origins[-20:]}
        answers.append((values, evidence))
    return answers


def value_of(  # noqa: C901, PLR0911, PLR0912  (one for each aggregate)
    spec: Spec, window: Sequence[Pay], pay: Pay, *, counted: bool
) -> Any:
    values = [pay[spec.of] for pay in window] if isinstance(spec.of, str) else []
    before = window[:-1] if counted else window
    match spec.fn:
        case "count":
            return len(window)
        case "sum":
            return sum(values)
        case "distinct":
            return len(set(values))
        case "previous":
            return before[-1][spec.fields[0]] if before else None
        case "min" | "max":
            return {"min": min, "max": max}[spec.fn](values, default=None)
        case "avg":
            return rounded(Fraction(sum(map(Fraction, values)), len(values)), spec) if values else None
        case "stddev":
            return rounded(pstdev(map(Fraction, values)), spec) if len(values) > 1 else None
        case "first_seen_age":
            return (pay["at"] - spec.pane(window[0]["at"])) / SECOND if window else None
        case "mode_share":
            return max(map(values.count, values)) / len(values) if values else None
        case "fraud_rate":
            return sum(values) / len(values) if values else None
        case "entropy":
            shares = [values.count(value) / len(values) for value in set(values)]
            return -sum(share * log2(share) for share in shares) if values else None
        case "speed_kmh":
            return haversine_kmh(before[-1], pay) if before else None
        case "gap_stddev":
            gaps = [after["at"] - early["at"] for early, after in pairwise(window)]
            return round(pstdev(map(Fraction, gaps))) / SECOND if len(gaps) > 1 else None
        case _:
            return (pay["at"] - before[-1]["at"]) / SECOND if before else None


def haversine_kmh(one: Pay, other: Pay) -> float | None:
    """By another formula than the aggregate's."""
    if any(abs(pay["lat"]) > 90 or abs(pay["lon"]) > 180 for pay in (one, other)):
        return None
    lat, lon, lat2, lon2 = (radians(angle) for pay in (one, other) for angle in (pay["lat"], pay["lon"]))
    square = sin((lat2 - lat) / 2) ** 2 + cos(lat) * cos(lat2) * sin((lon2 - lon) / 2) ** 2
    return 2 * 6371.0088 * asin(sqrt(square)) * 3600 / max((other["at"] - one["at"]) / SECOND, 1)


def rounded(value: Any, spec: Spec) -> Any:
    """Money to its units, half-even as `round` does for a fraction."""
    return round(value) if spec.of == "m" else float(value)


def assert_same(specs: Sequence[Spec], verdicts: Sequence[Verdict | DeadLetter], pays: Sequence[Pay]) -> None:
    expected = naive(specs, pays)
    for verdict, (values, evidence) in zip(verdicts, expected, strict=True):
        got, got_evidence = told(verdict)
        assert got_evidence == evidence
        for spec in specs:
            value = values[spec.name]
            if spec.of == "m" and value is not None:
                got[spec.name] = round(Decimal(str(got[spec.name])).scaleb(6))
            near = value is not None and (
                spec.of == "x" or spec.fn in {"avg", "stddev", "entropy", "fraud_rate", "speed_kmh"}
            )
            same = isclose(got[spec.name], value, rel_tol=1e-9, abs_tol=1e-9) if near else got[spec.name] == value
            assert same, (spec.name, got[spec.name], value)


# --- streams -----------------------------------------------------------------------------------------------------

ticks = st.integers(0, 8)  # half seconds: equal times and windows that end exactly at an event are common
pay_fields = {
    "user": st.sampled_from(["a", "b"]),
    "shop": st.sampled_from([None, "s", "t"]),
    "n": st.sampled_from([0, 1, -3, 2**63 - 1]),
    "x": st.sampled_from([0.1, -0.3, 1e9, 1e-9]),
    "m": st.sampled_from([0, 1, 99_990_000, -5]),
    "tag": st.sampled_from([None, "red", "blue"]),
    "flag": st.booleans(),
    "lat": st.sampled_from([None, 0.0, 52.5, -33.9, 90.5]),
    "lon": st.sampled_from([None, 0.0, 13.4, 151.2, -180.0]),
    "friend": st.sampled_from([None, "a", "b", "s"]),
    "partition": st.integers(0, 2),
}


@st.composite
def streams(draw: st.DrawFn, *, lateness: int, partitions: int, leaps: tuple[int, ...] = (0,)) -> list[Pay]:
    """Events at most `lateness` half seconds behind the newest of all partitions; some leap ahead, half seconds."""
    newest = 1_000_000 * SECOND
    pays: list[Pay] = []
    item = st.tuples(st.integers(0, lateness), ticks, st.sampled_from(leaps), st.fixed_dictionaries(pay_fields))
    for late, step, leap, fields in draw(st.lists(item, max_size=25)):
        newest += (step if late == 0 else 0) * SECOND // 2
        at = newest + (leap - late) * SECOND // 2
        pays.append({**fields, "at": at, "partition": fields["partition"] % partitions})
    return pays


in_time = streams(lateness=2 * LATENESS, partitions=3)
too_late = streams(lateness=60, partitions=1)
far_future = streams(lateness=20, partitions=1, leaps=(0, 0, 0, 0, 0, 0, 100, 10**9))  # a minute, sixteen years
quick = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def judged(pack: Pack, records: Iterable[Record]) -> list[Verdict | DeadLetter]:
    engine = Engine(pack)
    return [engine.judge(record) for record in records]


def records_of(pays: Iterable[Pay]) -> list[Record]:
    return [record(pay, offset) for offset, pay in enumerate(pays)]


@quick
@given(in_time)
def test_features_of_several_partitions_in_disorder_equal_recomputing_them(pays: list[Pay]) -> None:
    assert_same(SPECS, judged(PACK, records_of(pays)), pays)


@quick
@given(too_late | far_future)
def test_a_late_event_sees_what_is_left_and_at_least_itself(pays: list[Pay]) -> None:
    assert_same(SPECS, judged(PACK, records_of(pays)), pays)


def batched(
    pack: Pack, records: Sequence[Record], cuts: Sequence[int], between: Sequence[str], *, evict: bool
) -> list[Verdict | DeadLetter]:
    """As the dataflow does it: each step takes a whole batch, and only then is the batch judged."""
    program = Program(pack)
    decoder = Decoder(program)
    states = [GroupState(step) for step in program.steps]
    verdicts: list[Verdict | DeadLetter] = []
    bounds = [0, *sorted(cut % (len(records) + 1) for cut in cuts), len(records)]
    for number, (start, stop) in enumerate(pairwise(bounds)):
        events = decoder.decode(records[start:stop])
        computed: dict[int, dict[int, tuple[Any, ...]]] = {}
        visits = [visit for event in pack.events for visit in program.plan.visits(event)]
        for number_of, state in enumerate(states):
            here = [visit for visit in visits if visit.step.number == number_of]
            coming = [(event, visit.role) for event in events for visit in here]
            for event, place, features in state.update(*zip(*coming, strict=True)) if coming else ():
                computed.setdefault(id(event), {})[place] = features
        for event in events:
            assert not isinstance(event, DeadLetter)
            if found := computed.get(id(event)):
                event.features = tuple(value for place in sorted(found) for value in found[place])
            verdicts.append(program.judges[event.kind].judge(event))
        happens = between[number % len(between)] if between else ""
        if happens:
            snapshots = [state.snapshot() for state in states]
        if happens == "restart":
            states = [GroupState.restore(step, taken) for step, taken in zip(program.steps, snapshots, strict=True)]
            decoder = Decoder(program, decoder.snapshot())
        if evict:
            for state in states:
                state.evict()
    return verdicts


SINGLE_STEP = pack_of([spec for spec in SPECS if spec.key[0] == "user" and not spec.by])


@quick
@given(
    pays=too_late | far_future | in_time,
    pack=st.sampled_from([PACK, SINGLE_STEP]),
    cuts=st.lists(st.integers(0, 25), max_size=6),
    between=st.lists(st.sampled_from(["", "snapshot", "snapshot", "restart"]), max_size=5),
    evict=st.booleans(),
)
def test_the_same_records_give_the_same_bytes_whatever_the_batches_snapshots_and_evictions(
    pays: list[Pay], pack: Pack, cuts: list[int], between: list[str], *, evict: bool
) -> None:
    records = records_of(pays)

    assert batched(pack, records, cuts, between, evict=evict) == judged(pack, records)


@quick
@given(too_late | far_future, st.sets(st.integers(0, 25)))
def test_an_engine_goes_on_from_its_snapshot_as_if_nothing_had_happened(pays: list[Pay], stops: set[int]) -> None:
    engine = Engine(PACK)
    verdicts = []
    for number, item in enumerate(records_of(pays)):
        if number in stops:
            snapshot = engine.snapshot()
            engine = Engine(PACK)
            engine.restore(snapshot)
        verdicts.append(engine.judge(item))

    assert verdicts == judged(PACK, records_of(pays))


# --- the edges of a window ---------------------------------------------------------------------------------------

PLAIN: Pay = {
    "user": "a",
    "shop": "s",
    "n": 1,
    "x": 0.5,
    "m": 1,
    "tag": "red",
    "flag": True,
    "friend": "b",
    "partition": 0,
}
START = 1_000_000 * SECOND


def pays_at(*seconds: float, **fields: Any) -> list[Pay]:
    return [PLAIN | fields | {"at": START + round(second * SECOND)} for second in seconds]


def values(pack: Pack, name: str, pays: Iterable[Pay]) -> list[Any]:
    return [told(verdict)[0][name] for verdict in judged(pack, records_of(pays))]


def test_a_window_begins_behind_its_length_and_ends_with_the_event_itself() -> None:
    assert values(PACK, "count_short", pays_at(0, 1.999, 2, 3.999)) == [1, 2, 2, 3 - 1]
    assert values(PACK, "count_short", pays_at(0, 2)) == [1, 1]
    assert values(PACK, "count_short", pays_at(0, 0, 0)) == [1, 2, 3]


def test_an_event_does_not_see_those_behind_it_in_time() -> None:
    assert values(PACK, "count_short", pays_at(1, 0, 0.5, 1)) == [1, 1, 2, 4]


def test_of_equal_times_the_one_that_came_first_is_before() -> None:
    pays = [pay | {"n": number} for number, pay in enumerate(pays_at(1, 1, 0, 1))]
    assert values(PACK, "last_n", pays) == [None, 0, None, 1]


def test_an_entry_is_invisible_from_the_longest_window_and_the_lateness_on() -> None:
    # count_long has the longest window over this log, 7 s, so an entry of second 0 is gone when the watermark is at 12.
    assert values(PACK, "count_long", pays_at(0, 11.999, 6.999)) == [1, 1, 2]
    assert values(PACK, "count_long", pays_at(0, 12, 6.999)) == [1, 1, 1]
    assert values(PACK, "count_long", pays_at(0.001, 12, 6.999)) == [1, 1, 2]


def test_a_late_event_that_the_log_does_not_keep_sees_itself_alone() -> None:
    assert values(PACK, "count_long", pays_at(0, 100, 0, 0)) == [1, 1, 1, 1]
    assert values(PACK, "sum_n", pays_at(0, 100, 0, 0, n=5)) == [5, 5, 5, 5]
    (*_, last) = judged(PACK, records_of(pays_at(0, 100, 0)))
    assert told(last)[1]["count_long"] == {"total": 1, "newest": ["pays/0/2"]}


def test_evidence_is_the_twenty_newest_by_time_and_their_number() -> None:
    pays = pays_at(*[1] * 25, 0)
    *_, newest, oldest = judged(PACK, records_of(pays))
    assert told(newest)[1]["count_long"] == {"total": 25, "newest": [f"pays/0/{offset}" for offset in range(5, 25)]}
    assert told(oldest)[1]["count_long"] == {"total": 1, "newest": ["pays/0/25"]}


def test_the_largest_partition_and_offset_keep_their_origin() -> None:
    engine = Engine(PACK)
    item = msgspec.structs.replace(record(pays_at(0, partition=32_767)[0], 0), offset=2**48 - 1)
    for _ in range(2):
        verdict = engine.judge(item)
        engine.restore(engine.snapshot())
    assert told(verdict)[1]["count_long"]["newest"] == [f"pays/32767/{2**48 - 1}"] * 2


# --- panes -------------------------------------------------------------------------------------------------------


def paned(name: str, fn: str, of: str | None = None, seconds: int = 6, delay: int = 0) -> Spec:
    return Spec(name, ("user",), fn, of, seconds, delay, panes=3)


def test_a_window_of_panes_is_never_too_short_and_less_than_a_pane_too_long() -> None:
    pack = pack_of([paned("count", "count")])
    (phase,) = {START // SECOND % 3}
    zero = 3 - phase  # a pane begins here

    # At 8.5 the window (2.5, 8.5] holds the panes of 0, 3 and 6.
    assert values(pack, "count", pays_at(zero - 0.001, zero, zero + 2.999, zero + 8.5)) == [1, 2, 3, 3]
    # At 9 the window (3, 9] begins behind the pane of 0.
    assert values(pack, "count", pays_at(zero, zero + 2.999, zero + 3, zero + 8.999999)) == [1, 2, 3, 4]
    assert values(pack, "count", pays_at(zero, zero + 2.999, zero + 3, zero + 9)) == [1, 2, 3, 2]


def test_an_event_out_of_order_sees_the_whole_pane_it_falls_in_and_no_later_one() -> None:
    zero = 3 - START // SECOND % 3
    pack = pack_of([paned("count", "count"), paned("largest", "max", "n")])
    pays = [pay | {"n": n} for n, pay in enumerate(pays_at(zero + 2, zero + 4, zero + 1))]

    assert values(pack, "count", pays) == [1, 2, 2]
    assert values(pack, "largest", pays) == [0, 1, 2]


def test_what_panes_keep_grows_with_time_and_not_with_events() -> None:
    def stored(*, apart: float) -> int:
        pays = [pay | {"n": n % 3} for n, pay in enumerate(pays_at(*[n * apart for n in range(2_000)]))]
        pack = pack_of([paned("count", "count"), paned("kinds", "distinct", "n"), paned("spread", "stddev", "n")])
        _, state = state_of(pack, pays)
        (history,) = histories(read_snapshot(state.snapshot())["logs"]["pay/user/panes:3000000"]).values()
        return max(map(len, history))

    assert stored(apart=0.001) <= 3
    assert stored(apart=0.5) <= 2 * (6 + 3 + LATENESS) // 3 + 2


def test_panes_name_no_events_as_evidence() -> None:
    (verdict,) = judged(pack_of([paned("count", "count"), spec("exact", "count")]), records_of(pays_at(0)))
    assert set(told(verdict)[1]) == {"exact"}


@pytest.mark.parametrize("large", [1.7e308, -1.7e308, 1e200])
def test_floats_too_large_to_be_squared_leave_the_rest_of_their_panes_alone(large: float) -> None:
    specs = [paned(fn, fn, "x") for fn in ("sum", "avg", "min", "max", "stddev")]
    first = pays_at(0, 0, 1, 1, x=large)
    pays = [*first[:1], first[1] | {"x": -large}, first[2], first[3] | {"x": -large}]

    *_, last = [told(verdict)[0] for verdict in judged(pack_of(specs), records_of(pays))]

    assert abs(last["sum"]) <= abs(large) * 1e-9
    assert abs(last["avg"]) <= abs(large) * 1e-9
    assert (last["min"], last["max"]) == (-abs(large), abs(large))
    assert last["stddev"] is None


# --- keys --------------------------------------------------------------------------------------------------------

texts = st.text(st.sampled_from('\0a"[],\\'), max_size=4)


@settings(max_examples=300, deadline=None)
@given(st.tuples(texts, texts), st.tuples(texts, texts))
@example(("a\0", "b"), ("a", "\0b"))
@example(("", "\0"), ("\0", ""))
@example(("", '\0["\\u0000","\\u0000"]'), ("\0", "\0"))
def test_different_pairs_of_keys_never_share_a_window(first: tuple[str, str], second: tuple[str, str]) -> None:
    pays = [
        pay | {"user": user, "shop": shop} for pay, (user, shop) in zip(pays_at(0, 0), (first, second), strict=True)
    ]
    assert values(PACK, "count_pair", pays) == [1, 2 if first == second else 1]


def test_numbers_and_booleans_are_keys_too() -> None:
    pays = [
        pay | {"n": n, "flag": flag}
        for pay, n, flag in zip(pays_at(0, 0, 0, 0), (1, 11, 1, 1), (True, True, False, True), strict=True)
    ]
    assert values(PACK, "count_number", pays) == [1, 1, 2, 3]
    assert values(PACK, "sum_shop", [pay | {"m": 1_000_000} for pay in pays]) == [1, 2, 1, 3]


def test_an_event_without_key_or_field_has_no_value_and_leaves_no_trace() -> None:
    pays = [
        pay | {"shop": shop, "tag": tag}
        for pay, shop, tag in zip(pays_at(0, 0, 0), ("s", None, "s"), ("red", None, "blue"), strict=True)
    ]
    assert values(PACK, "count_pair", pays) == [1, None, 2]
    assert values(PACK, "kinds_tag", pays) == [1, None, 2]
    assert values(PACK, "last_tag", pays) == [None, None, "red"]
    assert values(PACK, "count_long", pays) == [1, 2, 3]


# --- state -------------------------------------------------------------------------------------------------------


def state_of(pack: Pack, pays: Iterable[Pay]) -> tuple[Program, GroupState]:
    """The state of the first step after these events."""
    program = Program(pack)
    state = GroupState(program.steps[0])
    state.update(Decoder(program).decode(records_of(pays)), [])  # type: ignore[arg-type]
    return program, state


def unpacked(snapshot: bytes) -> int:
    """The bytes of all histories, before they are compressed."""
    return sum(len(decompress(text)) for log in read_snapshot(snapshot)["logs"].values() for text in log["segments"])


def test_expired_keys_leave_memory_and_snapshot() -> None:
    many = [pay | {"user": f"user {number}", "lat": 0.0, "lon": 0.0} for number, pay in enumerate(pays_at(*[0] * 1000))]
    program, state = state_of(SINGLE_STEP, many)
    assert set(state.sizes().values()) == {1000}
    full = state.snapshot()

    decoder = Decoder(program)
    last = record(pays_at(30)[0] | {"lat": 0.0, "lon": 0.0}, 1000)
    (event,) = decoder.decode([last])
    state.update([event], [])  # type: ignore[list-item]
    state.evict()

    assert set(state.sizes().values()) == {1}
    snapshot = state.snapshot()
    assert all(len(histories(log)) == 1 for log in read_snapshot(snapshot)["logs"].values())
    assert len(snapshot) < len(full) / 10
    assert unpacked(snapshot) < unpacked(full) / 100


def test_a_key_is_evicted_not_a_microsecond_too_early() -> None:
    for second, left in ((11.999, 2), (12, 1)):
        _, state = state_of(pack_of(SPECS[:2]), [*pays_at(0, user="old"), *pays_at(second, user="new")])
        state.evict()
        assert state.sizes() == {"pay/user": left}


def test_after_a_late_event_alone_nothing_is_left() -> None:
    program, state = state_of(pack_of(SPECS[:2]), [*pays_at(100, user="b"), *pays_at(0, user="a")])
    assert state.sizes() == {"pay/user": 1}
    assert program.steps[0].logs[0].retention == 12 * SECOND


def test_the_snapshot_after_its_last_one_drops_an_expired_key() -> None:
    _, state = state_of(pack_of(SPECS[:2]), [*pays_at(0, user="old"), *pays_at(100, user="new")])
    for _ in range(2):
        state.snapshot()
    assert state.sizes() == {"pay/user": 1}


def test_at_the_latest_every_sixteenth_snapshot_drops_all_expired_keys() -> None:
    """This one stands behind hundreds that are not expired."""
    program, state = state_of(pack_of(SPECS[:2]), [*many_users(500, 100), *pays_at(89, user="old")])
    state.snapshot()
    state.update(Decoder(program).decode(records_of(pays_at(102, user="user 7"))), [])  # type: ignore[arg-type]
    state.snapshot()
    assert state.sizes() == {"pay/user": 501}

    for _ in range(14):
        state.snapshot()
    assert state.sizes() == {"pay/user": 500}


def segments_of(snapshot: bytes) -> list[bytes]:
    """Of the only log."""
    (segments,) = (log["segments"] for log in read_snapshot(snapshot)["logs"].values())
    return segments


def many_users(number: int, second: float = 0) -> list[Pay]:
    return [pay | {"user": f"user {user}"} for user, pay in enumerate(pays_at(*[second] * number))]


def test_a_snapshot_writes_what_changed_since_the_one_before_and_keeps_the_rest_as_it_is() -> None:
    program, state = state_of(pack_of(SPECS[:2]), many_users(1_000))
    first = segments_of(state.snapshot())
    events = Decoder(program).decode([record(pay, 1_000 + n) for n, pay in enumerate(pays_at(1, 2, user="user 7"))])
    state.update(events, [])  # type: ignore[arg-type]
    second = segments_of(state.snapshot())

    assert len(first) == 1
    assert second[0] is not first[0]
    assert second[0] == first[0]
    assert len(second) == 2
    assert len(second[1]) < len(second[0]) / 20
    assert segments_of(state.snapshot()) == second
    restored = GroupState.restore(program.steps[0], state.snapshot())
    assert segments_of(restored.snapshot()) == second
    (log,) = read_snapshot(restored.snapshot())["logs"].values()
    assert [len(kept[0]) for kept in histories(log).values()] == [1] * 999 + [3]  # that of user 7 settled last


@pytest.mark.parametrize("share", [1, 10, 100])
def test_what_no_longer_counts_is_at_most_half_of_a_snapshot(share: int) -> None:
    """Also while every key, or each tenth, changes between any two of them."""
    program, state = state_of(pack_of(SPECS[:2]), many_users(1_000))
    decoder = Decoder(program)
    written = []
    for second in range(1, 60):
        pays = [pay for number, pay in enumerate(many_users(1_000, second / 100)) if (number + second) % share == 0]
        state.update(decoder.decode(records_of(pays)), [])  # type: ignore[arg-type]
        segments = segments_of(state.snapshot())
        written.append(sum(len(histories({"segments": [segment]})) for segment in segments))

    assert max(written) <= 2 * 1_000
    assert 1_000 in written  # anew


@quick
@given(
    st.lists(
        st.sampled_from(["snapshot", "evict"])
        | st.tuples(st.integers(0, 1), st.sampled_from("abc"), st.integers(0, 40), st.booleans()),
        max_size=30,
    )
)
@example([(1, "a", 20, True), "snapshot", (0, "b", 40, True), (0, "a", 5, True), (0, "b", 40, True)])
@example([(1, "a", 20, True), "snapshot", (0, "a", 21, True), (0, "b", 40, True), "evict"])
@example([(1, "a", 20, True), "snapshot", (0, "a", 5, False), (0, "b", 40, True), "evict"])
def test_a_restart_finds_what_there_was_also_of_keys_from_several_partitions(steps: list[Any]) -> None:
    """Dropped by the watermark of one partition, a key may be in time by that of another."""
    program = Program(pack_of([spec("count", "count"), Spec("red", ("user",), "count", None, 7, where="flag")]))
    state, decoder = GroupState(program.steps[0]), Decoder(program)
    for number, step in enumerate(steps):
        if step == "snapshot":
            state.snapshot()
        elif step == "evict":
            state.evict()
        else:
            partition, user, second, flag = step
            pay = pays_at(second, user=user, flag=flag, partition=partition)[0]
            state.update(decoder.decode([record(pay, number)]), [])  # type: ignore[arg-type]
    restored = GroupState.restore(program.steps[0], state.snapshot())

    for found, was in zip(restored._logs, state._logs, strict=True):
        assert {**found.settled, **found.changed} == {**was.settled, **was.changed}


def test_a_longer_window_brings_nothing_back_that_was_dropped() -> None:
    before, after = (pack_of([spec("count", "count", seconds=seconds)]) for seconds in (7, 60))
    program, state = state_of(before, many_users(1_000, 100))
    state.snapshot()
    later = records_of([*many_users(100, 102), *many_users(10, 130)])
    state.update(Decoder(program).decode(later), [])  # type: ignore[arg-type]
    state.evict()
    restored = GroupState.restore(Program(after).steps[0], state.snapshot())

    assert state.sizes() == restored.sizes() == {"pay/user": 10}


def test_what_no_longer_counts_is_gone_at_the_latest_with_the_256th_snapshot() -> None:
    program, state = state_of(pack_of(SPECS[:2]), many_users(1_000))
    state.snapshot()
    state.update(Decoder(program).decode(records_of(many_users(1, 1))), [])  # type: ignore[arg-type]
    assert len(segments_of(state.snapshot())) == 2
    for _ in range(254):
        snapshot = state.snapshot()
    assert len(segments_of(snapshot)) == 1


def test_keys_that_were_dropped_do_not_come_back_with_a_restart() -> None:
    program, state = state_of(pack_of(SPECS[:2]), many_users(1_000))
    state.snapshot()
    events = Decoder(program).decode(records_of([*many_users(990, 20), *many_users(5, 100)]))
    state.update(events[:990], [])  # type: ignore[arg-type]
    state.snapshot()
    state.update(events[990:], [])  # type: ignore[arg-type]
    snapshot = state.snapshot()
    restored = GroupState.restore(program.steps[0], snapshot)

    assert state.sizes() == {"pay/user": 5}
    assert restored.sizes() == {"pay/user": 5}


@pytest.mark.parametrize("n", [1, 2**62])
def test_the_snapshot_of_an_older_release_is_gone_on_from(n: int) -> None:
    program, state = state_of(pack_of(SPECS[:3]), pays_at(*range(6), n=n))
    now = read_snapshot(state.snapshot())
    (log,) = now["logs"].values()
    kept = histories(log)
    sums = [column for column, name in enumerate(log["columns"], 2) if name.startswith("total")]
    texts = {
        key: [[str(item) for item in column] if place in sums else column for place, column in enumerate(history)]
        for key, history in kept.items()
    }
    stored = {"keys": kept} if n == 1 else {"keys": texts, "big": sums}
    before = {name: log[name] for name in ("columns", "kinds", "retention", "watermarks")} | stored
    older = seal(msgspec.msgpack.encode(now | {"format": 1, "logs": dict.fromkeys(now["logs"], before)}))

    assert sums
    restored = GroupState.restore(program.steps[0], older)
    (log,) = read_snapshot(restored.snapshot())["logs"].values()
    assert histories(log) == kept


def test_keys_that_expire_before_the_next_snapshot_do_not_pile_up() -> None:
    pays = [pay for second in range(2_000) for pay in pays_at(second, user=f"user {second}")]
    _, state = state_of(pack_of(SPECS[:2]), pays)
    assert state.sizes() == {"pay/user": 12}


def test_a_busy_key_forgets_what_left_its_windows() -> None:
    _, state = state_of(pack_of(SPECS[:5]), pays_at(*[number / 10 for number in range(5_000)]))
    (history,) = histories(read_snapshot(state.snapshot())["logs"]["pay/user"]).values()
    assert max(len(column) for column in history) <= 2 * 120 + 2  # 12 s are 120 events


def test_sums_beyond_64_bits_survive_a_snapshot() -> None:
    pays = pays_at(*[0] * 6, n=2**63 - 1)
    engine = Engine(PACK)
    sums = []
    for item in records_of(pays):
        sums.append(told(engine.judge(item))[0]["sum_n"])
        engine.restore(engine.snapshot())
    assert sums == [(2**63 - 1) * count for count in range(1, 7)]


def test_running_sums_stay_small_on_a_key_that_never_rests() -> None:
    _, state = state_of(pack_of(SPECS[:3]), pays_at(*range(0, 400, 2), n=2**60))
    (history,) = histories(read_snapshot(state.snapshot())["logs"]["pay/user"]).values()
    assert all(type(total) is int for total in history[2]), "the sums were written as text"


def continued(before: Pack, after: Pack, first: Iterable[Pay], then: Iterable[Pay]) -> list[dict[str, Any]]:
    """The values under a changed pack, of the events after the change; both packs have one step."""
    pays, rest = list(first), list(then)
    _, state = state_of(before, pays)
    program = Program(after)
    restored = GroupState.restore(program.steps[0], state.snapshot())
    decoder = Decoder(program, {"watermarks": {"pays": {0: max(pay["at"] for pay in pays)}}})
    events = decoder.decode(records_of([*pays, *rest])[len(pays) :])
    restored.update(events, [])  # type: ignore[arg-type]
    again = GroupState.restore(program.steps[0], restored.snapshot())
    assert again.snapshot() == restored.snapshot()
    return [told(program.judges[event.kind].judge(event))[0] for event in events]  # type: ignore[union-attr]


def spec(name: str, fn: str, of: str | None = None, seconds: int = 7, key: Key = ("user",)) -> Spec:
    return Spec(name, key, fn, of, seconds)


def test_a_changed_pack_keeps_the_history_of_unchanged_features() -> None:
    before = pack_of(
        [spec("total", "sum", "n"), spec("last", "previous", "tag"), spec("pair", "count", key=("user", "shop"))]
    )
    after = pack_of([spec("renamed", "sum", "n"), spec("added", "count", seconds=3), spec("last", "previous", "tag")])

    assert continued(before, after, pays_at(0, 1, n=5), pays_at(2, n=7)) == [{"renamed": 17, "added": 3, "last": "red"}]


def test_a_removed_log_is_dropped_and_a_new_one_starts_empty() -> None:
    before, after = pack_of([spec("pair", "count", key=("user", "shop"))]), pack_of([spec("alone", "count")])

    assert continued(before, after, pays_at(0, 1), pays_at(2)) == [{"alone": 1}]


def test_a_column_new_to_a_log_starts_unknown_or_at_zero() -> None:
    before = pack_of([spec("count", "count")])
    after = pack_of(
        [
            *(spec("count", "count"), spec("sum_n", "sum", "n"), spec("sum_x", "sum", "x")),
            *(spec("last", "previous", "n"), spec("kinds", "distinct", "flag")),
        ]
    )

    first, second = continued(before, after, pays_at(0, 1), pays_at(2, 3, n=5, x=0.25))

    assert first == {"count": 3, "sum_n": 5, "sum_x": 0.25, "last": None, "kinds": 1}
    assert second == {"count": 4, "sum_n": 10, "sum_x": 0.5, "last": 5, "kinds": 1}


def test_a_column_new_to_panes_starts_with_the_events_after_the_change() -> None:
    before = pack_of([paned("count", "count", seconds=60)])
    columns = [("sum_n", "sum", "n"), ("sum_x", "sum", "x"), ("least", "min", "n"), ("most", "max", "m")]
    columns += [("kinds", "distinct", "flag"), ("mode", "mode_share", "flag"), ("spread", "stddev", "n")]
    after = pack_of([paned("count", "count", seconds=60), *(paned(*column, seconds=60) for column in columns)])

    first, second, third = continued(before, after, pays_at(0, 1, 4), pays_at(4, 10, 2, n=5, x=0.25, m=2_000_000))

    start = {"sum_n": 5, "sum_x": 0.25, "least": 5, "most": 2, "kinds": 1, "mode": 1.0, "spread": None}
    assert first == {"count": 4, **start}
    assert second == third == {**start, "count": 5, "sum_n": 10, "sum_x": 0.5, "spread": 0.0}


def test_a_field_of_another_kind_starts_anew() -> None:
    before = pack_of([spec("count", "count"), spec("last", "previous", "n"), spec("sum", "sum", "n")])
    after = pack_of(
        [spec("count", "count"), spec("last", "previous", "n"), spec("sum", "sum", "n")],
        f'lateness = "{LATENESS}s"\n' + EVENT.replace('n = "int"', 'n = "money"'),
    )

    assert continued(before, after, pays_at(0, 1), pays_at(2, n=5)) == [{"count": 3, "last": None, "sum": 5}]


def test_columns_may_change_their_order_and_go() -> None:
    before = pack_of([spec("last", "previous", "n"), spec("sum", "sum", "m"), spec("kinds", "distinct", "flag")])
    after = pack_of([spec("sum", "sum", "m"), spec("last", "previous", "n")])

    assert continued(before, after, pays_at(0, n=3, m=10_000_000), pays_at(2, m=500_000)) == [{"sum": 10.5, "last": 3}]


def test_sums_beyond_64_bits_survive_a_changed_pack() -> None:
    before = pack_of([spec("sum", "sum", "n")])
    after = pack_of([spec("last", "previous", "flag"), spec("sum", "sum", "n")])

    (found,) = continued(before, after, pays_at(0, 0, 0, 0, n=2**63 - 1), pays_at(1, n=1))

    assert found == {"last": None, "sum": 4 * (2**63 - 1) + 1}


def test_a_snapshot_tells_its_step_and_is_refused_by_another() -> None:
    _, state = state_of(pack_of([spec("count", "count")]), pays_at(0))
    other = Program(pack_of([spec("count", "count", key=("shop",))])).steps[0]

    assert GroupState.step_of(state.snapshot()) == "user"
    with pytest.raises(StateError, match="expected step shop, got 'user'"):
        GroupState.restore(other, state.snapshot())


def test_a_snapshot_of_another_format_is_refused() -> None:
    program, state = state_of(pack_of([spec("count", "count")]), pays_at(0))
    later = seal(msgspec.msgpack.encode(read_snapshot(state.snapshot()) | {"format": 3}))

    with pytest.raises(StateError, match="state of step user: expected format 2, got 3"):
        GroupState.restore(program.steps[0], later)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=60))
@example(b"")
@example(b"\x91" * 100_000)
@example(b"\x81\xa1\xff\x01")
@example(msgspec.msgpack.encode({"format": 1, "step": "user", "logs": {"pay/user": {"columns": ["x"], "kinds": []}}}))
@example(msgspec.msgpack.encode({"format": 1, "step": "user", "logs": 5}))
@example(msgspec.msgpack.encode({"format": 2, "step": "user", "logs": {"pay/user": {"segments": [b"x"]}}}))
@example(msgspec.msgpack.encode({"format": 2, "step": "user", "logs": {"pay/user": {"segments": [compress(b"5")]}}}))
def test_garbage_is_no_state(snapshot: bytes) -> None:
    program = Program(pack_of([spec("count", "count")]))
    for garbage in (snapshot, seal(snapshot)):
        with pytest.raises(StateError, match=r"^state"):
            GroupState.restore(program.steps[0], garbage)


@pytest.mark.parametrize("snapshot", [b"", b"\x91" * 100_000, b"\x81\xa1\xff\x01", b"\x01", b"\x80", b"\xa1a"])
def test_garbage_has_no_step(snapshot: bytes) -> None:
    for garbage in (snapshot, seal(snapshot)):
        with pytest.raises(StateError, match=r"^state: cannot be read"):
            GroupState.step_of(garbage)
