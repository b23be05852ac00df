"""What every aggregate promises, whatever it measures."""

import doctest
import re
import sys
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from detection.aggregates import AGGREGATES, Aggregate, Window
from detection.kinds import Kind

FIELD_KINDS = (Kind.STR, Kind.INT, Kind.FLOAT, Kind.BOOL, Kind.MONEY)
SAMPLES: dict[Kind, st.SearchStrategy[Any]] = {
    Kind.STR: st.sampled_from(["", "a", "b", "\0"]),
    Kind.INT: st.sampled_from([0, 1, -1, 2**63 - 1, -(2**63)]),
    Kind.FLOAT: st.sampled_from([0.0, 0.1, -0.3, 1e300, 5e-324]),
    Kind.BOOL: st.booleans(),
    Kind.MONEY: st.sampled_from([0, 0.01, -3.5, 1e9, "9223372036854.775807"]),
}
PYTHON = {
    Kind.STR: str,
    Kind.INT: int,
    Kind.FLOAT: float,
    Kind.BOOL: bool,
    Kind.MONEY: (int, float),
    Kind.DURATION: float,  # in seconds
}
CASES = [
    (aggregate, kind)
    for aggregate in AGGREGATES.values()
    for kind in ([kind for kind in FIELD_KINDS if kind in aggregate.of] if aggregate.of else [None])
]
ids = [f"{aggregate.name}-{kind}" for aggregate, kind in CASES]
every_case = pytest.mark.parametrize(("aggregate", "kind"), CASES, ids=ids)
few = settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))


def events(kind: Kind | None) -> st.SearchStrategy[list[tuple[float, Any]]]:
    seconds = st.integers(0, 40).map(lambda half: half / 2)
    return st.lists(st.tuples(seconds, SAMPLES[kind] if kind else st.none()), min_size=1, max_size=12)


def approximately(kind: Kind | None, value: Any) -> Any:
    return pytest.approx(value, rel=1e-9, abs=1e-9) if kind is Kind.FLOAT and isinstance(value, float) else value


@every_case
def test_a_value_depends_on_nothing_but_the_events_of_its_window_in_their_order(
    values: Any, aggregate: Aggregate, kind: Kind | None
) -> None:
    @few
    @given(events(kind))
    def holds(stream: list[tuple[float, Any]]) -> None:
        found = values(aggregate.name, kind, stream)
        for number, (second, _) in enumerate(stream):
            window = [event for event in stream[: number + 1] if second - 10 < event[0] <= second]
            in_order = sorted(window, key=lambda event: event[0])
            assert found[number] == approximately(kind, values(aggregate.name, kind, in_order)[-1])

    holds()


@every_case
def test_a_value_is_of_the_kind_the_aggregate_says_and_unknown_only_if_it_says_so(
    values: Any, aggregate: Aggregate, kind: Kind | None
) -> None:
    @few
    @given(events(kind))
    def holds(stream: list[tuple[float, Any]]) -> None:
        for value in values(aggregate.name, kind, stream):
            assert isinstance(value, PYTHON[aggregate.result(kind)]) or (value is None and aggregate.optional)

    holds()


@every_case
def test_it_reads_the_columns_it_asks_for_and_no_others(aggregate: Aggregate, kind: Kind | None) -> None:
    columns = aggregate.columns(kind)
    source = aggregate.source(Window("START", "STOP", "TIMES", "VALUES", "TOTALS", others="OTHERS"), kind)

    assert ("VALUES" in source) == ("value" in columns)
    assert ("OTHERS" in source) == (aggregate.pair is not None)
    assert ("TOTALS" in source) == ("total" in columns)


@every_case
def test_over_panes_it_reads_the_columns_it_asks_for_and_no_others(aggregate: Aggregate, kind: Kind | None) -> None:
    columns = aggregate.panes(kind)
    window = Window("START", "STOP", "TIMES", "VALUES", "TOTALS", "PAST", "TIME", "OTHERS", "HERE", "COUNTS")

    if columns is None:  # it needs each event
        assert {"PAST", "OTHERS", "gap_deviation"} & set(re.findall(r"\w+", aggregate.source(window, kind)))
        return
    source = aggregate.paned(window, kind)
    assert "value" not in columns
    assert ("VALUES" in source) == bool(set(columns) - {"total"})
    assert ("TOTALS" in source) == ("total" in columns)
    assert not {"PAST", "OTHERS", "HERE"} & set(re.findall(r"\w+", source))
    assert "STOP - START" not in source


@pytest.mark.parametrize(("name", "aggregate"), AGGREGATES.items())
def test_it_is_registered_under_its_name_and_its_example_runs(name: str, aggregate: Aggregate) -> None:
    module = sys.modules[type(aggregate).__module__]
    outcome = doctest.testmod(module)

    assert (aggregate.name, module.__name__) == (name, f"detection.aggregates.{name}")
    assert outcome.attempted > 0
    assert outcome.failed == 0


def test_no_two_aggregates_bring_different_functions_of_one_name() -> None:
    brought = [item for aggregate in AGGREGATES.values() for item in aggregate.helpers.items()]
    assert len({name for name, _ in brought}) == len(set(brought))
