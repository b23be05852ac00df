"""Alerts of pack files: whom to tell of which verdicts."""

import re
from collections.abc import Iterable, Mapping
from typing import Final

from detection.kinds import parse_duration
from detection.loading.report import File, Report
from detection.pack import AlertSpec, EventType

_REFERENCE: Final = re.compile(r"\$\{(ALERTS_[A-Z0-9_]+)\}")
_LIMIT: Final = re.compile(r"([1-9][0-9]{0,5})/(.+)")


class AlertLoader:
    """Checks the alerts of files."""

    def __init__(self, report: Report) -> None:
        self._report = report

    def alerts(self, owners: Mapping[str, File], events: Iterable[EventType]) -> tuple[AlertSpec, ...]:
        """The alerts, in the order of their declaration."""
        events = tuple(events)
        rules = {rule.name: event for event in events for rule in event.rules}
        off = {name for file in owners.values() for name, rule in file.table.rule.items() if rule.mode == "off"}
        return tuple(self._alert(owner, name, events, rules, off) for name, owner in owners.items())

    def _alert(
        self, owner: File, name: str, events: tuple[EventType, ...], rules: Mapping[str, EventType], off: set[str]
    ) -> AlertSpec:
        table, path, subject = owner.table.alert[name], ("alert", name), f"alert {name}"
        for number, rule in enumerate(table.rules or ()):
            if events and rule not in rules and rule not in off:
                self._report.unknown(owner, (*path, "rules", number), f"{subject}: no rule", rule, rules)
        about = [rules[rule] for rule in table.rules if rule in rules] if table.rules else events
        per = tuple(table.dedupe.per) if table.dedupe else ()
        fields = {field.name for event in about for field in event.fields}
        for number, field in enumerate(per):
            if about and field not in fields:
                self._report.unknown(owner, (*path, "dedupe", "per", number), f"{subject}: no field", field, fields)
        return AlertSpec(
            name=name,
            rules=None if table.rules is None else frozenset(table.rules),
            decisions=tuple(table.decisions),
            to=tuple(self._receiver(owner, name, number, text) for number, text in enumerate(table.to)),
            per=per,
            lasting=self._positive(owner, (*path, "dedupe", "for"), f"{subject}: for", table.dedupe.lasting)
            if table.dedupe
            else None,
            group=self._positive(owner, (*path, "group"), f"{subject}: group", table.group) // 1_000
            if table.group
            else 0,
            limit=self._limit(owner, name, table.limit) if table.limit else None,
        )

    def _receiver(self, owner: File, name: str, number: int, text: str) -> str:
        match = _REFERENCE.fullmatch(text)
        if match is None:  # not shown: somebody may have put the secret itself there
            message = f"alert {name}: to: expected a variable such as ${{ALERTS_OPS}}, got something else"
            self._report.at(owner, ("alert", name, "to", number), message, hint="URLs of receivers are secret")
            return ""
        return match[1]

    def _limit(self, owner: File, name: str, text: str) -> tuple[int, int] | None:
        path, subject = ("alert", name, "limit"), f"alert {name}: limit"
        match = _LIMIT.fullmatch(text)
        if match is None:
            self._report.at(owner, path, f'{subject}: expected a number and a time such as "60/1h", got "{text}"')
            return None
        return int(match[1]), self._positive(owner, path, subject, match[2]) // 1_000

    def _positive(self, owner: File, path: tuple[str | int, ...], subject: str, text: str) -> int:
        """A duration of at least 1 ms, us."""
        try:
            found = parse_duration(text, subject)
        except ValueError as error:
            self._report.at(owner, path, str(error))
            return 0
        if found < 1_000:  # noqa: PLR2004  us
            self._report.at(owner, path, f'{subject}: expected at least 1ms, got "{text}"')
        return found
