"""What is found wrong with pack files, each with its place."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from difflib import get_close_matches

from detection.errors import Problem
from detection.expressions import Constants, Expression, ExpressionError, Language
from detection.kinds import Kind, parse_duration
from detection.packfile import AlertTable, EventTable, FeatureTable, ListTable, ModelTable, PackTable, RuleTable, Table
from detection.positions import Positions


@dataclass(slots=True)
class File:
    """A file whose shape is right.

    Attributes:
        name: Its path, as it was given.
        text: What it holds.
        table: What that means.
    """

    name: str
    text: str
    table: PackTable
    _places: Positions | None = None

    def positions(self) -> Positions:
        """Where everything stands: worked out when it is asked for, since most files are right."""
        if self._places is None:
            self._places = Positions(self.text)
        return self._places


@dataclass(slots=True)
class Report:
    """Keeps every problem, instead of stopping at the first.

    Attributes:
        problems: What is wrong.
        warnings: What is allowed, but probably not meant.
        broken: Fields and features that are declared, but wrong: what reads them is not checked, or one mistake would
            be told twice.
        read_names: What a rule, an added member or a derived field reads.
    """

    problems: list[Problem] = field(default_factory=list)
    warnings: list[Problem] = field(default_factory=list)
    broken: set[str] = field(default_factory=set)
    read_names: set[str] = field(default_factory=set)

    def at(
        self, owner: File, path: tuple[str | int, ...], message: str, *, key: bool = False, hint: str | None = None
    ) -> None:
        """Keep a problem at a value, or at its key."""
        places = owner.positions()
        line, column = places.key(path) if key else places.value(path)
        self.problems.append(Problem(owner.name, line, column, message, hint))

    def warn(self, owner: File, path: tuple[str | int, ...], message: str, *, key: bool = False) -> None:
        """Keep a warning."""
        places = owner.positions()
        line, column = places.key(path) if key else places.value(path)
        self.warnings.append(Problem(owner.name, line, column, message))

    def unknown(
        self,
        owner: File,
        path: tuple[str | int, ...],
        subject: str,
        got: str,
        known: Iterable[str],
        *,
        key: bool = False,
    ) -> None:
        """Keep that a name is none of those known, with the nearest of them."""
        if got in self.broken:
            return
        names = list(known)
        close = get_close_matches(got, names, n=1)
        hint = f'did you mean "{close[0]}"?' if close else f"there are {', '.join(names)}" if names else None
        self.at(owner, path, f"{subject} {got!r}", key=key, hint=hint)

    def duration(self, owner: File, path: tuple[str | int, ...], subject: str, text: str) -> int:
        """Read a duration; 0 if it is none."""
        try:
            return parse_duration(text, subject)
        except ValueError as error:
            self.at(owner, path, str(error))
            return 0

    def expression(
        self,
        owner: File,
        path: tuple[str | int, ...],
        subject: str,
        language: Language,
        text: str,
        *,
        constants: Constants,
        expects: Kind | None = None,
    ) -> Expression | None:
        """Check an expression; None if it is wrong, or reads what is."""
        if not self.broken.isdisjoint(re.findall(r"\w+", text)):
            return None
        try:
            return language.compile(text, constants, expects=expects)
        except ExpressionError as error:
            line, column = owner.positions().inside(path, error.offset)
            self.problems.append(Problem(owner.name, line, column, f"{subject}: {error.message}", error.hint))
            return None


def explain(path: tuple[str | int, ...], detail: dict[str, object]) -> tuple[str, str | None]:
    """A pydantic error in our words: subject, expectation, what came."""
    where = ".".join(str(part) for part in path)
    if path[0] == "alert" and "to" in path:  # what stands there by mistake may be the secret itself
        detail = {**detail, "input": "something else"}
    sections: dict[str, type[Table]] = {
        "event": EventTable,
        "feature": FeatureTable,
        "rule": RuleTable,
        "list": ListTable,
        "model": ModelTable,
        "alert": AlertTable,
    }
    tables: dict[int, type[Table] | None] = {0: PackTable, 2: sections.get(str(path[0]))}
    match detail["type"]:
        case "extra_forbidden":
            table = tables.get(len(path) - 1)
            names = list(table.model_fields) if table else []
            close = get_close_matches(str(path[-1]), names, n=1)
            hint = f'did you mean "{close[0]}"?' if close else f"there are {', '.join(names)}" if names else None
            return f"{where}: no such key", hint
        case "missing":
            return f"{where}: is missing", None
        case "dict_type" | "model_type":
            return f"{where}: expected a table, got {detail['input']!r}", None
        case "too_short":
            return f"{where}: expected at least one item, got none", None
        case "string_pattern_mismatch":
            return f"{where}: expected a name of letters, digits and _, got {detail['input']!r}", None
        case _:
            message = str(detail["msg"]).removeprefix("Input should be ").removeprefix("a valid ")
            return f"{where}: expected {message[:1].lower()}{message[1:]}, got {detail['input']!r}", None
