from typing import Any

import pytest

from sources.verdicts import OtherError, read_dead_letter


class Letter:
    def __init__(self, headers: Any) -> None:
        self.headers = lambda: headers


def test_a_dead_letter_tells_where_its_record_was_and_what_was_wrong() -> None:
    told = read_dead_letter(Letter([("h", b"x"), ("fraud.origin", b"t/0/1"), ("fraud.error", b"no \xff")]))  # type: ignore[arg-type]

    assert told == ("t/0/1", "no \\xff")


@pytest.mark.parametrize("headers", [None, [], [("fraud.origin", b"t/0/1")]])
def test_what_has_no_error_is_somebody_elses(headers: Any) -> None:
    with pytest.raises(OtherError, match=r"expected fraud\.origin and fraud\.error"):
        read_dead_letter(Letter(headers))  # type: ignore[arg-type]
