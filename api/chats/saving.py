"""A whole chat saved by a client: merged by message with what the server holds, never in its place (docs/decisions/0012)."""

import asyncio
from collections.abc import Mapping
from typing import Any, Final
from uuid import UUID

import msgspec

from api.chats.references import resolve_blobs
from api.request.ids import bound_id
from commands.chats import Chats
from commands.generation.run import CONTENT_BYTES_MAX
from commands.ports import Appended, Blobs, CommandKey, EventLog
from domain.chat.commands import AddMessage, ChatCommand, ConfigureChat, EditMessage, ExpectUnchanged, RateMessage, RenameChat, SelectBranch
from domain.chat.state import Chat, MessageNode
from domain.codec import decode_actor
from domain.errors import (
    BadRequest,
    ChatChanged,
    ChatNotFound,
    EditConflict,
    GenerationOpen,
    MessageExists,
    MessageNotFound,
    ParentNotFound,
)
from domain.event import Actor
from domain.merge import SERVERS_KEYS, Conflict, Merged, Read, Sent, differing, merge, same_json
from domain.stream import chat_stream
from projections.chat import ChatView, shown_message
from projections.messages import Message, Messages
from projections.ports import History

ATTEMPTS_MAX: Final = 8
ROLES: Final = ("user", "assistant", "system")
ELSEWHERE: Final = frozenset(
    {"id", "history", "messages", "tags", "timestamp", "client_id"}
)  # keys of a saved chat that say nothing of its own
THREAD_MESSAGES: Final = 500  # from so many on a merge is not worth the loop's time


class Saved(msgspec.Struct):
    appended: Appended
    kept: list[UUID]  # messages in which the copy was older than the server, or that are being written


class Copy(msgspec.Struct, frozen=True):
    """A saved chat, read: ids bound to their user."""

    messages: Mapping[UUID, Sent]
    current_id: UUID | None
    settings: Mapping[str, Any]  # the title, and the chat's own keys
    base: int | None  # the version that the client had read


def parsed(chat: Mapping[str, Any], user_id: UUID, base: int | None) -> Copy:
    """Raises ``BadRequest`` that names the message and the key."""
    history = chat["history"]
    messages = history.get("messages") if isinstance(history, dict) else None
    if not isinstance(messages, dict):
        raise BadRequest("expected chat.history.messages, an object of messages by their ids")
    sent: dict[UUID, Sent] = {}
    for given, message in messages.items():
        if not isinstance(message, dict):
            raise BadRequest(f"message {given[:80]}: expected an object")
        role, parent = message.get("role"), message.get("parentId")
        if role not in ROLES:
            raise BadRequest(f"message {given[:80]}: expected a role of {', '.join(ROLES)}, received {str(role)[:80]!r}")
        if parent is not None and not isinstance(parent, str):
            raise BadRequest(f"message {given[:80]}: expected parentId to be an id or null")
        message_id, client_id = bound_id(user_id, given)
        parent_id = bound_id(user_id, parent)[0] if parent else None
        sent[message_id] = Sent(message_id, parent_id, role, message, client_id)
    current = history.get("currentId")
    current_id = bound_id(user_id, current)[0] if isinstance(current, str) and current else None
    return Copy(sent, current_id, {key: value for key, value in chat.items() if key not in ELSEWHERE}, base)


class Saving:
    """What saving one chat for one person needs."""

    def __init__(self, chats: Chats, history: History, log: EventLog, blobs: Blobs, actor: Actor) -> None:
        self._chats = chats
        self._history = history
        self._log = log
        self._blobs = blobs
        self._actor = actor

    async def save(self, chat_id: UUID, copy: Copy, key: CommandKey | None) -> Saved:
        """Merge the copy into the chat, all of it or nothing.

        Raises ``EditConflict`` where somebody else changed the same, ``ChatNotFound``, ``BadRequest``, and what ``EventLog.append`` raises.
        """
        for attempt in range(ATTEMPTS_MAX):
            now = await self._history.chat(chat_id)
            _, chat = await self._chats.state(chat_id, generations=True)
            if not chat.may_write(self._actor.id):
                raise ChatNotFound(chat_id)
            await resolve_blobs(self._blobs, chat_id, now)
            base = await self._base(chat_id, copy, now)
            settings = changed_settings(copy, now, base)
            merged = await self._merged(chat_id, copy, now, chat, base)
            conflicts = [*settings.conflicts, *merged.conflicts]
            if conflicts:
                nodes = await self._chats.message_nodes(chat_id, [one.message_id for one in conflicts if one.message_id is not None])
                raise EditConflict([named(one, copy, now, chat, nodes) for one in conflicts], expected=copy.base, current=now.version)
            commands = await self._commands(chat_id, copy, now, base, settings.changed, merged)
            answered = msgspec.structs.replace(key, answer=msgspec.json.encode(merged.kept)) if key is not None else None
            try:
                appended = await self._chats.handle_all(commands, actor=self._actor, key=answered)
            except (ChatChanged, MessageExists, MessageNotFound, ParentNotFound, GenerationOpen):
                # Somebody was quicker: what the copy changes is compared again, with what is there now.
                if attempt == ATTEMPTS_MAX - 1:
                    raise
                continue
            return Saved(appended, msgspec.json.decode(appended.answer, type=list[UUID]) if appended.repeated else list(merged.kept))
        raise AssertionError  # the last attempt returned or raised

    async def _base(self, chat_id: UUID, copy: Copy, now: ChatView) -> ChatView | None:
        """The chat as the client had read it; None if it does not say."""
        if copy.base is None:
            return None
        if copy.base == now.version:
            return now
        if copy.base > now.version:
            raise BadRequest(f"expected the version that was read, at most {now.version}, received {copy.base}")
        base = await self._history.chat(chat_id, at=copy.base)
        await resolve_blobs(self._blobs, chat_id, base)
        return base

    async def _merged(self, chat_id: UUID, copy: Copy, now: ChatView, chat: Chat, base: ChatView | None) -> Merged:
        messages = shown(now)
        was = messages if base is now else shown(base) if base is not None else {}
        gone: dict[UUID, UUID | None] = {}
        asked = {named for one in copy.messages.values() for named in (one.id, one.parent_id)}
        while asked:  # up to what is still there, also where that is not in the copy
            unseen = {one for one in asked if one is not None and one not in messages}
            found = (
                {one: node for one, node in (await self._chats.message_nodes(chat_id, unseen)).items() if node.deleted} if unseen else {}
            )
            gone |= {one: node.parent_id for one, node in found.items()}
            asked = {node.parent_id for node in found.values()} - gone.keys()
        read: dict[UUID, Read] = {}
        for one in copy.messages.values():
            message = messages.get(one.id)
            if one.id not in gone and (message is None or not differing(one, message)):
                continue
            if one.id in was:
                assert base is not None
                read[one.id] = Read(was[one.id], was_open=str(one.id) in base.open)
            else:
                read[one.id] = await self._states(chat_id, one.id)
        being_written = frozenset(map(UUID, now.open)) | chat.open_generations.keys()

        def merging() -> Merged:
            return merge(copy.messages, messages, being_written=being_written, deleted=gone, read=read)

        return await asyncio.to_thread(merging) if len(copy.messages) > THREAD_MESSAGES else merging()

    async def _states(self, chat_id: UUID, message_id: UUID) -> Read:
        """Every state that a message was in, and what this person had read of it at least: each key as they set it, or as it was first."""
        view, states, known = ChatView(), list[Message](), dict[str, Any]()
        for event in await self._log.read_message(chat_stream(chat_id), message_id, after=0):
            if event.type == "message_deleted":
                break
            if event.type == "message_delta":
                continue
            view.apply(event)
            if str(message_id) in view.open or str(message_id) not in view.messages:
                continue
            state = ChatView()
            state.messages = Messages({str(message_id): dict(view.messages[str(message_id)])})
            await resolve_blobs(self._blobs, chat_id, state)
            shown_now = shown_message(state.messages[str(message_id)])
            actor = decode_actor(event.actor)
            # What the server made of its own answer is nobody else's edit.
            if not states or actor is None or actor.id == self._actor.id:
                before = states[-1] if states else {}
                known |= {key: value for key, value in shown_now.items() if key not in before or not same_json(value, before[key])}
            states.append(shown_now)
        return Read(known if states else None, states=states)

    async def _commands(
        self, chat_id: UUID, copy: Copy, now: ChatView, base: ChatView | None, settings: Mapping[str, Any], merged: Merged
    ) -> list[ChatCommand]:
        by = self._actor.id
        commands: list[ChatCommand] = [
            ExpectUnchanged(chat_id=chat_id, by=by, since=now.version, message_ids=list(merged.edits), settings=bool(settings))
        ]
        if "title" in settings:
            commands.append(RenameChat(chat_id=chat_id, by=by, title=settings["title"]))
        own = {key: value for key, value in settings.items() if key != "title"}
        if own:
            commands.append(ConfigureChat(chat_id=chat_id, by=by, fields=own))
        for message_id, edited in merged.edits.items():
            fields = dict(edited)
            if is_rating(fields.get("annotation")):
                rating = fields.pop("annotation")
                commands.append(
                    RateMessage(chat_id=chat_id, by=by, message_id=message_id, rating=rating["rating"], comment=rating.get("comment"))
                )
            if "content" in fields:
                fields["content"] = await self._content(chat_id, fields["content"])
            if fields:
                commands.append(EditMessage(chat_id=chat_id, by=by, message_id=message_id, fields=fields))
        commands += [await self._addition(chat_id, one) for one in merged.additions]
        looked_at = current(copy, now, base, {one.id for one in merged.additions})
        if looked_at is not None and (merged.additions or str(looked_at) != now.current_id):
            commands.append(SelectBranch(chat_id=chat_id, by=by, message_id=looked_at))
        return commands

    async def _addition(self, chat_id: UUID, sent: Sent) -> AddMessage:
        return AddMessage(
            chat_id=chat_id,
            by=self._actor.id,
            message_id=sent.id,
            parent_id=sent.parent_id,
            role=sent.role,  # type: ignore[arg-type]  # checked when it was read
            content=await self._content(chat_id, sent.message.get("content", "")),
            client_id=sent.client_id,
            fields={key: value for key, value in sent.message.items() if key == "timestamp" or key not in {*SERVERS_KEYS, "content"}},
        )

    async def _content(self, chat_id: UUID, content: Any) -> Any:
        """By reference where an event could not hold it."""
        encoded = content.encode(errors="surrogatepass") if isinstance(content, str) and len(content) > CONTENT_BYTES_MAX // 4 else b""
        if len(encoded) <= CONTENT_BYTES_MAX:
            return content
        return {"blob": await self._blobs.put(chat_stream(chat_id), encoded), "size_bytes": len(encoded)}


class Settings(msgspec.Struct, frozen=True):
    changed: Mapping[str, Any]
    conflicts: list[Conflict]


def changed_settings(copy: Copy, now: ChatView, base: ChatView | None) -> Settings:
    """The title and the chat's other keys, compared as messages are. Without a version the last one to set a key has set it."""
    held, was = own_keys(now), own_keys(base) if base is not None else None
    changed = {key: value for key, value in copy.settings.items() if not (key in held and same_json(value, held[key]))}
    if was is None:
        return Settings(changed, [])
    changed = {key: value for key, value in changed.items() if not (key in was and same_json(value, was[key]))}
    both = [key for key in changed if not same_json(held.get(key), was.get(key)) or (key in held) != (key in was)]
    return Settings(changed, [Conflict(None, both)] if both else [])


def own_keys(view: ChatView) -> dict[str, Any]:
    return {**view.fields, "title": view.title}


def shown(view: ChatView) -> dict[UUID, Message]:
    return {UUID(message_id): shown_message(message) for message_id, message in view.messages.items()}


def current(copy: Copy, now: ChatView, base: ChatView | None, added: set[UUID]) -> UUID | None:
    """The message to look at after the save: the client's, where it has moved there, or what it would answer."""
    held = UUID(now.current_id) if now.current_id is not None else None
    wanted, passed = copy.current_id, set[UUID]()
    while wanted is not None and wanted not in added and str(wanted) not in now.messages and wanted not in passed:
        passed.add(wanted)  # announced, or deleted meanwhile
        wanted = copy.messages[wanted].parent_id if wanted in copy.messages else None
    if wanted is None or (wanted not in added and str(wanted) not in now.messages):
        return held
    if wanted in added:
        return wanted
    if base is not None:
        return held if str(wanted) == base.current_id else wanted
    # Who does not say what it had read, and looks at something further up the same branch, is only late.
    return held if str(wanted) in now.branch(now.current_id) else wanted


def is_rating(annotation: Any) -> bool:
    """Whether it is no more than a thumb and a comment."""
    return (
        isinstance(annotation, dict)
        and annotation.keys() <= {"rating", "comment"}
        and type(annotation.get("rating")) is int
        and annotation["rating"] in (-1, 0, 1)
        and isinstance(annotation.get("comment"), str | None)
    )


def named(conflict: Conflict, copy: Copy, now: ChatView, chat: Chat, nodes: Mapping[UUID, MessageNode]) -> dict[str, Any]:
    """Both versions, for whoever has to choose."""
    about: dict[str, Any] = {"message_id": conflict.message_id, "keys": conflict.keys, "yours_version": copy.base}
    if conflict.message_id is None:
        held = own_keys(now)
        yours = {key: copy.settings[key] for key in conflict.keys}
        return about | {"yours": yours, "current": {key: held.get(key) for key in conflict.keys}, "current_version": chat.settings_version}
    message = now.messages.get(str(conflict.message_id))
    node = nodes.get(conflict.message_id)
    return about | {
        "yours": copy.messages[conflict.message_id].message,
        "current": shown_message(message) if message is not None else None,
        "current_version": node.changed_version if node is not None else now.version,
    }
