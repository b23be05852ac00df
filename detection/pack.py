"""Packs: what the TOML files mean, once they are checked (see `detection.loading`)."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Protocol, TypeAlias

from detection.aggregates import Aggregate, Column
from detection.errors import Problem
from detection.expressions import Constants, Expression, ListSymbol, Symbol
from detection.kinds import Kind
from detection.models.loaded import LoadedModel, Purpose
from detection.packfile import CaseTable, Mode, Outcome
from detection.records import Decision

MODEL: Final = "model"
"""Before the name of a model, with a dot between, in expressions and reasons."""

TOP: Final = "top"
"""Behind it in reasons: the features that stood out."""

VERDICT_MEMBERS: Final = ("fraudulent", "reason", "verdict")

Entry: TypeAlias = tuple[int, int, Any]
"""Of a member of a list: on it from when, until when (us, the end not included), and its value or None."""


@dataclass(frozen=True, slots=True)
class Field:
    """A member of an event's JSON that the pack names.

    Attributes:
        name: The member.
        kind: What it holds.
        optional: Whether it may be missing or null.
        currency: The field with the currency, for money that has one.
        path: Where its member is, from the outside in; absent: the one of its name, at the top.
        derived: What it is computed by, if it is no member.
    """

    name: str
    kind: Kind
    optional: bool
    currency: str | None = None
    path: tuple[str, ...] = ()
    derived: Expression | None = None

    @property
    def member(self) -> tuple[str, ...]:
        """The names that lead to its member."""
        return self.path or (self.name,)

    @property
    def symbol(self) -> Symbol:
        """How expressions read it from an event `e`."""
        return Symbol(self.kind, f"e.f_{self.name}", self.optional)


@dataclass(frozen=True, slots=True)
class Feature:
    """An aggregate over a window of one key's events.

    Attributes:
        name: Its name in expressions.
        on: The event type it counts.
        key: The fields that make the key.
        aggregate: The function.
        of: The fields aggregated: none, one, or the pair, as the aggregate takes them.
        window: How far back it reaches, us; the window is `(t - delay - window, t - delay]`.
        kind: The kind of its value.
        optional: Whether the value may be unknown.
        delay: How far in the past the window ends, us.
        session: The longest silence inside the window, us; 0: any.
        where: What an event must fulfil to be counted.
        over: The event type that is counted, if the one it is computed at only looks at those; empty: `on`.
        over_key: The fields of that one which make the key.
        constants: The values that the source of `where` names.
        resolution: How long the panes are that the window consists of, us; 0: it is exact.
    """

    name: str
    on: str
    key: tuple[Field, ...]
    aggregate: Aggregate
    of: tuple[Field, ...]
    window: int
    kind: Kind
    optional: bool
    delay: int = 0
    session: int = 0
    where: Expression | None = None
    over: str = ""
    over_key: tuple[Field, ...] = ()
    constants: Constants | None = None
    resolution: int = 0

    @property
    def columns(self) -> tuple[Column, ...]:
        """The columns it needs of the history of its key."""
        kind = self.of[0].kind if self.of else None
        return (self.aggregate.panes(kind) or ()) if self.resolution else self.aggregate.columns(kind)

    @property
    def reach(self) -> int:
        """How far back an event may be that it counts, us."""
        return self.window + self.delay + self.resolution

    @property
    def counted(self) -> str:
        """The event type that is counted."""
        return self.over or self.on

    @property
    def counted_key(self) -> tuple[Field, ...]:
        """The fields of the counted events that make the key."""
        return self.over_key or self.key

    @property
    def may_be_empty(self) -> bool:
        """Whether the window may hold no event, not even the judged one."""
        return bool(self.where or self.delay or self.over)

    @property
    def symbol(self) -> Symbol:
        """How expressions read it: a local variable of the generated judge."""
        least, most = self.aggregate.range(self.reach)
        if self.aggregate.of_none and self.may_be_empty:
            least = min(least, 0)
        return Symbol(self.kind, f"v_{self.name}", self.optional, (least, most))


class Addresses(Protocol):
    """What a database says of IP addresses: looked up when asked for.

    Attributes:
        digest: Of the database.
    """

    digest: str

    def get(self, address: Any, /) -> Entry | None:
        """The entry of an address."""
        ...


@dataclass(frozen=True, slots=True)
class MemberList:
    """A list that rules look members up in.

    Attributes:
        name: Its name in expressions.
        kind: The kind of its members, `str` or `int`.
        value: The kind of what it says of each; None: nothing.
        entries: Its members when the pack is loaded; what only knows how to `get` is never changed.
        topic: The compacted topic that says who is on it; None: that does not change.
    """

    name: str
    kind: Kind
    value: Kind | None = None
    entries: "Mapping[Any, Entry] | Addresses" = field(default_factory=dict)
    topic: str | None = None

    @property
    def symbol(self) -> ListSymbol:
        """How expressions read it: an object of the generated judge's."""
        return ListSymbol(self.kind, self.value, f"L_{self.name}", "e.time")


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """A model that scores events.

    Attributes:
        name: Its name in the pack.
        on: The event type that it scores.
        features: The names of what it looks at, in order: fields, features, and what it derives of them.
        symbols: How a generated function with an event `e` and the locals of `Plan.unpacking` reads each.
        file: Where it lies.
        definitions: Digest of what defines the features.
        champion: The model that lies there when the pack is loaded; None: none does.
        challenger: The one beside it that no rule reads; None: there is none.
        derived: Which fields and features are read for what it derives.
    """

    name: str
    on: str
    features: tuple[str, ...]
    symbols: tuple[Symbol, ...]
    file: Path
    definitions: str
    champion: LoadedModel | None = None
    challenger: LoadedModel | None = None
    derived: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """The kinds of its features."""
        return tuple(symbol.kind for symbol in self.symbols)

    @property
    def symbol(self) -> Symbol:
        """How expressions read its score: a local variable of the generated judge."""
        return Symbol(Kind.FLOAT, f"m_{self.name}", optional=True, range=(0.0, 1.0))

    @property
    def scored(self) -> str:
        """How rules name its score."""
        return f"{MODEL}.{self.name}"

    @property
    def challenger_file(self) -> Path:
        """Where a challenger lies."""
        return self.beside("challenger")

    @property
    def purpose(self) -> Purpose:
        """What a model in the file must be made for."""
        return Purpose(self.name, self.on, self.features, self.definitions)

    @property
    def loaded(self) -> tuple[LoadedModel, ...]:
        """The models that there are."""
        return tuple(model for model in (self.champion, self.challenger) if model is not None)

    def beside(self, what: str) -> Path:
        """The file `NAME.what.model` beside its own."""
        return self.file.with_name(f"{self.file.stem}.{what}{self.file.suffix}")

    def holding(self, champion: LoadedModel | None, challenger: LoadedModel | None) -> "ModelSpec":
        """The same with these models."""
        return replace(self, champion=champion, challenger=challenger)


@dataclass(frozen=True, slots=True)
class Reason:
    """A reason's text: literal pieces and the names between them.

    Attributes:
        parts: Pairs of literal text and the name whose value follows it; the last name may be None. `model.NAME.top`
            stands for the features that stood out to a model.
    """

    parts: tuple[tuple[str, str | None], ...]


@dataclass(frozen=True, slots=True)
class Rule:
    """A condition on an event, and what follows from it.

    Attributes:
        name: Its name in verdicts.
        version: A hash of its definition: changes exactly when the rule does.
        condition: The checked condition.
        reason: What a person reads.
        reads: Fields, features and models (`model.NAME`) that the condition and the reason name, in order.
        score: What it adds to the verdict's score.
        outcome: What it asks for.
        mode: Whether it decides.
        tests: Its inline tests.
    """

    name: str
    version: str
    condition: Expression
    reason: Reason
    reads: tuple[str, ...]
    score: int
    outcome: Outcome
    mode: Mode
    tests: tuple[CaseTable, ...]


@dataclass(frozen=True, slots=True)
class EventType:
    """One kind of event.

    Attributes:
        name: Its name in the pack.
        topic: The topic it is read from.
        fields: The members the pack names, required ones first, and what is derived from them, in order.
        time: The member with the event time; None: the record's timestamp.
        time_optional: Whether that member may be missing.
        time_path: Where that member is, as a field's `path`.
        topics: Where a verdict goes, by decision.
        lateness: How far behind its partition's newest event one may be before it is late, us.
        features: The features computed at each event.
        rules: The rules that judge it, those switched off left out.
        added: Members added to the verdict, in order.
        constants: The values that the expressions' sources name.
        symbols: What each name stands for.
        derivation: The values that the sources of derived fields name.
        busiest: Events an hour of the busiest value of a field, as far as the pack says.
        models: What scores it.
    """

    name: str
    topic: str
    fields: tuple[Field, ...]
    time: str | None
    time_optional: bool
    topics: Mapping[Decision, str]
    lateness: int
    features: tuple[Feature, ...]
    rules: tuple[Rule, ...]
    added: Mapping[str, Expression]
    constants: Constants
    symbols: Mapping[str, Symbol]
    time_path: tuple[str, ...] = ()
    derivation: Constants = field(default_factory=Constants)
    busiest: Mapping[str, int] = field(default_factory=dict)
    models: tuple[ModelSpec, ...] = ()

    @property
    def derived(self) -> tuple[Field, ...]:
        """The fields that are computed, in the order in which that is done."""
        return tuple(field for field in self.fields if field.derived)

    @property
    def members(self) -> tuple[Field, ...]:
        """The fields that are members of the JSON, and the member with the event time."""
        fields = tuple(field for field in self.fields if not field.derived)
        if self.time is None:
            return fields
        return (*fields, Field(self.time, Kind.TIME, self.time_optional, path=self.time_path))


@dataclass(frozen=True, slots=True)
class AlertSpec:
    """Whom to tell of which verdicts.

    Attributes:
        name: Its name in the pack.
        rules: The rules; None: all.
        decisions: Of which decisions.
        to: Names of the settings with the receivers, such as `ALERTS_OPS`.
        per: The fields that say who it is about; empty: each event is one of its own.
        lasting: How long one is not told of again, us of event time; None: each is told.
        group: How long alerts of a rule are collected after one was sent, ms; 0: each goes alone.
        limit: How many messages go to a receiver in how long (ms); None: no limit.
    """

    name: str
    rules: frozenset[str] | None
    decisions: tuple[Decision, ...]
    to: tuple[str, ...]
    per: tuple[str, ...] = ()
    lasting: int | None = None
    group: int = 0
    limit: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class Pack:
    """All packs loaded together: one set of events, features and rules.

    Attributes:
        hash: Of everything that can change a verdict; carried by each verdict.
        events: The event types, in the order of their declaration.
        warnings: What is allowed, but probably not meant.
        lists: What its rules look members up in.
        alerts: Whom to tell; no part of the hash.
        pii: The fields that are personal, see `detection.privacy`; no part of the hash.
    """

    hash: str
    events: tuple[EventType, ...]
    warnings: tuple[Problem, ...] = ()
    lists: tuple[MemberList, ...] = ()
    alerts: tuple[AlertSpec, ...] = ()
    pii: tuple[str, ...] = ()

    @property
    def models(self) -> tuple[ModelSpec, ...]:
        """All models."""
        return tuple(model for event in self.events for model in event.models)

    @property
    def topics_of_lists(self) -> dict[str, str]:
        """The list that each topic of members is for."""
        return {item.topic: item.name for item in self.lists if item.topic is not None}

    @property
    def topics_in(self) -> tuple[str, ...]:
        """The topics that events are read from."""
        return tuple(event.topic for event in self.events)

    @property
    def topics_out(self) -> tuple[str, ...]:
        """The topics that verdicts go to, each once."""
        return tuple(dict.fromkeys(topic for event in self.events for topic in event.topics.values()))
