"""The parsed expression as a small tree, read from the checker's ``cel.expr.CheckedExpr``.

Field numbers are those of ``cel/expr/checked.proto`` and ``cel/expr/syntax.proto`` (https://github.com/google/cel-spec).
"""

import struct
from dataclasses import dataclass
from typing import TypeAlias

from detection.expressions.wire import fields, signed


@dataclass(frozen=True, slots=True)
class Literal:
    """A value written in the text."""

    offset: int
    value: str | int | float | bool


@dataclass(frozen=True, slots=True)
class Name:
    """A field, feature or score; the name may have dots."""

    offset: int
    name: str


@dataclass(frozen=True, slots=True)
class Call:
    """A function, method or operator with its operands; the receiver of a method is the first."""

    offset: int
    function: str
    member: bool
    operands: tuple["Node", ...]


@dataclass(frozen=True, slots=True)
class ListOf:
    """The elements of ``[a, b]``."""

    offset: int
    elements: tuple["Node", ...]


@dataclass(frozen=True, slots=True)
class Refused:
    """Something CEL's grammar and checker let through and this language does not have."""

    offset: int
    what: str


Node: TypeAlias = Literal | Name | Call | ListOf | Refused
_Message: TypeAlias = dict[int, list[int | bytes]]

# The numbers of Expr's fields, one of which is set.
_CONST, _IDENT, _SELECT, _CALL, _LIST, _STRUCT = range(3, 9)
_REFUSED_CONSTANTS = {1: "null", 4: "an unsigned number", 7: "a bytes string"}


def read(serialized: bytes, text: str) -> Node:
    """Read the tree out of the `Any` that a compiled expression serializes to.

    Args:
        serialized: The `Any`.
        text: What was compiled.
    """
    checked = _message(_bytes(_message(serialized), 2))
    references: dict[int, str] = {}
    for entry in checked.get(2, ()):
        pair = _message(entry)
        references[_int(pair, 1)] = _text(_message(_bytes(pair, 2)), 1)
    positions: dict[int, int] = {}
    for entry in _message(_bytes(checked, 5)).get(4, ()):
        pair = _message(entry)
        positions[_int(pair, 1)] = _int(pair, 2)
    return _Reader(references, positions, text).node(_message(_bytes(checked, 4)))


@dataclass(frozen=True, slots=True)
class _Reader:
    references: dict[int, str]
    positions: dict[int, int]
    text: str

    def node(self, expr: _Message) -> Node:
        number = _int(expr, 2)
        offset = self.positions.get(number, 0)
        if _CONST in expr:
            return _constant(offset, _message(_bytes(expr, _CONST)))
        if _IDENT in expr:
            return self._name(number, offset, _message(_bytes(expr, _IDENT)))
        if _CALL in expr:
            call = _message(_bytes(expr, _CALL))
            operands = [*call.get(1, ()), *call.get(3, ())]
            return Call(offset, _text(call, 2), 1 in call, tuple(self.node(_message(operand)) for operand in operands))
        if _LIST in expr:
            elements = _message(_bytes(expr, _LIST)).get(1, ())
            return ListOf(offset, tuple(self.node(_message(element)) for element in elements))
        return Refused(offset, {_SELECT: "selecting a member", _STRUCT: "a map or message"}.get(max(expr), "a macro"))

    def _name(self, number: int, offset: int, ident: _Message) -> Node:
        # The checker makes one identifier of `model.score`, which is at its last dot,
        # and also of `has(model.score)`, which is at the parenthesis and nowhere else to be seen.
        if self.text[offset : offset + 1] == "(":
            return Refused(offset, "has()")
        # The reference is the name as declared; the text may say `.amount` for `amount`.
        name = self.references.get(number) or _text(ident, 1)
        return Name(max(0, offset - name.rfind(".")) if "." in name else offset, name)


def _constant(offset: int, constant: _Message) -> Node:
    (kind,) = constant
    match kind:
        case 2:
            return Literal(offset, bool(_int(constant, 2)))
        case 3:
            return Literal(offset, _int(constant, 3))
        case 5:
            (number,) = struct.unpack("<d", struct.pack("<q", _int(constant, 5)))
            return Literal(offset, float(number))
        case 6:
            return Literal(offset, _text(constant, 6))
        case _:
            return Refused(offset, _REFUSED_CONSTANTS.get(kind, "this constant"))


def _message(raw: int | bytes) -> _Message:
    message: _Message = {}
    if isinstance(raw, bytes):
        for number, value in fields(raw):
            message.setdefault(number, []).append(value)
    return message


def _bytes(message: _Message, number: int) -> bytes:
    value = message.get(number, [b""])[0]
    return value if isinstance(value, bytes) else b""


def _text(message: _Message, number: int) -> str:
    return _bytes(message, number).decode()


def _int(message: _Message, number: int) -> int:
    value = message.get(number, [0])[0]
    return signed(value) if isinstance(value, int) else 0
