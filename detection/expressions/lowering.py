"""From the tree of an expression to Python source.

Source is put together from the sources in the language table, the sources of symbols, generated names and digits.
No text of a user ever gets into it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from detection.expressions.constants import Constants
from detection.expressions.errors import HAS_HINT, LIST_HINT, ExpressionError, no_overload
from detection.expressions.language import HELPERS, ROWS, Conversion, Row
from detection.expressions.possible import EVERYTHING, Range
from detection.expressions.tree import Call, ListOf, Literal, Name, Node, Refused
from detection.kinds import LARGEST, Kind


@dataclass(frozen=True, slots=True)
class Symbol:
    """What a name in an expression stands for.

    Attributes:
        kind: Its kind.
        source: Python that yields it, an attribute or a local such as `e.amount` or `f3`: cheap, and repeatable.
            Names like k0 and t0 are those of `Constants`.
        optional: Whether it may be None when the code runs, which means unknown.
        range: The least and the greatest value it can have.
    """

    kind: Kind
    source: str
    optional: bool = False
    range: Range = EVERYTHING


@dataclass(frozen=True, slots=True)
class ListSymbol:
    """What the name of a pack's list stands for.

    Attributes:
        kind: The kind of its members.
        value: The kind of what it says of each, or None.
        source: Python that yields its entries.
        now: Python that yields the event time.
    """

    kind: Kind
    value: Kind | None
    source: str
    now: str

    @property
    def kinds(self) -> tuple[Kind, Kind | None]:
        """The kinds of its members and of what it says of them."""
        return self.kind, self.value


@dataclass(frozen=True, slots=True)
class _Value:
    """A node's code.

    Attributes:
        kind: The kind it yields.
        source: Its Python, a single token or in parentheses; empty for a literal.
        optional: Whether it may be None.
        repeatable: Whether it may stand in the source several times.
        literal: The value, if it is one that stands in the text (or is made from it).
        offset: Where it is in the text.
    """

    kind: Kind
    offset: int
    source: str = ""
    optional: bool = False
    repeatable: bool = False
    literal: object = None


_LITERAL_KINDS: Final = {str: Kind.STR, int: Kind.INT, float: Kind.FLOAT, bool: Kind.BOOL}


@dataclass(frozen=True, slots=True)
class Lowering:
    """Turns one tree into source."""

    scope: Mapping[str, Symbol | ListSymbol]
    constants: Constants
    names: dict[str, None] = field(default_factory=dict)
    lists: dict[str, None] = field(default_factory=dict)

    def value(self, node: Node) -> _Value:
        """The code of a node."""
        match node:
            case Literal(offset, literal):
                return _Value(_LITERAL_KINDS[type(literal)], offset, literal=literal)
            case Name(offset, name) if isinstance(symbol := self.scope.get(name), Symbol):
                self.names[name] = None
                return _Value(symbol.kind, offset, symbol.source, symbol.optional, repeatable=True)
            case Name(offset, name) if name in self.scope:
                msg = f"expected a value, got the list {name}"
                raise ExpressionError(msg, offset, LIST_HINT)
            case Name(offset, name):
                msg = f'unknown name "{name}"'
                raise ExpressionError(msg, offset)
            case Call():
                return self._call(node)
            case ListOf(offset):
                msg = "expected a value, got a list"
                raise ExpressionError(msg, offset, "a list can only stand at the right of in")
            case Refused(offset, what):
                msg = f"{what} is not part of the language"
                raise ExpressionError(msg, offset, HAS_HINT if what in ("null", "has()") else None)

    def _call(self, call: Call) -> _Value:
        match call:
            case Call(_, "@in", _, (_, ListOf() as listed)):
                return self._membership(call, listed)
            case Call(_, "@in", _, (member, listed)) | Call(_, "_[_]", _, (listed, member)):
                return self._look_up(call, listed, member)
        operands = [self.value(operand) for operand in call.operands]
        row = _row(call, operands)
        match call.function:
            case "_&&_" | "_||_":
                return self._junction(call, operands, decides=call.function == "_||_")
            case "_?_:_":
                return self._choice(call, row, operands)
            case "known":
                source = f"({operands[0].source} is not None)" if operands[0].optional else "True"
                return _Value(Kind.BOOL, call.offset, source)
            case _:
                return self._strict(call, row, operands)

    def atom(self, value: _Value) -> str:
        """The source of a value; a literal becomes digits, True, False or the name it is bound to."""
        if value.source:
            return value.source
        literal = value.literal
        if isinstance(literal, bool) or not isinstance(literal, int):
            return str(literal) if isinstance(literal, bool) else self.constants.bind(literal)
        return f"({literal})" if literal < 0 else str(literal)

    def _strict(self, call: Call, row: Row, operands: list[_Value]) -> _Value:
        """A row with a source of its own: unknown if any operand is."""
        if call.function in ("_/_", "_%_") and operands[1].literal == 0:
            msg = "division by a constant zero"
            raise ExpressionError(msg, operands[1].offset)
        if row.source == "{a}":  # made from a literal, and as good as one
            (made,) = self._converted(row, operands, [])
            return _Value(row.result, call.offset, literal=made.literal)
        guards: list[str] = []
        atoms = self._converted(row, operands, guards)
        template, unknown = row.source, row.unknown
        if row.divisor and atoms[-1].literal not in (None, 0, -1):
            template, unknown = row.divisor, False
        source = self._guarded(guards, self._filled(template, *map(self.atom, atoms)))
        return _Value(row.result, call.offset, source, optional=bool(guards) or unknown)

    def _converted(self, row: Row, operands: list[_Value], guards: list[str]) -> list[_Value]:
        """The operands as the row's source needs them; what must not be None for them to be known goes to guards."""
        known = [self._known(operand, guards) for operand in operands]
        if not row.conversions:
            return known
        return [
            self._convert(operand, conversion, guards) if conversion else operand
            for operand, conversion in zip(known, row.conversions, strict=True)
        ]

    def _known(self, value: _Value, guards: list[str]) -> _Value:
        if not value.optional:
            return value
        if value.repeatable:
            guards.append(f"{value.source} is None")
            return _Value(value.kind, value.offset, value.source, repeatable=True)
        local = self.constants.local()
        guards.append(f"({local} := {value.source}) is None")
        return _Value(value.kind, value.offset, local, repeatable=True)

    def _convert(self, value: _Value, conversion: Conversion, guards: list[str]) -> _Value:
        if not value.source:
            try:
                return _Value(value.kind, value.offset, literal=conversion.literal(value.literal))
            except ValueError as error:
                raise ExpressionError(str(error), value.offset) from None
        if conversion.source is None:
            msg = f"expected {conversion.needs} in quotes, got an expression"
            raise ExpressionError(msg, value.offset)
        source = self._filled(conversion.source, value.source)
        return self._known(_Value(value.kind, value.offset, source, conversion.unknown), guards)

    def _junction(self, call: Call, operands: list[_Value], *, decides: bool) -> _Value:
        """`&&`, which false decides, or `||`, which true decides, whichever side it is on and be the other unknown."""
        left, right = operands
        if left.optional and right.optional:
            first, second = self.constants.local(), self.constants.local()
            source = (
                f"({decides} if ({first} := {left.source}) is {decides} or ({second} := {right.source}) is {decides}"
                f" else None if {first} is None or {second} is None else {not decides})"
            )
            return _Value(Kind.BOOL, call.offset, source, optional=True)
        # Python's own operators yield the right side, unknown or not, unless the known left side decides.
        if left.optional:
            left, right = right, left
        source = f"({self.atom(left)} {'or' if decides else 'and'} {self.atom(right)})"
        return _Value(Kind.BOOL, call.offset, source, optional=right.optional)

    def _choice(self, call: Call, row: Row, operands: list[_Value]) -> _Value:
        """`c ? a : b`: only what is chosen must be known."""
        conversions = row.conversions or (None, None, None)
        branches: list[_Value] = []
        for operand, conversion in zip(operands[1:], conversions[1:], strict=True):
            branches.append(self._alone(operand, conversion) if conversion else operand)
        yes, no = branches
        guards: list[str] = []
        condition = self._known(operands[0], guards)
        choice = f"({self.atom(yes)} if {self.atom(condition)} else {self.atom(no)})"
        optional = bool(guards) or yes.optional or no.optional
        return _Value(row.result, call.offset, self._guarded(guards, choice), optional)

    def _alone(self, value: _Value, conversion: Conversion) -> _Value:
        """A converted operand that is nobody's operand yet."""
        guards: list[str] = []
        converted = self._convert(self._known(value, guards), conversion, guards)
        if not converted.source:
            return converted
        return _Value(value.kind, value.offset, self._guarded(guards, converted.source), bool(guards))

    def _membership(self, call: Call, listed: ListOf) -> _Value:
        """`a in [b, c]`: equal to one of them; unknown if any of them is, as in CEL."""
        subject = self.value(call.operands[0])
        elements = [self.value(element) for element in listed.elements]
        rows: list[Row] = []
        for element in elements:
            row = ROWS.get(("_==_", False, (subject.kind, element.kind)))
            if row is None:
                raise no_overload(call.function, [subject.kind, f"list({element.kind})"], element.offset)
            rows.append(row)
        guards: list[str] = []
        subject = self._known(subject, guards)
        if all(not element.source for element in elements):
            literals = (
                self._sides(row, subject, element)[1].literal for row, element in zip(rows, elements, strict=True)
            )
            test = f"({self.atom(subject)} in {self.constants.bind(frozenset(literals))})"
        else:
            known = [self._known(element, guards) for element in elements]
            tests: list[str] = []
            once, subject = self._once(subject)
            for row, element in zip(rows, known, strict=True):
                sides = self._sides(row, subject if tests else once, element)
                tests.append(self._filled(row.source, *map(self.atom, sides)))
            test = f"({' or '.join(tests)})"
        return _Value(Kind.BOOL, call.offset, self._guarded(guards, test), bool(guards))

    def _look_up(self, call: Call, name: Node, member: Node) -> _Value:
        """`a in blocked`, or `reputation[a]`: in a list of the pack, as it is at the event's time."""
        listed = self.scope.get(name.name) if isinstance(name, Name) else None
        if not isinstance(name, Name) or not isinstance(listed, ListSymbol):
            other = self.value(name)  # what is no value at all says so itself
            raise no_overload(call.function, [self.value(member).kind, other.kind], call.offset)
        self.lists[name.name] = None
        guards: list[str] = []
        subject = self._known(self.value(member), guards)
        if subject.kind is not listed.kind:
            raise no_overload(call.function, [subject.kind, f"list({listed.kind})"], call.offset)
        helper = "listed" if call.function == "@in" else "said"
        source = f"{self.constants.bind(HELPERS[helper])}({listed.source}, {self.atom(subject)}, {listed.now})"
        if call.function == "@in":
            return _Value(Kind.BOOL, call.offset, self._guarded(guards, source), bool(guards))
        assert listed.value is not None  # the checker knows no [ ] on others
        return _Value(listed.value, call.offset, self._guarded(guards, source), optional=True)

    def _once(self, value: _Value) -> tuple[_Value, _Value]:
        """A value for its first use, which keeps it in a local, and for those after it."""
        if value.repeatable or not value.source:
            return value, value
        local = self.constants.local()
        first = _Value(value.kind, value.offset, f"({local} := {value.source})")
        return first, _Value(value.kind, value.offset, local, repeatable=True)

    def _sides(self, row: Row, left: _Value, right: _Value) -> tuple[_Value, _Value]:
        """Both sides of a comparison, converted; comparing makes nothing unknown."""
        first, second = row.conversions or (None, None)
        return (
            self._convert(left, first, []) if first else left,
            self._convert(right, second, []) if second else right,
        )

    def _guarded(self, guards: list[str], source: str) -> str:
        return f"(None if {' or '.join(guards)} else {source})" if guards else source

    def _filled(self, template: str, *operands: str) -> str:
        return template.format_map(_Words(self.constants, dict(zip("abc", operands, strict=False))))


class _Words(dict[str, str]):
    """The words of a template: operands, helpers by name, and one fresh local."""

    def __init__(self, constants: Constants, operands: Mapping[str, str]) -> None:
        super().__init__(operands, SMALLEST=str(-LARGEST - 1), LARGEST=str(LARGEST))
        self._constants = constants

    def __missing__(self, word: str) -> str:
        source = self._constants.local() if word == "t" else self._constants.bind(HELPERS[word])
        self[word] = source
        return source


def _row(call: Call, operands: list[_Value]) -> Row:
    """The overload that the checker chose; it lets null and mixed lists through, so this looks again."""
    kinds = tuple(operand.kind for operand in operands)
    row = ROWS.get((call.function, call.member, kinds))
    if row is None:
        raise no_overload(call.function, kinds, call.offset)
    return row
