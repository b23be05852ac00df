"""Pages in a real browser, which notes whatever it has to complain about."""

import re
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from axe_playwright_python.base import AXE_SCRIPT
from playwright.sync_api import Browser, Page

from tests.web.browser import chromium

PATIENCE_MS = 30_000
"""For what takes a moment, on a machine with more to do."""

# What the policy stops is told on the console too, but not all of it: a style by an attribute is not an error there.
_TELL_VIOLATIONS = """
addEventListener("securitypolicyviolation", (event) =>
  console.error(`policy: ${event.effectiveDirective} ${event.blockedURI} ${event.sourceFile}:${event.lineNumber}`));
"""


class Tab:
    """A page in a browser of its own, and what was wrong with it."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.complaints: list[str] = []
        page.set_default_timeout(PATIENCE_MS)
        page.add_init_script(_TELL_VIOLATIONS)
        page.on("console", lambda told: self._note(told.type, told.text))
        page.on("pageerror", lambda error: self._note("error", str(error)))

    def _note(self, kind: str, text: str) -> None:
        if kind in {"error", "warning"}:
            self.complaints.append(f"{kind}: {text}")

    def barriers(self) -> list[str]:
        """What axe finds that stops or hinders people: the serious and the critical."""
        self.page.evaluate(AXE_SCRIPT)  # by the debugger, which no policy stops
        found = self.page.evaluate("axe.run(document, { resultTypes: ['violations'] })")
        return [
            f"{rule['id']}: {rule['help']}: {node['html'][:200]} {node['failureSummary']}"
            for rule in found["violations"]
            if rule["impact"] in {"serious", "critical"}
            for node in rule["nodes"]
        ]

    def is_wider_than_its_window(self) -> bool:
        wide: bool = self.page.evaluate("document.documentElement.scrollWidth > innerWidth")
        return wide


# Not for the whole session: it would leave its event loop to the next file's tests.
@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium.running() as browser:
        yield browser


Open = Callable[..., Tab]


@pytest.fixture
def tab(browser: Browser) -> Iterator[Open]:
    """Opens an address: `tab(url, width=360, color_scheme="dark")`; at the end nothing was complained about."""
    opened: list[Tab] = []
    with ExitStack() as contexts:

        def open_tab(url: str, *, width: int = 1280, height: int = 800, **options: Any) -> Tab:
            context = browser.new_context(viewport={"width": width, "height": height}, **options)
            contexts.callback(context.close)
            opened.append(Tab(context.new_page()))
            opened[-1].page.goto(url)
            return opened[-1]

        yield open_tab
        assert [complaint for one in opened for complaint in one.complaints] == []


def url_of(process: subprocess.Popen[str]) -> str:
    """The address that a command tells in its first line."""
    assert process.stdout is not None
    line = process.stdout.readline()
    found = re.search(r"http://127\.0\.0\.1:\d+", line)
    assert found, line
    return found[0]
