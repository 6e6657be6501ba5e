"""Chat commands: each becomes appended events, in the chat's own stream and in those of the people it concerns."""

from collections.abc import AsyncIterator, Callable, Collection, Coroutine, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Final
from uuid import UUID

from commands.aggregate import OUTLINE_EVENTS, Aggregate
from commands.chats.partial_chat import PartialChatReader
from commands.content.large_emitted import emit_with_references, in_pieces, is_large
from commands.content.large_values import large_values, with_references
from commands.kept_history import KeptHistory
from commands.open_generations import text_so_far
from commands.ports import ANY, Appended, Blobs, Claim, CommandKey, EventLog, StreamAppend
from domain.accounts.user.facts import ChatListed, ChatUnlisted
from domain.chat.commands import (
    AddMessage,
    ChatCommand,
    ConfigureChat,
    CreateChat,
    DeleteChat,
    EditMessage,
    Emit,
    LeaveChat,
    ShareChat,
    chat_of,
)
from domain.chat.decide import decide, decide_all, require_access
from domain.chat.evolve import evolve, fold
from domain.chat.state import EMPTY, Chat, MessageNode
from domain.generation import Generation, StartGeneration
from domain.log.event import Actor, Event, StoredEvent
from domain.log.redaction import Redaction
from domain.log.stream import Stream, chat_stream, user_stream


def open_messages(chat: Chat) -> list[tuple[UUID, int]]:
    return [(message_id, generation.started_version) for message_id, generation in chat.open_generations.items()]


class Chats:
    """All chats. ``handle`` takes one command, ``handle_all`` several as one, all or nothing."""

    def __init__(
        self, log: EventLog, blobs: Blobs | None = None, *, kept_max: int = 2048, partial_reader: PartialChatReader | None = None
    ) -> None:
        """``blobs`` takes the values that are too large for an event; without it such commands are refused."""
        self._log = log
        self._redactions = KeptHistory(self._read_redaction)
        self._blobs = blobs
        self._aggregate = Aggregate(
            log,
            "chat",
            EMPTY,
            evolve,
            kept_max=kept_max,
            open_messages=open_messages,
            fold=fold,
            partial_reader=partial_reader or PartialChatReader(log),
        )

    async def state(
        self, chat_id: UUID, *, fresh: bool = True, messages: Iterable[UUID | None] = (), generations: bool = False, calls: bool = False
    ) -> tuple[int, Chat]:
        """``(version, state)``; an empty state where there is no such chat.

        Of a long chat the state holds the chat itself, and few messages. With ``messages`` ``Chat.messages`` tells of these and of the
        one that is looked at; for another it raises ``NotLoaded``. With ``generations`` ``Chat.open_generations`` holds all of the
        chat; otherwise those of messages that it tells of. With ``calls`` the same holds of ``Chat.open_calls``.
        """
        named = {one for one in messages if one is not None}
        if not named and not generations and not calls:
            return await self._aggregate.state(chat_id, fresh=fresh)

        def require(chat: Chat) -> None:
            if named:
                chat.messages.require(named if chat.current_id is None else {*named, chat.current_id})
            if generations:
                chat.require_generations()
            if calls:
                chat.require_calls()

        return await self._aggregate.state(chat_id, fresh=fresh, require=require)

    async def message_nodes(self, chat_id: UUID, message_ids: Collection[UUID]) -> Mapping[UUID, MessageNode]:
        """These messages as of now, the deleted ones among them. One that never was is left out."""
        _, chat = await self.state(chat_id, messages=message_ids)
        return {one: node for one in message_ids if (node := chat.messages.get(one)) is not None}

    async def deleted_since(self, chat_id: UUID, version: int) -> Collection[UUID]:
        """The messages that were deleted after ``version``."""
        stream, deleted = chat_stream(chat_id), set[UUID]()
        async for page in self._outline(stream, version, await self._log.version(stream)):
            deleted |= {stored.message_id for stored in page if stored.type == "message_deleted" and stored.message_id is not None}
        return deleted

    async def redaction(self, chat_id: UUID, since: int) -> Redaction:
        """What is hidden from readers whose access began at version ``since``. Raises ``LogUnavailable``."""
        return await self._redactions.get(chat_id, since)

    async def _read_redaction(self, chat_id: UUID, since: int) -> Redaction:
        redaction = Redaction(since)
        async for page in self._outline(chat_stream(chat_id), 0, since):
            for stored in page:
                redaction.observe(stored)
        return redaction

    async def _outline(self, stream: Stream, after: int, until: int) -> AsyncIterator[Sequence[StoredEvent]]:
        while after < until:
            page = await self._log.read_outline(stream, after=after, until=until, limit=OUTLINE_EVENTS)
            yield page
            if len(page) < OUTLINE_EVENTS:
                return
            after = page[-1].version

    def handle(
        self,
        command: ChatCommand,
        *,
        actor: Actor | None = None,
        key: CommandKey | None = None,
        claims: Sequence[Claim] = (),
        also: Callable[[Chat], Sequence[StreamAppend]] | None = None,
        expected_version: int | None = None,
        attempts_max: int | None = 32,
        new_ids: Collection[UUID] = (),
    ) -> Coroutine[Any, Any, Appended]:
        """``also``: what is appended besides, made of the state on which the command was decided. ``new_ids``: see ``Aggregate.handle``.

        Raises what ``decide`` and ``Aggregate.handle`` raise.
        """
        if may_be_large(command):
            return self.handle_all(
                [command],
                actor=actor,
                key=key,
                claims=claims,
                expected_version=expected_version,
                attempts_max=attempts_max,
                new_ids=new_ids,
            )
        return self._aggregate.handle(
            chat_of(command),
            lambda chat: decide(chat, command),
            actor=actor,
            command=key,
            claims=claims,
            also=partial(appends, command=command, more=also) if also is not None or type(command) in CHANGES_LISTS else None,
            expected_version=expected_version,
            attempts_max=attempts_max,
            new_ids=new_ids,
        )

    async def handle_all(
        self,
        commands: Sequence[ChatCommand],
        *,
        actor: Actor | None,
        key: CommandKey | None = None,
        claims: Sequence[Claim] = (),
        expected_version: int | None = None,
        attempts_max: int | None = 32,
        new_ids: Collection[UUID] = (),
    ) -> Appended:
        """Several commands of one chat, decided one upon the other and appended as one request.

        Values that are too large for an event are stored as blobs first. Raises what ``handle`` raises, and ``TooLarge``.
        """
        if self._blobs is not None and any(map(may_be_large, commands)):
            commands = await self._with_references(commands, self._blobs, actor)

        def decided(chat: Chat) -> Sequence[Event[Any]]:
            return decide_all(chat, commands, 0)

        def also(chat: Chat, _: int) -> Sequence[StreamAppend]:
            events: dict[Stream, list[Event[Any]]] = {}  # a request names each stream once, and two of the commands may concern one person
            for append in (append for command in commands for append in list_appends(chat, command)):
                events.setdefault(append.stream, []).extend(append.events)
            return [StreamAppend(stream, of_stream, ANY) for stream, of_stream in events.items()]

        return await self._aggregate.handle(
            chat_of(commands[0]),
            decided,
            actor=actor,
            command=key,
            claims=claims,
            also=also,
            expected_version=expected_version,
            attempts_max=attempts_max,
            new_ids=new_ids,
        )

    async def _with_references(self, commands: Sequence[ChatCommand], blobs: Blobs, actor: Actor | None) -> list[ChatCommand]:
        chat_id = chat_of(commands[0])
        _, chat = await self.state(chat_id, fresh=False)
        if not isinstance(commands[0], CreateChat):
            require_access(chat, commands[0])  # before anything is stored
        elif chat.owner_id is not None:
            return list(commands)  # it is refused, or repeated
        if actor is not None:
            await self._log.require_account(actor.id)
        stream = chat_stream(chat_id)
        return [one for command in commands for one in await self._as_stored(command, blobs, stream)]

    async def _as_stored(self, command: ChatCommand, blobs: Blobs, stream: Stream) -> list[ChatCommand]:
        if isinstance(command, Emit):
            return [await emit_with_references(one, blobs, stream) for one in in_pieces(command)]
        return [await with_references(command, blobs, stream) if type(command) in MAY_BE_LARGE else command]

    async def emit_by_server(self, chat_id: UUID, message_id: UUID, name: str, data: Any) -> None:
        """In nobody's name, however many others write in the chat meanwhile. Raises what ``handle`` raises."""
        await self.handle(Emit(chat_id=chat_id, by=None, message_id=message_id, name=name, data=data), attempts_max=None)

    async def open_generation(self, chat_id: UUID, message_id: UUID) -> tuple[int, Generation | None]:
        version, chat = await self.state(chat_id, messages=[message_id])
        return version, chat.open_generations.get(message_id)

    async def text_so_far(self, chat_id: UUID, message_id: UUID, generation: Generation) -> str:
        """What a generation has said in its text blocks, from the log."""
        return await text_so_far(self._log, chat_stream(chat_id), message_id, generation)


CHANGES_LISTS: Final = (CreateChat, ShareChat, LeaveChat, DeleteChat)
MAY_BE_LARGE: Final = frozenset({CreateChat, ConfigureChat, AddMessage, EditMessage, StartGeneration})


def may_be_large(command: ChatCommand) -> bool:
    """Whether values of the command may have to be stored as blobs."""
    if isinstance(command, Emit):
        return is_large(command)
    return type(command) in MAY_BE_LARGE and bool(large_values(command))


def appends(chat: Chat, _: int, *, command: ChatCommand, more: Callable[[Chat], Sequence[StreamAppend]] | None) -> Sequence[StreamAppend]:
    return [*list_appends(chat, command), *(more(chat) if more is not None else ())]


def list_appends(chat: Chat, command: ChatCommand) -> Sequence[StreamAppend]:
    """What the command adds to the streams of the people whose lists it changes."""
    match command:
        case CreateChat(by=by, chat_id=chat_id, listed=True):
            return [append_chat_listed(by, chat_id)]
        case ShareChat(user_id=user_id, chat_id=chat_id, permission=permission):
            return [append_chat_unlisted(user_id, chat_id)] if permission is None else []  # an offer: commands/chats/offers.py
        case LeaveChat(by=by, chat_id=chat_id):
            return [append_chat_unlisted(by, chat_id)]
        case DeleteChat(chat_id=chat_id):
            owner = [chat.owner_id] if chat.owner_id is not None and chat.listed else []
            return [append_chat_unlisted(user_id, chat_id) for user_id in (*owner, *chat.grants)]
        case _:
            return []


def append_chat_listed(user_id: UUID, chat_id: UUID) -> StreamAppend:
    return StreamAppend(user_stream(user_id), [Event(None, ChatListed(chat_id))], ANY)


def append_chat_unlisted(user_id: UUID, chat_id: UUID) -> StreamAppend:
    return StreamAppend(user_stream(user_id), [Event(None, ChatUnlisted(chat_id))], ANY)
