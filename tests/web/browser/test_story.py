"""What the project is for, as people see it: three clicks, a red row, somebody who looks into it, and a label."""

import json
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Locator, Page, expect

from broker.embedded import EmbeddedBroker
from detection.loading import load
from detection.settings import Settings
from tests.cli.conftest import PACKS, Fraud
from tests.reading import read_all
from tests.web.browser.conftest import Open, Tab, url_of

REASON = "3 clicks on /click in 10 s"
START_MS = 60_000
SOON_MS = 10_000
"""A second is usual; other tests take their share of the machine."""

TOKENS = {"ana": "ana-has-a-token-of-her-own", "ben": "ben-has-a-token-of-his-own"}
NOTE = "the customer knows nothing of it"

LEGIT_BEFORE = re.compile(r"^-[0-9.]+ s LEGIT clicks/")
COLOUR = "(what) => getComputedStyle(document.querySelector(what)).color.match(/[0-9]+/g).map(Number)"


@dataclass
class Pages:
    """Where the two pages are, with a dataflow between them.

    Attributes:
        clicks: The page with the button.
        live: The pages of the analysts.
        broker: What is between them.
    """

    clicks: str
    live: str
    broker: EmbeddedBroker

    def told(self, topic: str, number: int) -> list[tuple[str, dict[str, Any]]]:
        """At least so many records of a topic, by their keys, the oldest first."""
        found = read_all(self.broker, [topic], number, extra_seconds=0.5)
        return [(record.key().decode(), json.loads(record.value())) for record in found]


@pytest.fixture
def pages(tmp_path: Path) -> Iterator[Pages]:
    pack = PACKS / "clicks.toml"
    fraud = Fraud(tmp_path)
    with EmbeddedBroker() as broker:
        loaded = load([pack], {})
        usual = Settings(_env_file=None)
        others = {usual.dead_letter_topic, usual.labels_topic, usual.audit_topic}
        for topic in {*loaded.topics_in, *loaded.topics_out, *others}:
            broker.create_topic(topic, 2)
        fraud.environment |= {
            "KAFKA_BROKER_URL": broker.address,
            "FRAUD_PACKS": str(pack),
            "DELIVERY": "at_least_once",
            "FRAUD_WEB_USERS": ",".join(f"{name}:analyst:{token}" for name, token in TOKENS.items()),
        }
        with (
            fraud.running("run", "--health-port", 0),
            fraud.running("clicks", "--port", 0) as clicks,
            fraud.running("web", "--port", 0) as live,
        ):
            yield Pages(url_of(clicks), url_of(live), broker)


def logged_in(tab: Open, pages: Pages, name: str) -> Tab:
    """The live page of somebody who has logged in."""
    opened = tab(pages.live)
    expect(opened.page.get_by_label("Token")).to_be_focused()
    opened.page.keyboard.type(TOKENS[name])
    opened.page.keyboard.press("Enter")
    expect(opened.page.locator("#status")).to_have_text("live", timeout=START_MS)
    return opened


def test_three_presses_of_the_button_become_a_red_row_that_one_of_two_analysts_decides(pages: Pages, tab: Open) -> None:
    live = logged_in(tab, pages, "ana").page
    press_three_times(pages, tab, live)
    opened = open_the_red_row(live)

    opened.get_by_role("link", name="clicks/").click()
    at_ana = opened_of(live)
    expect(at_ana).to_contain_text("Nobody did anything yet.", timeout=START_MS)
    origin = at_ana.locator("dd").first.inner_text()
    ben = logged_in(tab, pages, "ben")
    ben.page.goto(live.url)
    at_ben = opened_of(ben.page)
    expect(at_ben).to_contain_text("Nobody did anything yet.", timeout=START_MS)

    before = int(time.time() * 1_000)
    live.get_by_label("Note").fill(NOTE)
    live.get_by_role("button", name="Confirm fraud").click()
    expect(at_ana).to_contain_text("Done: you confirmed the fraud.", timeout=START_MS)

    event = events(pages, 4)[origin]
    ((key, label),) = pages.told("fraud.labels", 1)
    at = label.pop("at")
    assert before <= at <= time.time() * 1_000
    assert key == origin
    assert label == {
        "origin": origin,
        "fraudulent": True,
        "source": "review",
        "note": NOTE,
        "version": 1,
        "time": event["timestamp"],
        "session_id": event["session_id"],
        "url": "/click",
    }
    assert decisions(pages) == [(origin, "ana", "analyst", "confirm", NOTE, at)]

    # The page of the other is as old as before the decision.
    expect(at_ben).to_contain_text("Nobody did anything yet.")
    at_ben.get_by_role("button", name="False alarm").click()
    expect(at_ben.get_by_role("alert")).to_have_text("not done: ana confirmed the fraud meanwhile", timeout=START_MS)
    expect(at_ben.locator("#history")).to_contain_text("ana (analyst) confirmed the fraud")
    assert [complaint for complaint in ben.complaints if "409 (Conflict)" not in complaint] == []
    ben.complaints.clear()  # the browser's own word on the answer
    assert len(pages.told("fraud.labels", 1)) == 1
    assert decisions(pages) == [(origin, "ana", "analyst", "confirm", NOTE, at)]


def press_three_times(pages: Pages, tab: Open, live: Page) -> None:
    """Press the button of the page with the clicks within ten seconds; that page is for everybody."""
    httpx.post(f"{pages.clicks}/click", timeout=20)
    expect(live.locator("tr.legit")).to_have_count(1, timeout=START_MS)  # the dataflow runs
    for scheme in ("light", "dark"):
        narrow = tab(pages.clicks, width=320, color_scheme=scheme)
        assert narrow.barriers() == []
        assert not narrow.is_wider_than_its_window()
    clicks = tab(pages.clicks).page
    clicks.keyboard.press("Tab")
    for number in (2, 3, 4):
        clicks.keyboard.press("Enter")
        expect(clicks.locator("#count")).to_have_text(str(number))


def open_the_red_row(live: Page) -> Locator:
    """Look into what the live page shows soon after, with its reasons and evidence."""
    row = live.locator("tr.fraud")
    expect(row).to_contain_text(REASON, timeout=SOON_MS)
    red, green, blue = live.evaluate(COLOUR, "tr.fraud .word")
    assert red > 2 * max(green, blue)

    live.keyboard.press("j")
    live.keyboard.press("Enter")
    opened = opened_of(live)
    for told in (REASON, "click_burst", "clicks_on_url", "clicks/"):
        expect(opened).to_contain_text(told)
    evidence = opened.locator("ol li")
    expect(evidence).to_have_count(3)
    expect(evidence).to_have_text([LEGIT_BEFORE, LEGIT_BEFORE, re.compile(r"^this one FRAUD clicks/")])
    evidence.first.get_by_role("button").click()
    expect(opened).to_contain_text("LEGIT")
    row.get_by_role("button").click()
    expect(opened).to_contain_text(REASON)
    return opened


def opened_of(page: Page) -> Locator:
    return page.get_by_role("complementary", name="Opened verdict")


def events(pages: Pages, number: int) -> dict[str, dict[str, Any]]:
    """The clicks by their origin."""
    return {
        f"{record.topic()}/{record.partition()}/{record.offset()}": json.loads(record.value())
        for record in read_all(pages.broker, ["clicks"], number)
    }


def decisions(pages: Pages) -> list[tuple[str, str, str, str, str, int]]:
    """Who decided what of which event, and when, as the audit has it."""
    return [
        (key, told["who"], told["role"], told["action"], told["note"], told["at"])
        for key, told in pages.told("fraud.audit", 1)
        if told["action"] in {"confirm", "dismiss", "snooze"}
    ]
