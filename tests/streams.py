"""For tests of training: a pack with a model, and events whose frauds are large payments of people who pay little."""

import json
from pathlib import Path
from random import Random
from typing import Any

PACK = """
[event.pay]
topic = "pays"
time = "at"
fields = { id = "str", user = "str", amount = "money", country = "str" }

[event.label]
topic = "fraud.labels"
time = "time"
fields = { fraudulent = "bool", user = "str?" }

[feature.payments]
on = "pay"
key = ["user"]
fn = "count"
window = "1d"

[feature.usual]
on = "pay"
key = ["user"]
fn = "avg"
of = "amount"
window = "30d"

[feature.frauds]
on = "pay"
key = ["user"]
over = "label"
fn = "count"
where = "fraudulent"
window = "30d"

[model.pays]
on = "pay"
features = ["amount", "payments", "usual", "frauds"]
file = "pays.model"
"""
START = 1_700_000_000_000  # ms
MINUTE = 60_000


class Stream:
    """Files in a folder.

    Attributes:
        events: The events, in order.
        frauds: Whether each is one.
    """

    def __init__(self, folder: Path, count: int, seed: int = 1) -> None:
        random = Random(seed)
        self.folder = folder
        self.events: list[dict[str, Any]] = []
        self.frauds: list[bool] = []
        for number in range(count):
            fraud = random.random() < 0.12
            user = f"u{random.randrange(40)}"
            amount = round(random.uniform(300, 900) if fraud else random.uniform(5, 400), 2)
            self.events.append(
                {"id": f"p{number}", "user": user, "amount": amount, "country": random.choice(["DE", "FR"])}
                | {"at": START + number * 10 * MINUTE}
            )
            self.frauds.append(fraud)
        (folder / "pack.toml").write_text(PACK)
        self.write("events.jsonl", self.events)

    def labels(self, name: str = "labels.jsonl", *, after_ms: int = MINUTE, by: str = "origin") -> str:
        """Label all events so long after each of them; gives the file's name."""
        named = [
            {"origin": f"pays/0/{line}"} if by == "origin" else {"id": f"p{line - 1}"}
            for line in range(1, 1 + len(self.events))
        ]
        self.write(
            name,
            [
                {**who, "fraudulent": fraud, "at": event["at"] + after_ms, "time": event["at"], "user": event["user"]}
                for who, fraud, event in zip(named, self.frauds, self.events, strict=True)
            ],
        )
        return name

    def write(self, name: str, rows: list[dict[str, Any]]) -> None:
        (self.folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
