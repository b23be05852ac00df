import json

from tests.web.review.test_ledger import entry
from web.live.records import Shown
from web.review.entries import Standing
from web.review.ledger import Ledger
from web.review.queue import ROWS, Case, Queue, case_of


def shown(
    number: int, word: str = "FRAUD", *, score: object = 50, size: int = 0, origin: str = "", at: int | None = None
) -> Shown:
    value = json.dumps({"verdict": {"score": score, "pack": "p"}, "more": "x" * size}).encode()
    return Shown(number, word, number if at is None else at, "t", "k", "text", ["r"], origin or f"t/0/{number}", value)


def case(number: int, word: str = "FRAUD", **others) -> Case:
    made = case_of(shown(number, word, **others))
    assert made is not None
    return made


def origins(queue: Queue, ledger: Ledger | None = None, group: str = "open", order: str = "newest") -> list[str]:
    return [row["origin"] for row in queue.told(ledger or Ledger(), 100, group, order, Shown.row)["rows"]]


def test_only_frauds_and_reviews_are_for_people() -> None:
    assert [word for word in ("FRAUD", "REVIEW", "LEGIT", "DEAD", "OTHER") if case_of(shown(1, word))] == [
        "FRAUD",
        "REVIEW",
    ]
    assert case_of(shown(1, score="high")) is None


def test_the_newest_come_first_or_the_highest_and_of_those_the_newest() -> None:
    queue = Queue()
    for number, score in enumerate([10, 90, 50, 90]):
        queue.take(case(number, "REVIEW" if number % 2 else "FRAUD", score=score))

    assert origins(queue) == ["t/0/3", "t/0/2", "t/0/1", "t/0/0"]
    assert origins(queue, order="highest") == ["t/0/3", "t/0/1", "t/0/2", "t/0/0"]


def test_the_newest_is_the_one_written_last_whichever_partition_was_read_first() -> None:
    queue = Queue()
    for number, at in enumerate([30, 40, 40, 10, 20]):  # the first three are another partition's
        queue.take(case(number, at=at))

    assert origins(queue) == ["t/0/2", "t/0/1", "t/0/0", "t/0/4", "t/0/3"]
    assert origins(queue, order="highest") == origins(queue)


def test_a_flood_of_frauds_pushes_out_no_review_and_is_told() -> None:
    queue = Queue(most=3)
    queue.take(case(0, "REVIEW"))
    for number in range(1, 11):
        queue.take(case(number))

    assert origins(queue) == ["t/0/10", "t/0/9", "t/0/8", "t/0/0"]
    assert queue.told(Ledger(), 0, "open", "newest", Shown.row)["dropped"] == 7
    assert queue.get("t/0/7") is None


def test_large_verdicts_do_not_fill_the_memory() -> None:
    queue = Queue(largest=10_000)
    for number in range(10):
        queue.take(case(number, size=4_000))

    assert origins(queue) == ["t/0/9", "t/0/8"]


def test_a_second_verdict_of_an_event_takes_the_place_of_the_first() -> None:
    queue = Queue()
    queue.take(case(1, "FRAUD", origin="t/0/1"))
    queue.take(case(2, "REVIEW", origin="t/0/1"))

    assert origins(queue) == ["t/0/1"]
    assert queue.get("t/0/1").shown.word == "REVIEW"


def test_what_is_decided_or_snoozed_leaves_the_open_ones() -> None:
    queue, ledger = Queue(), Ledger()
    for number in range(4):
        queue.take(case(number))
    ledger.take(entry(1, Standing("fraud"), origin="t/0/0"))
    ledger.take(entry(1, Standing("snoozed", 101), origin="t/0/1"))
    ledger.take(entry(1, Standing("snoozed", 100), origin="t/0/2"))

    assert origins(queue, ledger) == ["t/0/3", "t/0/2"]
    assert origins(queue, ledger, "snoozed") == ["t/0/1"]
    assert origins(queue, ledger, "done") == ["t/0/0"]


def test_a_page_gets_so_many_rows_and_is_told_how_many_there_are() -> None:
    queue = Queue()
    for number in range(ROWS + 5):
        queue.take(case(number))

    told = queue.told(Ledger(), 0, "open", "newest", Shown.row)

    assert len(told["rows"]) == ROWS
    assert told["counts"]["open"] == ROWS + 5


def test_a_list_of_many_cases_waits_for_the_ledger_once() -> None:
    queue, ledger = Queue(), Ledger()
    for number in range(50):
        queue.take(case(number))
    taken: list[None] = []

    class Counted:
        def __enter__(self) -> None:
            taken.append(None)

        def __exit__(self, *_: object) -> None: ...

    ledger._lock = Counted()

    assert len(origins(queue, ledger)) == 50
    assert len(taken) == 1
