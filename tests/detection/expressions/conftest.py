"""One scope of names for all tests of expressions: for each kind two that are known and two that may be unknown."""

from collections.abc import Callable
from types import SimpleNamespace

import pytest

from detection.expressions import Constants, Language, Symbol
from detection.kinds import Kind

NAMES = {
    Kind.INT: "ij",
    Kind.FLOAT: "xy",
    Kind.STR: "su",
    Kind.BOOL: "pq",
    Kind.MONEY: "mn",
    Kind.TIME: "tw",
    Kind.DURATION: "dg",
}
SCOPE = {name: Symbol(kind, f"e.{name}") for kind, names in NAMES.items() for name in names} | {
    f"maybe_{name}": Symbol(kind, f"e.maybe_{name}", optional=True) for kind, names in NAMES.items() for name in names
}

Evaluate = Callable[..., object]


@pytest.fixture(scope="session")
def language() -> Language:
    return Language(SCOPE)


@pytest.fixture(scope="session")
def evaluate(language: Language) -> Evaluate:
    """Compile an expression and run it; names that are given no value are unknown."""

    def evaluate(text: str, **values: object) -> object:
        constants = Constants()
        expression = language.compile(text, constants)
        # No builtins: all that the source needs comes through its constants.
        namespace = {"__builtins__": {}, **constants.values}
        exec(f"def run(e):\n    return {expression.source}", namespace)
        result = namespace["run"](SimpleNamespace(**(dict.fromkeys(SCOPE) | values)))
        assert result is not None or expression.optional, "an expression that is never unknown was"
        return result

    return evaluate
