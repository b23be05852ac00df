from collections import defaultdict
from itertools import accumulate

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulation.clicks import Clicks

START = 1_700_000_000_000_000
WINDOW = 10_000_000


def naive(clicks):
    """Count, for each click, the clicks on its URL in its session in (t-10s, t], by what the values say."""
    earlier = defaultdict(list)
    for click in clicks:
        value = msgspec.json.decode(click.value)
        times = earlier[value["session_id"], value["url"]]
        times.append(click.at)
        yield sum(time > click.at - WINDOW for time in times) >= 3


def clicks_at(times, *, seed=1, share=0.05):
    generate = Clicks(seed, share)
    return [generate(at) for at in times]


@pytest.mark.parametrize("gap", [50, 20_000, 500_000, 4_999_000], ids=["20,000/s", "50/s", "2/s", "just over 0.2/s"])
@pytest.mark.parametrize("share", [0.05, 0.5])
def test_labels_agree_with_counting_every_window_anew(gap, share):
    clicks = clicks_at(range(START, START + 20_000 * gap, gap), share=share)

    assert [click.fraudulent for click in clicks] == list(naive(clicks))


def test_at_a_click_every_five_seconds_nothing_is_fraud():
    clicks = clicks_at(range(START, START + 1_000 * 5_000_000, 5_000_000), share=1.0)

    assert not any(naive(clicks))
    assert not any(click.fraudulent for click in clicks)


@given(
    seed=st.integers(0, 2**32),
    share=st.floats(0, 1),
    gaps=st.lists(st.sampled_from([0, 1_000, 3_333_000, 4_999_000, 5_000_000, 9_999_000, 10_000_000]), max_size=200),
)
def test_labels_agree_whatever_the_times_are(seed, share, gaps):
    clicks = clicks_at(accumulate(gaps, initial=START), seed=seed, share=share)

    assert [click.fraudulent for click in clicks] == list(naive(clicks))


def test_slow_clicks_come_three_times_to_one_url_with_the_first_at_the_open_end_of_the_window():
    by_session = defaultdict(list)
    for click in clicks_at(range(START, START + 5_000 * 20_000, 20_000)):
        if click.story == "slow_clicks":
            by_session[click.key].append(click)
    triples = [clicks[2].at - clicks[0].at for clicks in by_session.values() if len(clicks) >= 3]

    assert min(triples) == WINDOW
    assert all(not click.fraudulent for clicks in by_session.values() for click in clicks)


def test_second_clicks_repeat_a_url_within_the_window():
    last = {}
    close = 0
    for click in clicks_at(range(START, START + 5_000 * 20_000, 20_000)):
        url = msgspec.json.decode(click.value)["url"]
        if click.story == "second_click":
            assert last[click.key][0] == url
            close += click.at - last[click.key][1] < WINDOW
        last[click.key] = (url, click.at)

    assert close > 100


def test_the_first_two_clicks_of_a_burst_are_harmless_and_the_rest_are_not():
    bursts = defaultdict(list)
    for click in clicks_at(range(START, START + 5_000 * 20_000, 20_000)):
        if click.story == "click_burst":
            bursts[click.key].append(click.fraudulent)

    assert len(bursts) > 20
    # The last burst may be cut short by the end.
    for burst in list(bursts.values())[:-1]:
        assert burst == [False, False] + [True] * (len(burst) - 2)
        assert len(burst) >= 3
