"""The review page and the page of rules in a real browser, with something in them."""

import json

import pytest
from playwright.sync_api import expect

from tests.conftest import wait_until
from tests.reading import read_all
from tests.web.browser.conftest import PATIENCE_MS
from tests.web.conftest import transfer

WIDTHS = {"narrow": 320, "wide": 1280}
CASES = 4


@pytest.fixture
def review(page, deployment):
    """Pages with four frauds to look at; one more is decided."""
    served = page(review=True)
    deployment.write([transfer(900 + number) for number in range(CASES)], key="user-7")
    deployment.write([transfer(899), b"{"], key="user-8")
    deployment.write([transfer(999)], key="user-9")
    wait_until(lambda: len(served.client.get("/api/review").json()["rows"]) == CASES + 1)
    csrf = served.client.get("/review").text.partition('name="csrf" content="')[2].partition('"')[0]
    decided = served.client.get("/api/review").json()["rows"][0]["origin"]
    served.client.post(
        f"/api/review/{decided}",
        json={"action": "confirm", "note": "called"},
        headers={"if-match": '"0"', "x-csrf-token": csrf},
    ).raise_for_status()
    wait_until(lambda: served.feed.hits() == {"large_transfer": CASES + 1})
    return served


def labels(embedded, deployment, number: int) -> list[tuple[bool, str | None]]:
    """What is said of the events besides the one that was decided before."""
    found = read_all(embedded, [deployment.settings.labels_topic], number + 1)
    told = sorted((json.loads(record.value()) for record in found), key=lambda label: label["at"])
    return [(label["fraudulent"], label.get("note")) for label in told[1:]]


@pytest.mark.parametrize("width", WIDTHS.values(), ids=WIDTHS)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nobody_is_kept_out_of_the_review(review, tab, scheme: str, width: int) -> None:
    shown = tab(f"{review.url}/review", width=width, color_scheme=scheme)
    expect(shown.page.locator("tbody tr")).to_have_count(CASES)
    assert shown.barriers() == []
    assert not shown.is_wider_than_its_window()

    shown.page.locator("tbody button").first.click()
    expect(shown.page.get_by_role("button", name="Confirm fraud")).to_be_visible()
    assert shown.barriers() == []
    assert not shown.is_wider_than_its_window()

    shown.page.keyboard.press("Escape")
    shown.page.get_by_role("radio", name="done").check()
    expect(shown.page.locator("tbody tr")).to_have_count(1)
    shown.page.locator("tbody button").first.click()
    expect(shown.page.locator("#history")).to_contain_text("called")
    assert shown.barriers() == []


@pytest.mark.parametrize("width", WIDTHS.values(), ids=WIDTHS)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nobody_is_kept_out_of_the_rules(review, tab, scheme: str, width: int) -> None:
    shown = tab(f"{review.url}/rules", width=width, color_scheme=scheme)
    row = shown.page.get_by_role("row", name="large_transfer")
    expect(row).to_contain_text("100%")
    expect(shown.page.locator("tr.quiet")).not_to_have_count(0)
    assert shown.barriers() == []
    assert not shown.is_wider_than_its_window()

    text = shown.page.get_by_label("Pack", exact=True)
    expect(text).not_to_have_value("")
    text.fill(text.input_value().replace("900", "901"))
    shown.page.get_by_role("button", name="Try").click()
    expect(shown.page.locator("#outcome")).to_contain_text("would be answered otherwise", timeout=3 * PATIENCE_MS)
    assert shown.barriers() == []
    assert not shown.is_wider_than_its_window()


def test_a_keyboard_is_enough_to_decide(review, tab, deployment, embedded) -> None:
    page = tab(f"{review.url}/review").page
    rows = page.locator("tbody tr")
    expect(rows).to_have_count(CASES)
    keys, selected = page.keyboard, page.locator("tr[aria-selected=true]")
    opened = page.get_by_role("complementary", name="Opened verdict")

    keys.press("j")
    keys.press("j")
    expect(selected).to_contain_text("902 EUR")
    keys.press("k")
    expect(selected).to_contain_text("903 EUR")
    keys.press("Enter")
    expect(opened).to_be_focused()
    keys.press("n")
    expect(page.get_by_label("Note")).to_be_focused()
    keys.type("flsjk, said the customer")  # letters in a field are text
    expect(page.get_by_label("Note")).to_have_value("flsjk, said the customer")
    keys.press("Shift+Tab")
    keys.press("f")
    expect(opened).to_contain_text("Done: you confirmed the fraud.")
    expect(opened).to_be_focused()
    keys.press("Escape")
    expect(opened).to_be_hidden()
    expect(rows).to_have_count(CASES - 1)

    keys.press("j")  # what was decided has left: the next one has its place
    expect(selected).to_contain_text("902 EUR")
    keys.press("Enter")
    expect(opened).to_contain_text("902 EUR")
    keys.press("l")
    expect(opened).to_contain_text("Done: you called it a false alarm.")
    keys.press("Escape")
    expect(rows).to_have_count(CASES - 2)
    keys.press("j")
    keys.press("Enter")
    expect(opened).to_contain_text("901 EUR")
    keys.press("s")
    expect(opened).to_contain_text("Done: you snoozed it.")
    keys.press("Escape")
    expect(rows).to_have_count(CASES - 3)
    expect(page.locator("#count-snoozed")).to_have_text("1")
    expect(page.locator("#count-done")).to_have_text("3")

    assert labels(embedded, deployment, 2) == [(True, "flsjk, said the customer"), (False, None)]


def test_letters_that_are_turned_off_decide_nothing(review, tab, deployment, embedded) -> None:
    page = tab(f"{review.url}/review").page
    expect(page.locator("tbody tr")).to_have_count(CASES)
    page.get_by_label("Shortcuts of one letter").uncheck()
    page.locator("tbody button").first.click()
    opened = page.get_by_role("complementary", name="Opened verdict")
    confirm = opened.get_by_role("button", name="Confirm fraud")
    expect(confirm).not_to_have_attribute("aria-keyshortcuts", "f")

    for letter in "fls":
        page.keyboard.press(letter)
    page.keyboard.press("Escape")  # is no letter
    expect(opened).to_be_hidden()
    page.locator("tbody button").first.click()
    expect(opened).to_contain_text("Nobody did anything yet.")

    assert labels(embedded, deployment, 0) == []
