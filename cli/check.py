"""`fraud check`."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path

from cli.errors import PROBLEMS
from cli.terminal import clean, stdout
from detection.check import run_tests
from detection.cost import cost_of
from detection.errors import PackError
from detection.loading import parse, read
from detection.pack import Pack
from detection.settings import Settings


def check(*packs: Path) -> int:
    """Check packs and run their inline tests.

    Args:
        packs: Pack files, checked together. Without any: those of FRAUD_PACKS, or the ones that ship.
    """
    settings = Settings()
    console = stdout()
    paths = packs or settings.fraud_packs
    try:
        texts = read(paths)
        pack = parse(texts, settings.topics)
    except PackError as error:
        problems = error.problems
    else:
        for warning in pack.warnings:
            told = dataclasses.replace(warning, message=f"warning: {warning.message}")
            console.print(clean(str(told)), style="yellow")
        problems = run_tests(pack, texts)
        if not problems:
            console.print(_summary(pack))
            return 0
    for problem in problems:
        console.print(clean(str(problem)))
    console.print(_number(len(problems), "problem"), style="bold red")
    return PROBLEMS


def _summary(pack: Pack) -> str:
    """A line a rule."""
    rules = [(event, rule) for event in pack.events for rule in event.rules]
    rows = [(rule.name, event.name, rule.mode, rule.outcome, f"score {rule.score}") for event, rule in rules]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(
            [*map(str.ljust, row, widths), f"{_number(len(rule.tests), 'test')} passed" if rule.tests else "no tests"]
        )
        for row, (_, rule) in zip(rows, rules, strict=True)
    ]
    lines += _costs(pack)
    tests = sum(len(rule.tests) for _, rule in rules)
    counts = (_number(len(pack.events), "event"), _number(len(rules), "rule"), f"{_number(tests, 'test')} passed")
    return "\n".join([*lines, f"pack {pack.hash}: {', '.join(counts)}: no problems"])


def _costs(pack: Pack) -> Iterator[str]:
    """A line an event type: what one event costs, and what its busiest key keeps."""
    cost = cost_of(pack)
    for event in pack.events:
        line = f"{event.name}: about {_two_digits(cost.events[event.name])} µs an event"
        mine = [history for history in cost.histories if history.event.name == event.name]
        if mine:
            largest = max(mine, key=lambda history: history.size)
            key = ", ".join(part.name for part in largest.key)
            size = f"{_two_digits(largest.size / 1000)} kB"
            line += (
                f"; the busiest {key} ({largest.hourly:,} an hour) takes about {size} for {largest.features[0].name}"
            )
        yield line


def _two_digits(value: float) -> str:
    return f"{float(f'{value:.2g}'):,.15g}"


def _number(number: int, thing: str) -> str:
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"
