import asyncio
import json
from pathlib import Path

import pytest

from sources.files import FileError
from web.clicks.count import Count


def test_numbers_that_are_added_at_once_are_all_given_and_on_disk(tmp_path: Path) -> None:
    count = Count(tmp_path / "count.json")

    async def add_all() -> list[int]:
        return await asyncio.gather(*(count.add() for _ in range(100)))

    assert asyncio.run(add_all()) == list(range(1, 101))
    assert json.loads((tmp_path / "count.json").read_bytes()) == {"click_count": 100}


def test_the_file_of_another_page_is_gone_on_from(tmp_path: Path) -> None:
    (tmp_path / "count.json").write_text('{ "click_count": 41, "more": [] }\n')

    assert Count(tmp_path / "count.json").number == 41


@pytest.mark.parametrize("content", [b"", b"3", b"{}", b'{"click_count": -1}', b'{"click_count": "3"}', b"\xff"])
def test_a_file_that_is_no_count_is_told_and_left_as_it_is(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "count.json"
    path.write_bytes(content)

    with pytest.raises(FileError, match=r"count\.json: expected a count such as "):
        Count(path)
    assert path.read_bytes() == content


def test_two_pages_do_not_share_a_file(tmp_path: Path) -> None:
    count = Count(tmp_path / "count.json")
    with pytest.raises(FileError, match="another click page keeps its count there"):
        Count(tmp_path / "count.json")

    count.close()
    Count(tmp_path / "count.json").close()
