import pickle
from collections import Counter
from typing import Any

import pytest

from dataflows.keygroups import GROUPS, Batch, Join, KeyGroup, Part, Parts, _router
from detection.codec import Event
from detection.errors import StateError
from detection.features import GroupState
from detection.loading import parse
from detection.program import Decoder, Program
from detection.records import DeadLetter, Record
from detection.sealed import seal, unseal
from tests.dataflows.examples import START, payment, traffic, wide


@pytest.fixture
def program() -> Program:
    return Program(wide())


def events(program: Program, records: list[Record]) -> list[Event]:
    decoded = Decoder(program).decode(records)
    assert not [item for item in decoded if isinstance(item, DeadLetter)]
    return decoded


def login(user: str) -> Record:
    return Record("logins", 0, 0, START, None, b'{"user":"%b"}' % user.encode())


# --- which group -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "group"),
    [("user-1", "020"), ("Zoë", "042"), ("", "000"), ("1.0", "053"), ("-7", "031"), ("True", "051")],
)
def test_the_group_of_a_key_is_the_one_in_the_stores_of_our_users(key: str, group: str, program: Program) -> None:
    ((name, batch),) = _router(program)(events(program, [login(key)]))

    assert name == f"user/{group}"
    assert batch[0].lane == int(group)


def test_the_number_of_groups_is_the_one_in_the_stores_of_our_users() -> None:
    assert GROUPS == 128


def test_keys_of_other_kinds_are_grouped_by_their_text() -> None:
    pack = """
[event.e]
topic = "in"
fields = { i = "int", f = "float", b = "bool", m = "money" }
"""
    for name in "ifbm":
        pack += f'[feature.n{name}]\non = "e"\nkey = ["{name}"]\nfn = "count"\nwindow = "1s"\n'
    program = Program(parse({"p": pack}))
    record = Record("in", 0, 0, START, None, b'{"i":-7,"f":1.0,"b":true,"m":1}')

    names = [name for name, _ in _router(program)(events(program, [record]))]

    assert names == ["i/031", "f/053", "b/051", "m/093"]


def test_a_batch_holds_all_events_of_its_group_in_their_order(program: Program) -> None:
    got = events(program, [record for record in traffic(300) if not dead(program, record)])
    got = [event for event in got if event.kind not in program.plan.keyless]

    batches = _router(program)(got)

    assert len({name for name, _ in batches}) == len(batches)
    for _, batch in batches:
        places = [got.index(event) for event in batch]
        assert places == sorted(places)
    counted = Counter(id(event) for _, batch in batches for event in batch)
    assert counted == {id(event): len(program.plan.visits(program.pack.events[event.kind])) for event in got}


def dead(program: Program, record: Record) -> bool:
    return isinstance(Decoder(program).decode([record])[0], DeadLetter)


# --- across processes ------------------------------------------------------------------------------------------------


def plain(event: Event) -> tuple[Any, ...]:
    """An event as it was decoded; a naive time of the JSON is text on the way, and nobody reads it there."""
    fields = {name: getattr(event, name) for name in event.__struct_fields__ if name not in {"f_at", "features"}}
    return type(event), fields


def test_a_batch_is_the_same_in_another_process(program: Program) -> None:
    sent = Batch(2, [1, 0])
    sent += events(program, [record for record in traffic(50) if not dead(program, record)])

    received = pickle.loads(pickle.dumps(sent))

    assert (received.step, received.roles) == (2, [1, 0])
    assert [plain(event) for event in received.unpack(program.types)] == [plain(event) for event in sent]


def test_an_empty_batch_is_empty_in_another_process(program: Program) -> None:
    assert pickle.loads(pickle.dumps(Batch(0))).unpack(program.types) == []
    assert pickle.loads(pickle.dumps(Parts())).unpack(program.types) == []


@pytest.mark.parametrize(
    "features",
    [
        (),
        (1, None, 2.5, True, "text", [1 << 48, 2], 0, 2),
        ((), 0, 0),
        (2**63 - 1, -(2**63)),
        (2**64, -(2**70)),  # sums of money have no bound
        (float("inf"),),
    ],
)
def test_parts_are_the_same_in_another_process(features: tuple[Any, ...], program: Program) -> None:
    event = events(program, [payment(1, at=0)])[0]
    sent = Parts([(1, 0, features, event), (1, 1, features, None)])

    received = pickle.loads(pickle.dumps(sent)).unpack(program.types)

    expected = tuple(list(value) if isinstance(value, tuple) else value for value in features)
    assert [
        (n, place, tuple(list(v) if isinstance(v, tuple) else v for v in values)) for n, place, values, _ in received
    ] == [
        (1, 0, expected),
        (1, 1, expected),
    ]
    assert plain(received[0][3]) == plain(event)
    assert received[1][3] is None


@pytest.mark.parametrize("time", ["0001-01-01T00:00:00Z", "0001-01-01T00:00:00+14:00", "2026-01-01T00:00:00", "2026-01-01T00:00:00+05:30", "1969-12-31T23:59:59.999999Z"])  # fmt: skip
def test_any_time_that_decodes_survives_the_way_to_another_process(time: str, program: Program) -> None:
    record = Record("payments", 0, 0, START, None, b'{"user":"u","amount":1,"merchant":"m","at":"%b"}' % time.encode())
    sent = Batch(0)
    sent += events(program, [record])

    (received,) = pickle.loads(pickle.dumps(sent)).unpack(program.types)

    assert received.time == sent[0].time
    assert received.raw == sent[0].raw


# --- the group -------------------------------------------------------------------------------------------------------


def test_a_group_of_a_step_that_is_gone_is_dropped_at_the_end_and_others_are_kept(program: Program) -> None:
    gone = seal(bytes(unseal(GroupState(program.steps[0]).snapshot())).replace(b"\xa4user", b"\xa4gone"))
    kept = GroupState(program.steps[0]).snapshot()

    assert KeyGroup(program, gone).on_eof() == ([], True)
    assert KeyGroup(program, kept).on_eof() == ([], False)


def test_a_group_that_never_had_a_batch_has_nothing_to_snapshot(program: Program) -> None:
    with pytest.raises(StateError, match="before its first batch"):
        KeyGroup(program, None).snapshot()


# --- the join --------------------------------------------------------------------------------------------------------


def parts_of(event: Event, *places: int) -> list[Part]:
    return [(event.sequence, place, (place,), event if place == 0 else None) for place in places]


def test_the_join_waits_for_every_step_and_for_every_earlier_event(program: Program) -> None:
    first, second, third = events(program, [payment(n, at=n, offset=n) for n in range(3)])
    join = Join(program)

    ways = len(program.plan.visits(program.pack.events[first.kind]))
    assert join.on_batch([Parts(parts_of(second, 2, 0, 1, *range(3, ways)))]) == ([], False)
    assert join.on_batch([Parts(parts_of(first, *range(1, ways)))]) == ([], False)
    with pytest.raises(StateError, match="join: 2 events are still waiting"):
        join.snapshot()
    assert join.on_batch([Parts(parts_of(third, 0)), Parts(parts_of(first, 0))]) == ([[first, second]], False)
    rest = [Parts(parts_of(third, place)) for place in reversed(range(1, ways))]
    assert join.on_batch(rest) == ([[third]], False)

    assert [event.features for event in (first, second, third)] == [tuple(range(ways))] * 3
    assert join.snapshot() is None
