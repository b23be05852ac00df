from structlog.testing import capture_logs

from dataflows.supervision.watchdog import STALLED_SECONDS, Watchdog


def test_a_partition_that_grows_unread_is_told_once_after_20_s_and_its_recovery_too() -> None:
    watchdog = Watchdog()
    with capture_logs() as logs:
        stalled = {second: bool(watchdog.look({"t/0": 5}, {"t/0": 5 + second // 10}, second)) for second in range(60)}
        assert watchdog.look({"t/0": 6}, {"t/0": 11}, 60) == frozenset()

    # The end moves at 10; what came then is unread for 20 s at 30.
    assert [second for second, alarm in stalled.items() if alarm] == list(range(30, 60))
    assert [(entry["log_level"], entry["place"]) for entry in logs] == [("error", "t/0"), ("info", "t/0")]


def test_asked_each_second_the_alarm_comes_within_30_s_of_the_first_unread_record() -> None:
    assert STALLED_SECONDS + 2 * 1.0 + 5.0 < 30  # two intervals, and an answer that had to be asked for again


def test_a_partition_that_is_read_however_slowly_is_not_stalled() -> None:
    watchdog = Watchdog()

    assert not any(watchdog.look({"t/0": second // 15}, {"t/0": 10 * second}, second) for second in range(300))


def test_a_quiet_partition_is_not_stalled_though_its_last_offset_is_no_record() -> None:
    watchdog = Watchdog()  # the mark of a transaction lies behind the last record

    assert not any(watchdog.look({"t/0": 5}, {"t/0": 6}, second) for second in range(300))


def test_what_came_after_a_long_quiet_time_has_its_own_20_s() -> None:
    watchdog = Watchdog()
    for second in range(1_000):
        watchdog.look({"t/0": 5}, {"t/0": 5}, second)

    assert not any(watchdog.look({"t/0": 5}, {"t/0": 6}, 1_000 + second) for second in range(20))
    assert watchdog.look({"t/0": 5}, {"t/0": 6}, 1_020) == {"t/0"}


def test_each_partition_is_looked_at_by_itself() -> None:
    watchdog = Watchdog()
    for second in range(40):
        stalled = watchdog.look({"t/0": 5, "t/1": second}, {"t/0": 5 + second, "t/1": second}, second)

    assert stalled == {"t/0"}
