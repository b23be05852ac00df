"""One alert for a rule and entity in so long, by event time: a replay or an outage changes nothing."""

from collections.abc import Mapping
from typing import Any, Final

from detection.alerting.alert import Alert
from detection.errors import StateError
from detection.kinds import MICROS

SLACK: Final = 3_600 * MICROS
"""How much longer than its time an alert is remembered, us, so that events which come late find it."""

_FORMAT: Final = 1
_SWEEP: Final = 1_000


class Dedupe:
    """Remembers when each subject was last told of.

    >>> from msgspec.structs import replace
    >>> first = Alert(
    ...     alert="ops", rule="r", decision="block", reasons=[], entity=[], amount=None, origin="t/0/0", at=0
    ... )
    >>> dedupe = Dedupe({"ops": 3_600 * MICROS})
    >>> [dedupe.is_news(replace(first, at=at * MICROS)) for at in (0, 3_599, 3_600, 3_601)]
    [True, False, True, False]
    """

    def __init__(self, lasting: Mapping[str, int], state: Mapping[str, Any] | None = None) -> None:
        """Begin anew, or go on from a snapshot, which may be one under another pack.

        Args:
            lasting: How long a subject is not told of again, us of event time, by alert; others are always told.
            state: A snapshot.

        Raises:
            StateError: It is of a format that this release does not know.
        """
        self._lasting = dict(lasting)
        self._told: dict[str, dict[str, int]] = {name: {} for name in lasting}
        self._newest: dict[str, int] = {}
        self._since_sweep = 0
        if state is None:
            return
        if state.get("format") != _FORMAT:
            msg = f"state of alerts: expected format {_FORMAT}, got {state.get('format')!r}"
            raise StateError(msg)
        for name in lasting.keys() & state["told"].keys():
            self._told[name] = dict(state["told"][name])
            self._newest[name] = state["newest"][name]

    def is_news(self, alert: Alert) -> bool:
        """Whether to tell of it: its subject was not told of in the time around it."""
        lasting = self._lasting.get(alert.alert)
        if lasting is None:
            return True
        told, subject = self._told[alert.alert], alert.subject
        self._newest[alert.alert] = max(alert.at, self._newest.get(alert.alert, alert.at))
        last = told.get(subject)
        if last is not None and abs(alert.at - last) < lasting:
            return False
        told[subject] = alert.at if last is None else max(alert.at, last)
        self._since_sweep += 1
        if self._since_sweep >= _SWEEP:
            self._sweep()
        return True

    def snapshot(self) -> dict[str, Any]:
        """A copy of what it remembers, in plain builtins.

        `told`: event times, us, by alert and subject. `newest`: the newest event time, us, by alert.
        """
        self._sweep()
        told = {name: dict(subjects) for name, subjects in self._told.items() if subjects}
        return {"format": _FORMAT, "told": told, "newest": {name: self._newest[name] for name in told}}

    def _sweep(self) -> None:
        self._since_sweep = 0
        for name, told in self._told.items():
            oldest = self._newest.get(name, 0) - self._lasting[name] - SLACK
            for subject in [subject for subject, at in told.items() if at <= oldest]:
                del told[subject]
