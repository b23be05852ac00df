"""The way through all files of a pack: shape, names, kinds and expressions."""

import re
import tomllib
from collections.abc import Iterable, Mapping

from pydantic import ValidationError

from detection.cost import LARGEST_HISTORY, SLOWEST_EVENT, Cost, cost_of
from detection.errors import PackError, Problem
from detection.expressions import Constants, Symbol
from detection.kinds import Kind
from detection.loading.alerts import AlertLoader
from detection.loading.digest import digest
from detection.loading.features import FeatureLoader
from detection.loading.fields import FieldLoader, time_symbol
from detection.loading.files import excess
from detection.loading.lists import ListLoader
from detection.loading.models import ModelLoader
from detection.loading.report import File, Report, explain
from detection.loading.rules import RuleLoader
from detection.loading.topics import Topics
from detection.pack import EventType, Feature, Field, MemberList, Pack
from detection.packfile import PackTable
from detection.positions import Positions
from detection.privacy import Privacy


class Loader:
    """Goes through the files once."""

    def __init__(self, topics: Mapping[str, str], *, model_files: bool) -> None:
        """Begin with no file.

        Args:
            topics: Topics by the name of their setting.
            model_files: Whether to read the files of models.
        """
        self._model_files = model_files
        self._files: list[File] = []
        self._report = Report()
        self._topics = Topics(self._report, topics)

    def read(self, name: str, text: str) -> None:
        """Check the shape of a file."""
        problems = self._report.problems
        line, message = excess(text)
        if message:
            problems.append(Problem(name, line, min(line, 1), message))
            return
        try:
            data = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            place = re.search(r"\(at line (\d+), column (\d+)\)", str(error))
            end = text.count("\n") + 1, len(text) - text.rfind("\n")
            line, column = (int(place[1]), int(place[2])) if place else end
            message = re.sub(r" \(at .*\)$", "", str(error))
            problems.append(Problem(name, line, column, f"not TOML: {message[:1].lower()}{message[1:]}"))
            return
        except (ValueError, RecursionError):  # an integer of thousands of digits, thousands of brackets
            problems.append(Problem(name, 0, 0, "not TOML: a number is too long, or arrays are nested too deeply"))
            return
        try:
            self._files.append(File(name, text, PackTable.model_validate(data)))
        except ValidationError as error:
            places = Positions(text)
            for detail in error.errors(include_url=False, include_input=True):
                path = tuple(part for part in detail["loc"] if not str(part).startswith("["))
                is_key = detail["type"] == "extra_forbidden" or "[key]" in detail["loc"]
                line, column = places.key(path) if is_key else places.value(path)
                problems.append(Problem(name, line, column, *explain(path, dict(detail))))

    def finish(self) -> Pack:
        """What the files mean together.

        Raises:
            PackError: With every problem found.
        """
        report = self._report
        events, features, rules, owners = (self._merged(section) for section in ("event", "feature", "rule", "list"))
        models = self._merged("model")
        lists = ListLoader(report, self._topics).lists(owners, events, features)
        if not events and not report.problems:
            names = ", ".join(file.name for file in self._files)
            report.problems.append(Problem(names, 0, 0, "pack: declares no event"))
        compiled = self._events(events, features, rules, lists, models) if events else ()
        alerts = AlertLoader(report).alerts(self._merged("alert"), compiled)
        pii = self._pii(compiled)
        personal = Privacy(Pack("", compiled, pii=pii)).names
        ModelLoader(report).personal(models, Pack("", compiled).models, personal)
        if not report.problems:
            self._limit(cost_of(Pack("", compiled)), features)
        if report.problems:
            raise PackError(list(dict.fromkeys(report.problems)))
        for section, declared in (("feature", features), ("list", owners)):
            for name, owner in declared.items():
                if name not in report.read_names:
                    report.warn(owner, (section, name), f"{section} {name}: nobody reads it", key=True)
        return Pack(self._hash(lists), compiled, tuple(report.warnings), tuple(lists.values()), alerts, pii)

    def _pii(self, events: Iterable[EventType]) -> tuple[str, ...]:
        """The personal fields of all files: each is one of some event, and none that only a part of would be masked."""
        known: dict[str, set[Kind]] = {}
        for field in (field for event in events for field in event.fields):
            known.setdefault(field.name, set()).add(field.kind)
        for file in self._files:
            for number, name in enumerate(file.table.pii):
                wrong = sorted(known.get(name, set()) - {Kind.STR, Kind.INT})
                if known and name not in known:
                    self._report.unknown(file, ("pii", number), "pii: no field", name, known)
                elif wrong:
                    self._report.at(file, ("pii", number), f"pii: {name}: expected a str or int field, got {wrong[0]}")
        return tuple(dict.fromkeys(name for file in self._files for name in file.table.pii))

    def _limit(self, cost: Cost, owners: Mapping[str, File]) -> None:
        """No key may take more than a process can bear."""
        hint = 'give it a resolution such as "1d", or say in busiest that there are fewer events'
        for history in (history for history in cost.histories if history.size > LARGEST_HISTORY):
            name = history.features[0].name
            busiest = f"the busiest {', '.join(part.name for part in history.key)} ({history.hourly:,} an hour)"
            keeps = f"keeps {history.entries:,} {history.event.name} events of {busiest}"
            expected = f"expected at most {LARGEST_HISTORY >> 20} MB, got {history.size >> 20}"
            message = f"feature {name}: {keeps}: {expected}"
            self._report.at(owners[name], ("feature", name, "window"), message, hint=hint)
        for event in (event for event, micros in cost.events.items() if micros > SLOWEST_EVENT):
            mine = [name for name, owner in owners.items() if owner.table.feature[name].on == event]
            name = max(mine, key=lambda name: cost.features[name])
            work = f"makes an event of the busiest key cost {cost.features[name] / 1000:.1f} ms"
            expected = (
                f"expected at most {SLOWEST_EVENT / 1000:.0f} ms with all others, got {cost.events[event] / 1000:.1f}"
            )
            message = f"feature {name}: {work}: {expected}"
            self._report.at(owners[name], ("feature", name, "window"), message, hint=hint)

    def _merged(self, section: str) -> dict[str, File]:
        owners: dict[str, File] = {}
        for file in self._files:
            for name in getattr(file.table, section):
                if name in owners:
                    first = owners[name]
                    line, _ = first.positions().key((section, name))
                    message = f"{section} {name}: declared twice, first at {first.name}:{line}"
                    self._report.at(file, (section, name), message, key=True)
                else:
                    owners[name] = file
        return owners

    def _hash(self, lists: Mapping[str, MemberList]) -> str:
        # Without the absent: a release that knows more keys must not change the hash of a pack that has none of them.
        tables = [file.table.model_dump(mode="json", exclude_none=True) for file in self._files]
        for table in tables:
            for rule in table["rule"].values():
                del rule["test"]
            for event in table["event"].values():
                event.pop("busiest", None)
        merged = {
            section: {name: item for table in tables for name, item in table[section].items()}
            for section in ("event", "feature", "rule")
        }
        lateness = {name: table["lateness"] for table in tables for name in table["event"]}
        # The order of rules and of added members is the order in which a verdict tells them.
        rules = {on: [name for name, rule in merged["rule"].items() if rule["on"] == on] for on in merged["event"]}
        added = {name: list(event["add"]) for name, event in merged["event"].items()}
        listed = {name: item for table in tables for name, item in table["list"].items()}
        for name, item in listed.items():
            entries = lists[name].entries
            item["entries"] = sorted(entries.items()) if isinstance(entries, Mapping) else entries.digest
        models = {name: item for table in tables for name, item in table["model"].items()}
        known = {**({"list": listed} if listed else {}), **({"model": models} if models else {})}
        return digest({**merged, **known, "lateness": lateness, "order": [rules, added]})[:12]

    def _events(
        self,
        owners: Mapping[str, File],
        features: Mapping[str, File],
        rules: Mapping[str, File],
        lists: Mapping[str, MemberList],
        models: Mapping[str, File],
    ) -> tuple[EventType, ...]:
        fields = FieldLoader(self._report, lists)
        judging = RuleLoader(self._report, lists, models)
        known = {name: fields.fields(owner, name, owner.table.event[name]) for name, owner in owners.items()}
        derivations = {name: fields.derive(owner, name, known[name]) for name, owner in owners.items()}
        scopes = {name: _scope(owner, name, known[name]) for name, owner in owners.items()}
        featured = FeatureLoader(self._report).features(features, known, scopes)
        constants = {name: Constants() for name in owners}
        scoring = ModelLoader(self._report).models(models, known, featured, constants, files=self._model_files)
        judging.orphans(rules, owners)
        topics = self._topics.read(owners)
        compiled = []
        for name, owner in owners.items():
            table = owner.table.event[name]
            time = fields.time(owner, name, table, known[name])
            members = [item for item in known[name].values() if not item.derived]
            fields.apart(owner, name, [*members, *([time] if time else [])])
            mine = tuple(feature for feature in featured if feature.on == name)
            if time is not None and any(feature.name == time.name for feature in mine):
                message = f"event {name}: time {time.name!r} is also the name of a feature"
                self._report.at(owner, ("event", name, "time"), message)
            scored = tuple(model for model in scoring if model.on == name)
            scores = {model.scored: model.symbol for model in scored}
            symbols = {**_symbols(known[name], mine), **time_symbol(table), **scores}
            judged = {rule: file for rule, file in rules.items() if file.table.rule[rule].on == name}
            compiled.append(
                EventType(
                    name=name,
                    topic=topics[name],
                    fields=_ordered(known[name].values()),
                    derivation=derivations[name],
                    time=time.name if time else None,
                    time_optional=time is not None and time.optional,
                    time_path=time.path if time else (),
                    topics=self._topics.written(owner, name),
                    lateness=self._report.duration(owner, ("lateness",), "lateness", owner.table.lateness),
                    features=mine,
                    rules=judging.rules(judged, symbols, constants[name]),
                    added=judging.added(owner, name, table, symbols, constants[name]),
                    constants=constants[name],
                    symbols=symbols,
                    busiest=fields.busiest(owner, name, table, known[name]),
                    models=scored,
                )
            )
        self._topics.apart(compiled, owners, lists)
        return tuple(compiled)


def _scope(owner: File, event: str, fields: Mapping[str, Field]) -> dict[str, Symbol]:
    """What the expressions of features may read."""
    return _symbols(fields, ()) | time_symbol(owner.table.event[event])


def _symbols(fields: Mapping[str, Field], features: Iterable[Feature]) -> dict[str, Symbol]:
    symbols = {field.name: field.symbol for field in fields.values()}
    return symbols | {feature.name: feature.symbol for feature in features}


def _ordered(fields: Iterable[Field]) -> tuple[Field, ...]:
    """The required ones first, those that are derived last."""
    return tuple(sorted(fields, key=lambda item: (bool(item.derived), item.optional and not item.derived)))
