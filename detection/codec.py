"""Bytes to events.

A generated fast path takes what is plainly right; everything else goes to the exact path, which decides.

The fast path must never accept what the exact path refuses. It leans on msgspec for syntax and types, and on one
count of quotation marks: when the text holds exactly those of the declared members, there is no other member, so none
occurs twice.
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from dataclasses import field as dataclass_field
from datetime import datetime, timedelta
from decimal import ROUND_HALF_EVEN, Decimal, InvalidOperation, localcontext
from itertools import accumulate
from types import MappingProxyType
from typing import Annotated, Any, Final, TypeAlias

import msgspec

from detection.errors import UndecodableError
from detection.generated import define, indent
from detection.kinds import EPOCH, LARGEST, MICROS, Kind
from detection.pack import VERDICT_MEMBERS, Entry, EventType, Field
from detection.records import Record

FAR_FUTURE: Final = 3600 * MICROS
"""How far an event's time may lie ahead of its record's timestamp, us."""

YEAR: Final = 31_556_952 * MICROS

LARGEST_EVENT: Final = 2**20
"""Bytes of a record, uncompressed. With its verdict a larger one may be more than the topics for verdicts take."""

DEEPEST: Final = 500
"""How many objects and arrays may lie inside each other. The parsers' own limits depend on the caller's stack."""

EARLIEST: Final = -(2**62)
LATEST: Final = 2**62
"""Event times lie between, us: so a time less any window still fits 64 bits."""

_EPOCH_NAIVE: Final = EPOCH.replace(tzinfo=None)
_MICROSECOND: Final = timedelta(microseconds=1)
_MICRO: Final = Decimal("0.000001")
_SAFE_MICROS: Final = 2.0**50
"""Below it a float's own error times 10^6 stays under a quarter, so rounding the product is rounding the decimal
text. A float, which compares with floats in half the time."""

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
    ("warming", str, ""),  # features whose windows have not yet seen their whole length, with commas between
    ("clash", bool, False),  # the input has a member that the verdict adds
    ("answered", bool, False),  # judged before a restart: takes its place in the windows, and gets no second verdict
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
_LONG: Final = re.compile(rb"[0-9]{20}")
_STEPS: Final = bytes.maketrans(b"[{]}", b"\x01\x01\xff\xff")
_NO_BRACKETS: Final = bytes(set(range(256)) - set(b"[{]}"))
"""Strings, so as to skip them, and brackets."""
_JSON_NAMES: Final = {type(None): "null", list: "an array"}


@dataclass(slots=True)
class _Object:
    """The declared members of one object of an event, and the objects in it that have some.

    Attributes:
        number: Tells the objects of an event apart; 0 for the outermost.
        leaves: Fields, by the member's name.
        inner: Objects, by the member's name.
    """

    number: int
    leaves: dict[str, Field] = dataclass_field(default_factory=dict)
    inner: dict[str, "_Object"] = dataclass_field(default_factory=dict)

    @classmethod
    def of(cls, declared: Iterable[Field]) -> "_Object":
        """The outermost object of an event with these members."""
        top = cls(0)
        count = 0
        for field in declared:
            at = top
            *outer, last = field.member
            for name in outer:
                if name not in at.inner:
                    count += 1
                    at.inner[name] = cls(count)
                at = at.inner[name]
            at.leaves[last] = field
        return top

    @property
    def optional(self) -> bool:
        """Whether it may be missing: nothing in it is required."""
        items: list[Field | _Object] = [*self.leaves.values(), *self.inner.values()]
        return all(item.optional for item in items)

    @property
    def names(self) -> dict[str, str]:
        """The members' names by those of the attributes that msgspec puts them into."""
        leaves = {f"f_{field.name}": name for name, field in self.leaves.items()}
        return leaves | {f"o_{item.number}": name for name, item in self.inner.items()}

    @property
    def fields(self) -> list[Any]:
        """For a msgspec Struct, the required ones first."""
        wire = {**_WIRE, Kind.TIME: datetime | int}
        found = [(f"f_{field.name}", wire[field.kind], field.optional) for field in self.leaves.values()]
        found += [(f"o_{item.number}", item.type(), item.optional) for item in self.inner.values()]
        found.sort(key=lambda item: item[2])
        return [(name, kind | None, None) if optional else (name, kind) for name, kind, optional in found]

    def type(self) -> type[Any]:
        """The Struct of an inner object."""
        return msgspec.defstruct(f"Object{self.number}", self.fields, rename=self.names, gc=False)

    @property
    def quotes(self) -> int:
        """The quotation marks of its members, if all are there: around names, and around texts."""
        leaves = sum(_marks(field) for field in self.leaves.values())
        return leaves + sum(2 + item.quotes for item in self.inner.values())

    def taken(self, source: str) -> list[str]:
        """Lines that lower `n` by the quotation marks of what is missing, and take inner members out onto `e`."""
        lines = []
        for field in self.leaves.values():
            name = "t" if field.kind is Kind.TIME else f"e.f_{field.name}"
            if name == "t":
                lines += [f"t = {source}.f_{field.name}", "if type(t) is int: n -= 2"]
            elif source != "e":
                lines += [f"{name} = {source}.f_{field.name}"]
            if field.optional:
                lines += [f"{'elif' if name == 't' else 'if'} {name} is None: n -= {_marks(field)}"]
        for item in self.inner.values():
            inside = f"o{item.number}"
            lines += [f"{inside} = {source}.o_{item.number}"]
            if source == "e":
                lines += [f"e.o_{item.number} = None"]  # an event is sent away without it
            body = item.taken(inside)
            if item.optional:
                times = ["t = None"] if any(line.startswith("t = ") for line in map(str.strip, body)) else []
                missing = indent([f"n -= {2 + item.quotes}", *times])
                body = [f"if {inside} is None:", *missing, "else:", *indent(body)]
            lines += body
        return lines

    def quoted(self) -> list[tuple[bytes, int]]:
        """The names of all members in quotation marks, each with how often it occurs if none does twice."""
        found: dict[str, list[bool]] = {}
        objects = [self]
        while objects:
            at = objects.pop()
            objects += at.inner.values()
            items: dict[str, Field | _Object] = {**at.leaves, **at.inner}
            for name, item in items.items():
                found.setdefault(name, []).append(item.optional)
        # Where one of several may be missing, another may stand twice in its place: the exact path looks.
        return [(b'"%b"' % name.encode(), 1 if any(optional) else len(optional)) for name, optional in found.items()]


def _marks(field: Field) -> int:
    return 4 if field.kind in {Kind.STR, Kind.TIME} else 2


class EventCodec:
    """Decodes the records of one event type.

    Attributes:
        type: The class of its events, a msgspec Struct made from the pack.
        index: The event type's number, also the class attribute `kind` of `type`.
        decode: From a record to an event; raises UndecodableError.
    """

    def __init__(
        self, event: EventType, index: int, lists: Mapping[str, Mapping[Any, Entry]] = MappingProxyType({})
    ) -> None:
        """Generate the decoder of an event type; these lists are those that derived fields look something up in."""
        self.event = event
        self._lists = lists
        self.index = index
        self._added = (*VERDICT_MEMBERS, *event.added)
        declared = sorted(event.members, key=lambda field: field.optional)
        self._declared = tuple(declared)
        self._tree = _Object.of(declared)
        self._quoted = self._tree.quoted()
        self._quoted_added = [b'"%b"' % name.encode() for name in self._added]
        inner = [(f"f_{field.name}", Any, None) for field in declared if len(field.member) > 1]
        inner += [(f"f_{field.name}", Any, None) for field in event.derived]
        # No name that a pack can declare: JSON sets neither these nor what is taken out of inner objects.
        rename = {name: f"#{name}" for name, _, _ in [*inner, *SYSTEM]} | self._tree.names
        self.type: type[Any] = msgspec.defstruct(
            f"{event.name.title().replace('_', '')}Event",
            [*self._tree.fields, *inner, *SYSTEM],
            rename=rename,
            gc=False,
            namespace={"kind": index},
        )
        self.columns: Final = tuple(self.type.__struct_fields__)
        self._derive: Callable[[Event], None] = self._derived()
        self.decode: Callable[[Record], Event] = self._fast()

    def _derived(self) -> Callable[[Event], None]:
        """Generate the function that computes the derived fields of an event."""
        lines = [f"e.f_{field.name} = {field.derived.source}" for field in self.event.derived if field.derived]
        scope = {**self.event.derivation.values, **{f"L_{name}": entries for name, entries in self._lists.items()}}
        return define("derive", ["def derive(e):", *indent(lines or ["pass"])], scope)

    # --- the fast path -----------------------------------------------------------------------------------------

    def _fast(self) -> Callable[[Record], Event]:
        """Generate the decoder: parse, compare the quotation marks, convert money and time, fill in the rest."""
        own = any(field.member[0] in self._added for field in self._declared)  # no other member is needed for a clash
        body = [
            "raw = r.value",
            f"if raw is None or len(raw) > {LARGEST_EVENT}: return exact(r)",
            "try: e = parse(raw)",
            "except (DecodeError, UnicodeDecodeError, RecursionError): return exact(r)",
            f"n = {self._tree.quotes}",
            *self._tree.taken("e"),
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
            *(["derive(e)"] if self.event.derived else []),
            "return e",
        ]
        scope = {
            "derive": self._derive,
            "parse": msgspec.json.Decoder(self.type).decode,
            "exact": self.exact,
            "plain": self._plain,
            "clashes": self._clashes,
            "DecodeError": msgspec.DecodeError,
            "FAR_FUTURE": FAR_FUTURE,
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
            f"if not {-_SAFE_MICROS} < y < {_SAFE_MICROS}: return exact(r)",
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
        for name, most in self._quoted:
            if raw.count(name) > most:
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
            name = ".".join(self.event.time_path) or self.event.time or "time"
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
        event = self.type(**values, **dict.fromkeys(self._tree.names.keys() - values.keys()))
        event.raw = record.value
        event.key = record.key
        event.partition = record.partition
        event.offset = record.offset
        event.time = time
        event.clash = any(name in members for name in self._added)
        self._derive(event)
        return event

    def _members(self, raw: bytes | None) -> dict[str, Any]:
        if raw is None:
            msg = "tombstone: expected a JSON object, got no value"
            raise UndecodableError(msg)
        if len(raw) > LARGEST_EVENT:
            msg = f"expected at most {LARGEST_EVENT:,} bytes, got {len(raw):,}"
            raise UndecodableError(msg)
        try:
            # Stricter than the standard library: refuses lone surrogates, NaN and Infinity.
            msgspec.json.decode(raw, type=msgspec.Raw)
            deep = _too_deep(raw)
            text = "null" if deep else raw.decode()
            whole = _whole if _LONG.search(raw) else int  # with its own `int` the parser is five times as fast
            value = json.loads(text, object_pairs_hook=_object, parse_float=_decimal, parse_int=whole)
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
        for field in self._declared:
            _refuse_doubled(field.member, value)
        return value

    def _value(self, field: Field, members: dict[str, Any]) -> Any:
        *outer, last = field.member
        shown = ".".join(field.member)
        inside: Any = members
        for depth, name in enumerate(outer, 1):
            inside = inside.get(name)
            if inside is None:
                inside = {}
            elif not isinstance(inside, dict):
                msg = f"{'.'.join(outer[:depth])}: expected an object, got {_what(inside)}"
                raise UndecodableError(msg)
        value = inside.get(last)
        if value is None:
            if field.optional:
                return None
            msg = f"{shown}: expected {_expected(field.kind)}, got {'null' if last in inside else 'nothing'}"
            raise UndecodableError(msg)
        try:
            return _CONVERT[field.kind](value)
        except (ValueError, ArithmeticError):
            msg = f"{shown}: expected {_expected(field.kind)}, got {_what(value)}"
            raise UndecodableError(msg) from None


class _Doubled(dict[str, Any]):
    """An object of JSON some of whose members occur several times."""

    __slots__ = ("_pairs",)

    def __init__(self, members: dict[str, Any], pairs: list[tuple[str, Any]]) -> None:
        super().__init__(members)
        self._pairs = pairs

    def times(self, name: str) -> int:
        return sum(other == name for other, _ in self._pairs)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    return members if len(members) == len(pairs) else _Doubled(members, pairs)


def _refuse_doubled(path: tuple[str, ...], members: Any) -> None:
    for depth, name in enumerate(path, 1):
        if not isinstance(members, dict):
            return
        if isinstance(members, _Doubled) and (times := members.times(name)) > 1:
            msg = f"{'.'.join(path[:depth])}: occurs {times} times"
            raise UndecodableError(msg)
        members = members.get(name)


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
    """Whether objects and arrays of a JSON text stand too deep; in few passes over its bytes, for it may be long."""
    if raw.count(b"[") + raw.count(b"{") <= DEEPEST:
        return False
    outside = b"".join(raw.replace(b"\\\\", b"").replace(b'\\"', b"").split(b'"')[::2])  # of strings
    steps = outside.translate(_STEPS, _NO_BRACKETS)
    return max(accumulate(memoryview(steps).cast("b")), default=0) > DEEPEST


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
    if isinstance(value, dict):
        return "an object"
    if type(value) in _JSON_NAMES:
        return _JSON_NAMES[type(value)]
    if isinstance(value, bool):
        return "true" if value else "false"
    text = json.dumps(value) if isinstance(value, str) else str(value)
    return text if len(text) <= 60 else f"{text[:60]}… ({len(text)} characters)"  # noqa: PLR2004


def _describe(error: msgspec.DecodeError) -> str:
    return str(error).removeprefix("JSON is malformed: ").replace("Input data was truncated", "the text is cut off")
