import json
import pickle
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
from msgspec.structs import replace

from detection.alerting.alert import Alert
from detection.alerting.outbox import Message, Patience
from detection.errors import StateError
from sinks import notify
from sinks.notify import Desks, NotifySink, NotifyTicks, Way
from sinks.receivers import receivers
from tests.conftest import wait_until
from tests.detection.alerting.test_text import ALERT
from tests.sinks.receivers import hook

FAST = Patience(tries=4, first=10, longest=20)


class Kept:
    """Dead letters."""

    def __init__(self) -> None:
        self.letters: list[tuple[str, str]] = []

    def __call__(self) -> Callable[[Sequence[Alert], str], None]:
        return lambda alerts, reason: self.letters.extend((alert.origin, reason) for alert in alerts)


class Receiver:
    """One in this process, that works as it is told to."""

    def __init__(self, name: str = "ALERTS_OPS#0", gate: threading.Event | None = None) -> None:
        self._name = name
        self.gate = gate
        self.got: list[str] = []

    @property
    def name(self) -> str:
        return self._name

    def send(self, message: Message) -> str | None:
        if self.gate is not None:
            assert self.gate.wait(30)
        self.got += [alert.origin for alert in message.alerts]
        return None


def alert(number: int, name: str = "ops") -> Alert:
    return replace(ALERT, origin=f"t/0/{number}", alert=name)


@contextmanager
def desks(
    *ways: Way, kept: Kept | None = None, state: Any = None, stop: Callable[[], bool] = lambda: False
) -> Iterator[Desks]:
    sink = NotifySink(ways, kept or Kept(), patience=FAST, stop=stop)
    (part,) = sink.list_parts()
    found = sink.build_part("alerts_out", part, state)
    try:
        yield found
    finally:
        found.close()


def pending(state: Any) -> list[str]:
    found = []
    for desk in state["desks"].values():
        found += [one["origin"] for one in (desk["message"] or {"alerts": []})["alerts"]]
        found += [one["origin"] for one in desk["waiting"]]
    return found


def webhook(url: str) -> Any:
    return receivers(["ALERTS_OPS"], {"ALERTS_OPS": url})["ALERTS_OPS"][0]


def test_a_receiver_that_fails_twice_gets_it_at_the_third_time() -> None:
    kept = Kept()
    with (
        hook(lambda number: 200 if number > 2 else 503) as server,
        desks(Way(alert="ops", receiver=webhook(server.url())), kept=kept) as sink,
    ):
        sink.write_batch([alert(1)])
        wait_until(lambda: pending(sink.snapshot()) == [])

    assert (server.asked, len(server.got)) == (3, 1)
    assert kept.letters == []


def test_one_that_never_works_gives_one_dead_letter_for_each_alert_without_its_secret() -> None:
    kept = Kept()
    with (
        hook(lambda _: 500) as server,
        desks(Way(alert="ops", receiver=webhook(server.url("t0ken9"))), kept=kept) as sink,
    ):
        sink.write_batch([alert(1)])
        wait_until(lambda: pending(sink.snapshot()) == [])

    assert server.asked == 4
    (letter,) = kept.letters
    assert letter[0] == "t/0/1"
    assert letter[1].startswith("ops ALERTS_OPS#0: not delivered in 4 tries: ")
    assert "500" in letter[1]
    assert "t0ken9" not in letter[1]


def test_a_burst_is_one_message_and_a_snapshot_keeps_it_until_then() -> None:
    with hook() as server, desks(Way(alert="ops", receiver=webhook(server.url()), group=400)) as sink:
        sink.write_batch([alert(number) for number in range(35)])
        wait_until(lambda: len(server.got) == 1)
        assert len(pending(sink.snapshot())) in {34, 35}
        wait_until(lambda: pending(sink.snapshot()) == [])

    assert server.titles[0] == "FRAUD high_amount: user ann"
    assert server.titles[1].startswith("FRAUD high_amount: 34 more in the last ")
    assert len(server.titles) == 2


def test_what_is_not_delivered_is_in_the_snapshot_and_is_delivered_after_a_kill() -> None:
    gate = threading.Event()
    slow, after = Receiver(gate=gate), Receiver()
    with desks(Way(alert="ops", receiver=slow)) as sink:
        sink.write_batch([alert(number) for number in range(5)])
        state = pickle.loads(pickle.dumps(sink.snapshot()))
        with desks(Way(alert="ops", receiver=after), state=state) as resumed:
            wait_until(lambda: pending(resumed.snapshot()) == [])
        gate.set()

    assert sorted(after.got) == [f"t/0/{number}" for number in range(5)]
    json.dumps(state)  # plain builtins


def test_a_slow_receiver_delays_no_other() -> None:
    gate = threading.Event()
    slow, quick = Receiver("ALERTS_SLOW#0", gate), Receiver("ALERTS_QUICK#0")
    with desks(Way(alert="ops", receiver=slow), Way(alert="ops", receiver=quick)) as sink:
        sink.write_batch([alert(number) for number in range(50)])
        wait_until(lambda: len(quick.got) == 50)
        assert slow.got == []
        gate.set()
        wait_until(lambda: len(slow.got) == 50)


def test_a_full_queue_is_told_makes_nobody_wait_and_loses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notify, "QUEUE", 3)
    gate = threading.Event()
    slow, quick = Receiver("ALERTS_SLOW#0", gate), Receiver("ALERTS_QUICK#0")
    sink = NotifySink(
        [Way(alert="ops", receiver=slow), Way(alert="ops", receiver=quick)], Kept(), patience=FAST, stop=lambda: False
    )
    assert not sink.is_full()
    part = sink.build_part("alerts_out", sink.list_parts()[0], None)
    try:
        part.write_batch([alert(1), alert(2)])
        assert not sink.is_full()
        part.write_batch([alert(3)])  # the first is on its way, and counts until it has arrived
        assert sink.is_full()
        part.write_batch([alert(number) for number in range(4, 21)])  # by this thread, so it waits for nobody
        state = part.snapshot()
        gate.set()
        wait_until(lambda: len(slow.got) == 20)
        wait_until(lambda: not sink.is_full())
    finally:
        part.close()

    assert set(pending(state)) == {f"t/0/{number}" for number in range(1, 21)}
    assert slow.got == quick.got == [f"t/0/{number}" for number in range(1, 21)]


def test_a_start_with_a_full_queue_is_full(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notify, "QUEUE", 3)
    gate = threading.Event()
    with desks(Way(alert="ops", receiver=Receiver(gate=gate))) as sink:
        sink.write_batch([alert(number) for number in range(3)])
        with desks(Way(alert="ops", receiver=Receiver(gate=gate)), state=sink.snapshot()) as resumed:
            assert resumed.is_full()
        gate.set()


def test_a_stop_waits_for_what_is_on_its_way_and_doubles_nothing() -> None:
    gate, stopping = threading.Event(), threading.Event()
    slow, after = Receiver(gate=gate), Receiver()
    with desks(Way(alert="ops", receiver=slow), stop=stopping.is_set) as sink:
        sink.write_batch([alert(number) for number in range(3)])
        wait_until(lambda: sink._all()[0]._busy)
        stopping.set()
        threading.Timer(0.2, gate.set).start()
        state = sink.snapshot()
    with desks(Way(alert="ops", receiver=after), state=state) as resumed:
        wait_until(lambda: pending(resumed.snapshot()) == [])

    assert slow.got == ["t/0/0"]
    assert after.got == ["t/0/1", "t/0/2"]


def test_receivers_that_hang_delay_a_stop_together_not_one_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notify, "STOP_SECONDS", 1.0)
    gate, stopping = threading.Event(), threading.Event()
    ways = [Way(alert="ops", receiver=Receiver(f"ALERTS_OPS#{number}", gate)) for number in range(6)]
    with desks(*ways, stop=stopping.is_set) as sink:
        sink.write_batch([alert(1)])
        wait_until(lambda: all(desk._busy for desk in sink._all()))
        stopping.set()
        began = time.monotonic()
        first = sink.snapshot()
        assert sink.snapshot() == first
        sink.close()
        took = time.monotonic() - began
        gate.set()

    assert pending(first) == ["t/0/1"] * 6
    assert took < 3.0  # of the second of the snapshots and that of the end; one after the other: 8


def test_there_is_a_tick_each_second_and_a_last_one_after_a_stop_was_asked_for() -> None:
    now, stopping = [100.0], threading.Event()
    ticks = NotifyTicks(stopping.is_set, lambda: now[0]).build("ticks", 0, 1)
    got = []
    for at in (100.0, 100.999, 101.0, 101.5, 104.0, 104.9):
        now[0] = at
        got.append(list(ticks.next_batch()))
    stopping.set()

    tick = [("receivers", None)]
    assert got == [[], [], tick, [], tick, []]
    assert list(ticks.next_batch()) == tick
    with pytest.raises(StopIteration):
        ticks.next_batch()


def test_a_tick_is_no_alert() -> None:
    receiver = Receiver()
    with desks(Way(alert="ops", receiver=receiver)) as sink:
        sink.write_batch([None, alert(1), None])
        wait_until(lambda: pending(sink.snapshot()) == [])

    assert receiver.got == ["t/0/1"]


def test_a_dead_letter_that_cannot_be_kept_stops_the_dataflow_and_the_alert_stays() -> None:
    class Failing(Kept):
        def __call__(self) -> Callable[[Sequence[Alert], str], None]:
            msg = "no broker"
            raise OSError(msg)

    with hook(lambda _: 500) as server, desks(Way(alert="ops", receiver=webhook(server.url())), kept=Failing()) as sink:
        sink.write_batch([alert(1)])
        wait_until(lambda: sink._all()[0]._failure is not None)
        with pytest.raises(OSError, match="no broker"):
            sink.snapshot()
        with pytest.raises(OSError, match="no broker"):
            sink.write_batch([alert(2)])


def test_what_waited_for_a_receiver_that_is_gone_is_a_dead_letter() -> None:
    gate, kept = threading.Event(), Kept()
    with desks(Way(alert="ops", receiver=Receiver(gate=gate))) as sink:
        sink.write_batch([alert(1), alert(2)])
        state = sink.snapshot()
        gate.set()
    with desks(Way(alert="other", receiver=Receiver()), kept=kept, state=state) as resumed:
        assert pending(resumed.snapshot()) == []

    assert [origin for origin, _ in kept.letters] == ["t/0/1", "t/0/2"]


def test_a_state_of_another_format_is_refused() -> None:
    with pytest.raises(StateError, match="expected format 1, got 9"), desks(state={"format": 9}):
        pass
