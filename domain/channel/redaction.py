"""Which words of a channel's past are hidden from a reader whose access began later, and an event without them.

The rule is that of chats (``domain/log/redaction.py``): everything from the version on at which the access began, and of what happened
before it only what still stood then. Numbers, types and places in threads stay, so that cursors have no gap.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final
from uuid import UUID

import msgspec

from domain.channel.facts import (
    ChannelChanged,
    ChannelCreated,
    MessageChanged,
    MessagePosted,
    MessageRemoved,
    ReactionAdded,
    ReactionRemoved,
)
from domain.generation import ActionRan, FilterApplied, GenerationFailed, MessageStarted
from domain.log.codec import decode_event, encode
from domain.log.event import Emitted, StoredEvent
from domain.log.redaction import CONTENT, TRACES, without_content, without_payload

CHANGING_TYPES: Final = ("message:update", "message:delete", "message:reaction:remove", "channel:update")  # all that ``observe`` reads
MERGED: Final = ("data", "meta")  # keys that are changed key by key
OF_THE_CHANNEL: Final = ("name", "description")

_none: Final[Mapping[str, int]] = {}


class ChannelRedaction:
    """What is hidden from readers whose access to one channel began at version ``since``.

    Made by ``observe`` of the events up to there of ``CHANGING_TYPES``, in order. Then it never changes: history does not.
    """

    __slots__ = ("_deleted", "_reactions", "_replaced", "since")

    def __init__(self, since: int) -> None:
        self.since = since
        self._deleted: set[UUID] = set()
        self._replaced: dict[UUID | None, dict[str, int]] = {}  # by message (None: the channel) and key: the version that replaced it last
        self._reactions: dict[tuple[UUID | None, str, UUID], int] = {}  # those that were taken away: the version that last did

    def observe(self, stored: StoredEvent) -> None:
        match decode_event(stored).data:
            case MessageRemoved():
                assert stored.message_id is not None
                self._deleted.add(stored.message_id)
            case MessageChanged(fields=fields):
                self._replaced.setdefault(stored.message_id, {}).update(dict.fromkeys(keys_of(fields), stored.version))
            case ReactionRemoved(name=name, user_id=user_id):
                self._reactions[stored.message_id, name, user_id] = stored.version
            case ChannelChanged() as changes:
                known = {name: getattr(changes, name) for name in (*OF_THE_CHANNEL, *MERGED)}
                fields = {name: value for name, value in known.items() if value is not msgspec.UNSET}
                self._replaced.setdefault(None, {}).update(dict.fromkeys(keys_of(fields), stored.version))
            case _:
                pass

    def of(self, stored: StoredEvent) -> StoredEvent:
        """The event as the reader gets it: the same object where nothing of it is hidden, else one without what is."""
        message_id = stored.message_id
        if stored.version > self.since:
            return stored
        sent_words = stored.type == "message_start" and bool(self._deleted or self._replaced)
        reacted = stored.type.startswith("message:reaction:")
        if message_id not in self._deleted and message_id not in self._replaced and not (sent_words or reacted or stored.type in TRACES):
            return stored
        fact = decode_event(stored).data
        left = self._left(message_id, fact, stored.version)
        if sent_words:
            left = without_payload(left)
        if left == fact:
            return stored
        name, data = encode(left)
        return msgspec.structs.replace(stored, type=name, data=data)

    def _left(self, message_id: UUID | None, fact: Any, version: int) -> Any:
        match fact:
            case FilterApplied() | ActionRan():
                return fact.without_sums()
            case ReactionAdded(name=name, user_id=user_id) | ReactionRemoved(name=name, user_id=user_id):
                is_gone = message_id in self._deleted or self._reactions.get((message_id, name, user_id), 0) >= version
                return msgspec.structs.replace(fact, name="") if is_gone else fact
            case _ if message_id in self._deleted:
                return without_words(fact)
            case _:
                pass
        replaced = self._replaced.get(message_id, _none)
        is_replaced = replaced.get(CONTENT, 0) > version
        match fact:
            case MessagePosted(content=content, fields=fields):
                kept = standing(fields, replaced, version)
                return msgspec.structs.replace(fact, content="" if is_replaced else content, fields=kept)
            case MessageChanged(fields=fields):
                return MessageChanged(standing(fields, replaced, version))
            case ChannelCreated() | ChannelChanged():
                gone = {name: "" for name in OF_THE_CHANNEL if replaced.get(name, 0) > version and getattr(fact, name) is not msgspec.UNSET}
                kept = standing({"data": fact.data, "meta": fact.meta}, replaced, version)
                return msgspec.structs.replace(fact, **gone, **kept)
            case Emitted():
                return fact
            case _:
                return without_content(fact) if is_replaced else fact


def keys_of(fields: Mapping[str, Any]) -> Iterable[str]:
    """Each key that a change sets; of what is merged key by key the keys in it."""
    for key, value in fields.items():
        if key in MERGED and isinstance(value, Mapping):
            yield from (f"{key}.{inner}" for inner in value)
        else:
            yield key


def standing(fields: Mapping[str, Any], replaced: Mapping[str, int], version: int) -> dict[str, Any]:
    """The keys that an event of that version set and that none has replaced since."""
    kept = {}
    for key, value in fields.items():
        if key in MERGED and isinstance(value, Mapping):
            kept[key] = {inner: one for inner, one in value.items() if replaced.get(f"{key}.{inner}", 0) <= version}
        elif replaced.get(key, 0) <= version:
            kept[key] = value
    return kept


def without_words(fact: Any) -> Any:
    """What happened to a deleted message, without anything that was said: only its place and whose it was."""
    match fact:
        case MessagePosted():
            return msgspec.structs.replace(fact, content="", temp_id=None, client_id=None, fields={})
        case MessageChanged():
            return MessageChanged({})
        case MessageStarted():
            asker = {key: value for key, value in fact.fields.items() if key == "user_id"}
            return msgspec.structs.replace(without_payload(fact), client_id=None, fields=asker)
        case GenerationFailed(code=code):
            return GenerationFailed(code, "")
        case Emitted(name=name):
            return Emitted(name, {})
        case _:
            return without_content(fact)
