"""Telling receivers of something once, as often as it takes; they do not wait for each other."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from random import SystemRandom
from typing import Protocol

import structlog

from detection.alerting.outbox import Patience

_log = structlog.get_logger(__name__)


class Told(Protocol):
    """Somebody to tell; `sinks.receivers.AppriseReceiver` is one."""

    @property
    def name(self) -> str:
        """What may be told of it."""
        ...

    def tell(self, title: str, *, text: str, markup: str, alarm: bool) -> str | None:
        """Tell; gives why it did not work, without a secret, or None."""
        ...


def tell_all(
    receivers: Sequence[Told],
    title: str,
    *,
    text: str,
    markup: str,
    patience: Patience,
    wait: Callable[[float], bool],
) -> Mapping[str, str]:
    """Tell all of them.

    Args:
        receivers: Whom.
        title: One line.
        text: The same for those who read text only.
        markup: HTML for those who get mail.
        patience: How often each is tried.
        wait: Waits so many seconds; True: give up.

    Returns:
        Why it did not work, by the name of the receiver.
    """
    jitter = SystemRandom().random

    def tell(receiver: Told) -> str | None:
        for failures in range(1, patience.tries + 1):
            error = receiver.tell(title, text=text, markup=markup, alarm=False)
            if error is None:
                return None
            _log.warning("a report was not delivered", to=receiver.name, tries=failures, error=error)
            if failures == patience.tries or wait(patience.wait(failures, jitter()) / 1_000):
                break
        return error

    with ThreadPoolExecutor(max(len(receivers), 1)) as pool:
        errors = list(pool.map(tell, receivers))
    return {receiver.name: error for receiver, error in zip(receivers, errors, strict=True) if error is not None}
