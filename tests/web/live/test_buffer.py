from web.live.buffer import Buffer, matching
from web.live.records import Shown


def shown(
    number: int, word: str = "FRAUD", *, key: str = "k", text: str = "", rules: tuple[str, ...] = (), size: int = 0
) -> Shown:
    return Shown(number, word, 0, "t", key, text, list(rules), f"t/0/{number}", b"x" * size)


def all_of(**given: str) -> dict[str, object]:
    return {"words": frozenset[str](), "rule": "", "key": "", "text": ""} | given


def test_a_flood_of_legit_ones_pushes_no_fraud_out() -> None:
    buffer = Buffer()
    buffer.add(shown(0))
    for number in range(1, 5_000):
        buffer.add(shown(number, "LEGIT"))

    assert buffer.get(0) is not None
    assert sum(1 for _ in buffer) == 2_001


def test_large_records_push_out_older_ones_of_their_kind() -> None:
    buffer = Buffer(largest=10_000)
    for number in range(100):
        buffer.add(shown(number, size=3_000))

    assert [record.number for record in buffer] == [99, 98]


def test_one_that_is_larger_than_all_room_is_not_kept() -> None:
    buffer = Buffer(largest=10_000)
    buffer.add(shown(1, size=20_000))
    buffer.add(shown(2))

    assert [record.number for record in buffer] == [2]


def test_the_newest_come_first_whatever_they_are() -> None:
    buffer = Buffer()
    for number, word in enumerate(["LEGIT", "FRAUD", "DEAD", "LEGIT", "REVIEW"]):
        buffer.add(shown(number, word))

    assert [record.number for record in buffer] == [4, 3, 2, 1, 0]
    assert [record.number for record in buffer.find(lambda _record: True, 2)] == [4, 3]


def test_a_filter_lets_through_what_all_of_its_parts_do() -> None:
    record = shown(1, "FRAUD", key="user-7", text="Transfer of 900 EUR", rules=("large",))

    assert matching(**all_of())(record)
    assert matching(words=frozenset({"FRAUD", "DEAD"}), rule="large", key="user-7", text="TRANSFER")(record)
    for other in ({"words": frozenset({"LEGIT"})}, {"rule": "larg"}, {"key": "user"}, {"text": "901"}):
        assert not matching(**all_of(**other))(record)
