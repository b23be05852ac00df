from typing import Any

import pytest
from msgspec.structs import replace

from detection.alerting.alert import Alert
from detection.alerting.dedupe import SLACK, Dedupe
from detection.errors import StateError
from detection.kinds import MICROS

HOUR = 3_600 * MICROS


def alert(at: int, user: str = "ann", **changes: Any) -> Alert:
    known = Alert(
        alert="ops",
        rule="burst",
        decision="block",
        reasons=["3 clicks"],
        entity=[("user", user)],
        amount=None,
        origin="clicks/0/7",
        at=at,
    )
    return replace(known, **changes)


@pytest.mark.parametrize(("later", "news"), [(0, False), (1, False), (HOUR - 1, False), (HOUR, True), (HOUR + 1, True)])
@pytest.mark.parametrize("sign", [1, -1])
def test_one_is_told_again_exactly_when_the_time_has_passed_in_either_direction(
    *, later: int, news: bool, sign: int
) -> None:
    dedupe = Dedupe({"ops": HOUR})

    assert dedupe.is_news(alert(10 * HOUR))
    assert dedupe.is_news(alert(10 * HOUR + sign * later)) is news


def test_what_goes_on_for_ever_is_told_once_in_each_hour() -> None:
    dedupe = Dedupe({"ops": HOUR})

    told = [minute for minute in range(181) if dedupe.is_news(alert(minute * 60 * MICROS))]

    assert told == [0, 60, 120, 180]


def test_another_rule_entity_or_alert_is_news() -> None:
    dedupe = Dedupe({"ops": HOUR, "mail": HOUR})
    dedupe.is_news(alert(0))

    assert dedupe.is_news(alert(0, "bob"))
    assert dedupe.is_news(alert(0, rule="other"))
    assert dedupe.is_news(alert(0, alert="mail"))
    assert dedupe.is_news(alert(0, alert="without"))
    assert dedupe.is_news(alert(0, alert="without"))


def test_names_and_values_cannot_be_made_to_look_like_others() -> None:
    dedupe = Dedupe({"ops": HOUR})

    assert dedupe.is_news(alert(0, entity=[("a", 'x","b'), ("c", "y")]))
    assert dedupe.is_news(alert(0, entity=[("a", "x"), ("b", 'c","y')]))


def test_a_restart_anywhere_changes_nothing_and_a_replay_tells_nothing() -> None:
    alerts = [alert(at * 600 * MICROS, f"u{at % 3}") for at in range(60)]
    whole = Dedupe({"ops": HOUR})
    expected = [whole.is_news(one) for one in alerts]

    for cut in range(len(alerts)):
        first = Dedupe({"ops": HOUR})
        before = [first.is_news(one) for one in alerts[:cut]]
        second = Dedupe({"ops": HOUR}, first.snapshot())
        assert before + [second.is_news(one) for one in alerts[cut:]] == expected

    snapshot = whole.snapshot()
    replayed = Dedupe({"ops": HOUR}, snapshot)
    assert not any(replayed.is_news(one) for one in alerts[-6:])


def test_a_snapshot_is_a_copy_of_builtins() -> None:
    dedupe = Dedupe({"ops": HOUR})
    dedupe.is_news(alert(0))
    snapshot = dedupe.snapshot()
    dedupe.is_news(alert(0, "bob"))

    assert snapshot == {"format": 1, "told": {"ops": {alert(0).subject: 0}}, "newest": {"ops": 0}}


def test_it_forgets_who_was_told_of_long_ago() -> None:
    dedupe = Dedupe({"ops": HOUR})
    for user in range(5_000):
        dedupe.is_news(alert(user * MICROS * 60, str(user)))

    assert len(dedupe.snapshot()["told"]["ops"]) == (HOUR + SLACK) // (60 * MICROS)


def test_a_changed_pack_goes_on_with_what_it_still_has() -> None:
    dedupe = Dedupe({"ops": HOUR, "gone": HOUR})
    dedupe.is_news(alert(0))
    dedupe.is_news(alert(0, alert="gone"))
    changed = Dedupe({"ops": HOUR, "new": HOUR}, dedupe.snapshot())

    assert not changed.is_news(alert(0))
    assert changed.is_news(alert(0, alert="new"))


def test_a_snapshot_of_another_format_is_refused() -> None:
    with pytest.raises(StateError, match="expected format 1, got 2"):
        Dedupe({}, {"format": 2})
