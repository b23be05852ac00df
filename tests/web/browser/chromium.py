"""The system's Chromium, driven by Playwright, whose own browsers nobody fetches."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome")


@contextmanager
def running() -> Iterator[Browser]:
    """A browser without a window. Within, this thread has an event loop that runs: no other can begin in it."""
    path = next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        msg = f"expected one of {', '.join(NAMES)} in the PATH (Debian: apt-get install chromium), got none"
        raise FileNotFoundError(msg)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path)
        try:
            yield browser
        finally:
            browser.close()
