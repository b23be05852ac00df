"""Where keys and values stand in a TOML text."""

import tomllib
from collections.abc import Iterator
from pathlib import Path as FilePath
from typing import Any

import pytest

from detection.positions import Path, Positions

TEXT = """\
lateness = "1h" # a comment

[event.pay]
topic = 'pays'
fields = { user = "str", "x y" = "int?" }
add.label = '''
fraudulent ?
  1 : 2'''

[[rule.big.test]]
given = [
  { user = "ä" }, # one
  # between
  { user = "b", nested = [[1, 2], { a = 3 }] },
]
fires = [true, false]
[rule.big.test.more]
x = 1

[[rule.big.test]]
given = [{ user = "c" }]

[rule."quoted".deep]
"ä" = 5
"""
SHIPPED = sorted((FilePath(__file__).parents[2] / "packs").glob("*.toml"))


@pytest.mark.parametrize(
    ("path", "key", "value"),
    [
        (("lateness",), (1, 1), (1, 12)),
        (("event", "pay"), (3, 2), (3, 2)),
        (("event",), (3, 2), (3, 2)),
        (("event", "pay", "topic"), (4, 1), (4, 9)),
        (("event", "pay", "fields", "user"), (5, 12), (5, 19)),
        (("event", "pay", "fields", "x y"), (5, 26), (5, 34)),
        (("event", "pay", "add", "label"), (6, 1), (6, 13)),
        (("rule", "big", "test", 0, "given", 0, "user"), (12, 5), (12, 12)),
        (("rule", "big", "test", 0, "given", 1), (14, 3), (14, 3)),
        (("rule", "big", "test", 0, "given", 1, "nested", 0, 1), (14, 31), (14, 31)),
        (("rule", "big", "test", 0, "given", 1, "nested", 1, "a"), (14, 37), (14, 41)),
        (("rule", "big", "test", 0, "more", "x"), (18, 1), (18, 5)),
        (("rule", "big", "test", 1, "given", 0, "user"), (21, 12), (21, 19)),
        (("rule", "quoted", "deep", "ä"), (24, 1), (24, 7)),
        # What is not there is at the nearest thing around it.
        (("event", "pay", "time"), (3, 2), (3, 2)),
        (("event", "pay", "fields", "z", 3), (5, 1), (5, 10)),
        (("rule", "big", "test", 1, "fires"), (20, 3), (20, 3)),
        (("nothing", "at", "all"), (1, 1), (1, 1)),
    ],
)
def test_keys_and_values_are_found(path: Path, key: tuple[int, int], value: tuple[int, int]) -> None:
    places = Positions(TEXT)

    assert (places.key(path), places.value(path)) == (key, value)


def strings(value: Any, path: Path = ()) -> Iterator[tuple[Path, str]]:
    if isinstance(value, str) and value:
        yield path, value
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, item in items:
        yield from strings(item, (*path, name))


@pytest.mark.parametrize("file", SHIPPED, ids=lambda file: file.name)
def test_every_string_of_the_shipped_packs_is_found_to_the_character(file: FilePath) -> None:
    text = file.read_text()
    lines = text.splitlines()
    places = Positions(text)

    for path, value in strings(tomllib.loads(text)):
        line, column = places.value(path)
        assert lines[line - 1][column - 1] in "\"'", path
        line, column = places.inside(path, 0)
        assert lines[line - 1][column - 1] == value[0], path


@pytest.mark.parametrize(
    ("value", "offset", "expected"),
    [
        ('"abc"', 0, (1, 6)),
        ('"abc"', 3, (1, 9)),  # behind the last: where something is missing
        ("'abc'", 2, (1, 8)),
        ('"""abc"""', 1, (1, 9)),
        ("'''\nab\ncd'''", 0, (2, 1)),
        ("'''\nab\ncd'''", 3, (3, 1)),
        ("'''\nab\ncd'''", 4, (3, 2)),
        ("'''ab\ncd'''", 1, (1, 9)),
        ("'a\\tbc'", 4, (1, 10)),
        ('"a\\tbc"', 2, (1, 5)),  # with escapes: the string
        ("5", 2, (1, 5)),
    ],
)
def test_a_character_of_a_string_is_found(value: str, offset: int, expected: tuple[int, int]) -> None:
    assert Positions(f"x = {value}").inside(("x",), offset) == expected


def test_columns_count_characters_not_bytes() -> None:
    places = Positions('a = { "äöü😀" = "é", b = "xyz" }')

    assert places.value(("a", "b")) == (1, 25)
    assert places.inside(("a", "b"), 2) == (1, 28)


@pytest.mark.parametrize("text", ["", "[", "a = ", "[[", "= 5", "\x00", "a = [[[["])
def test_a_text_that_is_no_toml_has_places_all_the_same(text: str) -> None:
    assert Positions(text).value(("a",))[0] == 1
