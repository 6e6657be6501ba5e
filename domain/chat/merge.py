"""What of a saved copy of a chat is new, and what two people changed.

A client may save the whole chat as it holds it. That copy is old in most places: what it lacks was not deleted, and what differs
was not necessarily changed by it. So each key of each message is compared three ways: as the server has it now, as the client
sends it, and as the client had read it. Only where the client's differs from what it had read has it been changed; where the
server's does too, another user changed the same, and neither change may be lost: that is a conflict, and nothing is saved.

Pure, like everything here. Messages are mappings as readers see them (``content``, ``done``, ``state``, ``annotation`` …).
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final
from uuid import UUID

import msgspec

from domain.chat.facts import PROVENANCE
from domain.errors import BadRequest

Message = Mapping[str, Any]

# What the server says of a message. A copy of it changes nothing.
SERVERS_KEYS: Final = frozenset(
    {
        *("id", "parentId", "childrenIds", "role", "blocks", "timestamp", "done", "state", "task_id", "user_id", "user", "client_id"),
        *("edited_at", "timings", "finish_reason", *PROVENANCE),
    }
)
# … and of one that was generated here also these.
GENERATED_KEYS: Final = SERVERS_KEYS | {"model", "usage", "error", "statusHistory", "sources", "selectedModelId", "arena"}
_MISSING: Final = object()


class SavedMessage(msgspec.Struct, frozen=True):
    """One message of the client's copy."""

    id: UUID
    parent_id: UUID | None
    role: str | None  # None: the client sent only what it has changed
    message: Message
    client_id: str | None = None

    @property
    def is_announced_only(self) -> bool:
        """The place of an answer that is to be asked for: the server makes that message when it begins."""
        return self.role == "assistant" and self.message.get("done") is not True and self.message.get("content") in (None, "", [])


class ReadState(msgspec.Struct, frozen=True):
    """What the client had read of one message."""

    message: Message | None  # None: it was not there, or is not known
    was_open: bool = False  # it was being generated
    # Where the client does not say what it had read: every state that the message was ever in. Being in one of them is no edit.
    states: Sequence[Message] = ()


class Conflict(msgspec.Struct, frozen=True):
    message_id: UUID | None  # None: the chat itself
    keys: Sequence[str]


class Merged(msgspec.Struct, frozen=True):
    additions: Sequence[SavedMessage]  # parents before children, each below a message that is there
    edits: Mapping[UUID, Message]  # the keys that the client changed
    conflicts: Sequence[Conflict]
    kept: Sequence[UUID]  # messages that the copy has otherwise, and that stay as they are: the copy is older, or they are being written


def differing(sent: SavedMessage, message: Message) -> list[str]:
    """The keys in which a copy of a message is another than the server's. A key that the copy lacks is none of them."""
    servers = GENERATED_KEYS if "state" in message else SERVERS_KEYS
    return [key for key, value in sent.message.items() if key not in servers and not same(key, value, message.get(key, _MISSING))]


def merge(
    copy: Mapping[UUID, SavedMessage],
    now: Mapping[UUID, Message],
    *,
    being_written: frozenset[UUID],
    deleted: Mapping[UUID, UUID | None],
    read: Mapping[UUID, ReadState],
) -> Merged:
    """``deleted`` names the parents of what was deleted; ``read`` holds at least all that differs from ``now`` or is in ``deleted``.

    Raises ``BadRequest`` where the copy is no tree.
    """
    edits: dict[UUID, Message] = {}
    conflicts: list[Conflict] = []
    kept: list[UUID] = []
    new: dict[UUID, SavedMessage] = {}
    has_children = {one.parent_id for one in copy.values()}
    for one in copy.values():
        message = now.get(one.id)
        if message is None and one.id not in deleted:
            if one.role is None:
                raise BadRequest(f"message {one.client_id or one.id}: it is not in this chat yet; expected its role to add it")
            if one.id in has_children or not one.is_announced_only:
                new[one.id] = one
            continue
        known = read.get(one.id, ReadState(None))
        keys = differing(one, message if message is not None else known.message or {})
        if not keys and message is not None:
            continue
        if one.id in being_written:
            kept.append(one.id)
            continue
        edited = [key for key in keys if is_edit(one, key, known)]
        if message is None:
            # What was deleted stays so; words that were put into it since are not thrown away in silence.
            if known.message is not None and edited:
                conflicts.append(Conflict(one.id, edited))
            else:
                kept.append(one.id)
            continue
        was = known.message if known.message is not None else message
        both = [key for key in edited if not same(key, message.get(key, _MISSING), was.get(key, _MISSING))]
        if both:
            conflicts.append(Conflict(one.id, both))
        elif edited:
            edits[one.id] = {key: one.message[key] for key in edited}
        if len(edited) < len(keys):
            kept.append(one.id)
    return Merged(list(placed(new, copy, now, deleted)), edits, conflicts, kept)


def is_edit(sent: SavedMessage, key: str, read: ReadState) -> bool:
    """Whether the client has changed this: its value is none that it had read, or may have read."""
    value = sent.message[key]
    if read.message is not None and same(key, value, read.message.get(key, _MISSING)):
        return False
    if any(same(key, value, state.get(key, _MISSING)) for state in read.states):
        return False
    return key != "content" or not is_piece(sent, read)


def is_piece(sent: SavedMessage, read: ReadState) -> bool:
    """Whether the content is that of an answer which was still being written when it was read: a client does not let its user edit that."""
    if read.was_open:
        return True
    generated = [state for state in (*read.states, read.message or {}) if "state" in state]
    if not generated:
        return False
    if sent.message.get("done") is not True:
        return True
    # A user who stops an answer may have seen less of it than there is.
    content = sent.message["content"]
    return isinstance(content, str) and any(
        state["state"] != "done" and isinstance(state.get("content"), str) and state["content"].startswith(content) for state in read.states
    )


def placed(
    new: Mapping[UUID, SavedMessage], copy: Mapping[UUID, SavedMessage], now: Mapping[UUID, Message], deleted: Mapping[UUID, UUID | None]
) -> Iterator[SavedMessage]:
    """The new messages, parents first. What answered a message that is deleted answers what that one answered."""
    done: set[UUID] = set()
    for first in new.values():
        path: list[SavedMessage] = []
        on_path: set[UUID] = set()
        one: SavedMessage | None = first
        while one is not None and one.id not in done:
            if one.id in on_path:
                raise BadRequest(f"message {one.id}: expected a tree, its parents lead back to itself")
            parent_id = living(one, new, copy, now, deleted)
            path.append(msgspec.structs.replace(one, parent_id=parent_id))
            on_path.add(one.id)
            one = new.get(parent_id) if parent_id is not None else None
        for each in reversed(path):
            done.add(each.id)
            yield each


def living(
    sent: SavedMessage,
    new: Mapping[UUID, SavedMessage],
    copy: Mapping[UUID, SavedMessage],
    now: Mapping[UUID, Message],
    deleted: Mapping[UUID, UUID | None],
) -> UUID | None:
    """The nearest message above this one that is there, or will be."""
    above = sent.parent_id
    passed: set[UUID] = set()
    while above is not None and above not in now and above not in new:
        if above in passed:
            raise BadRequest(f"message {sent.id}: expected a tree, its parents lead back to {above}")
        passed.add(above)
        if above in deleted:
            above = deleted[above]
        elif above in copy:
            above = copy[above].parent_id
        else:
            raise BadRequest(f"message {sent.id}: expected a parent that is in the copy or in the chat, received {above}")
    return above


def same(key: str, one: Any, other: Any) -> bool:
    if key == "annotation":
        return same_json(rating_of(one), rating_of(other))
    return same_json(one, other)


def same_json(one: Any, other: Any) -> bool:
    """Equal as JSON: 1 is 1.0, but not true."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same_json(value, other[key]) for key, value in one.items())
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same_json, one, other))
    return bool(one == other)


def rating_of(annotation: Any) -> Any:
    """An annotation without what says nothing."""
    if not isinstance(annotation, dict):
        return annotation
    return {key: value for key, value in annotation.items() if value is not None}
