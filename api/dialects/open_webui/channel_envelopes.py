"""A channel's events as the envelopes that Open WebUI's page reads: ``{channel_id, message_id, data: {type, data}, user, channel}``.

Pure: what the messages concerned look like after the last of the events is handed in. So events that come together show each message
once as it is now, and of a message that is gone again by then only that it is. The page puts a message that it gets in the place of the
one that it has.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple
from uuid import UUID

from domain.channel.facts import (
    MessageChanged,
    MessagePinned,
    MessagePosted,
    MessageRemoved,
    MessageUnpinned,
    ReactionAdded,
    ReactionRemoved,
)
from domain.generation import GenerationCancelled, GenerationFailed, GenerationInterrupted, MessageEnded, MessageStarted
from domain.log.codec import decode_actor, decode_event
from domain.log.event import Emitted, StoredEvent
from projections.channel_message import ChannelMessage, apply, person

Envelope = dict[str, Any]

PIECES: Final = frozenset({"message_delta", "content_block"})
# On this one the page reads its list of channels anew, with their names, and leaves out what its user is not in any more.
LIST_CHANGED: Final = "channel:created"
CHANGES_LISTS: Final = frozenset({"channel:update", "channel:archived", "channel:unarchived", "channel:delete"})


class Made(NamedTuple):
    """One envelope. It shows the event ``version``. A page that has all envelopes up to this one has everything up to ``cursor``."""

    version: int
    envelope: Envelope
    cursor: int | None = None  # None: more follows


class Wanted(NamedTuple):
    """Whose looks are needed, and which answers are being written that are not held yet."""

    messages: Sequence[UUID]
    answers: Sequence[UUID]


class Answer(NamedTuple):
    message: ChannelMessage
    shown: Mapping[str, Any]  # as it looked when it was held first


class ChannelEnvelopes:
    """Holds the answers that are being written, and nothing else."""

    def __init__(self, channel_id: UUID) -> None:
        self._channel_id = str(channel_id)
        self._answers: dict[UUID, Answer] = {}
        self._grown: dict[UUID, None] = {}
        self._until = 0

    def wanted(self, events: Iterable[StoredEvent]) -> Wanted:
        """What has to be handed to ``of`` with these events."""
        messages: dict[UUID, None] = {}
        answers: dict[UUID, None] = {}
        for stored in events:
            message_id = stored.message_id
            if message_id is None:
                continue
            if stored.type in PIECES:
                if message_id not in self._answers:
                    answers[message_id] = messages[message_id] = None
                continue
            messages[message_id] = None
            fact: Any = decode_event(stored).data
            if isinstance(fact, MessageStarted):
                answers[message_id] = None
            above = thread_of(fact)
            if above is not None:
                messages[above] = None
        return Wanted(list(messages), list(answers))

    def of(
        self,
        events: Iterable[StoredEvent],
        shown: Mapping[str, Mapping[str, Any]],
        answers: Mapping[UUID, ChannelMessage],
        channel: Mapping[str, Any],
    ) -> list[Made]:
        """The envelopes of the next events, in order. Where there are any, what answers say by now comes first.

        ``shown``: the messages of ``wanted`` that there are, as routes answer them; ``answers``: its answers. Both as of the last event.
        """
        made: list[Made] = []
        for message_id, message in answers.items():
            if message.is_generated_now and str(message_id) in shown:
                self._answers[message_id] = Answer(message, shown[str(message_id)])
        for message_id, answer in self._answers.items():
            if str(message_id) in shown:
                self._answers[message_id] = Answer(answer.message, shown[str(message_id)])
        for stored in events:
            self._until = stored.version
            self._follow(stored)
            if stored.type not in PIECES:
                self._add(made, stored, shown, channel)
        if not made:
            return []
        following = [one.version for one in made[1:]]
        last = [one if one.version == after else one._replace(cursor=one.version) for one, after in zip(made, [*following, 0], strict=True)]
        return [*(one._replace(cursor=None) for one in self.grown(channel)), *last]

    def grown(self, channel: Mapping[str, Any]) -> list[Made]:
        """All that each answer says now that has grown since this was asked last."""
        grown, self._grown = self._grown, {}
        made = []
        for message_id in grown:
            answer = self._answers.get(message_id)
            if answer is not None:
                message = {**answer.shown, "content": answer.message.text, "temp_id": None, "version": answer.message.version}
                user = message.get("user")
                made.append(Made(self._until, self._of(str(message_id), "message:update", message, user, channel)))
        return [*made[:-1], made[-1]._replace(cursor=self._until)] if made else []

    @property
    def has_grown(self) -> bool:
        return bool(self._grown)

    def _follow(self, stored: StoredEvent) -> None:
        """Of an answer that is held."""
        message_id = stored.message_id
        answer = self._answers.get(message_id) if message_id is not None else None
        if answer is not None and message_id is not None:
            if stored.version > answer.message.version:
                apply(answer.message, stored)
            if stored.type in PIECES:
                self._grown[message_id] = None

    def _add(self, made: list[Made], stored: StoredEvent, shown: Mapping[str, Mapping[str, Any]], channel: Mapping[str, Any]) -> None:
        message_id = str(stored.message_id)
        by = person(decode_actor(stored.actor))
        user = {"id": by.id, "name": by.name, "role": by.role} if by is not None else None

        def add(kind: str, data: Mapping[str, Any] | None, about: str | None = message_id) -> None:
            if data is not None:
                if kind != "message" and "temp_id" in data:  # with one the page takes a message for one that is still being sent
                    data = {**data, "temp_id": None}
                made.append(Made(stored.version, self._of(about, kind, data, user or data.get("user"), channel)))

        fact: Any = decode_event(stored).data
        above = thread_of(fact)
        match fact:
            case MessagePosted() | MessageStarted():
                looks = shown.get(message_id)
                add("message", {**looks, "temp_id": getattr(fact, "temp_id", None)} if looks is not None else None)
            case MessageRemoved():
                add("message:delete", {"id": message_id, "parent_id": str(above) if above is not None else None})
            case ReactionAdded() | ReactionRemoved():
                add(stored.type, shown.get(message_id))
            case MessageChanged() | MessagePinned() | MessageUnpinned() | Emitted():
                add("message:update", shown.get(message_id))
            case MessageEnded() | GenerationFailed() | GenerationCancelled() | GenerationInterrupted():
                if stored.message_id is not None:
                    self._answers.pop(stored.message_id, None)
                add("message:update", shown.get(message_id))
            case _ if stored.type in CHANGES_LISTS:
                made.append(Made(stored.version, self._of(None, LIST_CHANGED, {}, user, channel)))
            case _:
                pass
        if above is not None:
            add("message:reply", shown.get(str(above)), str(above))

    def _of(self, message_id: str | None, kind: str, data: Mapping[str, Any], user: Any, channel: Mapping[str, Any]) -> Envelope:
        return {
            "channel_id": self._channel_id,
            "message_id": message_id,
            "data": {"type": kind, "data": data},
            "user": user or {},
            "channel": channel,
            **({"created_at": data["created_at"]} if kind == "message" else {}),
        }


def thread_of(fact: Any) -> UUID | None:
    """The first message of the thread in which something was said or taken back: how many replies it has is another number then."""
    return fact.parent_id if isinstance(fact, MessagePosted | MessageStarted | MessageRemoved) else None


def typing_envelope(channel_id: UUID, thread: str | None, user: Mapping[str, Any], channel: Mapping[str, Any], *, typing: bool) -> Envelope:
    about = {"type": "typing", "data": {"typing": typing}}
    return {"channel_id": str(channel_id), "message_id": thread, "data": about, "user": user, "channel": channel}


def list_changed_envelope(channel_id: UUID) -> Envelope:
    """For somebody who has come into a channel or is not in it any more: says nothing of it."""
    return {"channel_id": str(channel_id), "message_id": None, "data": {"type": LIST_CHANGED, "data": {}}, "user": {}, "channel": {}}
