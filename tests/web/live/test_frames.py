import json

from detection.pack import Pack
from web.live.buffer import Buffer
from web.live.frames import ROWS, Sample, first, frame
from web.live.records import Shown
from web.live.tally import Tally
from web.live.veil import Veil

STATUS = {"at": 0, "problem": ""}
VEIL = Veil(Pack("", ()))


def shown(number: int, word: str = "LEGIT", text: str = "") -> Shown:
    return Shown(number, word, 0, text, text, text, [text] * 100, text, text.encode())


def rows_of(sample: Sample) -> tuple[list[dict[str, object]], int]:
    told = json.loads(frame(1, Tally(), sample, STATUS, VEIL).plain)
    return told["rows"], told["left_out"]


def test_a_frame_has_at_most_50_rows_and_tells_how_many_are_left_out() -> None:
    sample = Sample()
    for number in range(1_000):
        sample.add(shown(number))

    rows, left_out = rows_of(sample)

    assert [row["number"] for row in rows] == list(range(1_000 - ROWS, 1_000))
    assert left_out == 1_000 - ROWS


def test_frauds_come_before_all_others() -> None:
    sample = Sample()
    for number in range(10):
        sample.add(shown(number, "FRAUD"))
    for number in range(10, 1_000):
        sample.add(shown(number))

    rows, left_out = rows_of(sample)

    assert [row["number"] for row in rows if row["word"] == "FRAUD"] == list(range(10))
    assert len(rows) == ROWS
    assert left_out == 1_000 - ROWS


def test_each_record_is_in_one_frame_only() -> None:
    sample = Sample()
    sample.add(shown(1))

    assert rows_of(sample)[0]
    assert rows_of(sample) == ([], 0)


def test_hostile_records_cannot_make_a_frame_large() -> None:
    sample = Sample()
    for number in range(ROWS):
        sample.add(shown(number, "FRAUD", "\u202e" * 1_000_000))

    assert len(frame(1, Tally(), sample, STATUS, VEIL).plain) < 1_000_000


def test_who_has_nothing_yet_gets_the_newest_records_oldest_first() -> None:
    buffer = Buffer()
    for number in range(500):
        buffer.add(shown(number))

    told = json.loads(first(1, Tally(), buffer, STATUS, VEIL, plain=True))

    assert [row["number"] for row in told["rows"]] == list(range(300, 500))
