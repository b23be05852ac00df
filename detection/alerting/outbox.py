"""What to tell one receiver, and when: alerts in bursts, not more than a limit, again after failures.

By wall clock, ms since the epoch, which is always given: sending is the edge, and no alert is dropped here.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from detection.alerting.alert import Alert
from detection.errors import StateError

_FORMAT: Final = 1


@dataclass(frozen=True, slots=True)
class Patience:
    """How often a message is tried.

    Attributes:
        tries: How often at most.
        first: How long to wait after the first failure, ms; doubled after each.
        longest: How long to wait at most, ms.
    """

    tries: int
    first: int = 1_000
    longest: int = 60_000

    def wait(self, failures: int, jitter: float) -> int:
        """How long to wait after so many failures, ms.

        Args:
            failures: At least 1.
            jitter: 0.0 to 1.0: from half of the time to all of it.

        >>> [Patience(tries=9).wait(failures, 1.0) for failures in (1, 2, 3, 9)]
        [1000, 2000, 4000, 60000]
        """
        whole = min(self.first << min(failures - 1, 40), self.longest)
        return int(whole * (0.5 + jitter / 2))


@dataclass(slots=True)
class Message:
    """What is sent at once: alerts of one rule.

    Attributes:
        alerts: In the order they came; at least one.
        span: How long ago the rule was last told of, ms; None: these are the first.
        tries: How often it has failed.
    """

    alerts: list[Alert]
    span: int | None = None
    tries: int = 0


class Outbox:
    """The alerts that one receiver is still to be told of.

    The first alert of a rule is due at once. Those that come in the `group` after it wait for its end, and go together.
    Where the limit is reached, they wait longer, and more of them go together.
    """

    def __init__(
        self,
        *,
        group: int,
        limit: tuple[int, int] | None,
        patience: Patience,
        jitter: Callable[[], float],
        state: Mapping[str, Any] | None = None,
    ) -> None:
        """Begin empty, or go on from a snapshot.

        Args:
            group: How long a rule's alerts are collected after one was sent, ms; 0: each goes alone.
            limit: How many messages in how long, ms; None: as many as there are.
            patience: How often a message is tried.
            jitter: Gives numbers from 0.0 to 1.0.
            state: A snapshot.

        Raises:
            StateError: It is of a format that this release does not know.
        """
        self._group = group
        self._limit = limit
        self._patience = patience
        self._jitter = jitter
        self._waiting: dict[str, list[Alert]] = {}
        self._told: dict[str, int] = {}
        self._sent: list[int] = []
        self._message: Message | None = None
        self._retry_at = 0
        if state is None:
            return
        if state.get("format") != _FORMAT:
            msg = f"state of alerts: expected format {_FORMAT}, got {state.get('format')!r}"
            raise StateError(msg)
        for alert in msgspec.convert(state["waiting"], list[Alert]):
            self._waiting.setdefault(alert.rule, []).append(alert)
        self._told, self._sent = dict(state["told"]), list(state["sent"])
        if state["message"] is not None:
            self._message = msgspec.convert(state["message"], Message)

    def __len__(self) -> int:
        """How many alerts are neither delivered nor given up."""
        return sum(map(len, self._waiting.values())) + (len(self._message.alerts) if self._message else 0)

    def add(self, alert: Alert, now: int) -> None:
        """Take an alert."""
        if alert.rule not in self._waiting and now >= self._told.get(alert.rule, now) + self._group:
            self._told.pop(alert.rule, None)  # nothing came in the time after it: a new burst
        self._waiting.setdefault(alert.rule, []).append(alert)

    def due_at(self) -> int | None:
        """When there is something to send, ms; None: there is nothing."""
        if self._message is not None:
            return self._retry_at
        if not self._waiting:
            return None
        return max(min(map(self._opens, self._waiting)), self._room_at())

    def take(self, now: int) -> Message | None:
        """What to send now. It stays until it is `delivered`, or `failed` and given up."""
        due = self.due_at()
        if due is None or now < due:
            return None
        if self._message is None:
            rule = min(self._waiting, key=self._opens)
            waiting, last = self._waiting[rule], self._told.get(rule)
            first_alone = not self._group or last is None
            taken = waiting[:1] if first_alone else waiting
            left = waiting[len(taken) :]
            del self._waiting[rule]
            if left:
                self._waiting[rule] = left  # behind the others: one rule with many alerts does not keep them waiting
            self._message = Message(taken, None if first_alone or last is None else now - last)
            self._told[rule] = now
            self._sent.append(now)
            self._forget(now)
        return self._message

    def delivered(self) -> None:
        """The message has arrived, or was given up and kept elsewhere."""
        self._message, self._retry_at = None, 0

    def failed(self, now: int) -> bool:
        """The message has not arrived; says whether to give it up."""
        assert self._message is not None
        self._message.tries += 1
        if self._message.tries >= self._patience.tries:
            return True
        self._retry_at = now + self._patience.wait(self._message.tries, self._jitter())
        return False

    def snapshot(self) -> dict[str, Any]:
        """A copy, in plain builtins: `waiting` alerts, the `message` on its way, and when rules were `told` of (ms)."""
        waiting = [alert for alerts in self._waiting.values() for alert in alerts]
        return {
            "format": _FORMAT,
            "waiting": msgspec.to_builtins(waiting),
            "message": msgspec.to_builtins(self._message),
            "told": dict(self._told),
            "sent": list(self._sent),
        }

    def _opens(self, rule: str) -> int:
        return self._told[rule] + self._group if self._group and rule in self._told else 0

    def _room_at(self) -> int:
        if self._limit is None or len(self._sent) < self._limit[0]:
            return 0
        count, span = self._limit
        return self._sent[-count] + span

    def _forget(self, now: int) -> None:
        self._told = {rule: at for rule, at in self._told.items() if rule in self._waiting or now < at + self._group}
        self._sent = [] if self._limit is None else self._sent[-self._limit[0] :]
