"""Reading packs: every problem of every file is told at once, with its place."""

import hashlib
import json
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from math import isfinite
from pathlib import Path
from string import Formatter
from typing import Any, Final

from pydantic import ValidationError

from detection.aggregates import AGGREGATES, Aggregate
from detection.errors import PackError, Problem
from detection.expressions import Constants, Expression, ExpressionError, Language, ListSymbol, Symbol
from detection.kinds import Kind, parse_duration
from detection.lists import AddressTable, entries_of, read_file
from detection.pack import VERDICT_MEMBERS, Addresses, Entry, EventType, Feature, Field, MemberList, Pack, Reason, Rule
from detection.packfile import EventTable, FeatureTable, ListTable, PackTable, RuleTable, Table
from detection.positions import Positions
from detection.settings import DEFAULT_TOPICS

SHORTEST_WINDOW: Final = 1_000_000
LONGEST_WINDOW: Final = 90 * 24 * 3600 * 1_000_000
LONGEST_DELAY: Final = 90 * 24 * 3600 * 1_000_000

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

_PATH: Final = r'(?: @ (?P<path>[^."\\#\s][^."\\\s]*(?:\.[^."\\#\s][^."\\\s]*)*))?'
_FIELD_TYPE = re.compile(rf"^(str|int|float|bool|money(?::(?P<currency>\w+))?)(?P<optional>\?)?{_PATH}$")
_TIME = re.compile(rf"^(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?P<optional>\?)?{_PATH}$")
_REFERENCE = re.compile(r"^\$\{(\w+)\}$")


def load(paths: Iterable[str | Path], topics: Mapping[str, str] | None = None) -> Pack:
    """Read and check pack files.

    Args:
        paths: The files; loaded together, with those they extend, they form one set.
        topics: Topics by the name of their setting; absent: the defaults.

    Raises:
        PackError: With every problem found, each with its place.
    """
    return parse(read(paths), topics)


def read(paths: Iterable[str | Path]) -> dict[str, str]:
    """The texts of pack files and of those they extend, by file name; what is extended stands first.

    Raises:
        PackError: Files cannot be read.
    """
    texts: dict[str, str] = {}
    problems: list[Problem] = []
    seen: set[Path] = set()

    def add(path: Path, named_at: tuple[str, int, int]) -> None:
        if path.resolve() in seen:
            return
        seen.add(path.resolve())
        try:
            text = path.read_text("utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            detail = f"cannot be read: {getattr(error, 'strerror', None) or error}"
            subject = "pack" if named_at[0] == str(path) else f"extends: {path}"
            problems.append(Problem(*named_at, f"{subject}: {detail}"))
            return
        for index, base in enumerate(_extended(text)):
            add(path.parent / base, (str(path), *Positions(text).value(("extends", index))))
        texts[str(path)] = text

    for path in paths:
        add(Path(path), (str(path), 0, 0))
    if problems:
        raise PackError(problems)
    return texts


def _extended(text: str) -> list[str]:
    """What a text extends; nothing if that is not well said, which `parse` will tell."""
    try:
        names = tomllib.loads(text).get("extends")
    except (ValueError, RecursionError):
        return []
    return [name for name in names if isinstance(name, str)] if isinstance(names, list) else []


def parse(texts: Mapping[str, str], topics: Mapping[str, str] | None = None) -> Pack:
    """As `load`, from texts by file name."""
    loader = _Loader({**DEFAULT_TOPICS, **(topics or {})})
    for name, text in texts.items():
        loader.read(name, text)
    return loader.finish()


@dataclass(slots=True)
class _File:
    name: str
    text: str
    table: PackTable
    places: Positions | None = None

    def positions(self) -> Positions:
        if self.places is None:
            self.places = Positions(self.text)
        return self.places


@dataclass(slots=True)
class _Loader:
    """Goes through the files once, keeping every problem instead of stopping at the first."""

    topics: Mapping[str, str]
    files: list[_File] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    warnings: list[Problem] = field(default_factory=list)
    broken: set[str] = field(default_factory=set)
    """Fields and features that are declared, but wrong: what reads them is not checked, or one mistake would be told
    twice."""
    read_names: set[str] = field(default_factory=set)
    """What a rule or an added member reads."""
    lists: dict[str, MemberList] = field(default_factory=dict)

    # --- reading -----------------------------------------------------------------------------------------------

    def read(self, name: str, text: str) -> None:
        try:
            data = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            place = re.search(r"\(at line (\d+), column (\d+)\)", str(error))
            end = text.count("\n") + 1, len(text) - text.rfind("\n")
            line, column = (int(place[1]), int(place[2])) if place else end
            message = re.sub(r" \(at .*\)$", "", str(error))
            self.problems.append(Problem(name, line, column, f"not TOML: {message[:1].lower()}{message[1:]}"))
            return
        except (ValueError, RecursionError):  # an integer of thousands of digits, thousands of brackets
            self.problems.append(Problem(name, 0, 0, "not TOML: a number is too long, or arrays are nested too deeply"))
            return
        try:
            self.files.append(_File(name, text, PackTable.model_validate(data)))
        except ValidationError as error:
            places = Positions(text)
            for detail in error.errors(include_url=False, include_input=True):
                path = tuple(part for part in detail["loc"] if not str(part).startswith("["))
                is_key = detail["type"] == "extra_forbidden" or "[key]" in detail["loc"]
                line, column = places.key(path) if is_key else places.value(path)
                self.problems.append(Problem(name, line, column, *_explain(path, dict(detail))))

    def finish(self) -> Pack:
        events = self._merged("event")
        features = self._merged("feature")
        rules = self._merged("rule")
        owners = self._merged("list")
        self.lists = self._lists(owners, events, features)
        if not events and not self.problems:
            self.problems.append(Problem(", ".join(file.name for file in self.files), 0, 0, "pack: declares no event"))
        compiled = self._events(events, features, rules) if events else ()
        if self.problems:
            raise PackError(list(dict.fromkeys(self.problems)))
        for name, owner in features.items():
            if name not in self.read_names:
                self._warn(owner, ("feature", name), f"feature {name}: nobody reads it", key=True)
        for name, owner in owners.items():
            if name not in self.read_names:
                self._warn(owner, ("list", name), f"list {name}: nobody reads it", key=True)
        return Pack(self._hash(), compiled, tuple(self.warnings), tuple(self.lists.values()))

    def _merged(self, section: str) -> dict[str, _File]:
        owners: dict[str, _File] = {}
        for file in self.files:
            for name in getattr(file.table, section):
                if name in owners:
                    first = owners[name]
                    line, _ = first.positions().key((section, name))
                    self._at(
                        file,
                        (section, name),
                        f"{section} {name}: declared twice, first at {first.name}:{line}",
                        key=True,
                    )
                else:
                    owners[name] = file
        return owners

    def _hash(self) -> str:
        # Without the absent: a release that knows more keys must not change the hash of a pack that has none of them.
        tables = [file.table.model_dump(mode="json", exclude_none=True) for file in self.files]
        for table in tables:
            for rule in table["rule"].values():
                del rule["test"]
        merged = {
            section: {name: item for table in tables for name, item in table[section].items()}
            for section in ("event", "feature", "rule")
        }
        lateness = {name: table["lateness"] for table in tables for name in table["event"]}
        # The order of rules and of added members is the order in which a verdict tells them.
        rules = {on: [name for name, rule in merged["rule"].items() if rule["on"] == on] for on in merged["event"]}
        added = {name: list(event["add"]) for name, event in merged["event"].items()}
        lists = {name: item for table in tables for name, item in table["list"].items()}
        for name, item in lists.items():
            entries = self.lists[name].entries
            item["entries"] = sorted(entries.items()) if isinstance(entries, Mapping) else entries.digest
        known = {"list": lists} if lists else {}
        return _digest({**merged, **known, "lateness": lateness, "order": [rules, added]})[:12]

    # --- meaning -----------------------------------------------------------------------------------------------

    def _events(
        self, owners: Mapping[str, _File], features: Mapping[str, _File], rules: Mapping[str, _File]
    ) -> tuple[EventType, ...]:
        topics: dict[str, str] = {}
        fields = {name: self._fields(owner, name, owner.table.event[name]) for name, owner in owners.items()}
        derivations = {name: self._derive(owner, name, fields[name]) for name, owner in owners.items()}
        scopes = {
            name: {field.name: field.symbol for field in fields[name].values()}
            | self._time_symbol(owner.table.event[name])
            for name, owner in owners.items()
        }
        featured = self._features(features, fields, scopes)
        self._orphans(rules, owners)
        compiled = []
        for name, owner in owners.items():
            table = owner.table.event[name]
            topic = self._topic(owner, ("event", name, "topic"), table.topic)
            if topic in topics:
                self._at(
                    owner,
                    ("event", name, "topic"),
                    f"event {name}: topic {topic} is already read by event {topics[topic]}",
                )
            topics[topic] = name
            time = self._time(owner, name, table, fields[name])
            members = [item for item in fields[name].values() if not item.derived]
            self._apart(owner, name, [*members, *([time] if time else [])])
            mine = tuple(feature for feature in featured if feature.on == name)
            symbols = {field.name: field.symbol for field in fields[name].values()}
            symbols |= {feature.name: feature.symbol for feature in mine}
            if time is not None:
                if any(feature.name == time.name for feature in mine):
                    message = f"event {name}: time {time.name!r} is also the name of a feature"
                    self._at(owner, ("event", name, "time"), message)
                symbols |= self._time_symbol(table)
            constants = Constants()
            judged = self._rules(
                {rule: file for rule, file in rules.items() if file.table.rule[rule].on == name}, symbols, constants
            )
            compiled.append(
                EventType(
                    name=name,
                    topic=topic,
                    fields=tuple(
                        sorted(
                            fields[name].values(),
                            key=lambda item: (bool(item.derived), item.optional and not item.derived),
                        )
                    ),
                    derivation=derivations[name],
                    time=time.name if time else None,
                    time_optional=time is not None and time.optional,
                    time_path=time.path if time else (),
                    topics={
                        "accept": self._topic(
                            owner, ("event", name, "accept_topic"), table.accept_topic or "${LEGIT_TOPIC}"
                        ),
                        "review": self._topic(
                            owner, ("event", name, "review_topic"), table.review_topic or "${REVIEW_TOPIC}"
                        ),
                        "block": self._topic(
                            owner, ("event", name, "block_topic"), table.block_topic or "${FRAUD_TOPIC}"
                        ),
                    },
                    lateness=self._duration(owner, ("lateness",), "lateness", owner.table.lateness),
                    features=mine,
                    rules=judged,
                    added=self._added(owner, name, table, symbols, constants),
                    constants=constants,
                    symbols=symbols,
                )
            )
        self._topics_apart(compiled, owners, topics)
        return tuple(compiled)

    def _topics_apart(
        self, compiled: Iterable[EventType], owners: Mapping[str, _File], topics: Mapping[str, str]
    ) -> None:
        """What is read as one thing is not written, nor read, as another."""
        dead_letters = self.topics["DEAD_LETTER_TOPIC"]
        listed = {item.topic: item.name for item in self.lists.values() if item.topic is not None}
        for event in compiled:
            if dead_letters in {event.topic, *event.topics.values()}:
                message = f"event {event.name}: {dead_letters} is the topic for dead letters, no other records go there"
                self._at(owners[event.name], ("event", event.name), message, key=True)
            for topic in listed.keys() & {event.topic, *event.topics.values()}:
                message = f"event {event.name}: {topic} is the topic of list {listed[topic]}, no other records go there"
                self._at(owners[event.name], ("event", event.name), message, key=True)
            for decision, topic in event.topics.items():
                if topic in topics:
                    self._at(
                        owners[event.name],
                        ("event", event.name, f"{decision}_topic"),
                        f"event {event.name}: writes to topic {topic}, which event {topics[topic]} reads",
                    )

    def _lists(
        self, owners: Mapping[str, _File], events: Mapping[str, _File], features: Mapping[str, _File]
    ) -> dict[str, MemberList]:
        lists: dict[str, MemberList] = {}
        topics: dict[str, str] = {}
        for name, owner in owners.items():
            table = owner.table.list[name]
            for event, file in events.items():
                declared = file.table.event[event]
                if name in {*declared.fields, _time_name(declared)}:
                    self._at(owner, ("list", name), f"list {name}: event {event} has a field of that name", key=True)
            if name in features:
                self._at(owner, ("list", name), f"list {name}: there is a feature of that name", key=True)
            given = [key for key in ("members", "file", "topic") if getattr(table, key) is not None]
            if len(given) != 1:
                got = " and ".join(given) or "none of them"
                self._at(owner, ("list", name), f"list {name}: expected members, file or topic, got {got}", key=True)
            if table.path is not None and not (table.file or "").endswith(".mmdb"):
                self._at(owner, ("list", name, "path"), f"list {name}: path is for an .mmdb file")
            topic = None if table.topic is None else self._topic(owner, ("list", name, "topic"), table.topic)
            if topic is not None and topic in topics:
                self._at(
                    owner,
                    ("list", name, "topic"),
                    f"list {name}: topic {topic} is that of list {topics[topic]} already",
                )
            elif topic is not None:
                topics[topic] = name
            item = MemberList(name, Kind(table.of), Kind(table.value) if table.value else None, topic=topic)
            lists[name] = replace(item, entries=self._entries(owner, item, table))
        return lists

    def _entries(self, owner: _File, item: MemberList, table: ListTable) -> Mapping[Any, Entry] | Addresses:
        key = "members" if table.file is None else "file"
        path = ("list", item.name, key)
        try:
            if table.members is not None:
                return dict(entries_of(item, table.members))
            if table.file is None:
                return {}
            file = Path(owner.name).parent / table.file
            if file.suffix not in {".txt", ".csv", ".mmdb"}:
                self._at(owner, path, f"list {item.name}: file: expected a .txt, .csv or .mmdb, got {table.file!r}")
                return {}
            if file.suffix == ".mmdb":
                return self._addresses(owner, item, table, file)
            return read_file(item, file)
        except OSError as error:
            self._at(owner, path, f"list {item.name}: file {table.file}: cannot be read: {error.strerror}")
        except ValueError as error:
            where = f"{table.file}:" if table.file is not None else "members: "
            self._at(owner, path, f"list {item.name}: {where}{error}")
        return {}

    def _addresses(
        self, owner: _File, item: MemberList, table: ListTable, file: Path
    ) -> Mapping[Any, Entry] | Addresses:
        if table.path is None or item.value is None or item.kind is not Kind.STR:
            expected = 'an .mmdb needs value and path, such as path = "country.iso_code", and members of kind str'
            self._at(owner, ("list", item.name, "file"), f"list {item.name}: {expected}")
            return {}
        return AddressTable(file, tuple(table.path.split(".")), item.value)

    def _fields(self, owner: _File, event: str, table: EventTable) -> dict[str, Field]:
        fields: dict[str, Field] = {}
        for name, text in table.fields.items():
            path = ("event", event, "fields", name)
            match = _FIELD_TYPE.match(text)
            if match is None:
                self._at(
                    owner,
                    path,
                    f"field {name}: expected str, int, float, bool or money, with ? if it may be missing, got {text!r}",
                )
                self.broken.add(name)
                continue
            currency = match["currency"]
            if currency is not None and not table.fields.get(currency, "").startswith("str"):
                self._at(owner, path, f"field {name}: its currency {currency!r} is no str field of event {event}")
            if name in RESERVED:
                self._warn(
                    owner, path, f"field {name}: a reserved word of expressions, so no rule can read it", key=True
                )
            kind, optional = Kind(match[1].partition(":")[0]), match["optional"] is not None
            fields[name] = Field(name, kind, optional, currency, _path(match["path"]))
        return fields

    def _derive(self, owner: _File, event: str, fields: dict[str, Field]) -> Constants:
        """Add the derived fields to the others; each may read those before it."""
        table = owner.table.event[event]
        constants = Constants("d")
        lasting = {name: item.symbol for name, item in self.lists.items() if item.topic is None}
        for name, text in (table.derive or {}).items():
            path = ("event", event, "derive", name)
            if name in fields or name == _time_name(table):
                self._at(owner, path, f"event {event}: derive: {name} is already a field", key=True)
                continue
            scope = {field.name: field.symbol for field in fields.values()} | self._time_symbol(table)
            subject = f"event {event}: derive {name}"
            expression = self._expression(
                owner, path, subject, Language({**lasting, **scope}), text, constants=constants
            )
            if expression is None:
                self.broken.add(name)
                continue
            self.read_names.update(expression.lists)
            fields[name] = Field(name, expression.kind, expression.optional, derived=expression)
        return constants

    def _time(self, owner: _File, event: str, table: EventTable, fields: Mapping[str, Field]) -> Field | None:
        if table.time is None:
            return None
        match = _TIME.match(table.time)
        if match is None or match["name"] in fields:
            problem = "is no member's name" if match is None else "is also one of the fields; name it only here"
            self._at(owner, ("event", event, "time"), f"event {event}: time {table.time!r} {problem}")
            return None
        return Field(match["name"], Kind.TIME, match["optional"] is not None, path=_path(match["path"]))

    def _apart(self, owner: _File, event: str, members: Iterable[Field]) -> None:
        """No two fields read one member, and none reads a member of what another takes for a plain value."""
        known: dict[tuple[str, ...], str] = {}
        for item in sorted(members, key=lambda item: len(item.member)):
            path = ("event", event, "time") if item.kind is Kind.TIME else ("event", event, "fields", item.name)
            for length in range(1, len(item.member) + 1):
                other = known.get(item.member[:length])
                if other is not None:
                    whole, shown = ".".join(item.member), ".".join(item.member[:length])
                    told = f"as {other} does" if shown == whole else f"but {other} reads {shown} as no object"
                    self._at(owner, path, f"event {event}: {item.name} reads {whole}, {told}")
            known[item.member] = item.name

    def _topic(self, owner: _File, path: tuple[str, ...], text: str) -> str:
        reference = _REFERENCE.match(text)
        if reference is None:
            if not re.fullmatch(r"[A-Za-z0-9._-]{1,249}", text) or text in {".", ".."}:
                self._at(
                    owner,
                    path,
                    f"{path[-1]}: expected a Kafka topic name (letters, digits, '.', '_', '-'), got {text!r}",
                )
            return text
        if reference[1] not in self.topics:
            known = ", ".join(f"${{{name}}}" for name in self.topics if name != "DEAD_LETTER_TOPIC")
            self._at(owner, path, f"{path[-1]}: no setting {reference[1]}; there are {known}")
            return text
        return self.topics[reference[1]]

    @staticmethod
    def _time_symbol(table: EventTable) -> dict[str, Symbol]:
        name = _time_name(table)
        return {name: Symbol(Kind.TIME, f"e.f_{name}")} if name else {}

    def _features(
        self,
        owners: Mapping[str, _File],
        fields: Mapping[str, Mapping[str, Field]],
        scopes: Mapping[str, Mapping[str, Symbol]],
    ) -> list[Feature]:
        features = []
        constants = Constants("w")  # of all features: one step may work on several event types
        for name, owner in owners.items():
            table = owner.table.feature[name]
            before = len(self.problems)
            window = self._window(owner, name, table)
            aggregate = AGGREGATES.get(table.fn)
            if aggregate is None:
                self._unknown(owner, ("feature", name, "fn"), f"feature {name}: no aggregate", table.fn, AGGREGATES)
            if table.on not in fields:
                self._unknown(owner, ("feature", name, "on"), f"feature {name}: no event", table.on, fields)
            known = fields.get(table.on, {})
            self._key(owner, name, table, known)
            over = self._over(owner, name, table, fields)
            counted = fields.get(over or table.on, {})
            if name in known:
                self._at(
                    owner, ("feature", name), f"feature {name}: event {table.on} has a field of that name", key=True
                )
            of = self._of(owner, name, table, aggregate, counted) if aggregate and counted else ()
            delay = self._delay(owner, name, table)
            session = self._session(owner, name, table, window)
            where = self._where(owner, name, table, scopes, constants)
            if (
                len(self.problems) > before
                or aggregate is None
                or not self.broken.isdisjoint((name, *table.key, *(table.over_key or ()), *table.fields))
            ):
                self.broken.add(name)
                continue
            key = [known[part] for part in table.key]
            counted_key = table.over_key or table.key
            kind = of[0].kind if of else None
            seen = key if over else [*key, *of]  # of what it only looks at, it sees what has the field
            optional = aggregate.optional or any(part.optional for part in seen)
            optional |= (where is not None or delay > 0 or bool(over)) and not aggregate.of_none
            features.append(
                Feature(
                    name=name,
                    on=table.on,
                    key=tuple(key),
                    aggregate=aggregate,
                    of=of,
                    window=window,
                    kind=aggregate.result(kind),
                    optional=optional,
                    delay=delay,
                    session=session,
                    where=where,
                    over=over,
                    over_key=tuple(counted[part] for part in table.over_key or table.key) if over else (),
                    constants=constants,
                )
            )
            if of and of[0].currency and of[0].currency not in counted_key and aggregate.name == "sum":
                self._warn(
                    owner,
                    ("feature", name, "of"),
                    f"feature {name}: adds amounts of different currencies: put {of[0].currency} into its key",
                )
        return features

    def _window(self, owner: _File, name: str, table: FeatureTable) -> int:
        path = ("feature", name, "window")
        before = len(self.problems)
        window = self._duration(owner, path, f"feature {name}: window", table.window)
        if len(self.problems) == before and not SHORTEST_WINDOW <= window <= LONGEST_WINDOW:
            self._at(owner, path, f"feature {name}: expected a window of 1s to 90d, got {table.window!r}")
        return window

    def _key(self, owner: _File, name: str, table: FeatureTable, known: Mapping[str, Field]) -> None:
        for index, part in enumerate(table.key if known else ()):
            if part not in known:
                self._unknown(owner, ("feature", name, "key", index), f"feature {name}: no field", part, known)
            elif part in table.key[:index]:
                self._at(owner, ("feature", name, "key", index), f"feature {name}: key names {part} twice")

    def _over(self, owner: _File, name: str, table: FeatureTable, fields: Mapping[str, Mapping[str, Field]]) -> str:
        """The event type that is only looked at; empty if the feature counts the events it is computed at."""
        path = ("feature", name, "over_key" if table.over_key else "over")
        if table.over is None and not table.over_key:
            return ""
        over = table.over or table.on
        if over not in fields:
            self._unknown(owner, ("feature", name, "over"), f"feature {name}: no event", over, fields)
            return ""
        theirs, ours = fields[over], fields.get(table.on, {})
        names = table.over_key or table.key
        if (over, names) == (table.on, table.key):
            self._at(owner, path, f"feature {name}: over its own events by its own key: leave {path[-1]} away")
        if len(names) != len(table.key):
            expected = f"expected as many fields as in key ({len(table.key)})"
            self._at(owner, path, f"feature {name}: over_key: {expected}, got {len(names)}")
        for part, other in zip(table.key, names, strict=False):
            if other not in theirs:
                self._unknown(owner, path, f"feature {name}: event {over} has no field", other, theirs)
            elif part in ours and ours[part].kind is not theirs[other].kind:
                kinds = f"{part} is {ours[part].kind}, but {other} of event {over} is {theirs[other].kind}"
                self._at(owner, path, f"feature {name}: {kinds}")
        if table.fn in AGGREGATES and AGGREGATES[table.fn].pair:
            self._at(owner, path, f"feature {name}: {table.fn} cannot look at other events")
        return over

    def _where(
        self,
        owner: _File,
        name: str,
        table: FeatureTable,
        scopes: Mapping[str, Mapping[str, Symbol]],
        constants: Constants,
    ) -> Expression | None:
        counted = table.over or table.on
        if table.where is None or counted not in scopes:
            return None
        language = Language(scopes[counted])
        where = self._expression(
            owner,
            ("feature", name, "where"),
            f"feature {name}: where",
            language,
            table.where,
            constants=constants,
            expects=Kind.BOOL,
        )
        if where is None:
            self.broken.add(name)
        return where

    def _delay(self, owner: _File, name: str, table: FeatureTable) -> int:
        if table.delay is None:
            return 0
        path = ("feature", name, "delay")
        before = len(self.problems)
        delay = self._duration(owner, path, f"feature {name}: delay", table.delay)
        if len(self.problems) == before and not 0 < delay <= LONGEST_DELAY:
            self._at(
                owner, path, f"feature {name}: expected a delay of more than 0 and at most 90d, got {table.delay!r}"
            )
        return delay

    def _session(self, owner: _File, name: str, table: FeatureTable, window: int) -> int:
        if table.session is None:
            return 0
        path = ("feature", name, "session")
        before = len(self.problems)
        session = self._duration(owner, path, f"feature {name}: session", table.session)
        if len(self.problems) == before and not 0 < session < window:
            expected = "expected a silence of more than 0 and less than the window"
            self._at(owner, path, f"feature {name}: {expected}, got {table.session!r}")
        return session

    def _of(
        self, owner: _File, name: str, table: FeatureTable, aggregate: Aggregate, known: Mapping[str, Field]
    ) -> tuple[Field, ...]:
        path = ("feature", name, "of")
        if not aggregate.of:
            if table.of is not None:
                self._at(owner, path, f"feature {name}: {table.fn} takes no field, got of = {table.of!r}")
            return ()
        if aggregate.pair:
            expected = f"{table.fn} needs two fields: of = [{', '.join(aggregate.pair)}]"
            wrong = not isinstance(table.of, list) or len(table.of) != len(aggregate.pair)
        else:
            expected = f"{table.fn} needs a field: of = …"
            wrong = not isinstance(table.of, str)
        if table.of is None:
            self._at(owner, ("feature", name), f"feature {name}: {expected}", key=True)
        elif wrong:
            self._at(owner, path, f"feature {name}: {expected}, got {table.of!r}")
        if wrong:
            return ()
        fields = []
        for index, part in enumerate(table.fields):
            place = (*path, index) if aggregate.pair else path
            of = known.get(part)
            if of is None:
                self._unknown(owner, place, f"feature {name}: no field", part, known)
            elif of.kind not in aggregate.of:
                takes = ", ".join(sorted(aggregate.of))
                self._at(owner, place, f"feature {name}: {table.fn} takes {takes}, but {part} is {of.kind}")
            else:
                fields.append(of)
        return tuple(fields)

    def _orphans(self, rules: Mapping[str, _File], events: Mapping[str, _File]) -> None:
        for name, owner in rules.items():
            on = owner.table.rule[name].on
            if on not in events:
                self._unknown(owner, ("rule", name, "on"), f"rule {name}: no event", on, events)

    def _rules(
        self, owners: Mapping[str, _File], symbols: Mapping[str, Symbol], constants: Constants
    ) -> tuple[Rule, ...]:
        language = Language(self._scope(symbols))
        rules = []
        for name, owner in owners.items():
            table = owner.table.rule[name]
            condition = self._expression(
                owner,
                ("rule", name, "when"),
                f"rule {name}",
                language,
                table.when,
                constants=constants,
                expects=Kind.BOOL,
            )
            reason = self._reason(owner, name, table, symbols)
            self._tests(owner, name, table)
            if table.outcome == "allow" and table.score:
                self._at(
                    owner, ("rule", name, "score"), f"rule {name}: expected score 0, for it allows, got {table.score}"
                )
            if condition is not None:
                self.read_names.update(condition.names, condition.lists)
            if reason is not None:
                self.read_names.update(part for _, part in reason.parts if part is not None)
            if condition is None or reason is None or table.mode == "off":
                continue
            if not condition.possible:
                bounds = filter(None, (_bound(read, symbols[read]) for read in condition.names))
                self._at(owner, ("rule", name, "when"), f"rule {name}: can never fire", hint=", ".join(bounds) or None)
            if not condition.names and not condition.lists:
                self._warn(
                    owner, ("rule", name, "when"), f"rule {name}: its condition reads nothing, so it is always the same"
                )
            reads = dict.fromkeys((*condition.names, *(part for _, part in reason.parts if part is not None)))
            version = _digest(table.model_dump(mode="json", exclude={"test"}))[:8]
            rules.append(
                Rule(
                    name,
                    version,
                    condition,
                    reason,
                    tuple(reads),
                    table.score,
                    table.outcome,
                    table.mode,
                    tuple(table.test),
                )
            )
        return tuple(rules)

    def _tests(self, owner: _File, name: str, table: RuleTable) -> None:
        for index, case in enumerate(table.test):
            path = ("rule", name, "test", index)
            if len(case.fires) != len(case.given):
                expected = f"expected as many answers as events ({len(case.given)})"
                self._at(owner, (*path, "fires"), f"rule {name}: fires: {expected}, got {len(case.fires)}")
            for listed in case.lists.keys() - self.lists.keys():
                self._unknown(owner, (*path, "lists", listed), f"rule {name}: no list", listed, self.lists)

    def _scope(self, symbols: Mapping[str, Symbol]) -> dict[str, Symbol | ListSymbol]:
        """What rules may read: an event's own names, and the lists."""
        return {**{name: item.symbol for name, item in self.lists.items()}, **symbols}

    def _reason(self, owner: _File, name: str, table: RuleTable, symbols: Mapping[str, Symbol]) -> Reason | None:
        path = ("rule", name, "reason")
        try:
            parts = list(Formatter().parse(table.reason))
        except ValueError as error:
            self._at(owner, path, f"rule {name}: reason: {str(error).lower()}; write {{{{ and }}}} for braces")
            return None
        for _, reference, spec, conversion in parts:
            if reference is None:
                continue
            if spec or conversion:
                got = reference + (f"!{conversion}" if conversion else "") + (f":{spec}" if spec else "")
                self._at(owner, path, f"rule {name}: reason: expected a name alone in braces, got {{{got}}}")
                return None
            if reference not in symbols:
                self._unknown(owner, path, f"rule {name}: reason: no field or feature", reference, symbols)
                return None
        return Reason(tuple((literal, reference) for literal, reference, _, _ in parts))

    def _added(
        self, owner: _File, event: str, table: EventTable, symbols: Mapping[str, Symbol], constants: Constants
    ) -> dict[str, Expression]:
        scope = {
            **self._scope(symbols),
            "fraudulent": Symbol(Kind.BOOL, "fraudulent"),
            "decision": Symbol(Kind.STR, "decision"),
            "score": Symbol(Kind.INT, "score"),
        }
        language = Language(scope) if table.add else None
        added = {}
        for name, text in table.add.items():
            path = ("event", event, "add", name)
            if name in VERDICT_MEMBERS or name in table.fields or name == _time_name(table):
                self._at(owner, path, f"event {event}: add: {name} is already a member of the verdict", key=True)
            assert language is not None
            expression = self._expression(
                owner, path, f"event {event}: add {name}", language, text, constants=constants
            )
            if expression is None:
                continue
            added[name] = expression
            self.read_names.update(expression.names, expression.lists)
            for hidden in {"fraudulent", "decision", "score"} & symbols.keys() & set(expression.names):
                self._warn(
                    owner, path, f"event {event}: add {name}: {hidden} is the verdict's here, not the event's own"
                )
        return added

    def _expression(
        self,
        owner: _File,
        path: tuple[str | int, ...],
        subject: str,
        language: Language,
        text: str,
        *,
        constants: Constants,
        expects: Kind | None = None,
    ) -> Expression | None:
        if not self.broken.isdisjoint(re.findall(r"\w+", text)):
            return None
        try:
            return language.compile(text, constants, expects=expects)
        except ExpressionError as error:
            line, column = owner.positions().inside(path, error.offset)
            self.problems.append(Problem(owner.name, line, column, f"{subject}: {error.message}", error.hint))
            return None

    def _duration(self, owner: _File, path: tuple[str | int, ...], subject: str, text: str) -> int:
        try:
            return parse_duration(text, subject)
        except ValueError as error:
            self._at(owner, path, str(error))
            return 0

    # --- telling -----------------------------------------------------------------------------------------------

    def _at(
        self, owner: _File, path: tuple[str | int, ...], message: str, *, key: bool = False, hint: str | None = None
    ) -> None:
        places = owner.positions()
        line, column = places.key(path) if key else places.value(path)
        self.problems.append(Problem(owner.name, line, column, message, hint))

    def _warn(self, owner: _File, path: tuple[str | int, ...], message: str, *, key: bool = False) -> None:
        places = owner.positions()
        line, column = places.key(path) if key else places.value(path)
        self.warnings.append(Problem(owner.name, line, column, message))

    def _unknown(self, owner: _File, path: tuple[str | int, ...], subject: str, got: str, known: Iterable[str]) -> None:
        if got in self.broken:
            return
        names = list(known)
        close = get_close_matches(got, names, n=1)
        hint = f'did you mean "{close[0]}"?' if close else f"there are {', '.join(names)}" if names else None
        self._at(owner, path, f"{subject} {got!r}", hint=hint)


def _explain(path: tuple[str | int, ...], detail: dict[str, object]) -> tuple[str, str | None]:
    """A pydantic error in our words: subject, expectation, what came."""
    where = ".".join(str(part) for part in path)
    sections: dict[str, type[Table]] = {
        "event": EventTable,
        "feature": FeatureTable,
        "rule": RuleTable,
        "list": ListTable,
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


def _path(text: str | None) -> tuple[str, ...]:
    return tuple(text.split(".")) if text else ()


def _time_name(table: EventTable) -> str:
    """The name of the member with the event time; empty if there is none."""
    match = _TIME.match(table.time or "")
    return match["name"] if match else ""


def _bound(name: str, symbol: Symbol) -> str | None:
    """What is known of a name's value, in words."""
    scale = 1_000_000 if symbol.kind is Kind.DURATION else 1
    unit = " s" if symbol.kind is Kind.DURATION else ""
    least, most = (f"{end / scale:.15g}{unit}" for end in symbol.range)
    match (isfinite(symbol.range[0]), isfinite(symbol.range[1])):
        case (True, True):
            return f"{name} is {least} to {most}"
        case (True, False):
            return f"{name} is at least {least}"
        case (False, True):
            return f"{name} is at most {most}"
        case _:
            return None


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
