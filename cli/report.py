"""`fraud report`."""

import sys
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

from broker.logs import logs_to_stderr
from cli.errors import PROBLEMS, UsageError
from cli.project import read_project
from cli.stopping import stop_event
from detection.alerting.outbox import Patience
from detection.kinds import EPOCH
from detection.reporting.days import Days
from detection.reporting.pages import as_html, as_text
from detection.reporting.pages import report as make
from sinks.receivers import receivers
from sinks.telling import tell_all
from sources.days import count


def report(
    *,
    day: str | None = None,
    zone: str = "UTC",
    to: tuple[str, ...] = (),
    html: Path | None = None,
    text: Path | None = None,
) -> int:
    """Report a day.

    Args:
        day: Which day, as in 2026-01-31; without it yesterday.
        zone: Whose midnights the day is between, as in Europe/Berlin.
        to: Send it to the receivers in this variable, such as ALERTS_OPS; may be given several times.
        html: Write it to this file, as a page.
        text: Write it to this file, as text.
    """
    logs_to_stderr()
    now = datetime.now(UTC)
    days = _days(day, zone, now)
    settings, pack = read_project()
    known = receivers(to, settings.alerts) if to else {}
    made = make(count(settings, pack, days), days, over=now >= EPOCH + timedelta(microseconds=days.end))
    page, plain = as_html(made), as_text(made)
    if html is not None:
        html.write_text(page, "utf-8")
    if text is not None:
        text.write_text(plain, "utf-8")
    if not (html or text or to):
        sys.stdout.write(plain)
    failed = tell_all(
        [receiver for found in known.values() for receiver in found],
        made.title,
        text=plain,
        markup=page,
        patience=Patience(tries=settings.alert_tries),
        wait=stop_event().wait,
    )
    for name, error in failed.items():
        sys.stderr.write(f"fraud: {name}: the report was not delivered: {error}\n")
    return PROBLEMS if failed else 0


def _days(day: str | None, zone: str, now: datetime) -> Days:
    try:
        place = ZoneInfo(zone)
    except (ValueError, OSError, LookupError):  # also what is a folder, or leads out of it
        msg = f"--zone: expected a time zone such as Europe/Berlin, got {zone!r}"
        raise UsageError(msg) from None
    try:
        found = date.fromisoformat(day) if day else now.astimezone(place).date() - timedelta(days=1)
        days = Days(found, place)
    except (ValueError, OverflowError):
        msg = f"--day: expected a day such as 2026-01-31, got {day!r}"
        raise UsageError(msg) from None
    if days.start < 0:
        msg = f"--day: expected a day of this age, got {day!r}"
        raise UsageError(msg)
    return days
