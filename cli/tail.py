"""`fraud tail`."""

import re
import sys
from typing import Annotated, Literal, NamedTuple

import msgspec
from confluent_kafka import OFFSET_BEGINNING, OFFSET_END, Message
from cyclopts import Parameter, validators
from rich.text import Text

from broker.logs import logs_to_stderr
from broker.whole import open_consumer, raise_lasting
from cli.project import read_project
from cli.stopping import stop_event
from cli.terminal import STYLES, clean, stdout
from sources.masking import Masking
from sources.verdicts import DEAD, OTHER, WORDS, OtherError, clock, read_dead_letter, read_verdict, text_of, topic_of

_BATCH = 1_000
_WAIT_SECONDS = 0.2
_UNSEEN = re.compile("[\x7f-\x9f\u2028\u2029]")


class Line(NamedTuple):
    """One verdict or dead letter, to be shown.

    Attributes:
        word: FRAUD, REVIEW, LEGIT, DEAD, or OTHER for what is neither and somebody else has written.
        at: When it was written, ms since the epoch.
        topic: The topic its event came from.
        key: Its event's key.
        text: Reasons, or the error.
    """

    word: str
    at: int
    topic: str
    key: str
    text: str


def tail(
    *,
    decision: tuple[Literal["fraud", "review", "legit", "dead"], ...] = (),
    from_beginning: bool = False,
    json: bool = False,
    show_personal: bool = False,
    count: Annotated[int, Parameter(validator=validators.Number(gte=1))] | None = None,
) -> int:
    """Follow the verdicts.

    Args:
        decision: Only these; may be given several times.
        from_beginning: Begin with the oldest ones in the topics, not with those to come.
        show_personal: Show personal fields (`pii` of the packs) as they are.
        json: Write the verdicts themselves, one JSON object a line.
        count: End after so many.
    """
    logs_to_stderr()
    stop = stop_event()
    settings, pack = read_project()
    console = stdout()
    masking = None if show_personal else Masking(pack)
    wanted = {word.upper() for word in decision}
    start = OFFSET_BEGINNING if from_beginning else OFFSET_END
    consumer = open_consumer(settings, [*pack.topics_out, settings.dead_letter_topic], start)
    left = count
    try:
        while not stop.is_set():
            for message in consumer.consume(_BATCH, _WAIT_SECONDS):
                raise_lasting(message)
                if message.error():
                    continue
                line = read_line(message, settings.dead_letter_topic, masking)
                if wanted and line.word not in wanted:
                    continue
                if json:
                    sys.stdout.write(json_line(message, line, masking) + "\n")
                else:
                    console.print(_shown(line))
                left = None if left is None else left - 1
                if left == 0:
                    return 0
            sys.stdout.flush()
    finally:
        consumer.close()
    return 0


def read_line(message: Message, dead_letter_topic: str, masking: Masking | None = None) -> Line:
    """What a record of an output topic says, with what is personal masked if there is a way to."""
    line = _read_line(message, dead_letter_topic)
    if masking is None:
        return line
    key, text = masking.texts(line.word, line.topic, message.value() or b"", line.key, line.text)
    return line._replace(key=key, text=text)


def _read_line(message: Message, dead_letter_topic: str) -> Line:
    at = message.timestamp()[1]
    key = text_of(message.key())
    try:
        if message.topic() == dead_letter_topic:
            origin, error = read_dead_letter(message)
            return Line(DEAD, at, topic_of(origin), key, error)
        answer = read_verdict(message.value() or b"")
    except OtherError as error:
        return Line(OTHER, at, str(message.topic()), key, str(error))
    return Line(WORDS[answer.verdict.decision], at, topic_of(answer.verdict.origin), key, "; ".join(answer.reason))


def json_line(message: Message, line: Line, masking: Masking | None = None) -> str:
    """A verdict as it is, on one line; anything else as an object that says what it is."""
    held = message.value()
    if masking is not None and held is not None:
        held = masking.value(line.word, line.topic, held)
    if line.word in WORDS.values():
        value = msgspec.json.format(held or b"", indent=-1)
    else:
        value = msgspec.json.encode(
            {
                "decision": line.word.lower(),
                "topic": line.topic,
                "key": line.key,
                "error": line.text,
                "value": text_of(held),
            }
        )
    # JSON allows these as they are, but some terminals act on them.
    return _UNSEEN.sub(lambda character: f"\\u{ord(character[0]):04x}", value.decode("utf-8", "replace"))


def _shown(line: Line) -> Text:
    style = STYLES.get(line.word, "dim")
    return Text.assemble(
        f"{clock(line.at):13} ",
        (f"{line.word:6}", style),
        f" {clean(line.topic)}  {clean(line.key)}  ",
        (clean(line.text), style),
    )
