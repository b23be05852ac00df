"""What every kind of traffic promises, whatever its stories are."""

from collections import Counter
from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from simulation import DEFAULT_FRAUD_SHARE, TRAFFIC, Labelled

START = 1_700_000_000_000_000
EVERY_KIND = pytest.mark.parametrize("name", TRAFFIC)
EVERY_RATE = pytest.mark.parametrize("gap", [50, 20_000, 500_000], ids=["20,000/s", "50/s", "2/s"])
FIELDS = {
    "clicks": {"session_id": str, "url": str, "user_agent": str, "ip": str, "timestamp": str},
    "counter": {"click_count": int},
    "transfers": {"source": str, "target": str, "amount": float, "currency": str},
    "payments": {
        "user": str,
        "amount": float,
        "location": str,
        "device": str,
        "merchant": str,
        "txn_type": str,
        "timestamp": str,
    },
}
EVENT = {"clicks": "click", "counter": "click_count", "transfers": "transfer", "payments": "transaction"}
KEY_FIELD = {"clicks": "session_id", "counter": None, "transfers": None, "payments": "user"}


def records(name, count, *, seed=1, share=DEFAULT_FRAUD_SHARE, start=START, gap=20_000) -> list[Labelled]:
    generate = TRAFFIC[name].generator(seed, share)
    return [generate(start + index * gap) for index in range(count)]


def untimed(record):
    value = msgspec.json.decode(record.value)
    value.pop("timestamp", None)
    return record.key, value, record.fraudulent, record.story


@EVERY_KIND
def test_the_same_seed_and_times_give_the_same_records(name):
    assert records(name, 5_000) == records(name, 5_000)


@EVERY_KIND
def test_a_later_start_moves_nothing_but_the_times(name):
    later = records(name, 5_000, start=START + 86_400_000_123_000)

    assert [untimed(record) for record in records(name, 5_000)] == [untimed(record) for record in later]


@EVERY_KIND
def test_another_seed_gives_other_records(name):
    assert [untimed(record) for record in records(name, 200)] != [
        untimed(record) for record in records(name, 200, seed=2)
    ]


@pytest.mark.parametrize("name", ["clicks", "payments"])
def test_two_seeds_share_no_key(name):
    ours, theirs = ({record.key for record in records(name, 5_000, seed=seed)} for seed in (1, 2))

    assert not ours & theirs


@EVERY_KIND
def test_every_value_is_json_with_exactly_the_named_fields_of_the_named_types(name):
    for record in records(name, 5_000):
        value = msgspec.json.decode(record.value)
        assert {field: type(content) for field, content in value.items()} == FIELDS[name]
        assert record.event == EVENT[name]


@EVERY_KIND
def test_the_key_is_the_one_the_rules_use_or_none(name):
    for record in records(name, 1_000):
        field = KEY_FIELD[name]
        expected = None if field is None else msgspec.json.decode(record.value)[field].encode()
        assert record.key == expected


@EVERY_KIND
def test_event_times_are_those_given_cut_to_milliseconds(name):
    given = [START, START + 999, START + 1_000, START + 1_000, START + 5_001_999]
    generate = TRAFFIC[name].generator(1, DEFAULT_FRAUD_SHARE)

    assert [generate(at).at for at in given] == [START, START, START + 1_000, START + 1_000, START + 5_001_000]


@pytest.mark.parametrize(("name", "zone"), [("clicks", "Z"), ("payments", "")])
def test_the_value_tells_the_same_time_as_the_record(name, zone):
    for record in records(name, 500, gap=1_234_567):
        text = msgspec.json.decode(record.value)["timestamp"]
        time = datetime.fromisoformat(text.removesuffix(zone)).replace(tzinfo=UTC)
        assert (time - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1) == record.at
        assert text.endswith(zone)


@EVERY_KIND
@EVERY_RATE
@pytest.mark.parametrize("share", [0.05, 0.3])
def test_the_share_of_fraud_is_the_one_asked_for(name, gap, share):
    frauds = sum(record.fraudulent for record in records(name, 50_000, share=share, gap=gap))

    assert frauds / 50_000 == pytest.approx(share, rel=0.2)


@EVERY_KIND
def test_a_share_of_zero_holds_no_fraud(name):
    assert not any(record.fraudulent for record in records(name, 20_000, share=0.0))


@EVERY_KIND
def test_a_share_of_one_is_all_fraud_but_for_what_a_story_needs_first(name):
    assert sum(not record.fraudulent for record in records(name, 5_000, share=1.0)) <= 3


@EVERY_KIND
@pytest.mark.parametrize("share", [-0.01, 1.01, float("nan")])
def test_a_share_that_is_none_is_refused(name, share):
    with pytest.raises(ValueError, match=r"fraud_share: expected 0.0 to 1.0, got "):
        TRAFFIC[name].generator(1, share)


@EVERY_KIND
def test_every_harmless_story_is_harmless_and_every_other_holds_fraud(name):
    harmless = {
        "clicks": {"browsing", "second_click", "slow_clicks"},
        "counter": {"up_to_three"},
        "transfers": {"small_amount", "just_below_limit"},
        "payments": {"ordinary", "just_at_limit"},
    }[name]
    told = records(name, 50_000)
    stories = Counter(record.story for record in told)
    with_fraud = {record.story for record in told if record.fraudulent}

    assert set(stories) - with_fraud == harmless
    assert min(stories.values()) >= 100
