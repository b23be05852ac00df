"""Makes the pictures of the pages in docs/images, with the demo behind them: `make screenshots`."""

import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, Page, expect

from tests.web.browser import chromium

IMAGES = Path(__file__).parent / "images"
CLICKS = 3
PATIENCE_MS = 60_000
FILLING_MS = 15_000
"""How long the plots fill before they are shown."""


@contextmanager
def running(folder: str, *arguments: str, **environment: str) -> Iterator[subprocess.Popen[str]]:
    """A `fraud` command, in a folder without a `.env`."""
    with subprocess.Popen(  # noqa: S603  (our own command)
        [sys.executable, "-m", "cli.main", *arguments],
        cwd=folder,
        env=os.environ | environment | {"PYTHONPATH": str(Path(__file__).parents[1])},
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.send_signal(signal.SIGINT)
            process.communicate()


def told(process: subprocess.Popen[str], pattern: str) -> str:
    """What the command tells next that looks so."""
    for line in process.stdout or ():
        if found := re.search(pattern, line):
            return found[1]
    msg = f"{process.args!r}: expected it to tell {pattern!r}, got the end of what it tells"
    raise RuntimeError(msg)


def opened(browser: Browser, url: str, *, width: int, height: int, dark: bool = False) -> Page:
    """A page in a window of this size."""
    page = browser.new_page(
        viewport={"width": width, "height": height}, color_scheme="dark" if dark else "light", timezone_id="UTC"
    )
    page.goto(url)
    return page


def picture(page: Page, name: str) -> None:
    """Keep what the window shows."""
    page.screenshot(path=IMAGES / f"{name}.png")
    page.close()


def open_a_fraud(page: Page) -> None:
    """Open a verdict of the clicks pack that has several events as evidence."""
    expect(page.locator("tr.fraud").first).to_be_visible(timeout=PATIENCE_MS)
    page.locator("#filter select").select_option("click_burst")
    expect(page.locator("tbody tr:not(.fraud)")).to_have_count(0)
    page.locator("tbody button").first.click()
    expect(page.get_by_role("complementary")).to_contain_text("Evidence")


def decide(page: Page) -> None:
    """Say of some frauds what they were, so that rules have a precision, and open one more."""
    page.goto(f"{page.url.rstrip('/')}/review")
    rows = page.locator("tbody tr.fraud")
    for number, letter in enumerate("fflf"):
        expect(rows.nth(2)).to_be_visible(timeout=PATIENCE_MS)
        rows.nth(number % 2).get_by_role("button").click()
        expect(page.get_by_role("button", name="Confirm fraud")).to_be_visible()
        page.get_by_role("complementary").focus()
        page.keyboard.press(letter)
        expect(page.get_by_role("complementary")).to_contain_text("Done:")
        page.keyboard.press("Escape")
    rows.first.get_by_role("button").click()
    expect(page.get_by_role("button", name="Confirm fraud")).to_be_visible()


def main() -> None:
    """Make all pictures."""
    IMAGES.mkdir(exist_ok=True)
    with (
        tempfile.TemporaryDirectory() as folder,
        running(folder, "demo", "--port", "0", "--rate", "40") as demo,
        chromium.running() as browser,
    ):
        kafka = told(demo, r"Kafka is at (\S+),")
        live = told(demo, r"The live page is at (\S+)")
        with running(folder, "clicks", "--port", "0", KAFKA_BROKER_URL=kafka) as clicks:
            page = opened(browser, told(clicks, r"(http\S+): "), width=640, height=440)
            for number in range(CLICKS):
                page.get_by_role("button").click()
                expect(page.locator("#count")).to_have_text(str(number + 1))
            picture(page, "clicks")
        page = opened(browser, live, width=1280, height=800)
        expect(page.locator("tr.fraud").first).to_be_visible(timeout=PATIENCE_MS)
        page.wait_for_timeout(FILLING_MS)
        page.get_by_role("button", name="Pause").click()
        picture(page, "live")
        for name, width, height, dark in (("verdict", 1100, 660, True), ("phone", 390, 844, False)):
            page = opened(browser, live, width=width, height=height, dark=dark)
            open_a_fraud(page)
            page.get_by_role("heading", name="Rules", exact=True).evaluate("title => title.scrollIntoView()")
            page.get_by_role("heading", name="Evidence").evaluate("title => title.scrollIntoView({ block: 'center' })")
            picture(page, name)
        page = opened(browser, live, width=1280, height=800)
        decide(page)
        picture(page, "review")
        page = opened(browser, f"{live}/rules", width=1280, height=690)  # without the name of a folder here
        expect(page.locator("#looked")).to_contain_text("the newest", timeout=PATIENCE_MS)
        picture(page, "rules")


if __name__ == "__main__":
    main()
