from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detection.alerting.alert import Alert
from detection.alerting.outbox import Outbox, Patience
from detection.errors import StateError

MINUTE = 60_000
T0 = 1_767_268_800_000


def alert(number: int = 0, rule: str = "burst") -> Alert:
    return Alert(
        alert="ops",
        rule=rule,
        decision="block",
        reasons=[],
        entity=[("user", str(number))],
        amount=None,
        origin=f"t/0/{number}",
        at=0,
    )


def outbox(
    group: int = MINUTE, limit: tuple[int, int] | None = None, tries: int = 3, state: dict[str, Any] | None = None
) -> Outbox:
    return Outbox(group=group, limit=limit, patience=Patience(tries), jitter=lambda: 1.0, state=state)


def send(box: Outbox, now: int) -> list[str]:
    """What goes out then, each delivered at once."""
    out = []
    while (message := box.take(now)) is not None:
        out.append([one.origin.rpartition("/")[2] for one in message.alerts])
        box.delivered()
    return [",".join(numbers) for numbers in out]


def test_the_first_goes_at_once_and_those_of_the_minute_after_it_together() -> None:
    box = outbox()
    for number in range(35):
        box.add(alert(number), T0 + number)

    assert send(box, T0 + 40) == ["0"]
    assert send(box, T0 + 40 + MINUTE - 1) == []
    message = box.take(T0 + 40 + MINUTE)
    assert message is not None
    assert (len(message.alerts), message.span) == (34, MINUTE)


def test_after_a_quiet_minute_the_next_one_is_a_first_one_again() -> None:
    box = outbox()
    box.add(alert(1), T0)
    send(box, T0)
    box.add(alert(2), T0 + MINUTE)
    message = box.take(T0 + MINUTE)

    assert message is not None
    assert message.span is None


def test_one_that_comes_just_before_the_end_of_the_minute_waits_for_it() -> None:
    box = outbox()
    box.add(alert(1), T0)
    send(box, T0)
    box.add(alert(2), T0 + MINUTE - 1)

    assert send(box, T0 + MINUTE - 1) == []
    assert send(box, T0 + MINUTE) == ["2"]


def test_rules_are_grouped_apart() -> None:
    box = outbox()
    for number, rule in enumerate(["a", "a", "b", "b"]):
        box.add(alert(number, rule), T0)

    assert send(box, T0) == ["0", "2"]
    assert send(box, T0 + MINUTE) == ["1", "3"]


def test_without_a_group_each_goes_alone() -> None:
    box = outbox(group=0)
    for number in range(3):
        box.add(alert(number), T0)

    assert send(box, T0) == ["0", "1", "2"]


def test_without_a_group_a_rule_with_many_alerts_keeps_no_other_waiting() -> None:
    box = outbox(group=0, limit=(2, MINUTE))
    for number in range(5):
        box.add(alert(number, "noisy"), T0)
    box.add(alert(5, "rare"), T0 + 1)
    box.add(alert(6, "rare"), T0 + 1)

    assert send(box, T0 + 1) == ["0", "5"]
    resumed = outbox(group=0, limit=(2, MINUTE), state=box.snapshot())
    assert send(resumed, T0 + 1 + MINUTE) == ["1", "6"]
    assert send(resumed, T0 + 1 + 2 * MINUTE) == ["2", "3"]


def test_at_the_limit_the_rest_waits_until_the_oldest_has_left_the_time() -> None:
    box = outbox(group=0, limit=(2, MINUTE))
    for number in range(5):
        box.add(alert(number), T0)

    assert send(box, T0) == ["0", "1"]
    assert send(box, T0 + MINUTE - 1) == []
    assert send(box, T0 + MINUTE) == ["2", "3"]
    assert send(box, T0 + 2 * MINUTE) == ["4"]


def test_what_waits_for_the_limit_goes_as_one_burst() -> None:
    box = outbox(group=1_000, limit=(2, MINUTE))
    for number in range(4):
        box.add(alert(number), T0)
        send(box, T0 + number)
    assert send(box, T0 + 1_000) == ["1,2,3"]
    for number in range(4, 9):
        box.add(alert(number), T0 + 1_500)

    assert send(box, T0 + MINUTE - 1) == []
    assert send(box, T0 + MINUTE) == ["4,5,6,7,8"]


def test_a_message_that_failed_is_tried_again_after_a_growing_while_and_then_given_up() -> None:
    box = outbox(tries=3)
    box.add(alert(), T0)

    message = box.take(T0)
    assert not box.failed(T0)
    assert box.take(T0 + 999) is None
    assert box.take(T0 + 1_000) is message
    assert not box.failed(T0 + 1_000)
    assert box.take(T0 + 2_999) is None
    assert box.take(T0 + 3_000) is message
    assert box.failed(T0 + 3_000)
    assert len(box) == 1
    box.delivered()
    assert len(box) == 0


@pytest.mark.parametrize("jitter", [0.0, 0.5, 1.0])
def test_jitter_takes_at_most_half_of_the_wait_away(jitter: float) -> None:
    waits = [Patience(tries=99).wait(failures, jitter) for failures in range(1, 99)]

    assert waits == sorted(waits)
    assert waits[0] == 500 + 500 * jitter
    assert waits[-1] == 30_000 + 30_000 * jitter


@given(
    st.lists(
        st.tuples(st.sampled_from(["add", "send", "fail", "wait", "restart"]), st.integers(0, 90_000)), max_size=60
    )
)
def test_every_alert_goes_out_exactly_once_whatever_happens(steps: list[tuple[str, int]]) -> None:
    now, number, out = T0, 0, []
    box = outbox(limit=(3, 5 * MINUTE), tries=1_000)
    for step, value in steps:
        if step == "add":
            box.add(alert(number, f"r{value % 2}"), now)
            number += 1
        elif step == "wait":
            now += value
        elif step == "restart":
            state = msgspec.msgpack.decode(msgspec.msgpack.encode(box.snapshot()))
            box = outbox(limit=(3, 5 * MINUTE), tries=1_000, state=state)
        elif (message := box.take(now)) is not None:
            if step == "fail":
                box.failed(now)
            else:
                out += [one.origin for one in message.alerts]
                box.delivered()
    while len(box):
        now += 10 * MINUTE
        message = box.take(now)
        assert message is not None
        out += [one.origin for one in message.alerts]
        box.delivered()

    assert sorted(out) == sorted(f"t/0/{one}" for one in range(number))
    assert box.due_at() is None


def test_a_restart_with_a_message_on_its_way_sends_it_again() -> None:
    box = outbox()
    box.add(alert(1), T0)
    box.add(alert(2), T0)
    box.take(T0)

    resumed = outbox(state=box.snapshot())

    assert len(resumed) == 2
    assert send(resumed, T0 + 5) == ["1"]
    assert send(resumed, T0 + MINUTE) == ["2"]


def test_a_snapshot_of_another_format_is_refused() -> None:
    with pytest.raises(StateError, match="expected format 1, got 2"):
        outbox(state={"format": 2})
