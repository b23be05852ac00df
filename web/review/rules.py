"""The rules of the pack, with what became of their hits."""

from collections.abc import Mapping
from typing import Any

from detection.pack import Pack, Reason


def rules_told(pack: Pack, hits: Mapping[str, int], found: Mapping[str, tuple[int, int]]) -> list[dict[str, Any]]:
    """Each rule with its text and its numbers, in the order of the pack.

    Args:
        pack: The rules.
        hits: By rule, as far as they were seen.
        found: By rule, how many of its hits were found to be fraud and how many legit.
    """
    told = []
    for event in pack.events:
        for rule in event.rules:
            fraud, legit = found.get(rule.name, (0, 0))
            told.append(
                {
                    "name": rule.name,
                    "event": event.name,
                    "mode": rule.mode,
                    "outcome": rule.outcome,
                    "score": rule.score,
                    "version": rule.version,
                    "when": rule.condition.text,
                    "reason": _text(rule.reason),
                    "hits": hits.get(rule.name, 0),
                    "fraud": fraud,
                    "legit": legit,
                    "precision": fraud / (fraud + legit) if fraud + legit else None,
                }
            )
    return told


def _text(reason: Reason) -> str:
    return "".join(text + (f"{{{name}}}" if name else "") for text, name in reason.parts)
