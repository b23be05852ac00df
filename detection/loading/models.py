"""Models of pack files, with those that lie there already."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from detection.errors import ModelError
from detection.expressions import Constants, Expression, Language, Symbol
from detection.kinds import Kind
from detection.loading.digest import digest
from detection.loading.report import File, Report
from detection.models.loaded import LoadedModel, Purpose, load_model
from detection.pack import Feature, Field, ModelSpec

SUFFIX: Final = ".model"

_KINDS: Final = (Kind.INT, Kind.FLOAT, Kind.BOOL, Kind.MONEY, Kind.DURATION)


class ModelLoader:
    """Checks the models of files."""

    def __init__(self, report: Report) -> None:
        self._report = report

    def models(
        self,
        owners: Mapping[str, File],
        fields: Mapping[str, Mapping[str, Field]],
        features: Iterable[Feature],
        constants: Mapping[str, Constants],
        *,
        files: bool,
    ) -> list[ModelSpec]:
        """The models.

        Args:
            owners: The files that declare them, by their names.
            fields: The fields of each event type, by name.
            features: All features.
            constants: Of each event type.
            files: Whether to read what lies there.
        """
        found = []
        features = list(features)
        for name, owner in owners.items():
            table = owner.table.model[name]
            self._report.read_names.update(table.features)
            if table.on not in fields:
                self._report.unknown(owner, ("model", name, "on"), f"model {name}: no event", table.on, fields)
                continue
            before = len(self._report.problems)
            own = {feature.name: feature for feature in features if feature.on == table.on}
            symbols = {field.name: field.symbol for field in fields[table.on].values()}
            symbols |= {feature.name: feature.symbol for feature in own.values()}
            derived = self._derived(owner, name, symbols, constants[table.on])
            symbols |= {key: Symbol(made.kind, f"({made.source})", made.optional) for key, made in derived.items()}
            self._features(owner, name, table.features, symbols)
            if not table.file.endswith(SUFFIX):
                message = f"model {name}: file: expected a {SUFFIX}, got {table.file!r}"
                self._report.at(owner, ("model", name, "file"), message)
            read = {*table.features, *(part for made in derived.values() for part in made.names)}
            if len(self._report.problems) > before or not self._report.broken.isdisjoint(read):
                self._report.broken.add(name)
                continue
            definitions = digest([_defined(own, fields, table.on, feature, derived) for feature in table.features])
            spec = ModelSpec(
                name,
                table.on,
                tuple(table.features),
                tuple(symbols[feature] for feature in table.features),
                Path(owner.name).parent / table.file,
                definitions,
                derived={key: made.names for key, made in derived.items()},
            )
            found.append(self._with_files(owner, spec, table.file) if files else spec)
        return found

    def _derived(
        self, owner: File, name: str, symbols: Mapping[str, Symbol], constants: Constants
    ) -> dict[str, Expression]:
        """What the model computes of fields and features."""
        table = owner.table.model[name]
        language = Language(symbols) if table.derive else None
        found: dict[str, Expression] = {}
        for key, text in (table.derive or {}).items():
            path = ("model", name, "derive", key)
            if key in symbols:
                known = "a field or feature"
                self._report.at(owner, path, f"model {name}: derive: {key} is already {known}", key=True)
            elif key not in table.features:
                self._report.at(owner, path, f"model {name}: derive: {key} is none of its features", key=True)
            elif language is not None:
                subject = f"model {name}: derive {key}"
                expression = self._report.expression(owner, path, subject, language, text, constants=constants)
                if expression is None:
                    self._report.broken.add(name)
                    continue
                self._report.read_names.update(expression.names)
                found[key] = expression
        return found

    def _features(self, owner: File, name: str, features: Sequence[str], symbols: Mapping[str, Symbol]) -> None:
        for number, feature in enumerate(features):
            path = ("model", name, "features", number)
            if feature not in symbols:
                if feature not in (owner.table.model[name].derive or {}):  # else it is told there what is wrong
                    self._report.unknown(owner, path, f"model {name}: no field or feature", feature, symbols)
            elif feature in features[:number]:
                self._report.at(owner, path, f"model {name}: features names {feature} twice")
            elif symbols[feature].kind not in _KINDS:
                expected = f"expected {', '.join(_KINDS[:-1])} or {_KINDS[-1]}"
                self._report.at(owner, path, f"model {name}: {feature}: {expected}, got {symbols[feature].kind}")

    def _with_files(self, owner: File, spec: ModelSpec, file: str) -> ModelSpec:
        """A champion that is wrong is an error; a challenger decides nothing, so it must not keep anybody from it."""
        path = ("model", spec.name, "file")
        if not spec.file.exists():
            missing = f"file {file} is not there: its score is unknown until it is"
            self._report.warn(owner, path, f"model {spec.name}: {missing}")
        champion = challenger = None
        try:
            champion = _present(spec.file, spec.purpose)
        except ModelError as error:
            self._report.at(owner, path, f"model {spec.name}: {error}")
        try:
            challenger = _present(spec.challenger_file, spec.purpose)
        except ModelError as error:
            self._report.warn(owner, path, f"model {spec.name}: challenger: {error}")
        return spec.holding(champion, challenger)

    def personal(self, owners: Mapping[str, File], models: Iterable[ModelSpec], personal: frozenset[str]) -> None:
        """No model looks at what is personal: verdicts and reasons tell its values."""
        for spec in models:
            for number, feature in enumerate(spec.features):
                if feature in personal:
                    path = ("model", spec.name, "features", number)
                    self._report.at(owners[spec.name], path, f"model {spec.name}: {feature} is personal (pii)")
            for key, read in spec.derived.items():
                for feature in personal.intersection(read):
                    derived = ("model", spec.name, "derive", key)
                    self._report.at(owners[spec.name], derived, f"model {spec.name}: {feature} is personal (pii)")


def _present(path: Path, purpose: Purpose) -> LoadedModel | None:
    return load_model(path, purpose) if path.exists() else None


def _defined(
    features: Mapping[str, Feature],
    fields: Mapping[str, Mapping[str, Field]],
    event: str,
    name: str,
    derived: Mapping[str, Expression],
) -> dict[str, Any]:
    """What defines a field or feature of an event, or what is derived of them: whatever may change its values."""
    if name in derived:
        read = [_defined(features, fields, event, part, {}) for part in derived[name].names]
        return {"name": name, "text": derived[name].text, "read": read}
    feature = features.get(name)
    if feature is None:
        return {"name": name, **_field(fields[event], name)}
    counted = fields[feature.counted]
    return {
        "name": name,
        "fn": feature.aggregate.name,
        "window": [feature.window, feature.delay, feature.session, feature.resolution],
        "key": [_field(fields[event], part.name) for part in feature.key],
        "counted": [feature.counted, *(_field(counted, part.name) for part in feature.counted_key)],
        "of": [_field(counted, part.name) for part in feature.of],
        "where": _expression(counted, feature.where),
    }


def _field(fields: Mapping[str, Field], name: str) -> dict[str, Any]:
    item = fields.get(name)
    if item is None:
        return {"time": name}
    return {"kind": item.kind, "member": item.member, "derived": _expression(fields, item.derived)}


def _expression(fields: Mapping[str, Field], expression: Expression | None) -> list[Any] | None:
    if expression is None:
        return None
    return [expression.text, *(_field(fields, name) for name in expression.names), *expression.lists]
