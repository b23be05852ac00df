from web.live.records import Shown
from web.live.tally import _MOST_RULES, _MOST_WAITING, SECONDS, Tally


def shown(
    number: int = 1, word: str = "FRAUD", at: int = 0, rules: tuple[str, ...] = (), origin: str = "t/0/1"
) -> Shown:
    return Shown(number, word, at, "t", "key", "", list(rules), origin, b"")


def test_each_record_is_counted_once_in_its_second_and_in_the_totals() -> None:
    tally = Tally()
    for second, word in [(10, "FRAUD"), (10, "LEGIT"), (11, "LEGIT")]:
        tally.take(shown(word=word, rules=("r",)), second)

    assert tally.words == {"FRAUD": 1, "LEGIT": 2}
    assert tally.rules == {"r": 3}
    assert [(b["at"], b["words"], b["rules"]) for b in tally.newest(9)] == [
        (10, {"FRAUD": 1, "LEGIT": 1}, {"r": 2}),
        (11, {"LEGIT": 1}, {"r": 1}),
    ]


def test_a_second_without_records_is_there_and_empty() -> None:
    tally = Tally()
    tally.take(shown(), 10)
    tally.tick(13, lag=5)

    assert [(b["at"], sum(b["words"].values()), b["lag"]) for b in tally.newest(9)] == [
        (10, 1, None),
        (11, 0, None),
        (12, 0, None),
        (13, 0, 5),
    ]


def test_the_lag_is_the_last_one_that_was_told() -> None:
    tally = Tally()
    assert tally.lag() is None
    tally.tick(10, lag=5)
    tally.take(shown(), 11)  # nobody told of this second yet

    assert tally.lag() == 5


def test_no_more_than_15_minutes_are_kept_also_after_a_pause_of_a_year() -> None:
    tally = Tally()
    for second in [*range(SECONDS + 10), 31_000_000]:
        tally.take(shown(), second)

    kept = tally.newest(10_000)
    assert [bucket["at"] for bucket in kept] == list(range(31_000_000 - SECONDS + 1, 31_000_001))


def test_a_clock_that_is_set_back_loses_no_count() -> None:
    tally = Tally()
    tally.take(shown(), 10)
    tally.take(shown(), 5)

    assert [(b["at"], b["words"]) for b in tally.newest(9)] == [(10, {"FRAUD": 2})]


def test_the_rate_is_that_of_the_last_three_whole_seconds() -> None:
    tally = Tally()
    for second, records in [(9, 100), (10, 1), (11, 2), (12, 6), (13, 50)]:
        for _ in range(records):
            tally.take(shown(), second)

    assert tally.rate() == 3


def test_latency_is_between_an_event_and_the_verdict_that_was_read_before_it() -> None:
    tally = Tally()
    tally.take(shown(at=1_030, origin="t/0/2"), 1)
    tally.take_event("t/0/2", 1_010)
    tally.take_event("t/0/2", 0)  # a verdict counts once
    tally.take_event("t/0/3", 0)  # without a verdict
    tally.take(shown(at=1_500, origin="t/0/3"), 1)  # nobody knows when that was sent
    tally.tick(2, None)

    assert tally.latency() == (20, 20)


def test_what_nobody_has_read_counts_in_its_second_and_in_the_totals() -> None:
    tally = Tally()
    tally.take(shown(word="LEGIT"), 10)
    tally.leave_out("LEGIT", 500, 10)
    tally.leave_out("FRAUD", 7, 11)

    assert tally.words == {"LEGIT": 501, "FRAUD": 7}
    assert [bucket["words"] for bucket in tally.newest(9)] == [{"LEGIT": 501}, {"FRAUD": 7}]
    assert tally.rules == {}


def test_p99_is_above_p50_where_one_verdict_is_slow() -> None:
    tally = Tally()
    for number in range(100):
        tally.take(shown(at=900 if number == 7 else 3, origin=f"t/0/{number}"), 1)
        tally.take_event(f"t/0/{number}", 0)
    tally.tick(2, None)

    assert tally.latency() == (3, 900)


def test_memory_is_bounded_by_rules_and_by_verdicts_whose_event_nobody_tells() -> None:
    tally = Tally()
    for number in range(_MOST_RULES + 50):
        tally.take(shown(rules=(f"rule{number}",), origin=f"v/0/{number}"), 1)
    for number in range(_MOST_WAITING + 50):
        tally.take(shown(origin=f"other/0/{number}"), 1)

    assert len(tally.rules) == _MOST_RULES + 1
    assert tally.rules["(others)"] == 50
    assert len(tally._answered) == _MOST_WAITING
