"""Turning generated source into functions.

The source is made of our own templates, checked names and numbers: never of a user's text.
"""

import linecache
from collections.abc import Callable, Mapping
from itertools import count
from typing import Any

_serial = count(1)


def define(name: str, lines: list[str], scope: Mapping[str, object]) -> Callable[..., Any]:
    """Compile the function `name` from its lines; tracebacks show its source.

    Args:
        name: The function's name.
        lines: Its source, from the `def` on.
        scope: The values of the names it uses.
    """
    source = "\n".join(lines) + "\n"
    file = f"<generated {name} {next(_serial)}>"
    namespace: dict[str, Any] = dict(scope)
    exec(compile(source, file, "exec"), namespace)  # noqa: S102
    linecache.cache[file] = (len(source), None, source.splitlines(keepends=True), file)
    function: Callable[..., Any] = namespace[name]
    return function


def indent(lines: list[str], levels: int = 1) -> list[str]:
    """The lines, `levels` deeper."""
    return ["    " * levels + line for line in lines]
