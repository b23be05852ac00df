"""What `fraud train` and `fraud models compare` read: events, labels, and of each event whether it was a fraud."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from rich.progress import Progress as Bar
from rich.progress import SpinnerColumn, TextColumn, TimeElapsedColumn

from cli.errors import UsageError
from cli.terminal import Terminal
from detection.kinds import parse_duration
from detection.pack import EventType, ModelSpec, Pack
from detection.records import Record
from detection.settings import Settings
from sources.files import read_file
from sources.stored import read_stored
from training.arrays import Numbers
from training.history import History, history
from training.labelling import Known, as_they_came, in_order_of_time, read_labels, settled


class Learning(NamedTuple):
    """What there is to learn from.

    Attributes:
        seen: The events, in order.
        labels: Of each 1 if it was a fraud, 0 if not, NaN if nobody knows.
        told: Lines for a person: what was left out.
    """

    seen: History
    labels: Numbers
    told: list[str]


def model_of(pack: Pack, name: str | None) -> ModelSpec:
    """The model of that name, or the only one.

    Raises:
        UsageError: There is none, or several.
    """
    found = [model for model in pack.models if name in {None, model.name}]
    if len(found) != 1:
        names = ", ".join(model.name for model in pack.models) or "none"
        msg = f"models: expected the name of a model ({names}), got {name or 'nothing'}"
        raise UsageError(msg)
    return found[0]


def learn(
    settings: Settings,
    pack: Pack,
    model: ModelSpec,
    *,
    file: Path | None,
    labels: Path | None,
    by: str | None,
    genuine_after: str | None,
    keep: Sequence[str] = (),
) -> Learning:
    """Read events and labels, from files or topics, and compute what the model sees.

    Args:
        settings: Which cluster, and which topic has the labels.
        pack: The pack.
        model: Its model.
        file: A file with the model's events, in order; None: their topic.
        labels: A file with labels, a line each; None: the topic of labels.
        by: The field of the events that labels name as `id`.
        genuine_after: How old, seen from the newest event, an event without a label is no fraud; None: never.
        keep: Fields whose values are wanted.

    Raises:
        UsageError: A field or duration is none.
    """
    event = next(event for event in pack.events if event.name == model.on)
    names = {field.name for field in event.fields}
    for option, field in (("--id", by), *(("--card or --segment", name) for name in keep)):
        if field is not None and field not in names:
            msg = f"{option}: expected a field of {event.name} ({', '.join(sorted(names))}), got {field}"
            raise UsageError(msg)
    after = None if genuine_after is None else _micros(genuine_after)
    topics = _topics(pack, event)
    said = read_labels(labels, settings.labels_topic) if labels else []
    wanted = [*(() if labels else (settings.labels_topic,)), *(() if file else topics)]
    stored = list(read_stored(settings, list(dict.fromkeys(wanted)))) if wanted else []
    said = said or [record for record in stored if record.topic == settings.labels_topic]
    known = Known(said)
    told = []
    if file:
        records = as_they_came(pack, read_file(file, event), said)
        unread = set(topics) - {event.topic, settings.labels_topic}
        told += [f"events of {topic} were not read: what looks at them saw none" for topic in sorted(unread)]
    else:
        rest = [record for record in stored if record.topic in topics and record.topic != settings.labels_topic]
        mine = said if settings.labels_topic in topics else []
        records = in_order_of_time([*rest, *mine])
    seen = _computed(pack, model, records, list(dict.fromkeys([*keep, *([by] if by else [])])))
    if known.wrong:
        told.append(f"{known.wrong:,} records are no labels and were left out")
    if seen.unreadable:
        told.append(f"{seen.unreadable:,} records are no events and were left out")
    labelled = settled(known.of(seen, seen.kept[by] if by else None), seen.times, after)
    return Learning(seen, labelled, told)


def _topics(pack: Pack, event: EventType) -> list[str]:
    """The topics of an event type and of all that its features look at."""
    counted = {event.name, *(feature.counted for feature in event.features)}
    return [other.topic for other in pack.events if other.name in counted]


def _computed(pack: Pack, model: ModelSpec, records: Iterator[Record], keep: Sequence[str]) -> History:
    console = Terminal(stderr=True)
    bar = Bar(
        SpinnerColumn(),
        TextColumn("{task.completed:,.0f} events"),
        TimeElapsedColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
    with bar:
        task = bar.add_task("events", total=None)
        return history(pack, model, records, keep, lambda count: bar.update(task, completed=count))


def _micros(text: str) -> int:
    try:
        return parse_duration(text, "--genuine-after")
    except ValueError as error:
        raise UsageError(str(error)) from None
