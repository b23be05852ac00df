"""Features of pack files: keys, aggregates and windows."""

from collections.abc import Mapping
from typing import Final

from detection.aggregates import AGGREGATES, Aggregate
from detection.expressions import Constants, Expression, Language, Symbol
from detection.kinds import Kind
from detection.loading.report import File, Report
from detection.pack import Feature, Field
from detection.packfile import FeatureTable

SHORTEST_WINDOW: Final = 1_000_000
SHORTEST_RESOLUTION: Final = 1_000_000
LONGEST_WINDOW: Final = 90 * 24 * 3600 * 1_000_000
LONGEST_DELAY: Final = 90 * 24 * 3600 * 1_000_000


class FeatureLoader:
    """Checks the features of files."""

    def __init__(self, report: Report) -> None:
        self._report = report

    def features(
        self,
        owners: Mapping[str, File],
        fields: Mapping[str, Mapping[str, Field]],
        scopes: Mapping[str, Mapping[str, Symbol]],
    ) -> list[Feature]:
        """The features.

        Args:
            owners: The files that declare them, by their names.
            fields: The fields of each event type, by name.
            scopes: What the expressions over its events may read.
        """
        features = []
        constants = Constants("w")  # of all features: one step may work on several event types
        for name, owner in owners.items():
            table = owner.table.feature[name]
            before = len(self._report.problems)
            window = self._window(owner, name, table)
            aggregate = AGGREGATES.get(table.fn)
            if aggregate is None:
                self._report.unknown(
                    owner, ("feature", name, "fn"), f"feature {name}: no aggregate", table.fn, AGGREGATES
                )
            if table.on not in fields:
                self._report.unknown(owner, ("feature", name, "on"), f"feature {name}: no event", table.on, fields)
            known = fields.get(table.on, {})
            self._key(owner, name, table, known)
            over = self._over(owner, name, table, fields)
            counted = fields.get(over or table.on, {})
            if name in known:
                self._report.at(
                    owner, ("feature", name), f"feature {name}: event {table.on} has a field of that name", key=True
                )
            of = self._of(owner, name, table, aggregate, counted) if aggregate and counted else ()
            delay = self._delay(owner, name, table)
            session = self._session(owner, name, table, window)
            resolution = self._resolution(owner, name, table, window)
            if table.resolution is not None and aggregate and aggregate.panes(of[0].kind if of else None) is None:
                message = f"feature {name}: {table.fn} needs each event, so it takes no resolution"
                self._report.at(owner, ("feature", name, "resolution"), message)
            where = self._where(owner, name, table, scopes, constants)
            if (
                len(self._report.problems) > before
                or aggregate is None
                or not self._report.broken.isdisjoint((name, *table.key, *(table.over_key or ()), *table.fields))
            ):
                self._report.broken.add(name)
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
                    resolution=resolution,
                )
            )
            if of and of[0].currency and of[0].currency not in counted_key and aggregate.name == "sum":
                self._report.warn(
                    owner,
                    ("feature", name, "of"),
                    f"feature {name}: adds amounts of different currencies: put {of[0].currency} into its key",
                )
        return features

    def _window(self, owner: File, name: str, table: FeatureTable) -> int:
        path = ("feature", name, "window")
        before = len(self._report.problems)
        window = self._report.duration(owner, path, f"feature {name}: window", table.window)
        if len(self._report.problems) == before and not SHORTEST_WINDOW <= window <= LONGEST_WINDOW:
            self._report.at(owner, path, f"feature {name}: expected a window of 1s to 90d, got {table.window!r}")
        return window

    def _key(self, owner: File, name: str, table: FeatureTable, known: Mapping[str, Field]) -> None:
        for index, part in enumerate(table.key if known else ()):
            if part not in known:
                self._report.unknown(owner, ("feature", name, "key", index), f"feature {name}: no field", part, known)
            elif part in table.key[:index]:
                self._report.at(owner, ("feature", name, "key", index), f"feature {name}: key names {part} twice")

    def _over(self, owner: File, name: str, table: FeatureTable, fields: Mapping[str, Mapping[str, Field]]) -> str:
        """The event type that is only looked at; empty if the feature counts the events it is computed at."""
        path = ("feature", name, "over_key" if table.over_key else "over")
        if table.over is None and not table.over_key:
            return ""
        over = table.over or table.on
        if over not in fields:
            self._report.unknown(owner, ("feature", name, "over"), f"feature {name}: no event", over, fields)
            return ""
        theirs, ours = fields[over], fields.get(table.on, {})
        names = table.over_key or table.key
        if (over, names) == (table.on, table.key):
            self._report.at(owner, path, f"feature {name}: over its own events by its own key: leave {path[-1]} away")
        if len(names) != len(table.key):
            expected = f"expected as many fields as in key ({len(table.key)})"
            self._report.at(owner, path, f"feature {name}: over_key: {expected}, got {len(names)}")
        for part, other in zip(table.key, names, strict=False):
            if other not in theirs:
                self._report.unknown(owner, path, f"feature {name}: event {over} has no field", other, theirs)
            elif part in ours and ours[part].kind is not theirs[other].kind:
                kinds = f"{part} is {ours[part].kind}, but {other} of event {over} is {theirs[other].kind}"
                self._report.at(owner, path, f"feature {name}: {kinds}")
        if table.fn in AGGREGATES and AGGREGATES[table.fn].pair:
            self._report.at(owner, path, f"feature {name}: {table.fn} cannot look at other events")
        return over

    def _where(
        self,
        owner: File,
        name: str,
        table: FeatureTable,
        scopes: Mapping[str, Mapping[str, Symbol]],
        constants: Constants,
    ) -> Expression | None:
        counted = table.over or table.on
        if table.where is None or counted not in scopes:
            return None
        language = Language(scopes[counted])
        where = self._report.expression(
            owner,
            ("feature", name, "where"),
            f"feature {name}: where",
            language,
            table.where,
            constants=constants,
            expects=Kind.BOOL,
        )
        if where is None:
            self._report.broken.add(name)
        return where

    def _delay(self, owner: File, name: str, table: FeatureTable) -> int:
        if table.delay is None:
            return 0
        path = ("feature", name, "delay")
        before = len(self._report.problems)
        delay = self._report.duration(owner, path, f"feature {name}: delay", table.delay)
        if len(self._report.problems) == before and not 0 < delay <= LONGEST_DELAY:
            self._report.at(
                owner, path, f"feature {name}: expected a delay of more than 0 and at most 90d, got {table.delay!r}"
            )
        return delay

    def _session(self, owner: File, name: str, table: FeatureTable, window: int) -> int:
        if table.session is None:
            return 0
        path = ("feature", name, "session")
        before = len(self._report.problems)
        session = self._report.duration(owner, path, f"feature {name}: session", table.session)
        if len(self._report.problems) == before and not 0 < session < window:
            expected = "expected a silence of more than 0 and less than the window"
            self._report.at(owner, path, f"feature {name}: {expected}, got {table.session!r}")
        return session

    def _resolution(self, owner: File, name: str, table: FeatureTable, window: int) -> int:
        if table.resolution is None:
            return 0
        path = ("feature", name, "resolution")
        before = len(self._report.problems)
        resolution = self._report.duration(owner, path, f"feature {name}: resolution", table.resolution)
        if len(self._report.problems) == before and not SHORTEST_RESOLUTION <= resolution <= window:
            expected = "expected a resolution of at least 1s and at most the window"
            self._report.at(owner, path, f"feature {name}: {expected}, got {table.resolution!r}")
        if table.session is not None:
            self._report.at(owner, path, f"feature {name}: a session needs each event, so it takes no resolution")
        return resolution

    def _of(
        self, owner: File, name: str, table: FeatureTable, aggregate: Aggregate, known: Mapping[str, Field]
    ) -> tuple[Field, ...]:
        path = ("feature", name, "of")
        if not aggregate.of:
            if table.of is not None:
                self._report.at(owner, path, f"feature {name}: {table.fn} takes no field, got of = {table.of!r}")
            return ()
        if aggregate.pair:
            expected = f"{table.fn} needs two fields: of = [{', '.join(aggregate.pair)}]"
            wrong = not isinstance(table.of, list) or len(table.of) != len(aggregate.pair)
        else:
            expected = f"{table.fn} needs a field: of = …"
            wrong = not isinstance(table.of, str)
        if table.of is None:
            self._report.at(owner, ("feature", name), f"feature {name}: {expected}", key=True)
        elif wrong:
            self._report.at(owner, path, f"feature {name}: {expected}, got {table.of!r}")
        if wrong:
            return ()
        fields = []
        for index, part in enumerate(table.fields):
            place = (*path, index) if aggregate.pair else path
            of = known.get(part)
            if of is None:
                self._report.unknown(owner, place, f"feature {name}: no field", part, known)
            elif of.kind not in aggregate.of:
                takes = ", ".join(sorted(aggregate.of))
                self._report.at(owner, place, f"feature {name}: {table.fn} takes {takes}, but {part} is {of.kind}")
            else:
                fields.append(of)
        return tuple(fields)
