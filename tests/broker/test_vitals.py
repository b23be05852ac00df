from broker.vitals import Vitals


def test_positions_follow_the_offsets_of_their_reader_without_being_told() -> None:
    vitals = Vitals()
    offsets = {"t/0": 5, "gone/0": 9}  # what a snapshot kept of a topic that is no longer read
    vitals.follow([("t", 0)], offsets)
    offsets["t/0"] = 7

    assert vitals.positions() == {"t/0": 7}


def test_a_partition_not_read_yet_stands_at_its_beginning_once_that_is_known() -> None:
    vitals = Vitals()
    vitals.follow([("t", 0)], {})
    vitals.ends = {"t/0": 1_000}
    assert vitals.lag() == {"t/0": None}

    vitals.begins = {"t/0": 1_000}

    assert vitals.lag() == {"t/0": 0}


def test_a_position_counts_before_the_beginning_it_was_read_on_from() -> None:
    vitals = Vitals()
    vitals.follow([("t", 0)], {"t/0": 40})
    vitals.begins, vitals.ends = {"t/0": 10}, {"t/0": 50}

    assert vitals.lag() == {"t/0": 10}


def test_the_lag_is_never_below_0_though_ends_are_heard_late() -> None:
    vitals = Vitals()
    vitals.follow([("t", 0)], {"t/0": 8})
    vitals.ends = {"t/0": 5}

    assert vitals.lag() == {"t/0": 0}


def test_before_the_first_snapshot_its_age_is_that_of_the_process() -> None:
    vitals = Vitals()

    assert vitals.snapshot_age(vitals.started_at + 3) == 3
    vitals.snapshot()
    assert vitals.snapshot_at is not None
    assert vitals.snapshot_age(vitals.snapshot_at + 1) == 1
