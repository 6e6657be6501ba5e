"""Which words of a chat's past are hidden from a reader whose access began later, and an event without them.

A reader reads everything from the version on at which their access began. Of what happened before, they read what still stood then: the
words of a deleted message, and words that a later change had replaced, are left out. The event keeps its numbers, its type and its place
in the tree, so that cursors have no gap. The rule and the matrix of readers: docs/decisions/0034-who-reads-the-past.md.
"""

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any, Final, Protocol
from uuid import UUID

import msgspec

from domain.chat.facts import (
    ChatConfigured,
    ChatCreated,
    ChatRenamed,
    ChatTagged,
    ChatUntagged,
    MessageAdded,
    MessageDeleted,
    MessageEdited,
    MessageRated,
)
from domain.generation import (
    TRACE_TYPES,
    ActionRan,
    BlockOpened,
    FilterApplied,
    GenerationCancelled,
    GenerationFailed,
    GenerationInterrupted,
    MessageDelta,
    MessageEnded,
    MessageStarted,
)
from domain.log.codec import decode_event, encode
from domain.log.event import Emitted, StoredEvent, emitters_name
from domain.routing.call import CallAnswered, CallOpened

CONTENT: Final = "content"
BLOCKS: Final = "blocks"  # what an answer was made of: its words, once more
RATING: Final = "annotation"
TIMESTAMP: Final = "timestamp"  # when a message was said, in seconds
# Which key of its message an emitted event changes; events under other names change none.
EMITTED_KEYS: Final[Mapping[str, str]] = {
    "status": "statusHistory",
    "message": CONTENT,
    "delta": CONTENT,
    "replace": CONTENT,
    "chat:message": CONTENT,
    "files": "files",
    "embeds": "embeds",
    "source": "sources",
    "citation": "sources",
    "follow_ups": "followUps",
}
REPLACING: Final = frozenset({"replace", "chat:message", "follow_ups"})  # what they say takes the place of what was there
TAKING_NOTHING_AWAY: Final = frozenset(
    {"message_added", "message_start", "chat_branch_selected", "call", "call_answered", "call_expired"}
)  # most of an outline: not decoded
TRACES: Final = frozenset(TRACE_TYPES)  # what plugins did: their sums and originals hold words of any message of the chat
ENDS: Final = frozenset({"message_end", "error", "cancelled", "interrupted"})
EMITTED_CONTENT: Final = "content, as emitters changed it"  # the end of an answer replaces it by what the model said
SHA256_OF_NOTHING: Final = hashlib.sha256(b"").hexdigest()

_same: Final[Mapping[str, int]] = {}


class HidesWords(Protocol):
    """What is hidden from one reader of what happened up to version ``since``."""

    since: int

    def of(self, stored: StoredEvent) -> StoredEvent:
        """The event as the reader gets it: the same object where nothing of it is hidden, else one without what is."""
        ...


class Redaction:
    """What is hidden from readers whose access to one chat began at version ``since``.

    Made by ``observe`` of all events up to there, in order; an outline of them is enough. Then it never changes: history does not.
    """

    __slots__ = ("_configured", "_deleted", "_emitted", "_replaced", "_titled", "_untagged", "since")

    def __init__(self, since: int) -> None:
        self.since = since
        self._deleted: set[UUID | None] = set()
        self._replaced: dict[UUID | None, dict[str, int]] = {}  # by message and key: the version that replaced it last
        self._emitted: set[UUID | None] = set()  # messages whose content emitters have changed
        self._titled = 0
        self._configured: dict[str, int] = {}
        self._untagged: dict[str, int] = {}

    def observe(self, stored: StoredEvent) -> None:
        if stored.type in TAKING_NOTHING_AWAY:
            return
        if stored.type in ENDS:
            if stored.message_id in self._emitted:
                self._replace(stored.message_id, (EMITTED_CONTENT,), stored.version)
            return
        message_id, version = stored.message_id, stored.version
        match decode_event(stored).data:
            case MessageDeleted():
                self._deleted.add(message_id)
            case MessageEdited(fields=fields):
                self._replace(message_id, fields, version)
            case MessageRated():
                self._replace(message_id, (RATING,), version)
            case Emitted() as emitted:
                name = emitters_name(emitted)
                is_list = name in ("files", "embeds") and isinstance(emitted.data, dict) and emitted.data.get("replace")
                if name in REPLACING or is_list:
                    self._replace(message_id, (EMITTED_KEYS[name],), version)
                if EMITTED_KEYS.get(name) == CONTENT:
                    self._emitted.add(message_id)
            case ChatRenamed():
                self._titled = version
            case ChatConfigured(fields=fields):
                self._configured.update(dict.fromkeys(fields, version))
            case ChatUntagged(name=name):
                self._untagged[name] = version
            case _:
                pass

    def _replace(self, message_id: UUID | None, keys: Iterable[str], version: int) -> None:
        self._replaced.setdefault(message_id, {}).update(dict.fromkeys(keys, version))

    @property
    def _hides_words(self) -> bool:
        """Whether a model may have been sent words that are hidden: a payload of that time repeats the messages and the settings."""
        return bool(self._deleted or self._replaced or self._configured)

    @property
    def message_ids(self) -> Iterable[UUID]:
        """The messages of which something is hidden somewhere."""
        return [one for one in {*self._deleted, *self._replaced} if one is not None]

    def is_deleted(self, message_id: UUID) -> bool:
        return message_id in self._deleted

    def replaced_after(self, message_id: UUID, version: int) -> Iterable[str]:
        """The keys of the message that were replaced after that version."""
        return [key for key, replaced in self._replaced.get(message_id, _same).items() if replaced > version]

    def title_replaced_after(self, version: int) -> bool:
        return self._titled > version

    def untagged_after(self, tag: str, version: int) -> bool:
        return self._untagged.get(tag, 0) > version

    def standing_fields(self, fields: Mapping[str, Any], version: int) -> dict[str, Any]:
        """The chat's own keys as of that version, without those that were replaced later."""
        return dict(standing(fields, self._configured, version))

    def of(self, stored: StoredEvent) -> StoredEvent:
        """The event as the reader gets it: the same object where nothing of it is hidden, else one without what is, under today's type."""
        message_id = stored.message_id
        if stored.version > self.since:
            return stored
        if stored.type in TRACES:
            name, data = encode(decode_event(stored).data.without_sums())
            return msgspec.structs.replace(stored, type=name, data=data)
        sent_words = stored.type == "message_start" and self._hides_words
        if message_id is not None and message_id not in self._deleted and message_id not in self._replaced and not sent_words:
            return stored
        fact = decode_event(stored).data
        left = self._of_chat(fact, stored.version) if message_id is None else self._of_message(message_id, fact, stored.version)
        if sent_words:
            left = without_payload(left)
        if left == fact:
            return stored
        name, data = encode(left)
        return msgspec.structs.replace(stored, type=name, data=data)

    def _of_chat(self, fact: Any, version: int) -> Any:
        match fact:
            case ChatCreated():
                title = "" if version < self._titled else fact.title
                return msgspec.structs.replace(fact, title=title, fields=standing(fact.fields, self._configured, version))
            case ChatRenamed() if version < self._titled:
                return msgspec.structs.replace(fact, title="")
            case ChatConfigured(fields=fields):
                return ChatConfigured(standing(fields, self._configured, version))
            case ChatTagged(name=name) | ChatUntagged(name=name) if version <= self._untagged.get(name, 0):
                return msgspec.structs.replace(fact, name="")
            case _:
                return fact

    def _of_message(self, message_id: UUID, fact: Any, version: int) -> Any:
        if message_id in self._deleted:
            return without_words(fact)
        replaced = self._replaced.get(message_id, _same)
        gone_until = (
            replaced.get(CONTENT, 0) if not isinstance(fact, Emitted) else max(replaced.get(CONTENT, 0), replaced.get(EMITTED_CONTENT, 0))
        )
        if gone_until > version:
            fact = without_content(fact)
        match fact:
            case MessageAdded() | MessageStarted():
                return msgspec.structs.replace(fact, fields=standing(fact.fields, replaced, version))
            case MessageEdited(fields=fields):
                said = {CONTENT: fields[CONTENT]} if CONTENT in fields else {}
                return MessageEdited({**standing(fields, replaced, version), **said})
            case MessageRated() if replaced.get(RATING, 0) > version:
                return msgspec.structs.replace(fact, comment=None)
            case Emitted() if replaced.get(EMITTED_KEYS.get(emitters_name(fact), ""), 0) > version:
                return Emitted(fact.name, {})
            case _:
                return fact


def standing(fields: Mapping[str, Any], replaced: Mapping[str, int], version: int) -> Mapping[str, Any]:
    """The keys that an event of that version set and that none has replaced since."""
    return {key: value for key, value in fields.items() if replaced.get(key, 0) <= version}


def without_words(fact: Any) -> Any:
    """What happened to a deleted message, without anything that was said."""
    match without_content(fact):
        case MessageAdded() as said:
            return msgspec.structs.replace(said, client_id=None, fields=without_text(said.fields))
        case MessageStarted() as start:
            return msgspec.structs.replace(without_payload(start), client_id=None, fields=without_text(start.fields))
        case MessageEdited(fields=fields):
            return MessageEdited(without_text(fields))
        case GenerationFailed(code=code):
            return GenerationFailed(code, "")
        case MessageRated() as rated:
            return msgspec.structs.replace(rated, comment=None)
        case Emitted(name=name):
            return Emitted(name, {})
        case CallOpened() | CallAnswered() as asked:
            return msgspec.structs.replace(asked, data=None)
        case left:
            return left


def without_payload(start: MessageStarted) -> MessageStarted:
    """Without what the model was sent, and without its sha256: words could be found by it."""
    return msgspec.structs.replace(start, payload=msgspec.UNSET, payload_sha256=msgspec.UNSET)


def without_text(fields: Mapping[str, Any]) -> Mapping[str, Any]:
    """Of a message's own keys only when it was said: that belongs to its place in the tree."""
    at = fields.get(TIMESTAMP)
    return {TIMESTAMP: at} if isinstance(at, int | float) else {}


def without_said(fields: Mapping[str, Any]) -> Mapping[str, Any]:
    return {key: value for key, value in fields.items() if key not in (CONTENT, BLOCKS)}


def without_content(fact: Any) -> Any:
    """The fact without what it says of its message's content. No sum of it is left either: a short text could be found by it."""
    match fact:
        case MessageAdded(fields=fields):
            return msgspec.structs.replace(fact, content="", fields=without_said(fields))
        case MessageStarted(fields=fields):
            return msgspec.structs.replace(fact, fields=without_said(fields))
        case MessageEdited(fields=fields):
            # The key is left: it makes the event's actor the one who edited the message.
            return MessageEdited({**without_said(fields), **({CONTENT: ""} if CONTENT in fields else {})})
        case BlockOpened():
            return BlockOpened(fact.index, fact.type)
        case MessageDelta():
            return msgspec.structs.replace(fact, text="")
        case MessageEnded():
            blocks = [msgspec.structs.replace(block, sha256=SHA256_OF_NOTHING) for block in fact.blocks]
            return msgspec.structs.replace(fact, content="", blocks=blocks, sha256=SHA256_OF_NOTHING)
        case GenerationFailed() | GenerationCancelled() | GenerationInterrupted():
            return msgspec.structs.replace(fact, content="")
        case FilterApplied() | ActionRan():
            return fact.without_sums()
        case Emitted() if EMITTED_KEYS.get(emitters_name(fact)) == CONTENT:
            return Emitted(fact.name, {})
        case _:
            return fact
