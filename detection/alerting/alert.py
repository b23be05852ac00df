"""An alert: one rule that fired at one event, as a person is told of it."""

import msgspec


class Alert(msgspec.Struct, frozen=True, kw_only=True):
    """One rule that fired, for one `[alert.NAME]` of the pack.

    Attributes:
        alert: The NAME in the pack.
        rule: The rule.
        decision: What the verdict decided.
        reasons: What the verdict tells, as it stands in the record: hostile text.
        entity: Pairs of a field and its value: who it is about.
        amount: Money with its currency, if the event has some.
        origin: Where the event was read, `topic/partition/offset`.
        at: Event time, us since the epoch. Not when it was judged or told.
    """

    alert: str
    rule: str
    decision: str
    reasons: list[str]
    entity: list[tuple[str, str]]
    amount: str | None
    origin: str
    at: int

    @property
    def subject(self) -> str:
        """The rule and entity: alerts with equal ones tell the same."""
        return msgspec.json.encode([self.rule, *self.entity]).decode()
