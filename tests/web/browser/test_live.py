"""The live page in a real browser: for eyes, for keyboards, for screen readers, on a phone."""

import pytest
from playwright.sync_api import Route, expect

from tests.conftest import wait_until
from tests.web.browser.conftest import PATIENCE_MS
from tests.web.conftest import TOKEN, transfer
from web.live.frames import ROWS

WIDTHS = {"narrow": 320, "wide": 1280}
RECORDS = 33


@pytest.fixture
def live(page, deployment):
    """A page that has some of everything."""
    served = page()
    deployment.write([transfer(900), transfer(1), b"{"], key="user-7")
    wait_until(lambda: sum(served.words().values()) == 3)  # partitions are read in no order
    deployment.write([transfer(901 + number) for number in range(RECORDS - 3)], key="user-8")
    wait_until(lambda: sum(served.words().values()) == RECORDS)
    return served


def opened_of(page):
    return page.get_by_role("complementary", name="Opened verdict")


@pytest.mark.parametrize("width", WIDTHS.values(), ids=WIDTHS)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nobody_is_kept_out_or_made_to_scroll_sideways(live, tab, scheme: str, width: int) -> None:
    shown = tab(live.url, width=width, color_scheme=scheme)
    expect(shown.page.locator("tbody tr")).to_have_count(RECORDS)

    assert shown.barriers() == []
    assert not shown.is_wider_than_its_window()

    shown.page.locator("tr.fraud button").first.click()
    expect(opened_of(shown.page)).to_be_in_viewport()

    assert shown.barriers() == []
    assert not shown.is_wider_than_its_window()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nobody_is_kept_out_by_the_log_in(page, tab, scheme: str) -> None:
    shown = tab(page(token=TOKEN).url, width=WIDTHS["narrow"], color_scheme=scheme)
    expect(shown.page.get_by_label("Token")).to_be_focused()
    shown.page.keyboard.type(TOKEN)
    assert shown.barriers() == []
    shown.page.keyboard.press("Enter")

    expect(shown.page.locator("#status")).to_have_text("live", timeout=PATIENCE_MS)


def test_shortcuts_of_one_letter_can_be_turned_off_and_stay_off(live, tab) -> None:
    page = tab(live.url).page
    expect(page.locator("tbody tr")).to_have_count(RECORDS)
    selected, pressed = page.locator("tr[aria-selected=true]"), page.locator("#pause")
    page.get_by_label("Shortcuts of one letter").uncheck()
    page.reload()
    expect(page.locator("tbody tr")).to_have_count(RECORDS)
    expect(page.get_by_label("Shortcuts of one letter")).not_to_be_checked()

    page.keyboard.press("j")
    page.keyboard.press("p")
    expect(selected).to_have_count(0)
    expect(pressed).to_have_attribute("aria-pressed", "false")
    page.locator("tbody button").first.click()
    expect(opened_of(page)).to_be_visible()
    page.keyboard.press("Escape")  # is no letter
    expect(opened_of(page)).to_be_hidden()

    page.get_by_label("Shortcuts of one letter").check()
    page.locator("#pause").focus()
    page.keyboard.press("p")
    expect(pressed).to_have_attribute("aria-pressed", "true")


def test_an_opened_verdict_leads_to_an_entity_that_shares_its_receiver(live, tab) -> None:
    page = tab(live.url).page
    expect(page.locator("tbody tr")).to_have_count(RECORDS)
    page.locator("tr.fraud", has_text="user-8").first.get_by_role("button").click()
    expect(opened_of(page)).to_contain_text("target b: 1 other entity")

    opened_of(page).get_by_role("button", name="user-7").last.click()

    expect(opened_of(page)).to_contain_text("target b: 1 other entity")
    expect(opened_of(page).get_by_role("button", name="user-8")).not_to_have_count(0)


def test_a_keyboard_is_enough(live, tab) -> None:
    page = tab(live.url).page
    rows = page.locator("tbody tr")
    expect(rows).to_have_count(RECORDS)
    keys, selected = page.keyboard, page.locator("tr[aria-selected=true]")

    keys.press("j")
    keys.press("j")
    expect(selected).to_contain_text("929 EUR")
    keys.press("k")
    expect(selected).to_contain_text("930 EUR")
    keys.press("Space")  # presses the button that has the focus
    expect(opened_of(page)).to_contain_text("large_transfer")
    expect(opened_of(page)).to_be_focused()
    keys.press("Escape")
    expect(opened_of(page)).to_be_hidden()
    expect(selected.get_by_role("button")).to_be_focused()
    keys.press("p")
    expect(page.locator("#pause")).to_have_attribute("aria-pressed", "true")

    page.locator("[name=decision]").first.focus()
    keys.press("Space")
    expect(rows).to_have_count(RECORDS - 2)
    for _ in range(5):
        keys.press("Tab")
    keys.press("Tab")
    keys.type("jkp 930")  # letters in a field are text
    expect(page.get_by_label("Text")).to_have_value("jkp 930")
    expect(page.locator("#empty")).to_be_visible()
    keys.press("Tab")
    keys.press("Enter")
    expect(rows).to_have_count(RECORDS)


def test_rows_that_are_asked_for_slowly_take_no_focus_from_those_that_are_there(live, tab) -> None:
    asked: list[Route] = []
    shown = tab("about:blank").page

    def hold(route: Route) -> None:
        asked.append(route)

    shown.route("**/api/state", hold)  # what the page asks for when the feed is open; the feed itself goes on
    shown.goto(live.url)
    expect(shown.locator("tbody tr")).to_have_count(ROWS)  # a frame has no more
    keys, focused = shown.keyboard, shown.locator("tr[aria-selected=true] button")
    keys.press("j")
    keys.press("j")
    expect(focused).to_be_focused()
    with shown.expect_response("**/api/verdicts?") as answered:
        asked[0].continue_()
    answered.value.finished()
    shown.evaluate("new Promise((done) => setTimeout(done))")

    expect(focused).to_be_focused()
    keys.press("Space")
    expect(opened_of(shown)).to_contain_text("large_transfer")


def test_a_list_that_changes_leaves_the_focus_in_the_row_that_is_selected(live, tab) -> None:
    page = tab(live.url).page
    expect(page.locator("tbody tr")).to_have_count(RECORDS)
    page.keyboard.press("j")
    page.evaluate("document.querySelector('[name=decision]').click()")  # what a program of theirs does: no focus moves

    expect(page.locator("tbody tr")).to_have_count(RECORDS - 2)
    expect(page.locator("tr[aria-selected=true] button")).to_be_focused()


def test_the_filter_is_in_the_address_so_that_a_link_shows_the_same(live, tab) -> None:
    page = tab(live.url).page
    page.get_by_role("checkbox", name="fraud").check()
    page.get_by_label("Entity (key)").fill("user-7")
    expect(page.locator("tbody tr")).to_have_count(1)

    linked = tab(page.url).page

    expect(linked.locator("tbody tr")).to_have_count(1)
    expect(linked.locator("tbody tr")).to_contain_text("user-7")


def test_a_new_verdict_takes_no_place_from_the_row_that_is_open_and_hostile_text_stays_text(
    live, tab, deployment
) -> None:
    page = tab(live.url).page
    page.locator("tr.fraud button").first.click()
    expect(opened_of(page)).to_be_visible()

    evil = "<img src=x onerror=alert(1)><script>alert(1)</script>"
    deployment.write([transfer(950, currency=evil)], key=evil)

    expect(page.locator("tbody tr").first).to_contain_text("<img", timeout=PATIENCE_MS)
    expect(page.locator("tr[aria-selected=true]")).to_contain_text("930 EUR")
    assert page.locator("img").count() == 0
