"""Topics that pack files name."""

import re
from collections.abc import Iterable, Mapping
from typing import Final

from detection.loading.report import File, Report
from detection.pack import EventType, MemberList
from detection.records import Decision

_REFERENCE: Final = re.compile(r"^\$\{(\w+)\}$")


class Topics:
    """Checks the topics of files; some are named by a setting."""

    def __init__(self, report: Report, settings: Mapping[str, str]) -> None:
        self._report = report
        self._settings = settings

    def topic(self, owner: File, path: tuple[str, ...], text: str) -> str:
        """The topic that a text says, or the setting it names."""
        reference = _REFERENCE.match(text)
        if reference is None:
            if not re.fullmatch(r"[A-Za-z0-9._-]{1,249}", text) or text in {".", ".."}:
                self._report.at(
                    owner,
                    path,
                    f"{path[-1]}: expected a Kafka topic name (letters, digits, '.', '_', '-'), got {text!r}",
                )
            return text
        if reference[1] not in self._settings:
            known = ", ".join(f"${{{name}}}" for name in self._settings if name != "DEAD_LETTER_TOPIC")
            self._report.at(owner, path, f"{path[-1]}: no setting {reference[1]}; there are {known}")
            return text
        return self._settings[reference[1]]

    def read(self, owners: Mapping[str, File]) -> dict[str, str]:
        """The topic that each event type is read from."""
        found: dict[str, str] = {}
        for name, owner in owners.items():
            topic = self.topic(owner, ("event", name, "topic"), owner.table.event[name].topic)
            for other in (other for other, known in found.items() if known == topic):
                message = f"event {name}: topic {topic} is already read by event {other}"
                self._report.at(owner, ("event", name, "topic"), message)
            found[name] = topic
        return found

    def written(self, owner: File, event: str) -> dict[Decision, str]:
        """The topic that the verdicts on an event type go to, by decision."""
        table = owner.table.event[event]
        return {
            "accept": self.topic(owner, ("event", event, "accept_topic"), table.accept_topic or "${LEGIT_TOPIC}"),
            "review": self.topic(owner, ("event", event, "review_topic"), table.review_topic or "${REVIEW_TOPIC}"),
            "block": self.topic(owner, ("event", event, "block_topic"), table.block_topic or "${FRAUD_TOPIC}"),
        }

    def apart(self, events: Iterable[EventType], owners: Mapping[str, File], lists: Mapping[str, MemberList]) -> None:
        """What is read as one thing is not written, nor read, as another."""
        events = list(events)
        sources = {event.topic: event.name for event in events}
        dead_letters = self._settings["DEAD_LETTER_TOPIC"]
        listed = {item.topic: item.name for item in lists.values() if item.topic is not None}
        for event in events:
            owner, path = owners[event.name], ("event", event.name)
            if dead_letters in {event.topic, *event.topics.values()}:
                message = f"event {event.name}: {dead_letters} is the topic for dead letters, no other records go there"
                self._report.at(owner, path, message, key=True)
            for topic in listed.keys() & {event.topic, *event.topics.values()}:
                message = f"event {event.name}: {topic} is the topic of list {listed[topic]}, no other records go there"
                self._report.at(owner, path, message, key=True)
            for decision, topic in event.topics.items():
                if topic in sources:
                    message = f"event {event.name}: writes to topic {topic}, which event {sources[topic]} reads"
                    self._report.at(owner, (*path, f"{decision}_topic"), message)
