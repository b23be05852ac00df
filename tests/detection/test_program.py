"""The way of a record through decoder, keyed steps and judge."""

import json

import pytest

from detection.loading import parse
from detection.program import Decoder, Engine, Program
from detection.records import DeadLetter, Record, Verdict

NOW = 1_700_000_000_000  # ms
PACK = parse(
    {
        "x.toml": """
[event.pay]
topic = "pays"
time = "at?"
fields = { user = "str", shop = "str" }

[event.visit]
topic = "visits"
fields = { user = "str" }

[event.note]
topic = "notes"
fields = { }

[feature.by_user]
on = "pay"
key = ["user"]
fn = "count"
window = "10s"

[feature.by_shop]
on = "pay"
key = ["shop"]
fn = "count"
window = "10s"

[feature.visits]
on = "visit"
key = ["user"]
fn = "count"
window = "10s"

[rule.users]
on = "pay"
when = "by_user > 1"
reason = "{by_user}"
score = 1
outcome = "review"

[rule.shops]
on = "pay"
when = "by_shop > 1"
reason = "{by_shop}"
score = 10
outcome = "review"

[rule.visitors]
on = "visit"
when = "visits > 1"
reason = "{visits}"
score = 100
outcome = "block"
"""
    }
)


def record(topic: str, value: object, partition: int = 0, offset: int = 0, timestamp: int = NOW) -> Record:
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return Record(topic, partition, offset, timestamp, None, raw)


def pay(user: str, shop: str, **more: int) -> Record:
    return record("pays", {"user": user, "shop": shop}, **more)


def score(engine: Engine, given: Record) -> int:
    verdict = engine.judge(given)
    assert isinstance(verdict, Verdict)
    found: int = json.loads(verdict.value)["verdict"]["score"]
    return found


def test_steps_beside_each_other_each_see_every_event() -> None:
    engine = Engine(PACK)

    assert [score(engine, pay(user, shop)) for user, shop in ("as", "bs", "at", "bs")] == [0, 10, 1, 11]


def test_events_of_different_types_with_one_key_have_histories_of_their_own() -> None:
    engine = Engine(PACK)
    visits = [score(engine, record("visits", {"user": "a"})) for _ in range(2)]

    assert visits == [0, 100]
    assert score(engine, pay("a", "s")) == 0


def test_an_event_type_without_rules_and_features_is_accepted() -> None:
    verdict = Engine(PACK).judge(record("notes", {"any": 1}))

    assert isinstance(verdict, Verdict)
    assert verdict.decision == "accept"


def test_a_watermark_is_the_newest_event_time_of_its_partition() -> None:
    decoder = Decoder(Program(PACK))
    times = [(0, 5), (1, 3), (0, 4), (0, 6), (1, 3)]
    events = decoder.decode(record("pays", {"user": "a", "shop": "s", "at": at}, partition) for partition, at in times)

    assert [event.watermark for event in events if not isinstance(event, DeadLetter)] == [5000, 3000, 5000, 6000, 3000]
    assert decoder.snapshot()["watermarks"] == {"pays": {0: 6000, 1: 3000}}


def test_a_decoder_goes_on_from_its_watermarks_and_gives_away_copies() -> None:
    program = Program(PACK)
    marks = {"pays": {0: 10_000}, "gone": {0: 1}}
    decoder = Decoder(program, {"watermarks": marks})
    taken = decoder.snapshot()["watermarks"]
    (event,) = decoder.decode([record("pays", {"user": "a", "shop": "s", "at": 20})])

    assert not isinstance(event, DeadLetter)
    assert (taken, marks["pays"], event.watermark) == ({"pays": {0: 10_000}}, {0: 10_000}, 20_000)


def test_each_record_becomes_one_event_or_one_dead_letter_in_order() -> None:
    program = Program(PACK)
    records = [pay("a", "s"), record("pays", b"\xff", offset=1), record("notes", [], offset=2), record("notes", {})]

    decoded = Decoder(program).decode(records)

    assert [isinstance(item, DeadLetter) for item in decoded] == [False, True, True, False]
    assert program.dead_letters == {"pays": 1, "visits": 0, "notes": 1}


def test_events_that_several_steps_work_on_are_numbered_without_gaps_per_topic_and_partition() -> None:
    decoder = Decoder(Program(PACK))
    records = [pay("a", "s"), pay("a", "s", partition=1), record("pays", b""), pay("b", "s"), record("notes", {})]

    events = [event for event in decoder.decode(records) if not isinstance(event, DeadLetter)]

    assert [(event.lane, event.sequence) for event in events] == [(0, 1), (1, 1), (0, 2), (0, 1)]


@pytest.mark.parametrize("at", [0, 1, 2, 3])
def test_an_engine_restored_anywhere_gives_the_same_verdicts(at: int) -> None:
    records = [
        pay("a", "s", offset=0),
        pay("a", "t", offset=1),
        record("visits", {"user": "a"}),
        pay("b", "s", offset=2),
    ]
    whole = Engine(PACK)
    expected = [whole.judge(item) for item in records]

    first = Engine(PACK)
    before = [first.judge(item) for item in records[:at]]
    second = Engine(PACK)
    second.restore(first.snapshot())

    assert before + [second.judge(item) for item in records[at:]] == expected
