"""The report as tables, and those as text and HTML. What records say is hostile: it ends no line and is no markup."""

import html
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from detection.alerting.text import clean
from detection.kinds import money_text
from detection.records import Decision
from detection.reporting.days import BEFORE, Days
from detection.reporting.drift import DRIFTED, SHIFTED, change, stability
from detection.reporting.tally import BANDS, Counted, RuleTally, Tally

MOST_ROWS: Final = 100
"""Rows of a table that are shown."""

_DECISIONS: Final[tuple[Decision, ...]] = ("block", "review", "accept")
_WORDS: Final = {"block": "fraud", "review": "review", "accept": "legit"}
_NOTHING: Final = "-"


@dataclass(frozen=True, slots=True)
class Table:
    """A table of a report.

    Attributes:
        title: What it tells.
        columns: Their names.
        rows: Their cells.
        words: How many columns from the left hold words; the others hold numbers.
        note: What to know of it.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    words: int = 1
    note: str = ""


@dataclass(frozen=True, slots=True)
class Report:
    """The report of a day.

    Attributes:
        title: One line.
        notes: What to know of all of it.
        tables: The numbers.
    """

    title: str
    notes: tuple[str, ...]
    tables: tuple[Table, ...]


def report(counted: Counted, days: Days, *, over: bool = True) -> Report:
    """Make the report of what was counted.

    Args:
        counted: The numbers.
        days: Which days they are of.
        over: Whether the day has ended.
    """
    day, before = counted.day, counted.before
    total, blocked = sum(day.decisions.values()), sum(n for (_, what), n in day.decisions.items() if what == "block")
    notes = [] if over else ["The day is not over yet."]
    if not total:
        notes.append("No event of this day has a verdict.")
    if len(counted.days_before) < BEFORE:
        notes.append(f"Of the {BEFORE} days before, {len(counted.days_before)} have verdicts.")
    if counted.labels is None:
        notes.append("There is no topic of labels: nothing is known of false alarms.")
    if counted.others:
        notes.append(f"{counted.others:,} records in the topics of verdicts are none.")
    return Report(
        f"Fraud report of {days.day} ({days.zone.key}): {total:,} events, {blocked:,} frauds",
        tuple(notes),
        (
            _volumes(day),
            _stopped(day),
            _rules(day, before),
            _alarms(day, before),
            _drift(day, before),
            _rates(day, before),
            _dead(day, before, len(counted.days_before)),
        ),
    )


def _volumes(day: Tally) -> Table:
    events = sorted({event for event, _ in day.decisions})
    numbers = [[day.decisions[event, what] for what in _DECISIONS] for event in events]
    rows = [
        (event, *(f"{number:,}" for number in [*mine, sum(mine), day.late[event]]))
        for event, mine in zip(events, numbers, strict=True)
    ]
    if len(rows) > 1:
        sums = [sum(column) for column in zip(*numbers, strict=True)]
        rows.append(("all", *(f"{number:,}" for number in [*sums, sum(sums), day.late.total()])))
    return _table("Verdicts", ("event", *(_WORDS[what] for what in _DECISIONS), "all", "late"), rows)


def _stopped(day: Tally) -> Table:
    rows = [
        (event, name, currency or _NOTHING, f"{day.stopped_events[event, name, currency]:,}", money_text(amount))
        for (event, name, currency), amount in sorted(
            day.stopped.items(), key=lambda item: (item[0][0], item[0][1], -item[1], item[0][2] or "")
        )
    ]
    return _table("Money stopped", ("event", "field", "currency", "frauds", "sum"), rows, words=3)


def _rules(day: Tally, before: Tally) -> Table:
    rows = []
    for event, rule in sorted({*day.rules, *before.rules}, key=lambda key: (key[0], -_of(day, key).hits, key[1])):
        now, then = _of(day, (event, rule)), _of(before, (event, rule))
        mode = "shadow" if (now if now.hits else then).shadow else "live"
        rows.append((event, rule, mode, f"{now.hits:,}", f"{now.legits:,}", _precision(now), _precision(then)))
    return _table(
        "Rules",
        ("event", "rule", "mode", "hits", "false alarms", "precision", f"{BEFORE} days before"),
        rows,
        words=3,
        note="Precision: of the hits with a label, how many are fraud. Labels come late: it changes for days.",
    )


def _alarms(day: Tally, before: Tally) -> Table:
    rows = []
    for event in sorted({event for event, _, _ in (*day.labelled, *before.labelled)}):
        cells = []
        for tally in (day, before):
            false = sum(tally.labelled[event, what, False] for what in _DECISIONS[:2])
            cells += [
                _share(false, false + sum(tally.labelled[event, what, True] for what in _DECISIONS[:2])),
                f"{tally.labelled[event, 'accept', True]:,}",
            ]
        rows.append((event, *cells))
    columns = ("event", "false alarms", "missed", f"false, {BEFORE} days before", f"missed, {BEFORE} days before")
    note = "False alarms: of the events with a label that were not accepted. Missed: accepted, and labelled as fraud."
    return _table("Labels", columns, rows, note=note)


def _drift(day: Tally, before: Tally) -> Table:
    rows = []
    for event in sorted({event for event, _ in (*day.decisions, *before.decisions)}):
        now, then = ([tally.decisions[event, what] for what in _DECISIONS] for tally in (day, before))
        total_now, total_then = sum(now), sum(then)
        for number, what in enumerate(_DECISIONS):
            shares = _percent(now[number], total_now), _percent(then[number], total_then)
            rows.append((event, f"share of {_WORDS[what]}", *shares, "", ""))
        bands = ([tally.bands[event, number] for number in range(len(BANDS))] for tally in (day, before))
        for name, (one, other) in (("decisions", (now, then)), ("scores", tuple(bands))):
            rows.append((event, f"{name}, together", "", "", _index(one, other), change(one, other)))
    note = (
        f"Against the {BEFORE} days before. PSI: population stability index; from {SHIFTED} shifted, from {DRIFTED} "
        "drifted, if it is more than chance."
    )
    return _table("Drift", ("event", "what", "this day", "before", "PSI", "change"), rows, words=2, note=note)


def _rates(day: Tally, before: Tally) -> Table:
    rows = []
    for event, rule in sorted({*day.rules, *before.rules}):
        now, then = _of(day, (event, rule)).hits, _of(before, (event, rule)).hits
        total_now, total_then = day.events(event), before.events(event)
        counts = (now, total_now - now), (then, total_then - then)
        shares = _percent(now, total_now), _percent(then, total_then)
        rows.append((event, rule, *shares, _index(*counts), change(*counts)))
    return _table("Rates of rules", ("event", "rule", "this day", "before", "PSI", "change"), rows, words=2)


def _dead(day: Tally, before: Tally, days: int) -> Table:
    rows = [
        (topic, f"{day.dead[topic]:,}", f"{before.dead[topic] / days:,.1f}" if days else _NOTHING)
        for topic in sorted({*day.dead, *before.dead})
    ]
    note = "By the time of their records; before: a day, over the days that have verdicts."
    return _table("Dead letters", ("topic", "this day", "before"), rows, note=note)


def _of(tally: Tally, key: tuple[str, str]) -> RuleTally:
    return tally.rules.get(key, RuleTally())


def _index(now: Sequence[int], before: Sequence[int]) -> str:
    index = stability(now, before)
    return _NOTHING if index is None else f"{index:.4f}"


def _percent(part: int, whole: int) -> str:
    return f"{part / whole:.2%}" if whole else _NOTHING


def _share(part: int, whole: int) -> str:
    return f"{part:,} of {whole:,}" if whole else _NOTHING


def _precision(tally: RuleTally) -> str:
    labelled = tally.frauds + tally.legits
    return f"{_share(tally.frauds, labelled)} ({tally.frauds / labelled:.1%})" if labelled else _NOTHING


def _table(
    title: str, columns: tuple[str, ...], rows: Iterable[tuple[str, ...]], *, words: int = 1, note: str = ""
) -> Table:
    cells = [tuple(map(clean, row)) for row in rows]
    more = f"{len(cells) - MOST_ROWS:,} more rows are not shown." if len(cells) > MOST_ROWS else ""
    return Table(title, columns, tuple(cells[:MOST_ROWS]), words, " ".join(filter(None, [note, more])))


# --- as text, as HTML ------------------------------------------------------------------------------------------------


def as_text(made: Report) -> str:
    """The report as plain text."""
    parts = ["\n".join([made.title, *made.notes])]
    for table in made.tables:
        lines = [table.title.upper()]
        if table.rows:
            widths = [max(map(len, column)) for column in zip(table.columns, *table.rows, strict=True)]
            for row in (table.columns, *table.rows):
                cells = [
                    cell.ljust(width) if place < table.words else cell.rjust(width)
                    for place, (cell, width) in enumerate(zip(row, widths, strict=True))
                ]
                lines.append(f"  {'  '.join(cells)}".rstrip())
        else:
            lines.append("  none")
        parts.append("\n".join([*lines, *([f"  {table.note}"] if table.note and table.rows else [])]))
    return "\n\n".join(parts) + "\n"


_STYLE: Final = """
body { font: 14px/1.45 system-ui, sans-serif; color: #1b1f24; background: #fff; margin: 2em auto; max-width: 60em }
body { padding: 0 1em }
h1 { font-size: 1.35em }
h2 { font-size: 1.05em; margin: 1.6em 0 .4em }
table { border-collapse: collapse }
th, td { padding: .2em .8em .2em 0; border-bottom: 1px solid #d8dee4; text-align: left; vertical-align: top }
th.n, td.n { text-align: right; font-variant-numeric: tabular-nums }
p { margin: .3em 0; color: #57606a }
"""


def as_html(made: Report) -> str:
    """The report as a page of its own: it fetches nothing and runs nothing."""
    title = html.escape(made.title)
    parts = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8">',
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">",
        '<meta name="viewport" content="width=device-width">',
        f"<title>{title}</title><style>{_STYLE}</style></head><body>",
        f"<h1>{title}</h1>",
        *(f"<p>{html.escape(note)}</p>" for note in made.notes),
    ]
    for table in made.tables:
        parts.append(f"<h2>{html.escape(table.title)}</h2>")
        if not table.rows:
            parts.append("<p>none</p>")
            continue
        parts.append(f"<table>{_row(table, table.columns, 'th')}")
        parts += [_row(table, row, "td") for row in table.rows]
        parts.append("</table>")
        if table.note:
            parts.append(f"<p>{html.escape(table.note)}</p>")
    return "\n".join([*parts, "</body></html>"]) + "\n"


def _row(table: Table, cells: Iterable[str], tag: str) -> str:
    marks = ("" if place < table.words else ' class="n"' for place in range(len(table.columns)))
    inner = "".join(f"<{tag}{mark}>{html.escape(cell)}</{tag}>" for cell, mark in zip(cells, marks, strict=True))
    return f"<tr>{inner}</tr>"
