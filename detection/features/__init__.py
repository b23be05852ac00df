"""Features: sliding windows over the history of each key, computed by one generated function per keyed step.

A **step** gathers all features whose key begins with the same field; all events with an equal first field meet in one
key group of that step. A **log** is the history of the events of one type by one whole key. Per key it is a list of
parallel lists:

    [times, origins, column…]

sorted by event time, equal times in order of arrival. An origin is `partition << 48 | offset`. Every window of every
feature over that key is a slice of the one log. This is what a snapshot stores: plain builtins that one C call can
encode.

A log forgets what no event in time can see any more: entries at or before `watermark - lateness - longest window`,
the watermark being that of the source partition (`detection.codec`), never a clock. A late event sees what is left.
"""

from detection.features.group import GroupState
from detection.features.plan import EVIDENCE, OFFSET, ORIGIN_BITS, Plan, Span, Visit, newest
from detection.features.step import StepProgram

__all__ = ["EVIDENCE", "OFFSET", "ORIGIN_BITS", "GroupState", "Plan", "Span", "StepProgram", "Visit", "newest"]
