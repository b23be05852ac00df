"""Google's CEL parser and checker, told the overloads of the language table and no others."""

import re
from collections.abc import Mapping, Sequence
from functools import cache

from cel_expr_python import cel

from detection.expressions.errors import OWN_TYPE, ExpressionError, explain
from detection.expressions.language import ROWS
from detection.expressions.tree import Node, read
from detection.kinds import Kind


class Checker:
    """Parses and checks expressions over the names of one scope.

    Making one declares all names and overloads; keep it.
    """

    def __init__(self, scope: Mapping[str, Kind | tuple[Kind, Kind | None]]) -> None:
        """Declare a scope: names with the kind of their value, or of a list's members and of what it says of them."""
        self._names = tuple(scope)
        variables = {name: _type(kind) for name, kind in scope.items()}
        self._env = cel.NewEnv(config=_config(), variables=variables, functions=_functions())

    def parse(self, text: str) -> Node:
        """Read an expression, or raise an ExpressionError."""
        if not text.strip():
            msg = "expected an expression, got nothing"
            raise ExpressionError(msg)
        if surrogate := re.search("[\ud800-\udfff]", text):
            msg = "expected Unicode text, got half a surrogate pair"
            raise ExpressionError(msg, surrogate.start())
        try:
            return read(self._env.compile(text).serialize(), text)
        except RuntimeError as error:
            raise explain(str(error), text, self._names) from None


@cache
def _config() -> cel.EnvConfig:
    return cel.NewEnvConfigFromYaml("name: fraud\nstdlib:\n  disable: true\n")


@cache
def _types() -> Mapping[Kind, cel.Type]:
    """Kinds in the checker's eyes. Those that CEL does not have are types of their own, which mix with nothing."""
    own = {kind: cel.Type.AbstractType(f"{OWN_TYPE}{kind}", []) for kind in (Kind.MONEY, Kind.TIME, Kind.DURATION)}
    return own | {
        Kind.STR: cel.Type.STRING,
        Kind.INT: cel.Type.INT,
        Kind.FLOAT: cel.Type.DOUBLE,
        Kind.BOOL: cel.Type.BOOL,
    }


def _type(kind: Kind | tuple[Kind, Kind | None]) -> cel.Type:
    if not isinstance(kind, tuple):
        return _types()[kind]
    member, value = kind
    return cel.Type.List(_types()[member]) if value is None else cel.Type.Map(_types()[member], _types()[value])


@cache
def _functions() -> Sequence[cel.FunctionDecl]:
    overloads: dict[str, list[cel.Overload]] = {}
    for number, row in enumerate(ROWS.values()):
        parameters = [_types()[kind] for kind in row.operands]
        if row.function == "@in":
            parameters[1] = cel.Type.List(parameters[1])
        if row.function == "_[_]":
            parameters[0] = cel.Type.Map(parameters[1], parameters[0])
        overload = cel.Overload(
            f"row_{number}", return_type=_types()[row.result], parameters=parameters, is_member=row.member
        )
        overloads.setdefault(row.function, []).append(overload)
    return [cel.FunctionDecl(function, declared) for function, declared in overloads.items()]
