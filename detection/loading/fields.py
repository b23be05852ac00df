"""Fields of events: members of their JSON, their time, and what is derived from them."""

import re
from collections.abc import Iterable, Mapping
from typing import Final

from detection.expressions import Constants, Language, Symbol
from detection.kinds import Kind
from detection.loading.report import File, Report
from detection.pack import Field, MemberList
from detection.packfile import EventTable

RESERVED: Final = frozenset(
    [
        "as",
        "break",
        "const",
        "continue",
        "else",
        "false",
        "for",
        "function",
        "if",
        "import",
        "in",
        "let",
        "loop",
        "namespace",
        "null",
        "package",
        "return",
        "true",
        "var",
        "void",
        "while",
    ]
)
"""Words of CEL that cannot be names."""

_FIRST, _OTHER = (
    r'[^."\\#\s\x00-\x1f]',
    r'[^."\\\s\x00-\x1f]',
)  # of a member; quotes and control characters JSON would escape
_PATH: Final = rf"(?: @ (?P<path>{_FIRST}{_OTHER}*(?:\.{_FIRST}{_OTHER}*)*))?"
_FIELD_TYPE = re.compile(rf"^(str|int|float|bool|money(?::(?P<currency>\w+))?)(?P<optional>\?)?{_PATH}$")
_TIME = re.compile(rf"^(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?P<optional>\?)?{_PATH}$")


class FieldLoader:
    """Checks the fields of events."""

    def __init__(self, report: Report, lists: Mapping[str, MemberList]) -> None:
        self._report = report
        self._lists = lists

    def fields(self, owner: File, event: str, table: EventTable) -> dict[str, Field]:
        """The fields of an event that are members of its JSON, by name."""
        fields: dict[str, Field] = {}
        for name, text in table.fields.items():
            path = ("event", event, "fields", name)
            match = _FIELD_TYPE.match(text)
            if match is None:
                self._report.at(
                    owner,
                    path,
                    f"field {name}: expected str, int, float, bool or money, with ? if it may be missing, got {text!r}",
                )
                self._report.broken.add(name)
                continue
            currency = match["currency"]
            if currency is not None and not table.fields.get(currency, "").startswith("str"):
                self._report.at(
                    owner, path, f"field {name}: its currency {currency!r} is no str field of event {event}"
                )
            if name in RESERVED:
                self._report.warn(
                    owner, path, f"field {name}: a reserved word of expressions, so no rule can read it", key=True
                )
            kind, optional = Kind(match[1].partition(":")[0]), match["optional"] is not None
            fields[name] = Field(name, kind, optional, currency, _path(match["path"]))
        return fields

    def derive(self, owner: File, event: str, fields: dict[str, Field]) -> Constants:
        """Add the derived fields to the others; each may read those before it."""
        table = owner.table.event[event]
        constants = Constants("d")
        lasting = {name: item.symbol for name, item in self._lists.items() if item.topic is None}
        for name, text in (table.derive or {}).items():
            path = ("event", event, "derive", name)
            if name in fields or name == time_name(table):
                self._report.at(owner, path, f"event {event}: derive: {name} is already a field", key=True)
                continue
            scope = {field.name: field.symbol for field in fields.values()} | time_symbol(table)
            subject = f"event {event}: derive {name}"
            expression = self._report.expression(
                owner, path, subject, Language({**lasting, **scope}), text, constants=constants
            )
            if expression is None:
                self._report.broken.add(name)
                continue
            self._report.read_names.update(expression.lists)
            fields[name] = Field(name, expression.kind, expression.optional, derived=expression)
        return constants

    def time(self, owner: File, event: str, table: EventTable, fields: Mapping[str, Field]) -> Field | None:
        """The member with the event time."""
        if table.time is None:
            return None
        match = _TIME.match(table.time)
        if match is None or match["name"] in fields:
            problem = "is no member's name" if match is None else "is also one of the fields; name it only here"
            self._report.at(owner, ("event", event, "time"), f"event {event}: time {table.time!r} {problem}")
            return None
        return Field(match["name"], Kind.TIME, match["optional"] is not None, path=_path(match["path"]))

    def busiest(self, owner: File, event: str, table: EventTable, fields: Mapping[str, Field]) -> dict[str, int]:
        """How busy the keys of an event type are."""
        for name in (table.busiest or {}).keys() - fields.keys():
            path = ("event", event, "busiest", name)
            self._report.unknown(owner, path, f"event {event}: busiest: no field", name, fields, key=True)
        return dict(table.busiest or {})

    def apart(self, owner: File, event: str, members: Iterable[Field]) -> None:
        """No two fields read one member, and none reads a member of what another takes for a plain value."""
        known: dict[tuple[str, ...], str] = {}
        for item in sorted(members, key=lambda item: len(item.member)):
            path = ("event", event, "time") if item.kind is Kind.TIME else ("event", event, "fields", item.name)
            for length in range(1, len(item.member) + 1):
                other = known.get(item.member[:length])
                if other is not None:
                    whole, shown = ".".join(item.member), ".".join(item.member[:length])
                    told = f"as {other} does" if shown == whole else f"but {other} reads {shown} as no object"
                    self._report.at(owner, path, f"event {event}: {item.name} reads {whole}, {told}")
            known[item.member] = item.name


def time_name(table: EventTable) -> str:
    """The name of the member with the event time; empty if there is none."""
    match = _TIME.match(table.time or "")
    return match["name"] if match else ""


def time_symbol(table: EventTable) -> dict[str, Symbol]:
    """How expressions read the event time, by its name."""
    name = time_name(table)
    return {name: Symbol(Kind.TIME, f"e.f_{name}")} if name else {}


def _path(text: str | None) -> tuple[str, ...]:
    return tuple(text.split(".")) if text else ()
