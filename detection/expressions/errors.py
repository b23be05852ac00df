"""What went wrong in an expression, in the language of packs instead of the checker's."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Final

from detection.expressions.language import ROWS, spelled, usage


class ExpressionError(ValueError):
    """An expression that cannot be used.

    Attributes:
        message: What is wrong, on one line.
        offset: Where in the text, in characters from 0.
        hint: What may help, or None.
    """

    def __init__(self, message: str, offset: int = 0, hint: str | None = None) -> None:
        super().__init__(message, offset, hint)
        # What a user wrote may be in it: a line break must not make two lines of one error.
        self.message = "".join(each if each.isprintable() else ascii(each)[1:-1] for each in message)
        self.offset = offset
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message


OWN_TYPE: Final = "pack."
"""Begins the names of types that CEL does not have; without it `duration` would be CEL's own, which takes null."""

HAS_HINT: Final = "known(x) tells whether x is there"
LIST_HINT: Final = "a list stands at the right of in, or before [ ] if its members have values"
_MACROS: Final = frozenset({"all", "exists", "exists_one", "existsOne", "map", "filter"})
_TYPES: Final = {"string": "str", "double": "float", "null_type": "null"}
_INSTEAD: Final = {
    "and": "&&",
    "or": "||",
    "not": "!",
    "=": "==",
    "&": "&&",
    "|": "||",
    "<>": "!=",
}

# One error of the checker: line and column count from 1, the excerpts between errors begin with " | ".
_ERROR: Final = re.compile(
    r"ERROR: <input>:(\d+):(\d+): (.*?)(?=\n \||\nERROR: |\s*\[INVALID_ARGUMENT\]$|$)", re.DOTALL
)
_UNDECLARED: Final = re.compile(r"undeclared reference to '(.+)' \(in container ''\)")
_OVERLOAD: Final = re.compile(r"found no matching overload for '(.+)' applied to '\((.*)\)'")
_MEMBER: Final = re.compile(r"expression of type '(.+)' cannot be the operand of a select operation")
_UNREADABLE: Final = "token recognition error at: "
_TOKEN: Final = re.compile(
    rf"(?:mismatched input |extraneous input |no viable alternative at input |{_UNREADABLE})'(.*?)'(?: expecting|$)",
    re.DOTALL,
)
_MISSING: Final = re.compile(r"missing '(.+)' at '(.+)'")


@dataclass(frozen=True, slots=True)
class _Complaint:
    message: str
    offset: int


def explain(raw: str, text: str, names: Iterable[str]) -> ExpressionError:
    """Turn what the checker raised into one error.

    Args:
        raw: The checker's text: one or several errors, with excerpts.
        text: The expression.
        names: The names it may use.
    """
    if "recursion" in raw:
        return too_deep()
    complaints = [
        _Complaint(found[3], _offset(text, int(found[1]), int(found[2])))
        for found in _ERROR.finditer(raw)
        if "*error*" not in found[3] and int(found[1]) > 0
    ]
    if not complaints:
        return ExpressionError("not an expression")
    complaint = min(complaints, key=lambda complaint: complaint.offset)
    return _refused_macro(complaint, text) or _translated(complaint, text, names)


def too_deep() -> ExpressionError:
    """An expression nested deeper than the parser or Python goes."""
    return ExpressionError("nested too deeply, or too long a chain", 0, "compute a part of it as a value of its own")


def no_overload(function: str, kinds: Iterable[str], offset: int) -> ExpressionError:
    """An operator or function that does not take these kinds."""
    given = [_kind(kind) for kind in kinds]
    message = f'cannot apply "{spelled(function)}" to {" and ".join(given) or "nothing"}'
    return ExpressionError(message, offset, _usages(function, given))


def _translated(complaint: _Complaint, text: str, names: Iterable[str]) -> ExpressionError:
    message, offset = complaint.message, complaint.offset
    if found := _UNDECLARED.fullmatch(message):
        return _undeclared(found[1], offset, text, names)
    if found := _OVERLOAD.fullmatch(message):
        return no_overload(found[1], _split(found[2]), offset)
    if found := _MEMBER.fullmatch(message):
        return ExpressionError(f"{_kind(found[1])} has no members", offset)
    if message.startswith("reserved identifier: "):
        return ExpressionError(f'"{message.split(": ")[1]}" is a reserved word', offset)
    if message.startswith("Syntax error: "):
        return _syntax(message.removeprefix("Syntax error: "), offset, text)
    return ExpressionError(message[:1].lower() + message[1:], offset)


def _syntax(message: str, offset: int, text: str) -> ExpressionError:
    if found := _MISSING.match(message):
        return ExpressionError(f'expected "{found[1]}", got {_quoted(found[2])}', offset)
    found = _TOKEN.match(message)
    # A token the lexer could not read is told with what follows it.
    token = found[1].strip() if found else text[offset : offset + 1]
    if message.startswith(_UNREADABLE) and token[:1] in ("'", '"'):
        return ExpressionError("expected a complete string", offset, "is a quote missing, or an escape wrong?")
    if expected := re.search(r"expecting '(.+)'$", message):
        return ExpressionError(f'expected "{expected[1]}", got {_quoted(token)}', offset)
    return ExpressionError(f"unexpected {_quoted(token)}", offset, _instead(token, text[:offset].rstrip()))


def _instead(token: str, before: str) -> str | None:
    """The operator that people coming from SQL, Python or C may have meant."""
    wrong = "not" if re.search(r"\bnot$", before) else "<>" if f"{before}{token}".endswith("<>") else token
    return f'write "{_INSTEAD[wrong]}" for "{wrong}"' if wrong in _INSTEAD else None


def _undeclared(name: str, offset: int, text: str, names: Iterable[str]) -> ExpressionError:
    head, _, _ = name.rpartition(".")
    before = text[:offset].rstrip()
    functions = {row.function for row in ROWS.values() if spelled(row.function) == row.function}
    if not re.fullmatch(r"[\w.]+", name):
        return ExpressionError(f'"{spelled(name)}" is not part of the language', offset)
    if not head and text[offset : offset + 1] == "(" and before.endswith(name):
        # The checker points at the parenthesis of a call.
        at = len(before) - len(name)
        if name in functions:
            return ExpressionError(f'cannot apply "{name}" to these operands', at, _usages(name, []))
        return ExpressionError(f'unknown function "{name}"', at, _similar(name, functions))
    if head and before.endswith(head):
        offset = len(before) - len(head)  # and at the last dot of a name with dots
    return ExpressionError(f'unknown name "{name}"', offset, _similar(name, [*names, *functions, "true", "false"]))


def _refused_macro(complaint: _Complaint, text: str) -> ExpressionError | None:
    """CEL expands has() and the comprehensions before it checks, so its own words are about their insides."""
    before = text[: complaint.offset + 1]
    if found := re.search(r"\bhas\s*\([\w\s.]*$", before):
        return ExpressionError("has() is not part of the language", found.start(), HAS_HINT)
    call = re.search(r"(\w+)\s*\($", before)
    if call and call[1] in _MACROS:
        return ExpressionError(f"{call[1]}() is not part of the language", call.start())
    found = re.match(r"[^()]*?\.\s*(\w+)\s*\(", text[complaint.offset :])
    if "range of a comprehension" in complaint.message and found:
        return ExpressionError(f"{found[1]}() is not part of the language", complaint.offset + found.start(1))
    return None


def _similar(name: str, candidates: Iterable[str]) -> str | None:
    by_lower = {candidate.lower(): candidate for candidate in sorted(candidates, reverse=True)}
    close = get_close_matches(name.lower(), list(by_lower), n=1, cutoff=0.66)
    return f'did you mean "{by_lower[close[0]]}"?' if close else None


def _usages(function: str, kinds: list[str]) -> str | None:
    """What the function does take, nearest to these kinds."""
    rows = [row for row in ROWS.values() if row.function == function]
    for count in range(len(kinds), -1, -1):
        near = [row for row in rows if list(row.operands[:count]) == kinds[:count]]
        if near:
            near.sort(key=lambda row: len(set(row.operands)))
            # The first few say it; all of them would be a page.
            return f"expected {' or '.join(dict.fromkeys(usage(row) for row in near[:4]))}"
    return None


def _kind(checker: str) -> str:
    if found := re.fullmatch(r"(list|type)\((.*)\)", checker):
        return f"list of {_kind(found[2])}" if found[1] == "list" else "the name of a type"
    if found := re.fullmatch(r"map\((.*), (.*)\)", checker):
        return f"list of {_kind(found[1])} with {_kind(found[2])}"
    return _TYPES.get(checker, checker.removeprefix(OWN_TYPE))


def _split(types: str) -> list[str]:
    """Split `a, list(b), map(c, d)` at its outer commas."""
    return re.findall(r"[^,()\s]+(?:\([^()]*(?:\([^()]*\)[^()]*)*\))?", types)


def _quoted(token: str) -> str:
    return {"<EOF>": "the end"}.get(token, f'"{token}"')


def _offset(text: str, line: int, column: int) -> int:
    start = 0
    for _ in range(line - 1):
        start = text.index("\n", start) + 1
    return min(start + column - 1, len(text))
