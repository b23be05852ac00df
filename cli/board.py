"""How the demo shows its score: a page drawn again and again, or a line now and then, and a summary at the end."""

from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from cli.score import Score
from cli.terminal import STYLES, clean
from sources.verdicts import DEAD, OTHER, WORDS, clock

_WORST, _MEDIAN = 0.99, 0.5


def page(score: Score, title: str) -> RenderableType:
    """All there is to see, for a terminal."""
    totals = Table.grid(padding=(0, 3))
    totals.add_row("events", f"{score.events:,}", Text(f"{score.rate():,.0f} a second", "bold"))
    totals.add_row("latency", f"p50 {_ms(score.latency_ms(_MEDIAN))}", f"p99 {_ms(score.latency_ms(_WORST))}")
    totals.add_row("against labels", f"precision {_share(score.precision)}", f"recall {_share(score.recall)}")
    return Group(Text(title), "", totals, "", _counts(score), "", _frauds(score))


def line(score: Score, seconds: float) -> str:
    """The score in a line, for a log."""
    return (
        f"{seconds:5.0f} s  {score.events:,} events  {score.rate():,.0f}/s  "
        f"fraud {score.verdicts['block']:,}  review {score.verdicts['review']:,}  legit {score.verdicts['accept']:,}  "
        f"p50 {_ms(score.latency_ms(_MEDIAN))}  p99 {_ms(score.latency_ms(_WORST))}  "
        f"precision {_share(score.precision)}  recall {_share(score.recall)}"
    )


def summary(score: Score, *, seconds: float, broker: str) -> dict[str, Any]:
    """The score as it goes into a file."""
    return {
        "seconds": round(seconds, 1),
        "broker": broker,
        "events": score.events,
        "verdicts": {decision: score.verdicts[decision] for decision in WORDS},
        "dead_letters": score.dead_letters,
        "rules": dict(score.rules.most_common()),
        "latency_ms": {"p50": score.latency_ms(_MEDIAN), "p99": score.latency_ms(_WORST)},
        "precision": score.precision,
        "recall": score.recall,
        "missing": score.missing,
        "doubled": score.doubled,
    }


def closing(score: Score, seconds: float) -> RenderableType:
    """The summary, for a person."""
    table = Table(title="Summary", title_justify="left", show_header=False)
    for name, value in (
        ("events", f"{score.events:,} in {seconds:.1f} s"),
        *((WORDS[decision].lower(), f"{score.verdicts[decision]:,}") for decision in WORDS),
        ("dead letters", f"{score.dead_letters:,}"),
        *([("written by others", f"{score.others:,}")] if score.others else []),
        ("without an answer", f"{score.missing:,}"),
        ("answered twice", f"{score.doubled:,}"),
        ("latency", f"p50 {_ms(score.latency_ms(_MEDIAN))}, p99 {_ms(score.latency_ms(_WORST))}"),
        ("precision, recall", f"{_share(score.precision)}, {_share(score.recall)}"),
        ("hits by rule", ", ".join(f"{rule} {hits:,}" for rule, hits in score.rules.most_common())),
    ):
        table.add_row(name, value)
    return table


def _counts(score: Score) -> Table:
    """Decisions, topics and rules beside each other."""
    decisions = Table("verdicts", "", box=None, padding=(0, 1))
    for decision, word in WORDS.items():
        decisions.add_row(Text(word, STYLES[word]), f"{score.verdicts[decision]:,}")
    decisions.add_row(Text(DEAD, STYLES[DEAD]), f"{score.dead_letters:,}")
    if score.others:
        decisions.add_row(OTHER, f"{score.others:,}")
    topics = Table("topic", "", box=None, padding=(0, 1))
    for topic, number in sorted(score.by_topic.items()):
        topics.add_row(topic, f"{number:,}")
    rules = Table("rule", "hits", box=None, padding=(0, 1))
    for rule, number in score.rules.most_common():
        rules.add_row(rule, f"{number:,}")
    side_by_side = Table.grid(padding=(0, 4))
    side_by_side.add_row(decisions, topics, rules)
    return side_by_side


def _frauds(score: Score) -> Table:
    table = Table("last frauds", "topic", "key", "reasons", box=None, padding=(0, 1), expand=True)
    for fraud in reversed(score.frauds):
        row = (Text(clean(text), no_wrap=True, overflow="ellipsis") for text in (fraud.topic, fraud.key, fraud.reasons))
        table.add_row(Text(clock(fraud.at, "seconds"), STYLES["FRAUD"]), *row)
    return table


def _ms(milliseconds: int | None) -> str:
    return "-" if milliseconds is None else f"{milliseconds:,} ms"


def _share(share: float | None) -> str:
    return "-" if share is None else f"{share:.3f}"
