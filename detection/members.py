"""Where the members of an event are in the JSON of its verdict."""

from collections.abc import Iterator
from typing import Any

from detection.pack import Field


def members_of(field: Field, value: dict[str, Any]) -> Iterator[str | int]:
    """The texts and integers that a field's member has; it may have moved aside for a member of the verdict.

    Args:
        field: One that is a member; what is derived is in no JSON.
        value: An event or a verdict, decoded.
    """
    verdict = value.get("verdict")
    aside = verdict.get("input") if isinstance(verdict, dict) else None
    for place in (value, aside):
        at: Any = place
        for name in field.member:
            at = at.get(name) if isinstance(at, dict) else None
        if isinstance(at, str | int) and not isinstance(at, bool):
            yield at
