"""Bytes to events.

A generated fast path takes what is plainly right; everything else goes to the exact path, which decides.

The fast path must never accept what the exact path refuses. It leans on msgspec for syntax and types, and on one
count of quotation marks: when the text holds exactly those of the declared members, there is no other member, so none
occurs twice.
"""

import json
import re
from collections.abc import Callable
from datetime import datetime, timedelta
from decimal import ROUND_HALF_EVEN, Decimal, InvalidOperation, localcontext
from typing import Annotated, Any, Final, TypeAlias

import msgspec

from detection.errors import UndecodableError
from detection.generated import define, indent
from detection.kinds import EPOCH, LARGEST, MICROS, Kind
from detection.pack import VERDICT_MEMBERS, EventType, Field
from detection.records import Record

FAR_FUTURE: Final = 3600 * MICROS
"""How far an event's time may lie ahead of its record's timestamp, us."""

YEAR: Final = 31_556_952 * MICROS

DEEPEST: Final = 500
"""How many objects and arrays may lie inside each other. The parsers' own limits depend on the caller's stack."""

EARLIEST: Final = -(2**62)
LATEST: Final = 2**62
"""Event times lie between, us: so a time less any window still fits 64 bits."""

_EPOCH_NAIVE: Final = EPOCH.replace(tzinfo=None)
_MICROSECOND: Final = timedelta(microseconds=1)
_MICRO: Final = Decimal("0.000001")
_SAFE_MICROS: Final = 2**50
"""Below it a float's own error times 10^6 stays under a quarter, so rounding the product is rounding the decimal
text."""

Event: TypeAlias = Any
"""An instance of `EventCodec.type`: fields as `f_NAME`, and the attributes of `SYSTEM`."""

SYSTEM: Final[tuple[tuple[str, Any, Any], ...]] = (
    ("raw", bytes, b""),  # the record's value
    ("key", bytes | None, None),  # the record's key
    ("partition", int, 0),
    ("offset", int, 0),
    ("time", int, 0),  # event time, us
    ("watermark", int, 0),  # the newest event time of the partition so far, this event's included, us
    ("lane", int, 0),  # its key group, or its partition where it has no key: what must stay in order has the same one
    ("sequence", int, 0),  # counts the partition's events that several keyed steps work on
    ("clash", bool, False),  # the input has a member that the verdict adds
    ("features", tuple, ()),  # what the keyed steps computed, see `detection.features.Plan.computed`
)
_WIRE: Final[dict[Kind, Any]] = {
    Kind.STR: str,
    Kind.INT: Annotated[int, msgspec.Meta(ge=-LARGEST - 1, le=LARGEST)],
    Kind.FLOAT: float,
    Kind.BOOL: bool,
    Kind.MONEY: float | str,
}
_names: Final = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_BRACKETS: Final = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"|[\[\]{}]', re.DOTALL)
"""Strings, so as to skip them, and brackets."""
_JSON_NAMES: Final = {str: "a string", bool: "true or false", type(None): "null", dict: "an object", list: "an array"}


class EventCodec:
    """Decodes the records of one event type.

    Attributes:
        type: The class of its events, a msgspec Struct made from the pack.
        index: The event type's number, also the class attribute `kind` of `type`.
        decode: From a record to an event; raises UndecodableError.
    """

    def __init__(self, event: EventType, index: int) -> None:
        self.event = event
        self.index = index
        self._added = (*VERDICT_MEMBERS, *event.added)
        declared = sorted(event.members, key=lambda field: field.optional)
        self._declared = tuple(declared)
        self._quoted = [b'"%b"' % field.name.encode() for field in declared]
        self._quoted_added = [b'"%b"' % name.encode() for name in self._added]
        wire = {**_WIRE, Kind.TIME: datetime | int}
        fields: list[Any] = [
            (f"f_{field.name}", wire[field.kind] | None, None)
            if field.optional
            else (f"f_{field.name}", wire[field.kind])
            for field in declared
        ]
        rename = {f"f_{field.name}": field.name for field in declared}
        rename.update({name: f"#{name}" for name, _, _ in SYSTEM})  # no name that a pack can declare
        self.type: type[Any] = msgspec.defstruct(
            f"{event.name.title().replace('_', '')}Event",
            [*fields, *SYSTEM],
            rename=rename,
            gc=False,
            namespace={"kind": index},
        )
        self.columns: Final = tuple(self.type.__struct_fields__)
        self.decode: Callable[[Record], Event] = self._fast()

    # --- the fast path -----------------------------------------------------------------------------------------

    def _fast(self) -> Callable[[Record], Event]:
        """Generate the decoder: parse, compare the quotation marks, convert money and time, fill in the rest."""
        quotes = 0
        optional: list[str] = []
        for field in self._declared:
            marks = 4 if field.kind in {Kind.STR, Kind.TIME} else 2
            name = f"e.f_{field.name}"
            if field.kind is Kind.TIME:
                name = "t"
                optional += [f"t = e.f_{field.name}", "if type(t) is int: n -= 2"]
            if field.optional:
                optional.append(f"{'elif' if name == 't' else 'if'} {name} is None: n -= {marks}")
            quotes += marks
        own = any(field.name in self._added for field in self._declared)  # then no other member is needed for a clash
        body = [
            "raw = r.value",
            "if raw is None: return exact(r)",
            "try: e = parse(raw)",
            "except (DecodeError, UnicodeDecodeError, RecursionError): return exact(r)",
            f"n = {quotes}",
            *optional,
            "if raw.count(b'\"') != n:",
            "    if not plain(raw): return exact(r)",
            ("" if own else "    ") + "e.clash = clashes(raw)",
        ]
        for field in self._declared:
            if field.kind is Kind.MONEY:
                body += self._guarded(field, self._fast_money(field))
        body += self._fast_time()
        body += [
            "stamp = r.timestamp",
            "if stamp >= 0 and t - stamp * 1000 > FAR_FUTURE: return exact(r)",
            "e.time = t" if self.event.time is None else f"e.time = e.f_{self.event.time} = t",
            "e.raw = raw",
            "e.key = r.key",
            "e.partition = r.partition",
            "e.offset = r.offset",
            "return e",
        ]
        scope = {
            "parse": msgspec.json.Decoder(self.type).decode,
            "exact": self.exact,
            "plain": self._plain,
            "clashes": self._clashes,
            "DecodeError": msgspec.DecodeError,
            "FAR_FUTURE": FAR_FUTURE,
            "SAFE": _SAFE_MICROS,
            "EPOCH": EPOCH,
            "EPOCH_NAIVE": _EPOCH_NAIVE,
            "MICROSECOND": _MICROSECOND,
        }
        return define(f"decode_{self.event.name}", [f"def decode_{self.event.name}(r):", *indent(body)], scope)

    @staticmethod
    def _guarded(field: Field, lines: list[str]) -> list[str]:
        return [f"if e.f_{field.name} is not None:", *indent(lines)] if field.optional else lines

    @staticmethod
    def _fast_money(field: Field) -> list[str]:
        name = f"e.f_{field.name}"
        return [
            f"if type({name}) is str: return exact(r)",
            f"y = {name} * 1e6",
            "if not -SAFE < y < SAFE: return exact(r)",
            "m = round(y)",
            "if not -0.25 < y - m < 0.25: return exact(r)",
            f"{name} = m",
        ]

    def _fast_time(self) -> list[str]:
        if self.event.time is None:
            return ["t = r.timestamp * 1000", f"if not 0 <= t < {LATEST}: return exact(r)"]
        lines = [
            "if type(t) is int: t *= 1000",
            "elif t.tzinfo is None: t = (t - EPOCH_NAIVE) // MICROSECOND",
            "else: t = (t - EPOCH) // MICROSECOND",
        ]
        if self.event.time_optional:
            absent = ["if t is None:", "    t = r.timestamp * 1000", "    if t < 0: return exact(r)"]
            lines = [*absent, f"el{lines[0]}", *lines[1:]]
        # A time beyond 64 bits could not be stored; the exact path says so.
        return [*lines, f"if not {EARLIEST} < t < {LATEST}: return exact(r)"]

    def _plain(self, raw: bytes) -> bool:
        """Whether a text with other members still shows at a glance that no declared one occurs twice."""
        if b"\\" in raw:  # a member's name may be written with escapes
            return False
        if b'"#' in raw or raw.count(b"[") + raw.count(b"{") > DEEPEST:  # a system attribute; too deep
            return False
        for name in self._quoted:
            if raw.count(name) > 1:
                return False
        try:
            return raw.isascii() or bool(raw.decode())  # msgspec does not look into strings that it skips
        except UnicodeDecodeError:
            return False

    def _clashes(self, raw: bytes) -> bool:
        for name in self._quoted_added:
            if name in raw or b"\\" in raw:  # it may be written with escapes
                return any(name in _names(raw) for name in self._added)
        return False

    # --- the exact path ----------------------------------------------------------------------------------------

    def exact(self, record: Record) -> Event:
        """Decode with care for every doubtful case; also the words for what is wrong.

        Raises:
            UndecodableError: Says which member, what was expected, and what came.
        """
        members = self._members(record.value)
        values = {f"f_{field.name}": self._value(field, members) for field in self._declared}
        stamp = record.timestamp * 1000
        time = stamp
        if self.event.time is not None and values[f"f_{self.event.time}"] is not None:
            time = values[f"f_{self.event.time}"]
        elif stamp < 0:
            name = self.event.time or "time"
            msg = f"{name}: expected {_expected(Kind.TIME)}, got nothing, and the record has no timestamp"
            raise UndecodableError(msg)
        if record.timestamp >= 0 and time - stamp > FAR_FUTURE:
            expected = "expected a time at most 1:00:00 after the record's timestamp"
            msg = f"{self.event.time}: {expected}, got {timedelta(microseconds=time - stamp)} after it"
            raise UndecodableError(msg)
        if not EARLIEST < time < LATEST:
            name = self.event.time or "time"
            msg = f"{name}: expected {_expected(Kind.TIME)}, got one {abs(time) // YEAR:,} years from 1970"
            raise UndecodableError(msg)
        if self.event.time is not None:
            values[f"f_{self.event.time}"] = time
        event = self.type(**values)
        event.raw = record.value
        event.key = record.key
        event.partition = record.partition
        event.offset = record.offset
        event.time = time
        event.clash = any(name in members for name in self._added)
        return event

    def _members(self, raw: bytes | None) -> dict[str, Any]:
        if raw is None:
            msg = "tombstone: expected a JSON object, got no value"
            raise UndecodableError(msg)
        pairs: list[list[tuple[str, Any]]] = []

        def keep(found: list[tuple[str, Any]]) -> dict[str, Any]:
            pairs.append(found)
            return dict(found)

        try:
            # Stricter than the standard library: refuses lone surrogates, NaN and Infinity.
            msgspec.json.decode(raw, type=msgspec.Raw)
            deep = _too_deep(raw)
            text = "null" if deep else raw.decode()
            value = json.loads(text, object_pairs_hook=keep, parse_float=_decimal, parse_int=_whole)
        except RecursionError:
            deep = True
        except UnicodeDecodeError as error:
            msg = f"not UTF-8: {error.reason} (byte {error.start})"
            raise UndecodableError(msg) from None
        except msgspec.DecodeError as error:
            msg = f"not JSON: {_describe(error)}"
            raise UndecodableError(msg) from None
        if deep:
            msg = f"expected at most {DEEPEST} objects and arrays inside each other, got more"
            raise UndecodableError(msg)
        if not isinstance(value, dict):
            msg = f"expected a JSON object, got {_what(value)}"
            raise UndecodableError(msg)
        names = [name for name, _ in pairs[-1]]
        for field in self._declared:
            if names.count(field.name) > 1:
                msg = f"{field.name}: occurs {names.count(field.name)} times"
                raise UndecodableError(msg)
        return value

    def _value(self, field: Field, members: dict[str, Any]) -> Any:
        value = members.get(field.name)
        if value is None:
            if field.optional:
                return None
            msg = (
                f"{field.name}: expected {_expected(field.kind)}, got {'null' if field.name in members else 'nothing'}"
            )
            raise UndecodableError(msg)
        try:
            return _CONVERT[field.kind](value)
        except (ValueError, ArithmeticError):
            msg = f"{field.name}: expected {_expected(field.kind)}, got {_what(value)}"
            raise UndecodableError(msg) from None


def money(text: str | Decimal | int) -> int:
    """An amount in 10^-6 units; finer than that is rounded half-even.

    >>> money("400.01"), money("0.0000005"), money("0.0000015")
    (400010000, 0, 2)

    Raises:
        ValueError: It is no decimal number, or is beyond 64 bits.
    """
    with localcontext(prec=60):
        try:
            micros = Decimal(text).quantize(_MICRO, ROUND_HALF_EVEN) * MICROS  # rounded once: products round as well
            if not -LARGEST - 1 <= micros <= LARGEST:
                raise ValueError(text)
        except InvalidOperation:
            raise ValueError(text) from None
    return int(micros)


def _str(value: Any) -> str:
    if type(value) is not str:
        raise ValueError(value)
    value.encode()  # a lone surrogate could never be written out again
    return value


def _int(value: Any) -> int:
    if type(value) is not int or not -LARGEST - 1 <= value <= LARGEST:
        raise ValueError(value)
    return value


def _float(value: Any) -> float:
    if type(value) is int or isinstance(value, Decimal):
        number = float(value)
        if abs(number) != float("inf"):
            return number
    raise ValueError(value)


def _bool(value: Any) -> bool:
    if type(value) is not bool:
        raise ValueError(value)
    return value


def _money(value: Any) -> int:
    if isinstance(value, str):
        if not value.isascii() or "_" in value or not value.strip() == value:
            raise ValueError(value)
        return money(value)
    if type(value) is int or isinstance(value, Decimal):
        return money(value)
    raise ValueError(value)


def time_of(value: Any) -> int:
    """The moment that a member says, us since 1970: ISO 8601 text, or a number of milliseconds.

    Raises:
        ValueError: It says none.
    """
    if isinstance(value, str):
        try:
            moment = msgspec.convert(value, datetime)
        except msgspec.ValidationError:
            raise ValueError(value) from None
        return (moment - (EPOCH if moment.tzinfo else _EPOCH_NAIVE)) // _MICROSECOND
    if isinstance(value, Decimal):  # as Python's `time.time() * 1000` writes it; microseconds are millionths too
        return money(value / 1000)
    return _int(_int(value) * 1000)


_CONVERT: Final[dict[Kind, Callable[[Any], Any]]] = {
    Kind.STR: _str,
    Kind.INT: _int,
    Kind.FLOAT: _float,
    Kind.BOOL: _bool,
    Kind.MONEY: _money,
    Kind.TIME: time_of,
}


def _whole(text: str) -> int | Decimal:
    """A whole number; as a Decimal, which takes any number of digits, if it is surely beyond 64 bits."""
    return int(text) if len(text) <= len(str(-LARGEST - 1)) else Decimal(text)


def _decimal(text: str) -> Decimal:
    try:
        return Decimal(text)
    except InvalidOperation:  # an exponent of some twenty digits: zero or infinite
        return Decimal(float(text))


def _too_deep(raw: bytes) -> bool:
    if raw.count(b"[") + raw.count(b"{") <= DEEPEST:
        return False
    depth = deepest = 0
    for token in _BRACKETS.finditer(raw):
        depth += {b"[": 1, b"{": 1, b"]": -1, b"}": -1}.get(token[0], 0)
        deepest = max(deepest, depth)
    return deepest > DEEPEST


def _expected(kind: Kind) -> str:
    return {
        Kind.STR: "a string",
        Kind.INT: "an integer of at most 64 bits",
        Kind.FLOAT: "a number",
        Kind.BOOL: "true or false",
        Kind.MONEY: "an amount of at most 64 bits in millionths",
        Kind.TIME: "an ISO 8601 time or epoch milliseconds",
    }[kind]


def _what(value: Any) -> str:
    """What came, in a few words: never more than a glimpse of it, an error is no place for a megabyte."""
    if type(value) in _JSON_NAMES and not isinstance(value, bool | str):
        return _JSON_NAMES[type(value)]
    if isinstance(value, bool):
        return "true" if value else "false"
    text = json.dumps(value) if isinstance(value, str) else str(value)
    return text if len(text) <= 60 else f"{text[:60]}… ({len(text)} characters)"  # noqa: PLR2004


def _describe(error: msgspec.DecodeError) -> str:
    return str(error).removeprefix("JSON is malformed: ").replace("Input data was truncated", "the text is cut off")
