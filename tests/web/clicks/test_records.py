from datetime import UTC, datetime

import msgspec
import pytest

from detection.loading import parse
from web.clicks.records import ClickForm, CountForm, FormError

AT = datetime(2026, 1, 2, 3, 4, 5, 678_000, UTC)
TOLD = {"session_id": "s", "url": "/click", "user_agent": None, "ip": "192.0.2.1"}


def form(fields: str, time: str = "") -> ClickForm:
    return ClickForm(parse({"p": f'[event.click]\ntopic = "c"\n{time}\nfields = {{ {fields} }}\n'}))


def test_members_are_written_where_the_pack_reads_them() -> None:
    found = form('session_id = "str @ who.session", url = "str", ip = "str? @ who.ip"', 'time = "at @ when.at"')

    assert msgspec.json.decode(found.value(AT, TOLD)) == {
        "who": {"session": "s", "ip": "192.0.2.1"},
        "url": "/click",
        "when": {"at": "2026-01-02T03:04:05.678Z"},
    }


def test_what_the_pack_does_not_name_is_left_out() -> None:
    found = form('session_id = "str", url = "str"')

    assert msgspec.json.decode(found.value(AT, TOLD)) == {"session_id": "s", "url": "/click"}


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ('session_id = "str"', "expected a field url of kind str"),
        ('session_id = "int", url = "str"', "expected a field session_id of kind str"),
        ('session_id = "str", url = "str", ad = "str"', "got ad"),
    ],
)
def test_a_pack_that_would_read_no_click_of_ours_is_told(fields: str, told: str) -> None:
    with pytest.raises(FormError, match=told):
        form(fields)


def test_packs_without_the_event_are_told_what_to_add() -> None:
    pack = parse({"p": '[event.other]\ntopic = "o"\nfields = { a = "str" }\n'})

    for kind in (ClickForm, CountForm):
        with pytest.raises(FormError, match=r"add packs/clicks\.toml to FRAUD_PACKS"):
            kind(pack)
