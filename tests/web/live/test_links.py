import json
from typing import Any

import pytest

from detection.loading import parse
from web.live import links
from web.live.links import ENTITIES, Links
from web.live.records import Shown

PACK = """
[list.blocked]
of = "str"
members = ["x"]

[event.pay]
topic = "pays"
fields = { user = "str", to = "str", gadget = "str? @ client.gadget", address = "str?", shop = "int?", colour = "str?" }

[event.login]
topic = "logins"
fields = { user = "str", gadget = "str?" }

[feature.pace]
on = "pay"
key = ["user", "gadget"]
fn = "count"
window = "1h"

[feature.shops]
on = "pay"
key = ["shop"]
fn = "count"
window = "1h"

[feature.received]
on = "pay"
key = ["user"]
over_key = ["to"]
fn = "count"
window = "1h"

[rule.fast]
on = "pay"
when = "pace > 1 && shops > 1 && received > 1"
reason = "fast"
score = 50
outcome = "block"

[rule.known]
on = "pay"
when = "address in blocked"
reason = "blocked"
score = 50
outcome = "block"
"""
LINKS = Links(parse({"p.toml": PACK}))


def shown(number: int, key: str, value: dict[str, Any] | bytes, *, topic: str = "pays", word: str = "LEGIT") -> Shown:
    held = value if isinstance(value, bytes) else json.dumps(value).encode()
    return Shown(number, word, 0, topic, key, "", [], f"{topic}/0/{number}", held)


def found(value: dict[str, Any], *others: Shown, key: str = "me") -> dict[tuple[str, str], list[str]]:
    told = LINKS.of(shown(0, key, value), others)
    assert told.searched is None
    return {(link.field, link.value): [other.key for other in link.others] for link in told.links}


def test_fields_link_that_the_pack_looks_something_up_by_and_no_others() -> None:
    mine = {"user": "u", "client": {"gadget": "g1"}, "address": "a1", "shop": 7, "colour": "red", "amount": 5}

    assert found(
        mine,
        shown(5, "by gadget", {"client": {"gadget": "g1"}}),
        shown(4, "by address", {"address": "a1"}),
        shown(3, "by shop", {"shop": 7}),
        shown(2, "by colour", {"colour": "red", "amount": 5}),
        shown(1, "elsewhere", {"gadget": "g1", "colour": "a1", "address": "g1"}),
    ) == {("gadget", "g1"): ["by gadget"], ("address", "a1"): ["by address"], ("shop", "7"): ["by shop"]}


def test_a_field_links_across_events_by_its_name() -> None:
    assert found({"client": {"gadget": "g1"}}, shown(1, "other", {"gadget": "g1"}, topic="logins")) == {
        ("gadget", "g1"): ["other"]
    }


def test_what_a_feature_joins_is_one_thing_under_two_names() -> None:
    assert found({"to": "bob"}, shown(1, "bob's", {"user": "bob"})) == {("to", "bob"): ["bob's"]}


def test_the_entity_itself_is_no_link_and_another_is_told_once_by_its_newest_verdict() -> None:
    same = {"client": {"gadget": "g1"}}
    others = [shown(9, "me", same), shown(8, "b", same, word="FRAUD"), shown(7, "b", same), shown(6, "c", same)]

    (link,) = LINKS.of(shown(10, "me", same), others).links

    assert [(other.key, other.number) for other in link.others] == [("b", 8), ("c", 6)]
    assert not link.more


def test_what_is_part_of_a_value_or_elsewhere_in_the_record_is_no_link() -> None:
    mine = {"client": {"gadget": "g1"}, "shop": 7}

    assert found(mine, shown(1, "a", {"client": {"gadget": "g11"}, "shop": 77, "note": "g1"})) == {}


def test_a_value_links_however_it_is_escaped() -> None:
    other = shown(1, "a", b'{"client": {"gadget": "\\u0067\\u00fc"}}')

    assert found({"client": {"gadget": "gü"}}, other) == {("gadget", "gü"): ["a"]}


@pytest.mark.parametrize("value", [b"", b"{", b"[]", b'{"client": 1}', b'{"client": {"gadget": {}}}', b"\xff"])
def test_what_cannot_be_read_links_nothing_and_stops_nothing(value: bytes) -> None:
    assert LINKS.of(shown(0, "me", value), [shown(1, "a", {"shop": 7})]).links == []
    assert found({"shop": 7}, shown(2, "b", value + b'"7"'), shown(1, "a", {"shop": 7})) == {("shop", "7"): ["a"]}


def test_dead_letters_link_nothing() -> None:
    assert found({"shop": 7}, shown(1, "a", {"shop": 7}, word="DEAD")) == {}
    assert LINKS.of(shown(0, "me", {"shop": 7}, word="DEAD"), [shown(1, "a", {"shop": 7})]).links == []


def test_no_more_than_so_many_entities_are_told_of_one_value_and_rare_values_come_first() -> None:
    mine = {"shop": 7, "address": "a1"}
    many = [shown(number, f"k{number}", {"shop": 7}) for number in range(ENTITIES + 1)]

    told = LINKS.of(shown(100, "me", mine), [*many, shown(50, "rare", {"address": "a1"})])
    exact = LINKS.of(shown(100, "me", mine), many[1:])

    assert [(link.field, len(link.others), link.more) for link in told.links] == [
        ("address", 1, False),
        ("shop", ENTITIES, True),
    ]
    assert [(len(link.others), link.more) for link in exact.links] == [(ENTITIES, False)]


@pytest.mark.parametrize(("limit", "most"), [("_DECODED", 2), ("_BYTES", 2 * len('{"shop": 7}'))])
def test_its_work_is_bounded_and_it_says_how_far_it_came(
    limit: str, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(links, limit, most)
    others = [shown(number, f"k{number}", {"shop": 7}) for number in (3, 2, 1)]

    told = LINKS.of(shown(9, "me", {"shop": 7}), others)

    assert [other.key for other in told.links[0].others] == ["k3", "k2"]
    assert told.searched == 2
    assert LINKS.of(shown(9, "me", {"shop": 7}), others[:2]).searched is None
