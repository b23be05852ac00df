"""A feature alone in a pack, and its values over a few events."""

import json
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from detection.aggregates import AGGREGATES
from detection.loading import parse
from detection.program import Engine
from detection.records import Record, Verdict

START = 1_700_000_000_000  # ms
WINDOW = 10  # s

Events = Sequence[tuple[float, Any]]  # seconds since the start, the field's value
Values = Callable[..., list[Any]]


@pytest.fixture
def values() -> Values:
    """The values of a feature at each of the events of one key."""

    def values(fn: str, kind: str | None, events: Events) -> list[Any]:
        fields = f'user = "str", of = "{kind}", beside = "{kind}"' if kind else 'user = "str"'
        aggregate = AGGREGATES[fn]
        names = '["of", "beside"]' if aggregate.pair else '"of"'
        of = f"of = {names}\n" if kind and aggregate.of else ""
        text = (
            f'[event.pay]\ntopic = "pays"\ntime = "at"\nfields = {{ {fields} }}\n'
            f'[feature.f]\non = "pay"\nkey = ["user"]\nfn = "{fn}"\nwindow = "{WINDOW}s"\n{of}'
            '[rule.r]\non = "pay"\nwhen = "true"\nreason = "{f}"\nscore = 1\noutcome = "review"\n'
        )
        engine = Engine(parse({"x.toml": text}))
        answers = []
        for offset, (second, value) in enumerate(events):
            members = {
                "user": "a",
                "at": START + round(second * 1000),
                **({"of": value, "beside": value} if kind else {}),
            }
            verdict = engine.judge(Record("pays", 0, offset, -1, None, json.dumps(members).encode()))
            assert isinstance(verdict, Verdict), verdict
            answers.append(json.loads(verdict.value)["verdict"]["rules"][0]["values"]["f"])
            engine.restore(engine.snapshot())
        return answers

    return values
