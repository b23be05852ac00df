"""Expressions of packs: a strict, typed subset of CEL, compiled to Python source.

`detection.expressions.language` is the reference of what there is.
"""

from detection.expressions.compiler import Expression, Language
from detection.expressions.constants import Constants
from detection.expressions.errors import ExpressionError
from detection.expressions.language import Reference, reference
from detection.expressions.lowering import ListSymbol, Symbol
from detection.expressions.possible import EVERYTHING, Range

__all__ = [
    "EVERYTHING",
    "Constants",
    "Expression",
    "ExpressionError",
    "Language",
    "ListSymbol",
    "Range",
    "Reference",
    "Symbol",
    "reference",
]
