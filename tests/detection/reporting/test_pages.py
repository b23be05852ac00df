from datetime import date
from html.parser import HTMLParser
from zoneinfo import ZoneInfo

from detection.reporting.days import Days
from detection.reporting.pages import MOST_ROWS, Report, as_html, as_text, report
from detection.reporting.tally import Counted, Seen

DAYS = Days(date(2026, 1, 10), ZoneInfo("UTC"))
HOSTILE = "<script>alert(1)</script>\r\nBcc: x@y\x1b[31m\u202e"


def rows(made: Report, title: str) -> list[list[str]]:
    (table,) = [table for table in made.tables if table.title == title]
    return [list(row) for row in table.rows]


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}


def tags(page: str) -> Tags:
    parser = Tags()
    parser.feed(page)
    return parser


def test_a_day_without_events_says_so() -> None:
    made = report(Counted(), DAYS)

    assert made.title == "Fraud report of 2026-01-10 (UTC): 0 events, 0 frauds"
    assert "No event of this day has a verdict." in made.notes
    assert all(not table.rows for table in made.tables)
    assert as_text(made).count("  none\n") == len(made.tables)
    assert as_html(made).count("<p>none</p>") == len(made.tables)


def test_a_day_that_is_not_over_and_days_that_are_missing_are_told() -> None:
    counted = Counted(days_before={1, 7}, others=3, labels=None)

    assert report(counted, DAYS, over=False).notes == (
        "The day is not over yet.",
        "No event of this day has a verdict.",
        "Of the 7 days before, 2 have verdicts.",
        "There is no topic of labels: nothing is known of false alarms.",
        "3 records in the topics of verdicts are none.",
    )


def test_sums_of_money_are_exact_and_apart_by_currency() -> None:
    counted = Counted()
    for amount in (100_000, 200_000, 2**62):
        counted.add(0, Seen(event="e", decision="block", money=(("amount", "EUR", amount), ("fee", None, 1))))
    counted.add(0, Seen(event="e", decision="block", money=(("amount", "USD", 5_000_000),)))
    counted.add(0, Seen(event="e", decision="review", money=(("amount", "USD", 5_000_000),)))
    counted.add(1, Seen(event="e", decision="block", money=(("amount", "USD", 5_000_000),)))

    assert rows(report(counted, DAYS), "Money stopped") == [
        ["e", "amount", "EUR", "3", "4611686018427.687904"],
        ["e", "amount", "USD", "1", "5"],
        ["e", "fee", "-", "3", "0.000003"],
    ]


def test_what_comes_from_records_is_neither_markup_nor_a_line() -> None:
    counted = Counted()
    plain = report(counted, DAYS)
    counted.add(
        0, Seen(event=HOSTILE, decision="block", hits=((HOSTILE, False),), money=((HOSTILE, HOSTILE, 1),), fraud=True)
    )
    counted.add_dead(0, HOSTILE)
    made = report(counted, DAYS)
    page, text = as_html(made), as_text(made)

    assert tags(page).tags == tags(as_html(plain)).tags | {"table", "tr", "th", "td"}
    assert tags(page).attributes == {"charset", "class", "content", "http-equiv", "lang", "name"}
    assert "&lt;" in page
    for found in (page, text):
        assert "\x1b" not in found
        assert "\u202e" not in found
        assert not any(line.startswith("Bcc") for line in found.splitlines())
    assert "http" not in page.replace("http-equiv", "")  # it fetches nothing


def test_a_rule_counts_once_for_an_event_and_many_rows_are_cut() -> None:
    counted = Counted()
    counted.add(0, Seen(event="e", decision="block", hits=(("twice", False), ("twice", False))))
    for number in range(MOST_ROWS):
        counted.add(0, Seen(event="e", decision="block", hits=((f"r{number:03}", True),)))
    made = report(counted, DAYS)

    assert rows(made, "Rules")[0] == ["e", "r000", "shadow", "1", "0", "-", "-"]
    assert len(rows(made, "Rules")) == MOST_ROWS
    assert "1 more rows are not shown." in as_text(made)
