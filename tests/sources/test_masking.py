import json
from typing import Any

import pytest

from detection.loading import parse
from detection.program import Engine
from detection.records import DeadLetter, Record, Verdict
from sources.masking import Masking
from sources.verdicts import text_of

PACK = """
pii = ["user"]

[event.login]
topic = "logins"
fields = { user = "str", tries = "int" }

[event.ping]
topic = "pings"
fields = { host = "str" }

[rule.many]
on = "login"
when = "tries > 3"
reason = "{user} tried {tries} times"
score = 50
outcome = "block"
"""
CAROL = "carol@example.com"
MASKING = Masking(parse({"p.toml": PACK}))


def verdict(**value: Any) -> bytes:
    answer = Engine(parse({"p.toml": PACK})).judge(
        Record("logins", 0, 0, 1_000, None, json.dumps({"user": CAROL, "tries": 4} | value).encode())
    )
    assert isinstance(answer, Verdict)
    return answer.value


def test_a_personal_value_leaves_neither_key_nor_reason_nor_bytes() -> None:
    value = verdict(note=f"says {CAROL}")

    key, text = MASKING.texts("FRAUD", "logins", value, f"DE/{CAROL}", f"{CAROL} tried 4 times")

    assert (key, text) == ("DE/***om", "***om tried 4 times")
    assert CAROL in text_of(value)
    assert CAROL not in text_of(MASKING.value("FRAUD", "logins", value))


def test_a_value_that_is_written_with_escapes_is_masked_too() -> None:
    value = verdict().replace(b'"carol@', b'"\\u0063arol@', 1)
    assert b"\\u0063" in value

    assert MASKING.texts("FRAUD", "logins", value, CAROL, "-") == ("***om", "-")
    assert "arol" not in text_of(MASKING.value("FRAUD", "logins", value))


@pytest.mark.parametrize(
    "value",
    [b"{", b"\xff", b'{"user": ["carol@example.com"]}', b'"carol@example.com"', b'{"user": "carol@example.com"}'],
)
def test_of_a_dead_letter_neither_key_nor_bytes_nor_what_its_error_quotes_is_shown(value: bytes) -> None:
    letter = Engine(parse({"p.toml": PACK})).judge(Record("logins", 0, 0, 1_000, CAROL.encode(), value))
    assert isinstance(letter, DeadLetter)

    told = MASKING.texts("DEAD", "logins", value, CAROL, f"user: expected text, got '{CAROL}'\nand more of {CAROL}")

    assert told == ("***om", "user: expected text, got ***")
    assert MASKING.value("DEAD", "logins", value) == b"***"


def test_a_dead_letter_of_events_without_anything_personal_is_shown_as_it_is() -> None:
    assert MASKING.texts("DEAD", "pings", b"{", "host-1", "got {") == ("host-1", "got {")
    assert MASKING.value("DEAD", "pings", b"{") == b"{"


def test_what_somebody_else_has_written_is_not_shown() -> None:
    assert MASKING.texts("OTHER", "fraud.out", b"x", CAROL, "no verdict") == ("***om", "no verdict")
    assert MASKING.value("OTHER", "fraud.out", b"x") == b"***"


def test_a_verdict_on_events_that_are_not_of_the_pack_is_not_shown() -> None:
    assert MASKING.texts("FRAUD", "elsewhere", verdict(), CAROL, f"{CAROL} tried") == ("***om", "***")
    assert MASKING.value("FRAUD", "elsewhere", verdict()) == b"***"


def test_without_personal_fields_bytes_stay_as_they_are_to_the_last_space() -> None:
    plain = Masking(parse({"p.toml": PACK.replace('pii = ["user"]', "")}))

    assert not plain.hides
    assert plain.value("FRAUD", "logins", b'{ "user" : 1.50 }') == b'{ "user" : 1.50 }'
    assert plain.texts("FRAUD", "logins", b"{}", CAROL, CAROL) == (CAROL, CAROL)
