"""Rules of pack files, and the members that they add to verdicts."""

from collections.abc import Iterable, Mapping
from math import isfinite
from string import Formatter

from detection.expressions import Constants, Expression, Language, ListSymbol, Symbol
from detection.kinds import Kind
from detection.loading.digest import digest
from detection.loading.fields import time_name
from detection.loading.report import File, Report
from detection.pack import MODEL, TOP, VERDICT_MEMBERS, MemberList, Reason, Rule
from detection.packfile import EventTable, RuleTable


class RuleLoader:
    """Checks the rules of files."""

    def __init__(self, report: Report, lists: Mapping[str, MemberList], models: Iterable[str] = ()) -> None:
        self._report = report
        self._lists = lists
        self._models = frozenset(models)

    def orphans(self, rules: Mapping[str, File], events: Mapping[str, File]) -> None:
        """Rules on events that there are not."""
        for name, owner in rules.items():
            on = owner.table.rule[name].on
            if on not in events:
                self._report.unknown(owner, ("rule", name, "on"), f"rule {name}: no event", on, events)

    def rules(
        self, owners: Mapping[str, File], symbols: Mapping[str, Symbol], constants: Constants
    ) -> tuple[Rule, ...]:
        """The rules on one event type, by their files, without those that are switched off."""
        language = Language(self._scope(symbols))
        rules = []
        for name, owner in owners.items():
            table = owner.table.rule[name]
            condition = self._report.expression(
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
                self._report.at(
                    owner, ("rule", name, "score"), f"rule {name}: expected score 0, for it allows, got {table.score}"
                )
            if condition is not None:
                self._report.read_names.update(condition.names, condition.lists)
            if reason is not None:
                self._report.read_names.update(part for _, part in reason.parts if part is not None)
            if condition is None or reason is None or table.mode == "off":
                continue
            if not condition.possible:
                bounds = filter(None, (_bound(read, symbols[read]) for read in condition.names))
                self._report.at(
                    owner, ("rule", name, "when"), f"rule {name}: can never fire", hint=", ".join(bounds) or None
                )
            if not condition.names and not condition.lists:
                self._report.warn(
                    owner, ("rule", name, "when"), f"rule {name}: its condition reads nothing, so it is always the same"
                )
            told = (part.removesuffix(f".{TOP}") for _, part in reason.parts if part is not None)
            reads = dict.fromkeys((*condition.names, *told))
            version = digest(table.model_dump(mode="json", exclude={"test"}))[:8]
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

    def _tests(self, owner: File, name: str, table: RuleTable) -> None:
        for index, case in enumerate(table.test):
            path = ("rule", name, "test", index)
            if len(case.fires) != len(case.given):
                expected = f"expected as many answers as events ({len(case.given)})"
                self._report.at(owner, (*path, "fires"), f"rule {name}: fires: {expected}, got {len(case.fires)}")
            for listed in case.lists.keys() - self._lists.keys():
                self._report.unknown(owner, (*path, "lists", listed), f"rule {name}: no list", listed, self._lists)
            for model in case.models.keys() - self._models:
                self._report.unknown(owner, (*path, "models", model), f"rule {name}: no model", model, self._models)

    def _scope(self, symbols: Mapping[str, Symbol]) -> dict[str, Symbol | ListSymbol]:
        """What rules may read: an event's own names, and the lists."""
        return {**{name: item.symbol for name, item in self._lists.items()}, **symbols}

    def _reason(self, owner: File, name: str, table: RuleTable, symbols: Mapping[str, Symbol]) -> Reason | None:
        path = ("rule", name, "reason")
        try:
            parts = list(Formatter().parse(table.reason))
        except ValueError as error:
            self._report.at(owner, path, f"rule {name}: reason: {str(error).lower()}; write {{{{ and }}}} for braces")
            return None
        for _, reference, spec, conversion in parts:
            if reference is None:
                continue
            if spec or conversion:
                got = reference + (f"!{conversion}" if conversion else "") + (f":{spec}" if spec else "")
                self._report.at(owner, path, f"rule {name}: reason: expected a name alone in braces, got {{{got}}}")
                return None
            if reference not in symbols and not _is_top(reference, symbols):
                self._report.unknown(owner, path, f"rule {name}: reason: no field or feature", reference, symbols)
                return None
        return Reason(tuple((literal, reference) for literal, reference, _, _ in parts))

    def added(
        self, owner: File, event: str, table: EventTable, symbols: Mapping[str, Symbol], constants: Constants
    ) -> dict[str, Expression]:
        """What is added to the verdicts on one event type."""
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
            if name in VERDICT_MEMBERS or name in table.fields or name == time_name(table):
                self._report.at(owner, path, f"event {event}: add: {name} is already a member of the verdict", key=True)
            assert language is not None
            expression = self._report.expression(
                owner, path, f"event {event}: add {name}", language, text, constants=constants
            )
            if expression is None:
                continue
            added[name] = expression
            self._report.read_names.update(expression.names, expression.lists)
            for hidden in {"fraudulent", "decision", "score"} & symbols.keys() & set(expression.names):
                self._report.warn(
                    owner, path, f"event {event}: add {name}: {hidden} is the verdict's here, not the event's own"
                )
        return added


def _is_top(reference: str, symbols: Mapping[str, Symbol]) -> bool:
    """Whether it stands for the features that stood out to a model."""
    model, _, last = reference.rpartition(".")
    return last == TOP and model.startswith(f"{MODEL}.") and model in symbols


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
