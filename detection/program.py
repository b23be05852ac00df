"""A pack made ready to run: decoders, keyed steps and judges. The dataflow and the tests run the same ones."""

from collections.abc import Iterable, Mapping
from itertools import chain
from types import MappingProxyType
from typing import Any, TypeAlias

from detection.codec import Event, EventCodec
from detection.errors import UndecodableError
from detection.features import GroupState, Plan, StepProgram
from detection.judge import Judge
from detection.lists import Lists
from detection.models.slots import Models
from detection.pack import Pack
from detection.records import DeadLetter, Record, Verdict
from detection.warming import Warming

DecoderState: TypeAlias = dict[str, Any]
"""What a decoder remembers: plain builtins, see `Decoder.snapshot`."""


class Program:
    """Everything generated from a pack.

    Attributes:
        pack: What it was made from.
        codecs: By topic.
        plan: How the features are computed.
        steps: The keyed steps, by number.
        lists: What the rules look members up in.
        models: What events are scored with.
        judges: By the number of the event type.
        dead_letters: How many records could not be decoded since the start of the process, by topic.
    """

    def __init__(self, pack: Pack) -> None:
        self.pack = pack
        self.lists = Lists(pack)
        by_index = [EventCodec(event, index, self.lists.entries) for index, event in enumerate(pack.events)]
        self.codecs = {codec.event.topic: codec for codec in by_index}
        self.types = [codec.type for codec in by_index]
        self.plan = Plan(pack)
        types = {codec.event.name: codec.type for codec in by_index}
        self.steps = [StepProgram(self.plan, step, types) for step in self.plan.steps.values()]
        self.models = Models(pack)
        self.judges = [Judge(event, self.plan, self.lists.entries, self.models.slots) for event in pack.events]
        self.dead_letters = dict.fromkeys(self.codecs, 0)


class Decoder:
    """Decodes the records of some source partitions, in order, and keeps their watermarks.

    The watermark of a partition is the newest event time among its events. It is part of the source's snapshot: an
    event that was in time before a crash is in time after it.

    Attributes:
        topics: By the number of the event type.
    """

    def __init__(self, program: Program, state: Mapping[str, Any] = MappingProxyType({})) -> None:
        """Begin anew, or go on from a snapshot, which may be one under another pack."""
        self.topics = [event.topic for event in program.pack.events]
        self._codecs = {topic: codec.decode for topic, codec in program.codecs.items()}
        watermarks, kept, since = (state.get(name, {}) for name in ("watermarks", "kept", "since"))
        self._watermarks: dict[str, dict[int, int]] = {topic: dict(watermarks.get(topic, {})) for topic in self._codecs}
        self._warming = {
            topic: Warming(codec.event, program.plan, self._watermarks[topic], kept.get(topic), since.get(topic, {}))
            for topic, codec in program.codecs.items()
        }
        self._sequences: dict[tuple[str, int], int] = {}
        self._dead_letters = program.dead_letters
        # Without a key group of its own an event stays in order with its partition.
        self._partitioned = {
            codec.event.topic for codec in program.codecs.values() if len(program.plan.visits(codec.event)) != 1
        }

    def decode(self, records: Iterable[Record]) -> list[Event | DeadLetter]:
        """One event or one dead letter for each record."""
        out: list[Event | DeadLetter] = []
        topic, partition, watermark = "", -1, None
        for record in records:
            if record.partition != partition or record.topic != topic:
                topic, partition = record.topic, record.partition
                decode, marks = self._codecs[topic], self._watermarks[topic]
                sequences = self._sequences if topic in self._partitioned else None
                watermark = marks.get(partition)
                warming = self._warming[topic]
            try:
                event = decode(record)
            except UndecodableError as error:
                self._dead_letters[topic] += 1
                out.append(DeadLetter(record, str(error)))
                continue
            if watermark is None or event.time > watermark:
                marks[partition] = watermark = event.time
            event.watermark = watermark
            if partition in warming.since:
                event.warming = ",".join(warming.names(partition, event.time, watermark))
            if sequences is not None:
                event.lane = partition
                event.sequence = sequences[topic, partition] = sequences.get((topic, partition), 0) + 1
            out.append(event)
        return out

    def snapshot(self) -> DecoderState:
        """A copy of what it remembers, by topic.

        `watermarks`: the newest event time so far, us, by partition. `kept` and `since`: see `detection.warming`.
        """
        marked = {topic: marks for topic, marks in self._watermarks.items() if marks}
        return {
            "watermarks": {topic: dict(marks) for topic, marks in marked.items()},
            "kept": {topic: self._warming[topic].kept for topic in marked},
            "since": {topic: self._warming[topic].snapshot() for topic in marked if self._warming[topic].since},
        }


class Engine:
    """The whole way of a record in one thread, without a dataflow.

    For inline tests, and what the dataflow is held against.
    """

    def __init__(self, pack: Pack) -> None:
        self.program = Program(pack)
        self._decoder = Decoder(self.program)
        self._states = [GroupState(step) for step in self.program.steps]
        self._visits = [self.program.plan.visits(event) for event in self.program.pack.events]

    def enrich(self, records: Iterable[Record]) -> list[Event | DeadLetter]:
        """The events in the next records, each with its `features` (see `Plan.values`)."""
        items = self._decoder.decode(records)
        visiting: list[tuple[list[Any], list[int]]] = [([], []) for _ in self._states]
        for item in items:
            if not isinstance(item, DeadLetter):
                for visit in self._visits[item.kind]:
                    events, roles = visiting[visit.step.number]
                    events.append(item)
                    roles.append(visit.role)
        joined: dict[int, dict[int, tuple[Any, ...]]] = {}
        for state, (events, roles) in zip(self._states, visiting, strict=True):
            for event, place, features in state.update(events, roles):
                joined.setdefault(id(event), {})[place] = features
        for item in items:
            if id(item) in joined:
                _, found = zip(*sorted(joined[id(item)].items()), strict=True)
                item.features = tuple(chain.from_iterable(found))  # type: ignore[union-attr]
        return items

    def evict(self) -> None:
        """Drop what no event in time can see any more."""
        for state in self._states:
            state.evict()

    def judge(self, record: Record) -> Verdict | DeadLetter:
        """The verdict on the next record."""
        return self.judge_event(self.decode(record))

    def decode(self, record: Record) -> Event | DeadLetter:
        """The event in the next record."""
        return self._decoder.decode([record])[0]

    def judge_event(self, event: Event | DeadLetter) -> Verdict | DeadLetter:
        """The verdict on the next event."""
        if isinstance(event, DeadLetter):
            return event
        joined: list[Any] = []
        for visit in self._visits[event.kind]:
            for _, _, features in self._states[visit.step.number].update([event], [visit.role]):
                joined += features
        if joined:
            event.features = tuple(joined)
        verdict: Verdict = self.program.judges[event.kind].judge(event)
        return verdict

    def snapshot(self) -> tuple[DecoderState, list[bytes]]:
        """The state so far."""
        return self._decoder.snapshot(), [state.snapshot() for state in self._states]

    def restore(self, snapshot: tuple[DecoderState, list[bytes]]) -> None:
        """Go on from a snapshot, which may be one under another pack."""
        decoder, states = snapshot
        self._decoder = Decoder(self.program, decoder)
        found = {GroupState.step_of(state): state for state in states}
        self._states = [
            GroupState.restore(step, found[step.name]) if step.name in found else GroupState(step)
            for step in self.program.steps
        ]
