"""The judge: one generated function per event type evaluates all its rules and writes the verdict.

The verdict is appended to the input's own bytes.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from types import MappingProxyType
from typing import Any, Final

import msgspec

from detection.codec import Event
from detection.features import EVIDENCE, OFFSET, ORIGIN_BITS, Plan
from detection.generated import define, indent
from detection.kinds import EPOCH, Kind, money_text
from detection.models.rows import row_source
from detection.models.slots import Scored, Slot
from detection.models.spread import EVERY
from detection.pack import TOP, Entry, EventType, Rule
from detection.records import Decision, Verdict

HIGHEST_SCORE: Final = 100

LONGEST_TEXT: Final = 256
"""Characters of an event's text that a reason or a value repeats: the whole text is in the event, once."""

_MARK: Final = "\0"
_encode = msgspec.json.Encoder().encode
_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


@dataclass(slots=True)
class RuleCounts:
    """What a rule did since the start of the process.

    Attributes:
        hits: Events it fired at.
        unknowns: Events at which its condition was unknown.
    """

    hits: int = 0
    unknowns: int = 0


@dataclass(slots=True)
class Counts:
    """What the judge of one event type did since the start of the process.

    Attributes:
        decisions: Verdicts by decision.
        late: Verdicts on late events.
        rules: By the name of the rule.
    """

    decisions: dict[Decision, int] = field(default_factory=lambda: {"accept": 0, "review": 0, "block": 0})
    late: int = 0
    rules: dict[str, RuleCounts] = field(default_factory=dict)


class Judge:
    """Judges the events of one type.

    Attributes:
        judge: From an event with its features to its verdict.
        counts: What it did so far.
    """

    def __init__(
        self,
        event: EventType,
        plan: Plan,
        lists: Mapping[str, Mapping[Any, Entry]],
        slots: Mapping[str, Slot] = MappingProxyType({}),
    ) -> None:
        """Generate the judge of an event type, which reads these lists and models as they are at each event."""
        self.event = event
        self._lists = lists
        self._slots = [slots[model.name] for model in event.models]
        self.counts = Counts(rules={rule.name: RuleCounts() for rule in event.rules})
        self._pack = plan.pack.hash
        self._values = plan.values(event)
        computed = plan.computed(event)
        self._unpack = plan.unpacking(event)
        self._evidence = {
            feature.name: (computed[span], span.log.event.topic)
            for feature in event.features
            if (span := plan.span_of(feature)) in computed
        }
        self._described = [
            (
                rule,
                self.counts.rules[rule.name],
                self._description(rule),
                [(name, *self._evidence[name]) for name in rule.reads if name in self._evidence],
            )
            for rule in event.rules
        ]
        self.judge: Callable[[Event], Verdict] = self._generate()

    # --- the generated function --------------------------------------------------------------------------------

    def _generate(self) -> Callable[[Event], Verdict]:
        """One `if` a rule.

        An event that is accepted without remark is answered by one format; every other by `_full`.
        """
        event = self.event
        lines = ["hits = []", "raw = e.raw", *self._unpack, *self._scoring()]
        for number, rule in enumerate(event.rules):
            if rule.condition.optional:
                lines += [
                    f"x = {rule.condition.source}",
                    f"if x: hits.append({number})",
                    f"elif x is None: rule{number}.unknowns += 1",
                ]
            else:
                lines += [f"if {rule.condition.source}: hits.append({number})"]
        remarks = ["hits", "e.warming", "raw[-1] != 125", "e.clash", "e.time < e.watermark - LATENESS"]
        if all(item.optional for item in event.members):
            remarks += ["b'\"' not in raw"]  # {}: nothing to put a comma behind
        scored = "".join(
            f"Scored(SPEC{number}, row{number}, m_{model.name}, told{number}, by{number}), "
            for number, model in enumerate(event.models)
        )
        lines += [f"if {' or '.join(remarks)}: return full(e, hits, added, ({scored}))"]
        extra = ", extra" if event.added else ""
        if event.added:
            lines += ["fraudulent = False; decision = 'accept'; score = 0", f"extra = {self._added_source()}"]
        told = f", {', '.join(f'told{number}' for number in range(len(event.models)))}, REST" if event.models else ""
        models = ",".join("%b" for _ in event.models) + "%b" if event.models else ""
        value = (
            f"b'%b%b%d/%d%b{models}{'%b' if extra else ''}}}' "
            f"% (raw[:-1], HEAD, e.partition, e.offset, TAIL{told}{extra})"
        )
        lines += ["decisions['accept'] += 1", f"return Verdict(False, 'accept', TOPIC, e.key, {value}, e.lane)"]
        head, tail, rest = self._quiet()
        shared: dict[str, Any] = {**event.constants.values, "encode": _encode, "show": show, "Kind": Kind}
        scope = {
            **shared,
            **{f"L_{name}": entries for name, entries in self._lists.items()},
            **{f"rule{number}": self.counts.rules[rule.name] for number, rule in enumerate(event.rules)},
            **{f"ADD{number}": b',"%b":' % name.encode() for number, name in enumerate(event.added)},
            "LATENESS": event.lateness,
            "TOPIC": event.topics["accept"],
            "HEAD": head,
            "TAIL": tail,
            "REST": rest,
            "Scored": Scored,
            **{f"SLOT{number}": slot for number, slot in enumerate(self._slots)},
            **{f"SPEC{number}": slot.spec for number, slot in enumerate(self._slots)},
            "Verdict": Verdict,
            "decisions": self.counts.decisions,
            "full": self._full,
        }
        scope["added"] = self._added_function(scope)
        return define(f"judge_{event.name}", [f"def judge_{event.name}(e):", *indent(lines)], scope)

    def _scoring(self) -> list[str]:
        """Each model's row, its score, and what the verdict tells of it."""
        lines = []
        for number, model in enumerate(self.event.models):
            lines += [
                f"row{number} = {row_source(model)}",
                f"m_{model.name}, told{number}, by{number} = SLOT{number}.score(row{number})",
                f"if not e.offset % {EVERY}: SLOT{number}.look_at(row{number}, m_{model.name})",
            ]
        return lines

    def _added_source(self) -> str:
        return " + ".join(
            f"ADD{number} + encode(show(Kind.{expression.kind.name}, {expression.source}))"
            for number, expression in enumerate(self.event.added.values())
        )

    def _added_function(self, scope: dict[str, Any]) -> Callable[..., bytes]:
        scores = "".join(f", m_{model.name}" for model in self.event.models)
        lines = [f"def added(e, fraudulent, decision, score{scores}):", *indent(self._unpack)]
        source = self._added_source() or "b''"
        return define("added", [*lines, f"    return {source}"], scope)

    def _quiet(self) -> tuple[bytes, bytes, bytes]:
        """What stands before and behind `partition/offset` in a verdict without remarks, and behind the scores."""
        mark = _encode(_MARK)[1:-1]
        models = msgspec.Raw(b"{%b}" % mark) if self._slots else None
        answer = self._answer("accept", [], [], f"{self.event.topic}/{_MARK}", {}, models=models, late=False)
        head, tail, *rest = _encode(answer)[:-1].split(mark)
        return b"," + head[1:], tail, b"".join(rest)

    # --- the full verdict --------------------------------------------------------------------------------------

    def _full(self, e: Event, hits: list[int], added: Callable[..., bytes], scored: tuple[Scored, ...]) -> Verdict:
        described = self._described
        decision: Decision = "accept"
        allowed = False
        score = 0
        reasons: list[str] = []
        rules: list[dict[str, Any]] = []
        evidence: dict[str, Any] = {}
        seen: dict[int, dict[str, Any]] = {}
        topic = self.event.topic
        for number in hits:
            rule, counts, describe, windows = described[number]
            counts.hits += 1
            hit = describe(e, scored)
            rules.append(hit)
            if rule.mode == "live":
                reasons.append(hit["detail"])
                score += rule.score
                if rule.outcome == "allow":
                    allowed = True
                elif decision != "block":
                    decision = rule.outcome
            for name, place, counted in windows:
                if place not in seen:  # several features may share a window
                    seen[place] = _seen(e.features[place : place + 3], counted)
                evidence[name] = seen[place]
        if allowed and decision == "review":
            decision = "accept"
        score = min(score, HIGHEST_SCORE)
        late = e.time < e.watermark - self.event.lateness
        self.counts.decisions[decision] += 1
        self.counts.late += late
        address = f"{topic}/{e.partition}/{e.offset}"
        models = self._models(decision, hits, scored) if scored else None
        answer = self._answer(decision, reasons, rules, address, evidence, models=models, late=late, score=score)
        if e.warming:
            answer["verdict"]["warming"] = e.warming.split(",")
        blocked = decision == "block"
        extra = b""
        if self.event.added:
            extra = added(e, blocked, decision, score, *(each.score for each in scored))
        return Verdict(blocked, decision, self.event.topics[decision], e.key, self._write(e, answer, extra), e.lane)

    def _models(self, decision: Decision, hits: list[int], scored: tuple[Scored, ...]) -> msgspec.Raw:
        """What is told of the scores: explained where somebody will ask why."""
        read = {name for number in hits for name in self.event.rules[number].reads}
        told = [each.explained() if decision != "accept" or each.spec.scored in read else each.told for each in scored]
        return msgspec.Raw(b"{%b}" % b",".join(told))

    def _answer(
        self,
        decision: Decision,
        reasons: list[str],
        rules: list[dict[str, Any]],
        origin_text: str,
        evidence: dict[str, Any],
        *,
        models: msgspec.Raw | None,
        late: bool,
        score: int = 0,
    ) -> dict[str, Any]:
        return {
            "fraudulent": decision == "block",
            "reason": reasons,
            "verdict": {
                "decision": decision,
                "score": score,
                "rules": rules,
                "origin": origin_text,
                "pack": self._pack,
                "model": models,
                "late": late,
                "evidence": evidence,
            },
        }

    def _description(self, rule: Rule) -> Callable[[Event, tuple[Scored, ...]], dict[str, Any]]:
        """Generate the function that tells a hit: what is named in the reason, and every value the rule reads."""
        symbols = self.event.symbols
        models = {model.scored: f"scored[{number}]" for number, model in enumerate(self.event.models)}
        lines = ["def describe(e, scored):"]
        scope: dict[str, Any] = {
            "ID": rule.name,
            "VERSION": rule.version,
            "Kind": Kind,
            "show": show,
            "text": text,
            "money_text": money_text,
            "Raw": msgspec.Raw,
            "cut": _cut,
            "LONGEST": LONGEST_TEXT,
        }
        for number, name in enumerate(rule.reads):
            scope[f"NAME{number}"] = name
            if name in models:
                lines += [f"    r{number} = {models[name]}.score"]
            else:
                held = f"e.features[{self._values[name]}]" if name in self._values else f"e.f_{name}"
                lines += [f"    r{number} = {held}"]
            if symbols[name].kind is Kind.STR:
                lines += [f"    if r{number} is not None and len(r{number}) > LONGEST: r{number} = cut(r{number})"]
            if symbols[name].kind is Kind.MONEY:  # told twice, written once
                lines += [f"    t{number} = 'unknown' if r{number} is None else money_text(r{number})"]
        detail: list[str] = []
        for number, (literal, told) in enumerate(rule.reason.parts):
            scope[f"TEXT{number}"] = literal
            detail += [f"TEXT{number}"]
            if told is not None and (model := models.get(told.removesuffix(f".{TOP}"))) and told not in models:
                detail += [f"{model}.words()"]
            elif told is not None:
                detail += [_text_source(symbols[told].kind, rule.reads.index(told))]
        values = [
            f"NAME{number}: {_shown_source(symbols[read].kind, number)}" for number, read in enumerate(rule.reads)
        ]
        members = ["'id': ID", "'version': VERSION", f"'detail': {' + '.join(detail) or repr('')}"]
        members += ["'shadow': True"] if rule.mode == "shadow" else []
        members += [f"'values': {{{', '.join(values)}}}"]
        return define("describe", [*lines, f"    return {{{', '.join(members)}}}"], scope)

    def _write(self, e: Event, answer: dict[str, Any], extra: bytes) -> bytes:
        raw = e.raw.rstrip()
        if not e.clash:
            own = raw[:-1]
            comma = b"" if own.rstrip().endswith(b"{") else b","
            return b"%b%b%b%b}" % (own, comma, _encode(answer)[1:-1], extra)
        members = _members(raw)
        reserved = (*answer, *self.event.added)
        answer["verdict"]["input"] = {name: members.pop(name) for name in reserved if name in members}
        own = _encode(members)[1:-1]
        return b"{%b%b%b%b}" % (own, b"," if own else b"", _encode(answer)[1:-1], extra)


def _seen(window: tuple[list[int], int, int], topic: str) -> dict[str, Any]:
    """A window as evidence: how many events it holds, and the newest of them."""
    origins, start, stop = window
    newest = origins[start if stop - start <= EVIDENCE else stop - EVIDENCE : stop]
    return {"total": stop - start, "newest": [f"{topic}/{item >> ORIGIN_BITS}/{item & OFFSET}" for item in newest]}


def show(kind: Kind, value: Any) -> Any:
    """A value as verdicts carry it: money with its decimals, times in ISO 8601, durations in seconds."""
    if value is None:
        return None
    match kind:
        case Kind.MONEY:
            return msgspec.Raw(money_text(value).encode())
        case Kind.TIME:
            try:
                return (EPOCH + timedelta(microseconds=value)).isoformat()
            except OverflowError:  # before the year 1 or after 9999: ISO 8601 has no text for it
                return None
        case Kind.DURATION:
            return value / 1_000_000
        case _:
            return value


def text(kind: Kind, value: Any) -> str:
    """A value as reasons tell it.

    >>> text(Kind.MONEY, 400_010_000), text(Kind.BOOL, True), text(Kind.STR, None)
    ('400.01', 'true', 'unknown')
    """
    if value is None:
        return "unknown"
    if kind is Kind.MONEY:
        return money_text(value)
    if kind is Kind.BOOL:
        return "true" if value else "false"
    shown = show(kind, value)
    return "unknown" if shown is None else str(shown)


def _cut(value: str) -> str:
    """What is repeated of a text: an event of a megabyte must not become a verdict of four."""
    return f"{value[:LONGEST_TEXT]}…"


def _text_source(kind: Kind, number: int) -> str:
    """`text` of a value that a rule reads, without a call where none is needed."""
    name = f"r{number}"
    if kind is Kind.MONEY:
        return f"t{number}"
    if kind in {Kind.STR, Kind.INT}:
        return f"('unknown' if {name} is None else {name if kind is Kind.STR else f'str({name})'})"
    return f"text(Kind.{kind.name}, {name})"


def _shown_source(kind: Kind, number: int) -> str:
    """`show` of a value that a rule reads, without a call where none is needed."""
    name = f"r{number}"
    if kind is Kind.MONEY:
        return f"None if {name} is None else Raw(t{number}.encode())"
    return name if kind in {Kind.STR, Kind.INT, Kind.FLOAT, Kind.BOOL} else f"show(Kind.{kind.name}, {name})"
