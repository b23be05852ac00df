"""Where people act: an action is written to the audit, holds or not by its place there, and then becomes a label."""

import asyncio
import time
from http import HTTPStatus
from typing import Any, Final
from uuid import uuid4

import msgspec
import structlog
from confluent_kafka import Message

from broker.topics import TopicSpec
from detection.pack import Pack
from detection.privacy import HIDDEN, hide
from detection.settings import Settings
from sources.verdicts import topic_of
from web.access import User
from web.live.records import Shown, read_record
from web.live.veil import Veil
from web.review.entries import (
    LONGEST_NOTE,
    NO_LABEL,
    SOURCE,
    Action,
    Entry,
    Labelled,
    Opening,
    Standing,
    UnreadableError,
    encode_entry,
    read_entry,
    read_label,
)
from web.review.follower import Follower
from web.review.labels import NoLabelError, label_of
from web.review.ledger import Ledger
from web.review.queue import Case, Group, Order, Queue, case_of
from web.sending import NotDeliveredError, Sender

TAIL: Final = 5_000
"""How many records of each partition with verdicts are looked through at the start."""

LONGEST_SNOOZE_MINUTES: Final = 30 * 24 * 60
_TAKEN_SECONDS: Final = 5.0
_LIST_MS: Final = 1_000
"""How long a list is good for all who ask, unless somebody acts."""

_MEND_SECONDS: Final = 2.0
_MEND_AFTER_MS: Final = 15_000
"""Before, whoever acted still writes the label himself."""

_DONE: Final = {"confirm": "confirmed the fraud", "dismiss": "called it a false alarm", "snooze": "snoozed it"}

_log = structlog.get_logger(__name__)


class Asked(msgspec.Struct, forbid_unknown_fields=True):
    """What somebody wants done.

    Attributes:
        action: What.
        note: Why.
        minutes: How long to snooze.
    """

    action: Action
    note: str = ""
    minutes: int = 0


class RefusedError(Exception):
    """An action that was not done.

    Attributes:
        status: As HTTP has it.
    """

    def __init__(self, status: HTTPStatus, text: str) -> None:
        super().__init__(text)
        self.status = status


class Desk:
    """What is to be looked at, what was decided, and the way to decide.

    Attributes:
        queue: The verdicts.
        ledger: What was decided.
        pack: The rules.
        settings: Which cluster, and which topics.
        veil: Masks what is personal.
    """

    def __init__(self, settings: Settings, pack: Pack) -> None:
        """Open nothing yet."""
        self.queue = Queue()
        self.ledger = Ledger()
        self.pack = pack
        self.settings = settings
        self.veil = Veil(pack)
        self._events = {event.topic: event for event in pack.events}
        wanted = dict.fromkeys(
            topic for event in pack.events for decision, topic in event.topics.items() if decision != "accept"
        )
        self._verdicts = Follower(settings, list(wanted), self._take_verdict, tail=TAIL)
        self._decided = Follower(
            settings,
            [settings.audit_topic, settings.labels_topic],
            self._take_decided,
            create={
                settings.audit_topic: TopicSpec(partitions=1, config={"retention.ms": "-1"}),
                settings.labels_topic: TopicSpec(config={"cleanup.policy": "compact"}),
            },
        )
        self._read = 0
        self._unreadable = 0
        self._lists: dict[tuple[Group, Order, bool], tuple[int, int, dict[str, Any]]] = {}
        self._awaited: dict[str, asyncio.Future[bool]] = {}
        self._loop: asyncio.AbstractEventLoop
        self._sender: Sender
        self._mending: asyncio.Task[None]

    async def start(self) -> None:
        """Begin to read, in the event loop that it is asked in."""
        self._loop = asyncio.get_running_loop()
        self._sender = Sender(self.settings)
        self._decided.start()
        self._verdicts.start()
        self._mending = asyncio.create_task(self._mend())

    async def close(self) -> None:
        """End."""
        self._mending.cancel()
        self._sender.give_up()
        parts = (self._decided, self._verdicts, self._sender)
        await asyncio.gather(*(asyncio.to_thread(part.close) for part in parts))

    @property
    def problem(self) -> str:
        """Why not all is known; empty if all is well."""
        return self._decided.problem or self._verdicts.problem

    def listed(self, user: User, group: Group, order: Order) -> dict[str, Any]:
        """The queue, for a user's page."""
        plain = user.sees_lists_plain

        def row(shown: Shown) -> dict[str, Any]:
            return self.veil.row(shown, plain=plain)

        now, revision = _now(), self.ledger.revision
        kept = self._lists.get((group, order, plain))
        if kept is None or kept[0] != revision or not 0 <= now - kept[1] < _LIST_MS:
            told = self.queue.told(self.ledger, now, group, order, row)
            kept = self._lists[group, order, plain] = (revision, now, told)
        return kept[2] | {"problem": self.problem, "older": self._verdicts.older, "unreadable": self._unreadable}

    def reveals(self, origin: str) -> bool:
        """Whether a verdict that is opened shows something personal to who may see it."""
        case = self.queue.get(origin)
        return case is not None and self.veil.hides_in(case.shown)

    def told(self, user: User, origin: str, *, masked: bool = False) -> dict[str, Any]:
        """A verdict and what was done to it, for a user's page.

        Args:
            user: Who asks.
            origin: The event.
            masked: Show nothing personal, whoever asks.
        """
        case = self.queue.get(origin)
        plain = user.sees_opened_plain and not masked
        opened = None
        if case is not None:
            opened = self.veil.opened(case.shown, plain=plain, plain_lists=user.sees_lists_plain)
        review = self.ledger.told(origin, _now())
        if self.veil.hides and not plain:
            # A note is free text; without its verdict nobody can tell what in it is personal.
            found = None if case is None else self.veil.masking.found(case.shown.topic, case.shown.value)
            for did in review["history"]:
                if did["note"]:
                    did["note"] = HIDDEN if found is None else hide(did["note"], found)
        return {"verdict": opened, "review": review}

    async def act(self, user: User, origin: str, asked: Asked, version: int) -> None:
        """Do what somebody wants done, who has seen this version. Returns when Kafka has confirmed all of it.

        Raises:
            RefusedError: It is not done; or it is, and only its label is still to come.
        """
        if user.role == "viewer":
            raise RefusedError(HTTPStatus.FORBIDDEN, f"{user.name} may look only: expected an analyst or an admin")
        if problem := self._decided.problem:
            raise RefusedError(HTTPStatus.SERVICE_UNAVAILABLE, f"not done: {problem}")
        if self.ledger.version(origin) != version:
            raise RefusedError(HTTPStatus.CONFLICT, f"not done: {self._first(origin)} meanwhile")
        case = self.queue.get(origin)
        if case is None:
            raise RefusedError(HTTPStatus.NOT_FOUND, f"{origin}: not in the queue: newer verdicts took its place")
        entry = self._entry(user, case, asked, version)
        if not await self._note(entry):
            raise RefusedError(HTTPStatus.CONFLICT, f"not done: {self._first(origin)} meanwhile")
        if entry.label is not NO_LABEL:
            try:
                await self._write(entry)
            except NotDeliveredError as error:
                msg = f"noted, but its label is not written yet, and is tried again: {error}"
                raise RefusedError(HTTPStatus.SERVICE_UNAVAILABLE, msg) from None

    def _entry(self, user: User, case: Case, asked: Asked, version: int) -> Entry:
        """What the audit is to say.

        Raises:
            RefusedError: They may not, or it makes no sense.
        """
        now, origin = _now(), case.shown.origin
        before, last = self.ledger.standing(origin, now), self.ledger.last(origin)
        decided = before.state in {"fraud", "legit"}
        if decided and user.role != "admin" and last is not None and last.who != user.name:
            raise RefusedError(HTTPStatus.FORBIDDEN, f"{self._first(origin)}: only they or an admin may change that")
        if len(asked.note) > LONGEST_NOTE:
            msg = f"note: expected at most {LONGEST_NOTE} characters, got {len(asked.note)}"
            raise RefusedError(HTTPStatus.UNPROCESSABLE_ENTITY, msg)
        label = NO_LABEL
        if asked.action == "snooze":
            if decided:
                raise RefusedError(
                    HTTPStatus.UNPROCESSABLE_ENTITY, "snooze: expected one that is open, this is decided"
                )
            if not 1 <= asked.minutes <= LONGEST_SNOOZE_MINUTES:
                msg = f"minutes: expected 1 to {LONGEST_SNOOZE_MINUTES}, got {asked.minutes}"
                raise RefusedError(HTTPStatus.UNPROCESSABLE_ENTITY, msg)
            after = Standing("snoozed", now + asked.minutes * 60_000)
        else:
            fraudulent = asked.action == "confirm"
            after = Standing("fraud" if fraudulent else "legit")
            try:
                value = label_of(
                    self._events.get(topic_of(origin)),
                    case.shown.value,
                    written=case.shown.at,
                    origin=origin,
                    fraudulent=fraudulent,
                    source=SOURCE,
                    at=now,
                    version=version + 1,
                    note=asked.note,
                )
            except NoLabelError as error:
                raise RefusedError(HTTPStatus.UNPROCESSABLE_ENTITY, str(error)) from None
            label = msgspec.Raw(value)
        return Entry(
            id=uuid4().hex,
            at=now,
            who=user.name,
            role=user.role,
            action=asked.action,
            origin=origin,
            version=version + 1,
            before=before,
            after=after,
            verdict=case.summary,
            note=asked.note,
            label=label,
        )

    async def _note(self, entry: Entry) -> bool:
        """Write to the audit, read it back there, and say whether it holds.

        Raises:
            RefusedError: Nobody knows.
        """
        taken: asyncio.Future[bool] = self._loop.create_future()
        self._awaited[entry.id] = taken
        try:
            await self._sender.send(self.settings.audit_topic, encode_entry(entry), entry.origin.encode())
            return await asyncio.wait_for(taken, _TAKEN_SECONDS)
        except (NotDeliveredError, TimeoutError) as error:
            msg = f"Kafka has not confirmed it: look again whether it is done ({error})"
            raise RefusedError(HTTPStatus.SERVICE_UNAVAILABLE, msg) from None
        finally:
            del self._awaited[entry.id]

    async def note_opening(self, user: User, origin: str) -> bool:
        """Write to the audit that somebody is shown what is personal; says whether Kafka has confirmed it."""
        opening = Opening(id=uuid4().hex, at=_now(), who=user.name, role=user.role, origin=origin)
        try:
            await self._sender.send(self.settings.audit_topic, encode_entry(opening), origin.encode())
        except NotDeliveredError as error:
            _log.warning("an opening is not noted, so what is personal is masked", origin=origin, error=str(error))
            return False
        return True

    async def _write(self, entry: Entry) -> None:
        """Write the label of an entry that holds.

        Raises:
            NotDeliveredError: It is not written, or nobody knows.
        """
        await self._sender.send(self.settings.labels_topic, bytes(entry.label), entry.origin.encode())
        self.ledger.wrote(entry)

    async def _mend(self) -> None:
        """Write the labels that were noted and are missing: whoever was to write them has gone, or Kafka had."""
        while True:
            await asyncio.sleep(_MEND_SECONDS)
            if self._decided.problem:
                continue
            for entry in self.ledger.unwritten(_now() - _MEND_AFTER_MS):
                try:
                    await self._write(entry)
                except NotDeliveredError as error:
                    _log.warning("label not written", origin=entry.origin, error=str(error))
                    break
                _log.info("label written late", origin=entry.origin, version=entry.version)
            await self._note_labels()

    async def _note_labels(self) -> None:
        """Have the audit say which labels are in their topic: one that is gone from there later is not missing."""
        for origin, version in self.ledger.unnoted():
            labelled = Labelled(at=_now(), origin=origin, version=version)
            try:
                await self._sender.send(self.settings.audit_topic, encode_entry(labelled), origin.encode())
            except NotDeliveredError as error:
                _log.warning("the audit is not told of a label", origin=origin, error=str(error))
                break
            self.ledger.note(labelled)

    def _first(self, origin: str) -> str:
        last = self.ledger.last(origin)
        return f"{last.who} {_DONE[last.action]}" if last else "somebody's label came"

    def _take_verdict(self, message: Message) -> None:
        self._read += 1
        case = case_of(read_record(message, self.settings.dead_letter_topic, self._read))
        if case is not None:
            self.queue.take(case)

    def _take_decided(self, message: Message) -> None:
        key, value = _bytes(message.key()), _bytes(message.value())
        try:
            if message.topic() == self.settings.audit_topic:
                if value is not None:
                    self._take_entry(read_entry(value))
            else:
                origin, label = read_label(key, value, message.timestamp()[1])
                self.ledger.take_label(origin, label, own_key=key == origin.encode())
        except UnreadableError as error:
            self._unreadable += 1
            if self._unreadable == 1:
                place = f"{message.topic()}/{message.partition()}/{message.offset()}"
                _log.warning("a record on decisions is none of ours", place=place, error=str(error))

    def _take_entry(self, entry: Entry | Opening | Labelled) -> None:
        match entry:
            case Entry():
                self._answer(entry, holds=self.ledger.take(entry))
            case Labelled():
                self.ledger.note(entry)

    def _answer(self, entry: Entry, *, holds: bool) -> None:
        """Tell whoever waits for it, who is in another thread."""

        def resolve() -> None:
            waiting = self._awaited.get(entry.id)
            if waiting is not None and not waiting.done():
                waiting.set_result(holds)

        if entry.id in self._awaited:
            self._loop.call_soon_threadsafe(resolve)


def _bytes(given: str | bytes | None) -> bytes | None:
    return given.encode() if isinstance(given, str) else given


def _now() -> int:
    return time.time_ns() // 1_000_000
