"""Saves a whole chat that a client has changed: merged by message with what the server has, never in its place (docs/decisions/0012)."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Final
from uuid import UUID

import msgspec

from commands.chats.chats import Chats
from commands.content.references import THREAD_MESSAGES, resolve_blobs
from commands.ports import Appended, Blobs, CommandKey, EventLog
from commands.saving.saved_chat import SavedChat, changed_chat_settings, current_message, own_keys
from domain.chat.commands import (
    AddMessage,
    ChatCommand,
    ConfigureChat,
    CreateChat,
    EditMessage,
    ExpectUnchanged,
    RateMessage,
    RenameChat,
    SelectBranch,
    TagChat,
)
from domain.chat.merge import SERVERS_KEYS, Conflict, Merged, ReadState, SavedMessage, differing, merge, same_json
from domain.chat.state import Chat, MessageNode
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
from domain.log.codec import decode_actor
from domain.log.event import Actor
from domain.log.stream import chat_stream
from projections.chat import ChatView, message_to_json
from projections.messages import Message, Messages
from projections.ports import ChatQueries

ATTEMPTS_MAX: Final = 8


class SaveResult(msgspec.Struct):
    appended: Appended
    kept: list[UUID]  # messages in which the saved chat was older than the server's, or that are being written


class ChatSaver:
    """Merges a saved chat into the server's, and tries again when another writer was faster."""

    def __init__(self, chats: Chats, chat_queries: ChatQueries, log: EventLog, blobs: Blobs) -> None:
        self._chats = chats
        self._chat_queries = chat_queries
        self._log = log
        self._blobs = blobs

    async def save(self, actor: Actor, chat_id: UUID, saved: SavedChat, key: CommandKey | None) -> SaveResult:
        """Append all that the client has changed, or nothing.

        Raises ``EditConflict`` where another user changed the same, ``ChatNotFound`` without access, ``BadRequest``, and what
        ``EventLog.append`` raises.
        """
        await self._writable(actor, chat_id)  # before any message is loaded
        for attempt in range(ATTEMPTS_MAX):
            now = await self._chat_queries.chat(chat_id)
            chat = await self._writable(actor, chat_id)
            await resolve_blobs(self._blobs, chat_id, now)
            base = await self._base(chat_id, saved.read_version, now)
            settings = changed_chat_settings(saved, now, base)
            merged = await self._merged(actor, chat_id, saved, now, chat, base)
            conflicts = [*settings.conflicts, *merged.conflicts]
            if conflicts:
                nodes = await self._chats.message_nodes(chat_id, [one.message_id for one in conflicts if one.message_id is not None])
                described = [conflict_to_json(one, saved, now, chat, nodes) for one in conflicts]
                raise EditConflict(described, expected=saved.read_version, current=now.version)
            commands = await self._commands(actor.id, chat_id, saved, now, base, settings.changed, merged)
            command = msgspec.structs.replace(key, answer=msgspec.json.encode(merged.kept)) if key is not None else None
            try:
                appended = await self._chats.handle_all(commands, actor=actor, key=command)
            except (ChatChanged, MessageExists, MessageNotFound, ParentNotFound, GenerationOpen):
                # Another writer was faster: the saved chat is compared again, with what there is now.
                if attempt == ATTEMPTS_MAX - 1:
                    raise
                continue
            return SaveResult(appended, msgspec.json.decode(appended.answer, type=list[UUID]) if appended.repeated else list(merged.kept))
        raise AssertionError  # the last attempt returned or raised

    async def create(
        self, actor: Actor, chat: CreateChat, saved: SavedChat | None, tags: Sequence[str], key: CommandKey | None
    ) -> Appended:
        """Make a chat with the messages and tags that a client brings along, in one append.

        Raises ``ChatExists``, and ``BadRequest`` where the messages are no tree.
        """
        by, chat_id = actor.id, chat.chat_id
        commands: list[ChatCommand] = [chat, *(TagChat(chat_id=chat_id, by=by, name=name, present=True) for name in tags)]
        if saved is not None:
            merged = merge(saved.messages, {}, being_written=frozenset(), deleted={}, read={})
            for one in merged.additions:
                commands.append(self._addition(by, chat_id, one))
                if is_rating(rating := one.message.get("annotation", {})):
                    commands.append(
                        RateMessage(chat_id=chat_id, by=by, message_id=one.id, rating=rating["rating"], comment=rating.get("comment"))
                    )
            added = [one.id for one in merged.additions]
            if saved.current_id in added and saved.current_id != added[-1]:
                commands.append(SelectBranch(chat_id=chat_id, by=by, message_id=saved.current_id))
        return await self._chats.handle_all(commands, actor=actor, key=key)

    async def _writable(self, actor: Actor, chat_id: UUID) -> Chat:
        _, chat = await self._chats.state(chat_id, generations=True)
        if not chat.may_write(actor.id):
            raise ChatNotFound(chat_id)
        return chat

    async def _base(self, chat_id: UUID, read_version: int | None, now: ChatView) -> ChatView | None:
        """The chat as the client had read it; None if it does not say."""
        if read_version is None:
            return None
        if read_version == now.version:
            return now
        if read_version > now.version:
            raise BadRequest(f"expected the version that was read, at most {now.version}, received {read_version}")
        base = await self._chat_queries.chat(chat_id, at=read_version)
        await resolve_blobs(self._blobs, chat_id, base)
        return base

    async def _merged(self, actor: Actor, chat_id: UUID, saved: SavedChat, now: ChatView, chat: Chat, base: ChatView | None) -> Merged:
        messages = messages_by_id(now)
        was = messages if base is now else messages_by_id(base) if base is not None else {}
        gone: dict[UUID, UUID | None] = {}
        asked = {named for one in saved.messages.values() for named in (one.id, one.parent_id)}
        while asked:  # up to what is still there, also where the client did not send that
            unseen = {one for one in asked if one is not None and one not in messages}
            nodes = await self._chats.message_nodes(chat_id, unseen) if unseen else {}
            found = {one: node for one, node in nodes.items() if node.deleted}
            gone |= {one: node.parent_id for one, node in found.items()}
            asked = {node.parent_id for node in found.values()} - gone.keys()
        read: dict[UUID, ReadState] = {}
        for one in saved.messages.values():
            message = messages.get(one.id)
            if one.id not in gone and (message is None or not differing(one, message)):
                continue
            if one.id in was:
                assert base is not None
                read[one.id] = ReadState(was[one.id], was_open=str(one.id) in base.open)
            else:
                read[one.id] = await self._states(actor, chat_id, one.id)
        being_written = frozenset(map(UUID, now.open)) | chat.open_generations.keys()

        def merging() -> Merged:
            return merge(saved.messages, messages, being_written=being_written, deleted=gone, read=read)

        return await asyncio.to_thread(merging) if len(saved.messages) > THREAD_MESSAGES else merging()

    async def _states(self, actor: Actor, chat_id: UUID, message_id: UUID) -> ReadState:
        """Every state that the message was in, and what this person has read at least: each key as they set it, or as it was first."""
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
            message_now = message_to_json(state.messages[str(message_id)])
            by = decode_actor(event.actor)
            # What the server itself changes in an answer is no edit by another user.
            if not states or by is None or by.id == actor.id:
                before = states[-1] if states else {}
                known |= {key: value for key, value in message_now.items() if key not in before or not same_json(value, before[key])}
            states.append(message_now)
        return ReadState(known if states else None, states=states)

    async def _commands(
        self,
        by: UUID,
        chat_id: UUID,
        saved: SavedChat,
        now: ChatView,
        base: ChatView | None,
        settings: Mapping[str, Any],
        merged: Merged,
    ) -> list[ChatCommand]:
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
            if fields:
                commands.append(EditMessage(chat_id=chat_id, by=by, message_id=message_id, fields=fields))
        commands += [self._addition(by, chat_id, one) for one in merged.additions]
        current_id = current_message(saved, now, base, {one.id for one in merged.additions})
        if current_id is not None and (merged.additions or str(current_id) != now.current_id):
            commands.append(SelectBranch(chat_id=chat_id, by=by, message_id=current_id))
        return commands

    def _addition(self, by: UUID, chat_id: UUID, new: SavedMessage) -> AddMessage:
        return AddMessage(
            chat_id=chat_id,
            by=by,
            message_id=new.id,
            parent_id=new.parent_id,
            role=new.role,  # type: ignore[arg-type]  # checked when it was read
            content=new.message.get("content", ""),
            client_id=new.client_id,
            fields={key: value for key, value in new.message.items() if key == "timestamp" or key not in {*SERVERS_KEYS, "content"}},
        )


def messages_by_id(view: ChatView) -> dict[UUID, Message]:
    return {UUID(message_id): message_to_json(message) for message_id, message in view.messages.items()}


def is_rating(annotation: Any) -> bool:
    """Whether it is no more than a thumb and a comment."""
    return (
        isinstance(annotation, dict)
        and annotation.keys() <= {"rating", "comment"}
        and type(annotation.get("rating")) is int
        and annotation["rating"] in (-1, 0, 1)
        and isinstance(annotation.get("comment"), str | None)
    )


def conflict_to_json(conflict: Conflict, saved: SavedChat, now: ChatView, chat: Chat, nodes: Mapping[UUID, MessageNode]) -> dict[str, Any]:
    """The client's version and the server's, so that the user can choose."""
    about: dict[str, Any] = {"message_id": conflict.message_id, "keys": conflict.keys, "yours_version": saved.read_version}
    if conflict.message_id is None:
        held = own_keys(now)
        yours = {key: saved.settings[key] for key in conflict.keys}
        return about | {"yours": yours, "current": {key: held.get(key) for key in conflict.keys}, "current_version": chat.settings_version}
    message = now.messages.get(str(conflict.message_id))
    node = nodes.get(conflict.message_id)
    return about | {
        "yours": saved.messages[conflict.message_id].message,
        "current": message_to_json(message) if message is not None else None,
        "current_version": node.changed_version if node is not None else now.version,
    }
