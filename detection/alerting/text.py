"""What a person reads of alerts. The texts of records are hostile: they end no line, hide nothing and are no markup."""

import html
import re
import unicodedata
from datetime import UTC, timedelta
from typing import Final

from detection.alerting.alert import Alert
from detection.alerting.outbox import Message
from detection.kinds import EPOCH

LONGEST: Final = 300
"""Characters of a text from a record."""

SHOWN: Final = 10
"""Alerts of a burst that are told one by one: the newest."""

_MENTION: Final = re.compile(r"([@<])(?=[\w!@#&])")
_WORDS: Final = {"block": "FRAUD", "review": "REVIEW", "accept": "LEGIT"}


def clean(text: str) -> str:
    r"""A text from a record, fit for a line: no control characters, no direction marks, no mention of a whole channel.

    >>> clean("a\r\nBcc: x\x00")
    'a  Bcc: x '
    """
    cut = text if len(text) <= LONGEST else f"{text[:LONGEST]}…"
    line = "".join(" " if unicodedata.category(c)[0] in "CZ" else c for c in cut)
    return _MENTION.sub("\\1\u200b", line)


def when(at: int) -> str:
    """A time, us since the epoch, in UTC."""
    try:
        return f"{(EPOCH + timedelta(microseconds=at)).astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
    except OverflowError:
        return "unknown"


def duration(milliseconds: int) -> str:
    """How long ago, for a person.

    >>> duration(60_000), duration(61_500), duration(5_400_000), duration(200)
    ('minute', '62 seconds', '90 minutes', 'second')
    """
    seconds = max(round(milliseconds / 1000), 1)
    number, unit = next(
        (seconds // size, unit) for size, unit in _UNITS if seconds % size == 0 or seconds >= size * 100
    )
    return unit if number == 1 else f"{number} {unit}s"


_UNITS: Final = ((3_600, "hour"), (60, "minute"), (1, "second"))


def title(message: Message) -> str:
    """One line."""
    newest = message.alerts[-1]
    number = len(message.alerts)
    what = f"{_WORDS.get(newest.decision, 'FRAUD')} {clean(newest.rule)}"
    if message.span is not None:
        return f"{what}: {number} more in the last {duration(message.span)}"
    return f"{what}: {_entity(newest)}"[:LONGEST]


def plain(message: Message) -> str:
    """The body as plain text."""
    parts = ["\n".join(f"{name}: {value}" for name, value in _rows(alert)) for alert in _shown(message)]
    rest = _rest(message)
    return "\n\n".join([*parts, rest] if rest else parts)


def as_html(message: Message) -> str:
    """The body as HTML."""
    parts = []
    for alert in _shown(message):
        rows = (f"<tr><th align='left'>{name}</th><td>{html.escape(value)}</td></tr>" for name, value in _rows(alert))
        parts.append(f"<table>{''.join(rows)}</table>")
    rest = _rest(message)
    return "<hr>".join([*parts, f"<p>{rest}</p>"] if rest else parts)


def _shown(message: Message) -> list[Alert]:
    return message.alerts[: -SHOWN - 1 : -1]


def _rest(message: Message) -> str:
    more = len(message.alerts) - SHOWN
    return f"and {more} before them" if more > 0 else ""


def _entity(alert: Alert) -> str:
    return ", ".join(f"{clean(name)} {clean(value)}" for name, value in alert.entity)


def _rows(alert: Alert) -> list[tuple[str, str]]:
    rows = [
        ("Decision", _WORDS.get(alert.decision, clean(alert.decision))),
        ("Rule", clean(alert.rule)),
        ("Why", "; ".join(map(clean, alert.reasons)) or "-"),
        ("Who", _entity(alert)),
    ]
    if alert.amount is not None:
        rows.append(("Amount", clean(alert.amount)))
    return [*rows, ("Event", f"{when(alert.at)}, {clean(alert.origin)}")]
