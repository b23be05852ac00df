"""A pack of payments with a rule for each decision and one in the shadow, and events that it judges."""

import json

TEXT = """
[event.payment]
topic = "TAG"
time = "at"
fields = { user = "str", amount = "money:currency", currency = "str" }
block_topic = "TAG.block"
review_topic = "TAG.review"
accept_topic = "TAG.accept"

[rule.large]
on = "payment"
when = "amount > 900.0"
reason = "{amount} by {user}"
score = 50
outcome = "block"

[rule.silent]
on = "payment"
when = "amount > 900.0"
reason = "not told"
score = 50
outcome = "block"
mode = "shadow"

[rule.odd]
on = "payment"
when = "amount == 7.0"
reason = "odd"
score = 10
outcome = "review"
"""


def pack(topic: str) -> str:
    """The pack, for events of that topic; those for verdicts are named like it, with the decision behind a dot."""
    return TEXT.replace("TAG", topic)


def payment(user: str, amount: float | str, at: int, currency: str = "EUR") -> bytes:
    """An event: `amount` as a number or as the text of one, `at` in ms since the epoch."""
    return (
        f'{{"user": {json.dumps(user)}, "amount": {amount}, "currency": {json.dumps(currency)}, "at": {at}}}'.encode()
    )
