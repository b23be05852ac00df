"""The aggregates a feature may name: one file each, one line here."""

from detection.aggregates.aggregate import Aggregate, Column, Window
from detection.aggregates.count import Count
from detection.aggregates.distinct import Distinct
from detection.aggregates.gap import Gap
from detection.aggregates.previous import Previous
from detection.aggregates.sum import Sum

AGGREGATES: dict[str, Aggregate] = {
    aggregate.name: aggregate for aggregate in (Count(), Sum(), Previous(), Distinct(), Gap())
}

__all__ = ["AGGREGATES", "Aggregate", "Column", "Window"]
