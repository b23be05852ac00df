import msgspec
import pytest

from web.review.entries import (
    NO_LABEL,
    OPEN,
    Entry,
    Label,
    Labelled,
    Opening,
    Standing,
    Summary,
    UnreadableError,
    encode_entry,
    read_entry,
    read_label,
)
from web.review.ledger import Ledger

ORIGIN = "t/0/1"


def entry(version: int, after: Standing, *, who: str = "ana", at: int = 1_000, origin: str = ORIGIN) -> Entry:
    decided = after.state in {"fraud", "legit"}
    return Entry(
        id=f"{who}{version}{at}",
        at=at,
        who=who,
        role="analyst",
        action="snooze" if not decided else "confirm" if after.state == "fraud" else "dismiss",
        origin=origin,
        version=version,
        before=OPEN,
        after=after,
        verdict=Summary("FRAUD", "key", 90, ["large", "large", "odd"], "hash"),
        label=msgspec.Raw(b'{"fraudulent":true}') if decided else NO_LABEL,
    )


FRAUD, LEGIT = Standing("fraud"), Standing("legit")


def test_of_two_who_acted_on_the_same_the_first_in_the_topic_holds() -> None:
    ledger = Ledger()

    held = [ledger.take(entry(1, FRAUD, who="ana")), ledger.take(entry(1, LEGIT, who="ben"))]

    assert held == [True, False]
    assert ledger.standing(ORIGIN, 0) == FRAUD
    assert ledger.last(ORIGIN).who == "ana"
    told = ledger.told(ORIGIN, 0)
    assert [(did["who"], did["holds"]) for did in told["history"]] == [("ana", True), ("ben", False)]
    assert told["version"] == 1


def test_a_version_ahead_of_its_time_does_not_hold() -> None:
    assert not Ledger().take(entry(2, FRAUD))


def test_what_is_read_again_changes_nothing() -> None:
    ledger = Ledger()
    both = [entry(1, FRAUD), entry(2, LEGIT, at=2_000)]
    once = [ledger.take(one) for one in both]

    again = [ledger.take(one) for one in both]

    assert once == again == [True, True]
    assert len(ledger.told(ORIGIN, 0)["history"]) == 2


def test_what_was_snoozed_is_open_again_at_that_millisecond() -> None:
    ledger = Ledger()
    ledger.take(entry(1, Standing("snoozed", 5_000)))

    assert ledger.standing(ORIGIN, 4_999).state == "snoozed"
    assert ledger.standing(ORIGIN, 5_000) == OPEN


def test_a_label_of_somebody_else_closes_what_nobody_decided_and_changes_no_decision() -> None:
    ledger = Ledger()
    ledger.take_label(ORIGIN, Label(fraudulent=True, source="chargeback"))
    alone = ledger.standing(ORIGIN, 0)
    ledger.take(entry(1, LEGIT))

    assert (alone, ledger.standing(ORIGIN, 0)) == (FRAUD, LEGIT)
    assert ledger.told(ORIGIN, 0)["other"]["source"] == "chargeback"


def test_a_label_that_was_noted_and_is_not_in_its_topic_is_to_be_written_after_a_while() -> None:
    ledger = Ledger()
    ledger.take(entry(1, FRAUD, at=1_000))
    ledger.take(entry(1, Standing("snoozed", 9), at=1_000, origin="t/0/2"))

    assert ledger.unwritten(1_000) == []
    assert [each.origin for each in ledger.unwritten(1_001)] == [ORIGIN]
    ledger.take_label(ORIGIN, Label(fraudulent=True, source="review", version=1))
    assert ledger.unwritten(1_001) == []
    ledger.take(entry(2, LEGIT, at=2_000))
    assert [each.version for each in ledger.unwritten(2_001)] == [2]


def test_a_newer_label_is_written_again_when_an_older_one_came_after_it() -> None:
    ledger = Ledger()
    ledger.take(entry(1, FRAUD, at=1_000))
    ledger.take(entry(2, LEGIT, at=2_000))
    for version in (2, 1):
        ledger.take_label(ORIGIN, Label(fraudulent=version == 1, source="review", version=version))

    assert [each.version for each in ledger.unwritten(2_001)] == [2]
    ledger.wrote(entry(2, LEGIT, at=2_000))
    assert ledger.unwritten(2_001) == []


def test_a_label_of_somebody_else_that_was_taken_back_counts_no_more() -> None:
    ledger = Ledger()
    ledger.take_label(ORIGIN, Label(fraudulent=True, source="chargeback"), own_key=False)
    ledger.take_label(*read_label(b"any", b'{"origin": "t/0/1", "fraudulent": null}', 5), own_key=False)

    assert ledger.standing(ORIGIN, 0) == OPEN
    assert ledger.told(ORIGIN, 0)["other"] is None


@pytest.mark.parametrize("value", [None, b'{"fraudulent": null}'])
@pytest.mark.parametrize("first", ["entry", "label"])
def test_a_label_of_ours_that_was_taken_back_is_not_written_again(value: bytes | None, first: str) -> None:
    ledger = Ledger()
    if first == "entry":
        ledger.take(entry(1, FRAUD, at=1_000))
        ledger.take_label(ORIGIN, Label(fraudulent=True, source="review", version=1, at=1_001))
    ledger.take_label(*read_label(ORIGIN.encode(), value, 1_500))
    if first == "label":  # two topics: either may be read first
        ledger.take(entry(1, FRAUD, at=1_000))

    assert ledger.unwritten(9_999) == []
    assert ledger.told(ORIGIN, 0)["label"] is None
    ledger.take(entry(2, LEGIT, at=2_000))
    assert [each.version for each in ledger.unwritten(9_999)] == [2]


@pytest.mark.parametrize(("at", "again"), [(999, True), (1_000, True), (1_001, False)])
def test_a_chargeback_that_came_later_is_not_written_over_and_one_before_the_decision_is(
    at: int, *, again: bool
) -> None:
    ledger = Ledger()
    ledger.take(entry(1, LEGIT, at=1_000))
    ledger.take_label(ORIGIN, Label(fraudulent=True, source="chargeback", at=at))

    assert bool(ledger.unwritten(9_999)) == again


def test_the_precision_of_a_rule_counts_the_last_decision_of_each_event_once() -> None:
    ledger = Ledger()
    ledger.take(entry(1, FRAUD))
    ledger.take(entry(2, LEGIT))
    ledger.take(entry(1, FRAUD, origin="t/0/2"))
    ledger.take(entry(1, Standing("snoozed", 9), origin="t/0/3"))

    assert ledger.found() == {"large": (1, 1), "odd": (1, 1)}


def test_what_is_to_be_written_and_what_was_found_is_told_without_a_look_at_all_events() -> None:
    class Unseen(dict):
        def values(self):
            raise AssertionError

        items = __iter__ = values

    ledger = Ledger()
    ledger._events = Unseen()
    ledger.take(entry(1, FRAUD))
    ledger.take(entry(1, LEGIT, origin="t/0/2"))
    ledger.take_label("t/0/2", Label(fraudulent=False, source="review", version=1))

    assert [each.origin for each in ledger.unwritten(9_999)] == [ORIGIN]
    assert ledger.found() == {"large": (1, 1), "odd": (1, 1)}


def test_a_decision_that_was_taken_up_again_counts_for_no_rule() -> None:
    ledger = Ledger()
    ledger.take(entry(1, FRAUD))
    ledger.take(entry(2, Standing("snoozed", 9)))

    assert ledger.found() == {}


def test_an_entry_comes_back_as_it_was_written() -> None:
    for one in (entry(1, FRAUD), entry(2, Standing("snoozed", 9))):
        read = read_entry(encode_entry(one))

        assert bytes(read.label) == bytes(one.label)
        assert msgspec.structs.replace(read, label=one.label) == one


@pytest.mark.parametrize("value", [b"", b"{}", b"null", b"\xff", b"[" * 10_000, b'{"version": "1"}'])
def test_what_somebody_else_wrote_is_neither_an_entry_nor_a_label(value: bytes) -> None:
    with pytest.raises(UnreadableError, match="no entry of an audit"):
        read_entry(value)
    with pytest.raises(UnreadableError, match="no label"):
        read_label(None, value, 0)


def test_a_label_of_which_the_audit_says_that_it_was_there_is_not_missing_where_it_is_gone() -> None:
    ledger = Ledger()
    ledger.take(entry(1, FRAUD))
    ledger.take_label(ORIGIN, Label(fraudulent=True, source="review", version=1, at=1_000))
    assert ledger.unnoted() == [(ORIGIN, 1)]
    labelled = Labelled(at=2_000, origin=ORIGIN, version=1)
    ledger.note(labelled)
    assert ledger.unnoted() == []

    after = Ledger()  # which finds no label any more
    after.take(entry(1, FRAUD))
    assert [one.version for one in after.unwritten(9_999)] == [1]
    after.note(labelled)

    assert after.unwritten(9_999) == []
    assert after.told(ORIGIN, 0)["label"] is None
    after.take(entry(2, LEGIT, at=3_000))  # another decision has a label of its own
    assert [one.version for one in after.unwritten(9_999)] == [2]
    assert after.told(ORIGIN, 0)["label"] is False


def test_a_label_that_is_taken_back_before_the_audit_knows_of_it_is_noted_too() -> None:
    ledger = Ledger()
    ledger.take(entry(1, FRAUD))
    ledger.take_label(ORIGIN, Label(fraudulent=None, at=1_500))

    assert ledger.unnoted() == [(ORIGIN, 1)]
    ledger.note(Labelled(at=2_000, origin=ORIGIN, version=1))
    assert ledger.unnoted() == []


def test_somebody_elses_label_is_not_noted() -> None:
    ledger = Ledger()
    ledger.take_label(ORIGIN, Label(fraudulent=True, source="bank", at=1_000))
    ledger.take_label("t/0/2", Label(fraudulent=None, at=1_000))

    assert ledger.unnoted() == []


@pytest.mark.parametrize(
    "record",
    [
        Opening(id="x", at=1, who="ana", role="analyst", origin=ORIGIN),
        Labelled(at=1, origin=ORIGIN, version=3),
        entry(1, FRAUD),
    ],
)
def test_each_record_of_the_audit_is_read_as_what_it_is(record: Entry | Opening | Labelled) -> None:
    assert read_entry(encode_entry(record)) == record


@pytest.mark.parametrize(
    "value", [b"{}", b'{"action": "open"}', b'{"action": "shut"}', b'{"action": "labelled"}', b"[]"]
)
def test_what_is_no_record_of_the_audit_is_none(value: bytes) -> None:
    with pytest.raises(UnreadableError):
        read_entry(value)
