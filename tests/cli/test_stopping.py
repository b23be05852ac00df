import signal

import pytest

from cli.stopping import stop_event


@pytest.fixture(params=[signal.SIGINT, signal.SIGTERM])
def number(request):
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield request.param
    for each, handler in before.items():
        signal.signal(each, handler)


def test_a_signal_sets_it_and_nothing_before(number: signal.Signals) -> None:
    stop = stop_event()
    assert not stop.is_set()

    signal.raise_signal(number)

    assert stop.is_set()
