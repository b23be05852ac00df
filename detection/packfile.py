"""The shape of a pack file: what may stand where. Meaning is checked in `detection.pack`."""

from typing import Annotated, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Discriminator, Field, StringConstraints, Tag

Name: TypeAlias = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
Names: TypeAlias = Annotated[
    Annotated[Name, Tag("[name]")] | Annotated[list[Name], Tag("[names]")],
    Discriminator(lambda value: "[names]" if isinstance(value, list) else "[name]"),
]
"""One name, or a list of them. Told apart by hand, or a mistake would be an error of both; errors carry the tag."""
Outcome: TypeAlias = Literal["allow", "review", "block"]
Mode: TypeAlias = Literal["off", "shadow", "live"]


class Table(BaseModel):
    """A table of a pack: unknown keys are errors, and no value is bent to fit."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class EventTable(Table):
    """`[event.NAME]`: one kind of JSON object, read from one topic."""

    topic: str = Field(description="The topic it is read from; `${TRANSACTIONS_TOPIC}` names a setting.")
    fields: dict[Name, str] = Field(
        description="Members of the JSON and their kinds: `str int float bool money`; `?` may be missing; "
        '`"money:currency"` names the field with its currency.'
    )
    time: str | None = Field(
        None,
        description="The member with the event time: ISO 8601 or epoch ms; `?` may be missing. "
        "Absent: the record's timestamp.",
    )
    derive: dict[Name, str] | None = Field(
        None, description="Fields computed from others, in order: name = expression."
    )
    busiest: dict[Name, Annotated[int, Field(ge=1)]] | None = Field(
        None,
        description="Events an hour of the busiest value of a field, for the estimate of cost: `{ shop = 3600 }`; "
        "absent: 60.",
    )
    block_topic: str | None = Field(None, description="Where blocked events go; absent: FRAUD_TOPIC.")
    review_topic: str | None = Field(None, description="Where events to review go; absent: REVIEW_TOPIC.")
    accept_topic: str | None = Field(None, description="Where accepted events go; absent: LEGIT_TOPIC.")
    add: dict[Name, str] = Field(
        default_factory=dict,
        description="Members added to the verdict: name = expression, which may read `fraudulent`.",
    )


class FeatureTable(Table):
    """`[feature.NAME]`: an aggregate over a window of one key's events."""

    on: Name = Field(description="The event it counts.")
    key: list[Name] = Field(
        min_length=1, description="The fields that make the key; events with equal ones share a window."
    )
    fn: str = Field(description="The aggregate.")
    of: Names | None = Field(
        None, description="The field that is aggregated, for the aggregates that take one; a list for those of a pair."
    )
    window: str = Field(description='How far back, such as `"10s"`: the window is `(t-10s, t]`.')
    delay: str | None = Field(
        None, description='Moves the window into the past, such as `"7d"`: it is `(t-7d-window, t-7d]` then.'
    )
    session: str | None = Field(
        None, description='Ends the window at the newest silence longer than this, such as `"30m"`.'
    )
    where: str | None = Field(
        None, description="A condition over fields, a CEL expression: only events for which it is true are counted."
    )

    resolution: str | None = Field(
        None,
        description='Keeps sums for stretches of so long, such as `"1d"`, instead of the events: for long windows.',
    )
    over: Name | None = Field(
        None, description="The event it counts, if not the one it is computed at, which only looks at those then."
    )
    over_key: list[Name] | None = Field(
        None, min_length=1, description="The fields of the counted event that make the key, if they have other names."
    )

    @property
    def fields(self) -> list[str]:
        """The names in `of`."""
        return [self.of] if isinstance(self.of, str) else self.of or []


Member: TypeAlias = str | int
Members: TypeAlias = Annotated[
    Annotated[list[Member], Tag("[members]")] | Annotated[dict[str, object], Tag("[values]")],
    Discriminator(lambda value: "[values]" if isinstance(value, dict) else "[members]"),
]
"""Members, or members with what the list says of each."""


class ListTable(Table):
    """`[list.NAME]`: members that rules look up, such as blocked addresses."""

    of: Literal["str", "int"] = Field("str", description="The kind of its members.")
    value: Literal["str", "int", "float", "bool"] | None = Field(
        None, description="The kind of what it says of each member; absent: it says nothing."
    )
    members: Members | None = Field(
        None, description='They themselves: `["a", "b"]`, or with values `{ "a" = 1, "b" = 2 }`.'
    )
    file: str | None = Field(
        None, description="A file with them, seen from this one's folder, read at the start: `.txt`, `.csv` or `.mmdb`."
    )
    topic: str | None = Field(None, description="A compacted topic with them: the key is the member.")
    path: str | None = Field(
        None, description='Of an .mmdb file, where its value stands in an address\'s record: `"country.iso_code"`.'
    )


class CaseTable(Table):
    """`[[rule.NAME.test]]`: events, and whether the rule fires at each."""

    given: list[dict[str, object]] = Field(
        min_length=1,
        description='Events in order; `"@" = "10s"` sets the time since the start, `"*" = 50` repeats an event.',
    )
    fires: list[bool] = Field(description="For each event, whether the rule fires.")
    lists: dict[Name, Members] = Field(default_factory=dict, description="Who is on a list here, by its name.")
    models: dict[Name, Annotated[float, Field(ge=0, le=1)]] = Field(
        default_factory=dict, description="The score of a model here, by its name; of any other it is unknown."
    )


class RuleTable(Table):
    """`[rule.NAME]`: a condition, and what follows from it."""

    on: Name = Field(description="The event it judges.")
    when: str = Field(description="The condition, a CEL expression over fields and features.")
    reason: str = Field(description="What a person reads; `{name}` stands for a field's or feature's value.")
    score: int = Field(ge=0, le=100, description="What it adds to the verdict's score, 0 to 100.")
    outcome: Outcome = Field(description="What it asks for: `review`, `block`, or `allow`: no review.")
    mode: Mode = Field("live", description="`live` decides, `shadow` is only recorded, `off` is not evaluated.")
    test: list[CaseTable] = Field(default_factory=list, description="Inline tests.")


class ModelTable(Table):
    """`[model.NAME]`: a model that scores events; rules read it as `model.NAME`."""

    on: Name = Field(description="The event it scores.")
    features: list[Name] = Field(
        min_length=1, max_length=256, description="What it looks at, in order: fields, features and what it derives."
    )
    derive: dict[Name, str] | None = Field(
        None, description="Values computed from fields and features, for it alone: names and expressions."
    )
    file: str = Field(description="Its file, a `.model`, seen from this one's folder.")


class DedupeTable(Table):
    """`dedupe` of an `[alert.NAME]`."""

    per: list[Name] = Field(min_length=1, description="The fields that say who it is about.")
    lasting: str = Field(alias="for", description='How long one is not told of again, in event time: `"1h"`.')


class AlertTable(Table):
    """`[alert.NAME]`: whom to tell of which verdicts."""

    rules: list[Name] | None = Field(None, min_length=1, description="The rules; absent: all.")
    decisions: list[Literal["review", "block"]] = Field(
        ["block"], min_length=1, description='Of which decisions: `["block"]`, also `"review"`.'
    )
    to: list[str] = Field(
        min_length=1, description='Receivers: `["${ALERTS_OPS}"]`, variables with Apprise URLs, which are secret.'
    )
    dedupe: DedupeTable | None = Field(
        None, description='Not twice about one: `{ per = ["user"], for = "1h" }`; absent: each is told.'
    )
    group: str | None = Field(
        None, description='How long alerts of a rule are collected after one was sent: `"1m"`; absent: each goes alone.'
    )
    limit: str | None = Field(
        None, description='How many messages go to a receiver in how long: `"60/1h"`; more wait. Absent: no limit.'
    )


class PackTable(Table):
    """A whole pack file."""

    lateness: str = Field(
        "1h", description="How far behind its partition's newest event one may be before it is marked late."
    )
    extends: list[str] = Field(
        default_factory=list, description="Packs that this one builds on: paths, seen from this file's folder."
    )
    pii: list[Name] = Field(
        default_factory=list, description="Fields that are personal, whatever event has them: masked in alerts."
    )
    event: dict[Name, EventTable] = Field(default_factory=dict)
    feature: dict[Name, FeatureTable] = Field(default_factory=dict)
    rule: dict[Name, RuleTable] = Field(default_factory=dict)
    list: dict[Name, ListTable] = Field(default_factory=dict)
    model: dict[Name, ModelTable] = Field(default_factory=dict)
    alert: dict[Name, AlertTable] = Field(default_factory=dict)
