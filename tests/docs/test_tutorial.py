"""What the tutorial shows is so."""

import json
import shlex
from pathlib import Path
from typing import Any

import pytest

from cli.main import app
from detection import aggregates
from detection.loading import parse
from detection.program import Engine
from detection.records import Record, Verdict


def of_tutorial(blocks: list[Any], info: str) -> list[str]:
    return [block.text for block in blocks if block.document == "docs/tutorial.md" and block.info == info]


def test_the_record_shown_is_read_as_it_says_and_accepted(blocks: list[Any]) -> None:
    (record,) = of_tutorial(blocks, "json")
    (pack,) = of_tutorial(blocks, "toml")
    engine = Engine(parse({"orders.toml": pack}))

    event = engine.decode(Record("payment-orders", 0, 0, -1, None, record.strip().encode()))
    verdict = engine.judge_event(event)

    assert (event.f_payer, event.f_payee, event.f_payer_country) == ("DE-1", "LT-7", "DE")
    assert (event.f_amount, event.f_currency, event.f_channel) == (250_000_000, "EUR", "app")
    assert event.time == 1_767_268_800_000_000
    assert isinstance(verdict, Verdict)
    assert (verdict.decision, verdict.topic) == ("accept", "payment-orders.accepted")
    assert verdict.value.startswith(record.strip().encode()[:-1])
    assert json.loads(verdict.value)["verdict"]["origin"] == "payment-orders/0/0"


def test_the_check_says_what_is_shown(
    blocks: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "orders.toml").write_text(of_tutorial(blocks, "toml")[0])
    monkeypatch.chdir(tmp_path)
    command, _, told = of_tutorial(blocks, "console norun")[0].partition("\n")

    code = app(shlex.split(command.removeprefix("$ fraud ")), result_action="return_value")

    assert code == 0
    assert capsys.readouterr().out == told


def test_an_aggregate_of_ones_own_works_as_shown(blocks: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    (source,) = of_tutorial(blocks, "python")
    module: dict[str, Any] = {"__name__": "spread"}
    exec(source, module)
    monkeypatch.setitem(aggregates.AGGREGATES, "spread", module["Spread"]())
    pack = """
event.e = { topic = "t", fields = { user = "str", n = "int" }, add = { far = "spread_10s" } }
feature.spread_10s = { on = "e", key = ["user"], fn = "spread", of = "n", window = "10s" }
"""
    engine = Engine(parse({"p.toml": pack}))

    found = []
    for offset, (second, number) in enumerate([(0, 5), (1, 9), (5, 7), (11, 7)]):
        verdict = engine.judge(Record("t", 0, offset, second * 1_000, None, b'{"user":"a","n":%d}' % number))
        assert isinstance(verdict, Verdict)
        found.append(json.loads(verdict.value)["far"])

    assert found == [0, 4, 4, 0]
