"""The aggregates a feature may name: one file each, one line here."""

from detection.aggregates.aggregate import Aggregate, Column, Window
from detection.aggregates.avg import Avg
from detection.aggregates.count import Count
from detection.aggregates.distinct import Distinct
from detection.aggregates.entropy import Entropy
from detection.aggregates.first_seen_age import FirstSeenAge
from detection.aggregates.fraud_rate import FraudRate
from detection.aggregates.gap import Gap
from detection.aggregates.gap_stddev import GapStddev
from detection.aggregates.max import Max
from detection.aggregates.min import Min
from detection.aggregates.mode_share import ModeShare
from detection.aggregates.previous import Previous
from detection.aggregates.speed_kmh import SpeedKmh
from detection.aggregates.stddev import Stddev
from detection.aggregates.sum import Sum

_ALL: tuple[Aggregate, ...] = (
    Count(),
    Sum(),
    Avg(),
    Min(),
    Max(),
    Stddev(),
    Distinct(),
    ModeShare(),
    Entropy(),
    FraudRate(),
    SpeedKmh(),
    Previous(),
    FirstSeenAge(),
    Gap(),
    GapStddev(),
)
AGGREGATES: dict[str, Aggregate] = {aggregate.name: aggregate for aggregate in _ALL}

__all__ = ["AGGREGATES", "Aggregate", "Column", "Window"]
