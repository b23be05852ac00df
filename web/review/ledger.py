"""What was decided of which event: what the audit and the labels come to, entry by entry."""

import threading
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import msgspec

from web.review.entries import OPEN, Entry, Label, Labelled, Standing, State

_DECIDED: Final[frozenset[State]] = frozenset({"fraud", "legit"})


class _Event(msgspec.Struct):
    """What is known of one event.

    Attributes:
        history: Who did what, and whether it holds, in the order of the topic.
        version: Of the last entry that holds.
        standing: What that decided.
        labelled: The last entry that holds and has a label.
        written: The version of the newest label in its topic: that of an older entry, if it came after all others.
        other: What somebody else's label says.
        retracted: When a label with the key of ours was last taken back, ms since the epoch.
        noted: The version of the newest label of which the audit says that it was in its topic.
    """

    history: list[tuple[Entry, bool]] = []
    version: int = 0
    standing: Standing = OPEN
    labelled: Entry | None = None
    written: int = 0
    other: Label | None = None
    retracted: int = 0
    noted: int = 0


class Ledger:
    """What was decided so far. One thread adds to it, any may ask.

    The order of the audit topic decides: an entry holds if its version is the next one of its event. So all who read
    the topic agree, and of two people who acted on what they both saw, the second has not acted.

    Attributes:
        revision: Another one after each change.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._events: dict[str, _Event] = {}
        # What would take a look at all events otherwise, every other second and at each look at a page.
        self._unwritten: dict[str, _Event] = {}
        self._unnoted: dict[str, _Event] = {}
        self._found: dict[State, Counter[str]] = {state: Counter() for state in _DECIDED}
        self.revision = 0

    def take(self, entry: Entry) -> bool:
        """Add an entry, and say whether it holds."""
        with self._changed(entry.origin) as event:
            for known, holds in event.history:  # read again
                if known.id == entry.id:
                    return holds
            holds = entry.version == event.version + 1
            event.history.append((entry, holds))
            if holds:
                event.version = entry.version
                event.standing = entry.after
                if bytes(entry.label):
                    event.labelled = entry
            return holds

    def take_label(self, origin: str, label: Label, *, own_key: bool = True) -> None:
        """Note a label that is in the topic, in its order.

        Args:
            origin: The event.
            label: What is said of it.
            own_key: Whether the record has the key of our labels, the event.
        """
        with self._changed(origin) as event:
            if label.fraudulent is None:
                event.other = None
                if own_key:
                    event.written, event.retracted = 0, max(event.retracted, label.at)
            elif label.version:
                event.written = label.version
            else:
                event.other = label

    def note(self, labelled: Labelled) -> None:
        """Take it from the audit that a label was in its topic."""
        with self._changed(labelled.origin) as event:
            event.noted = max(event.noted, labelled.version)

    def unnoted(self) -> list[tuple[str, int]]:
        """Events whose labels were in their topic, or taken back, while the audit does not say so; and versions."""
        with self._lock:
            return [(origin, _seen(event)) for origin, event in self._unnoted.items()]

    def wrote(self, entry: Entry) -> None:
        """Note that the label of an entry is written; it is still to be read in its topic, at its place."""
        with self._changed(entry.origin) as event:
            event.written = max(event.written, entry.version)

    def version(self, origin: str) -> int:
        """How often something was done to an event."""
        with self._lock:
            event = self._events.get(origin)
            return event.version if event else 0

    def standing(self, origin: str, now: int) -> Standing:
        """What is decided of an event at a time, ms since the epoch."""
        with self._lock:
            event = self._events.get(origin)
            return OPEN if event is None else _standing(event, now)

    def standings(self, origins: Iterable[str], now: int) -> list[Standing]:
        """What is decided of each of these events."""
        with self._lock:
            found = (self._events.get(origin) for origin in origins)
            return [OPEN if event is None else _standing(event, now) for event in found]

    def last(self, origin: str) -> Entry | None:
        """The last entry of an event that holds."""
        with self._lock:
            event = self._events.get(origin)
            return next((entry for entry, holds in reversed(event.history) if holds), None) if event else None

    def told(self, origin: str, now: int) -> dict[str, Any]:
        """All that is known of an event, for a page."""
        with self._lock:
            event = self._events.get(origin) or _Event()
            standing = _standing(event, now)
            return {
                "origin": origin,
                "version": event.version,
                "state": standing.state,
                "until": standing.until,
                "history": [
                    {
                        "at": entry.at,
                        "who": entry.who,
                        "role": entry.role,
                        "action": entry.action,
                        "note": entry.note,
                        "before": entry.before.state,
                        "after": entry.after.state,
                        "until": entry.after.until,
                        "holds": holds,
                    }
                    for entry, holds in event.history
                ],
                "label": _is_written(event),
                "other": None if event.other is None else msgspec.to_builtins(event.other),
            }

    def unwritten(self, before: int) -> list[Entry]:
        """Entries older than this (ms since the epoch) whose labels are not in their topic.

        None where somebody else's label came after the decision, or one was taken back, also one that was there and is
        not any more: they may know better.
        """
        with self._lock:
            known = (event.labelled for event in self._unwritten.values())
            return [entry for entry in known if entry is not None and entry.at < before]

    def found(self) -> dict[str, tuple[int, int]]:
        """By rule: how many of its hits were found to be fraud, and how many legit."""
        with self._lock:
            fraud, legit = self._found["fraud"], self._found["legit"]
            return {
                rule: (fraud[rule], legit[rule]) for rule in fraud.keys() | legit.keys() if fraud[rule] + legit[rule]
            }

    @contextmanager
    def _changed(self, origin: str) -> Iterator[_Event]:
        """The event, to be changed: what is kept of all follows."""
        with self._lock:
            event = self._events.setdefault(origin, _Event())
            state, rules = event.standing.state, _decided_rules(event)
            yield event
            if rules:
                self._found[state].subtract(rules)
            if rules := _decided_rules(event):
                self._found[event.standing.state].update(rules)
            if _is_missing(event):
                self._unwritten[origin] = event
            else:
                self._unwritten.pop(origin, None)
            if _seen(event) > event.noted:
                self._unnoted[origin] = event
            else:
                self._unnoted.pop(origin, None)
            self.revision += 1


def _decided_rules(event: _Event) -> set[str]:
    """The rules whose hits were right or wrong, as is decided; none if nothing is."""
    if event.labelled is None or event.standing.state not in _DECIDED:
        return set()
    return set(event.labelled.verdict.rules)


def _seen(event: _Event) -> int:
    """The version of the newest label that was in its topic, or that somebody does not want there; 0 for none."""
    taken_back = event.labelled is not None and event.retracted >= event.labelled.at
    return max(event.written, event.labelled.version if event.labelled is not None and taken_back else 0)


def _is_missing(event: _Event) -> bool:
    """Whether the label of the last decision is to be in the topic, and is not."""
    entry = event.labelled
    return (
        entry is not None
        and event.written < entry.version
        and event.noted < entry.version
        and event.retracted < entry.at
        and (event.other is None or event.other.at <= entry.at)
    )


def _standing(event: _Event, now: int) -> Standing:
    standing = event.standing.at(now)
    if standing.state not in _DECIDED and event.other is not None:
        return Standing("fraud" if event.other.fraudulent else "legit")
    return standing


def _is_written(event: _Event) -> bool | None:
    """Whether the label is in its topic; None: there is none to be there."""
    if event.labelled is None or event.retracted >= event.labelled.at:
        return None
    if event.written >= event.labelled.version:
        return True
    return None if event.noted >= event.labelled.version else False
