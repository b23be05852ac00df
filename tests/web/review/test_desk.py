from pathlib import Path

import pytest

from detection.loading import load
from detection.settings import Settings
from tests.web.review.test_ledger import LEGIT, entry
from tests.web.review.test_queue import case
from web.access import User
from web.review import desk as desks
from web.review.desk import Desk

PACK = Path(__file__).parents[3] / "packs" / "transfers.toml"
ANA = User("ana", "analyst")


def test_a_list_is_good_for_a_second_unless_somebody_acts(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1_000_000]
    monkeypatch.setattr(desks, "_now", lambda: now[0])
    settings = Settings(_env_file=None)
    desk = Desk(settings, load([PACK], settings.topics))

    def listed() -> list[str]:
        return [row["origin"] for row in desk.listed(ANA, "open", "newest")["rows"]]

    desk.queue.take(case(1))
    first = listed()
    desk.queue.take(case(2))
    now[0] += 999
    at_the_limit = listed()
    desk.ledger.take(entry(1, LEGIT, origin="t/0/1"))
    acted = listed()
    desk.queue.take(case(3))
    now[0] += 1_000

    assert (first, at_the_limit, acted, listed()) == (["t/0/1"], ["t/0/1"], ["t/0/2"], ["t/0/3", "t/0/2"])
