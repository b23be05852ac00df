"""Whatever comes in, one answer comes out, and nothing is kept that nobody can see."""

import json
from collections import Counter
from pathlib import Path
from random import Random

import msgspec

from detection.check import START
from detection.loading import load
from detection.program import Engine
from detection.records import DeadLetter, Record, Verdict
from proofs.mutations import given, mutated

FILES = sorted((Path(__file__).parents[2] / "packs").glob("*.toml"))
RECORDS = 100_000


def test_each_of_many_mutated_records_has_one_answer_and_leaves_no_trace_for_good() -> None:
    random = Random(11)
    engine = Engine(load(FILES))
    seeds = given(FILES)
    answers: Counter[str] = Counter()
    offsets: Counter[str] = Counter()
    for number in range(RECORDS):
        topic, value = random.choice(seeds)
        raw = None if random.random() < 0.001 else mutated(value, random)
        record = Record(topic, 0, offsets[topic], START + number, random.choice([None, b"k", b"\xff"]), raw)
        offsets[topic] += 1

        answer = engine.judge(record)

        answers[type(answer).__name__] += 1
        if isinstance(answer, Verdict):
            assert f'"origin":"{topic}/0/{record.offset}"'.encode() in answer.value
            assert json.loads(answer.value)["verdict"]["decision"] == answer.decision
        else:
            assert isinstance(answer, DeadLetter)
            assert answer.record is record
            assert answer.error
            answer.message(1_000)
    assert answers.total() == RECORDS
    assert min(answers.values()) > RECORDS // 10

    kept = sum(state.sizes()[log] for state in engine._states for log in state.sizes())
    assert kept > 1_000
    later = START + 400 * 86_400_000
    everything = {
        "ip": "::1",
        "user_agent": "a",
        "device": "d",
        "lat": 1.5,
        "lon": 2.5,
        "amount": 1,
        "timestamp": later,
    }
    for topic, value in dict(seeds).items():
        members = {**msgspec.json.decode(value), **everything}
        engine.judge(Record(topic, 0, offsets[topic], later, None, json.dumps(members).encode()))
    engine.evict()
    assert max(state.sizes()[log] for state in engine._states for log in state.sizes()) <= 1
