"""From the text of an expression to an expression of Python."""

from collections.abc import Mapping
from dataclasses import dataclass

from detection.expressions.checker import Checker
from detection.expressions.constants import Constants
from detection.expressions.errors import ExpressionError, too_deep
from detection.expressions.lowering import ListSymbol, Lowering, Symbol
from detection.expressions.possible import possible
from detection.kinds import Kind


@dataclass(frozen=True, slots=True)
class Expression:
    """A compiled expression.

    Attributes:
        text: As the user wrote it.
        kind: The kind it yields.
        source: A Python expression that never raises for values of the declared kinds.
        optional: Whether it may yield None, which means unknown.
        names: The names it reads, in order of first use; empty for a constant.
        lists: The lists it looks something up in.
        possible: Whether it may ever be true, for a condition; False only where that is sure.
    """

    text: str
    kind: Kind
    source: str
    optional: bool
    names: tuple[str, ...]
    lists: tuple[str, ...] = ()
    possible: bool = True


class Language:
    """The expressions over one scope.

    Making one declares the scope to the checker, which takes as long as compiling an expression: keep it.

    >>> language = Language({"amount": Symbol(Kind.MONEY, "e.amount")})
    >>> language.compile("amount > 400.01", Constants()).source
    '(e.amount > 400010000)'
    """

    def __init__(self, scope: Mapping[str, Symbol | ListSymbol]) -> None:
        self._scope = dict(scope)
        self._ranges = {name: symbol.range for name, symbol in scope.items() if isinstance(symbol, Symbol)}
        self._checker = Checker(
            {name: symbol.kind if isinstance(symbol, Symbol) else symbol.kinds for name, symbol in scope.items()}
        )

    def compile(self, text: str, constants: Constants, *, expects: Kind | None = None) -> Expression:
        """Compile one expression.

        Args:
            text: The expression.
            constants: Those of the function that the source goes into.
            expects: The kind it must yield; None for any.

        Raises:
            ExpressionError: It says what is wrong, and where.
        """
        lowering = Lowering(self._scope, constants)
        tree = self._checker.parse(text)
        value = lowering.value(tree)
        if expects is not None and value.kind is not expects:
            msg = f"expected {expects}, got {value.kind}"
            raise ExpressionError(msg)
        source = lowering.atom(value)
        _prove_compilable(source)
        fulfillable = value.kind is not Kind.BOOL or possible(tree, self._ranges)
        names, lists = tuple(lowering.names), tuple(lowering.lists)
        return Expression(text, value.kind, source, value.optional, names, lists, fulfillable)


def _prove_compilable(source: str) -> None:
    """Python nests only so many parentheses; those of the code around the expression need room too."""
    try:
        compile(f"{'(' * 30}{source}{')' * 30}", "<expression>", "eval")
    except (SyntaxError, RecursionError, MemoryError):
        raise too_deep() from None
