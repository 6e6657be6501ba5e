"""``/api/v1/chats``: the core of the reference system's chat routes.

Where the reference answers a command with the whole chat, this answers with the chat's head: its version, and what changed. A
long chat costs no more to edit than a short one (docs/deviations.md).
"""

from typing import Annotated, Any, Final, Literal
from uuid import UUID

import msgspec
from litestar import Response, delete, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, JSONBody, SkipValidation

from api.chats.chat_json import chat_response
from api.chats.past import ChatPastController
from api.request.bodies import CONTENT_BYTES
from api.request.caller import Caller
from api.settings import Settings
from commands.chats.chat_reader import ChatReader
from commands.chats.chats import Chats
from commands.chats.folders import FolderTrees
from commands.chats.offers import Offers
from commands.own_chats.own_chats import OwnChats
from commands.ports import Appended
from commands.saving.normalised import normalised_chat
from commands.saving.saved_chat import brought_along, parse_saved_chat, tags_of
from commands.saving.saver import ChatSaver
from domain.chat.commands import (
    AddMessage,
    ChatCommand,
    ConfigureChat,
    CreateChat,
    DeleteMessage,
    EditMessage,
    Emit,
    RateMessage,
    RenameChat,
    SelectBranch,
    ShareChat,
)
from domain.errors import BadRequest

DEFAULT_TITLE: Final = "New Chat"


class NewChatIn(msgspec.Struct):
    chat: dict[str, Any] = {}
    folder_id: str | None = None


class UpdateChatIn(msgspec.Struct):
    chat: dict[str, Any]
    version: int | None = None  # of the chat that was read before it was changed


class MessageIn(msgspec.Struct):
    content: Any


class AddMessageIn(msgspec.Struct):
    role: Literal["user", "assistant", "system"]
    content: Any
    id: str | None = None
    parent_id: str | None = None
    fields: dict[str, Any] = {}


class EmitIn(msgspec.Struct):
    type: Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
    data: Any = None


class RatingIn(msgspec.Struct):
    rating: Literal[-1, 0, 1]
    comment: Annotated[str, msgspec.Meta(max_length=10_000)] | None = None


class BranchIn(msgspec.Struct):
    message_id: str


class AccessIn(msgspec.Struct):
    user_id: UUID
    permission: Literal["read", "write"] | None  # null takes it back


class CommandOut(msgspec.Struct):
    """The answer to a command: where the chat is now, and where in the log that stands (``at_least=`` of lists and searches)."""

    id: UUID
    version: int
    position: int
    message_id: UUID | None = None
    notes: list[str] | msgspec.UnsetType = msgspec.UNSET  # what was put right in what was sent


def noted(notes: list[str]) -> dict[str, Any]:
    return {"notes": notes} if notes else {}


class ChatsController(ChatPastController):
    path = "/api/v1/chats"
    tags = ("chats",)

    @post("/new", status_code=200, request_max_body_size=CONTENT_BYTES)
    async def new_chat(
        self,
        data: JSONBody[NewChatIn],
        caller: NamedDependency[Caller],
        chat_saver: NamedDependency[ChatSaver],
        chat_reader: NamedDependency[ChatReader],
        folders: NamedDependency[FolderTrees],
    ) -> Response[dict[str, Any]]:
        """Make a chat. Everything in ``chat`` is kept: its tags, and its messages, given as ``history`` or as a list.

        What is only odd in it is put right, and ``notes`` of the answer say so: a title that is too long, U+0000.
        """
        chat, notes = normalised_chat(data.chat)
        given = chat.get("id")
        chat_id, client_id = caller.new_chat_id(given if isinstance(given, str) else None)
        command = CreateChat(
            chat_id=chat_id,
            by=caller.user_id,
            title=chat.get("title", DEFAULT_TITLE),
            folder_id=caller.bound_or_none(data.folder_id),
            client_id=client_id,
            fields={name: value for name, value in chat.items() if name not in ("id", "title", "history", "messages", "tags")},
        )
        await folders.require(caller.user_id, command.folder_id, caller.key)
        saved = brought_along(chat, caller.user_id)
        appended = await chat_saver.create(caller.actor, command, saved, tags_of(chat), caller.key)
        pages = await chat_reader.pages_as_of(chat_id, appended.versions[0])
        return await chat_response(pages, position=appended.position, **noted(notes))

    @get("/{chat_id:str}")
    async def get_chat(
        self,
        chat_id: FromPath[str],
        caller: NamedDependency[Caller],
        chat_reader: NamedDependency[ChatReader],
        settings: NamedDependency[SkipValidation[Settings]],
        at: FromQuery[str | None] = None,
    ) -> Response[dict[str, Any]]:
        """The chat with its tree of messages, exact to the last token, and the ``version`` to subscribe from.

        ``at``, a cursor or a time: as it was then.
        """
        known_id = caller.bound(chat_id)
        pages = await chat_reader.pages(caller.principal, known_id, at)
        return await chat_response(pages, for_page=settings.front_end is not None)

    @post("/{chat_id:str}", status_code=200, request_max_body_size=CONTENT_BYTES)
    async def update_chat(
        self,
        chat_id: FromPath[str],
        data: JSONBody[UpdateChatIn],
        caller: NamedDependency[Caller],
        chats: NamedDependency[Chats],
        chat_saver: NamedDependency[ChatSaver],
        chat_reader: NamedDependency[ChatReader],
    ) -> Response[CommandOut | dict[str, Any]]:
        """Rename the chat or change its own keys (models, params …), by shallow merge.

        With ``history`` a whole saved chat: merged by message, never in place of what is there, and answered with the whole chat.
        ``version`` (or ``If-Match``) says what was read before. 409 ``edit_conflict`` where another user changed the same since.
        ``tags`` change nothing: they have routes of their own, and Open WebUI's page repeats here what it has told those.
        """
        known_id = caller.bound(chat_id)
        chat, notes = normalised_chat(data.chat)
        if chat.keys() == {"tags"}:
            return await chat_response(await chat_reader.pages(caller.principal, known_id))
        commands: list[ChatCommand] = []
        if "title" in chat:
            commands.append(RenameChat(chat_id=known_id, by=caller.user_id, title=chat["title"]))
        if "history" in chat:
            saved_chat = parse_saved_chat(chat, caller.user_id, read_version(caller, data))
            saved = await chat_saver.save(caller.actor, known_id, saved_chat, caller.key)
            pages = await chat_reader.pages_as_of(known_id, saved.appended.versions[0])
            return await chat_response(pages, position=saved.appended.position, kept=saved.kept, **noted(notes))
        fields = {name: value for name, value in chat.items() if name not in ("id", "title", "messages", "tags")}
        if fields:
            commands.append(ConfigureChat(chat_id=known_id, by=caller.user_id, fields=fields))
        if not commands:
            raise BadRequest("expected a chat with a title, other keys of its own, or a history")
        appended = await chats.handle_all(commands, actor=caller.actor, key=caller.key, expected_version=read_version(caller, data))
        return Response(command_out(known_id, appended, notes=notes))

    @delete("/{chat_id:str}", status_code=200)
    async def remove(self, chat_id: FromPath[str], caller: NamedDependency[Caller], own_chats: NamedDependency[OwnChats]) -> bool:
        """Delete the chat: what runs in it is stopped first. The log keeps what it said."""
        await own_chats.delete(caller.actor, caller.bound(chat_id))
        return True

    @post("/{chat_id:str}/messages", status_code=200, request_max_body_size=CONTENT_BYTES)
    async def add_message(
        self, chat_id: FromPath[str], data: JSONBody[AddMessageIn], caller: NamedDependency[Caller], chats: NamedDependency[Chats]
    ) -> CommandOut:
        """Add a message without asking a model. ``parent_id`` null: a root; absent it is not guessed."""
        message_id, client_id = caller.new_id("message", data.id)
        command = AddMessage(
            chat_id=caller.bound(chat_id),
            by=caller.user_id,
            message_id=message_id,
            parent_id=caller.bound_or_none(data.parent_id),
            role=data.role,
            content=data.content,
            client_id=client_id,
            fields=data.fields,
        )
        appended = await chats.handle(
            command,
            actor=caller.actor,
            key=caller.key,
            expected_version=caller.expected_version,
            new_ids=caller.random_ids(message_id, data.id),
        )
        return command_out(command.chat_id, appended, message_id)

    @post("/{chat_id:str}/messages/{message_id:str}", status_code=200, request_max_body_size=CONTENT_BYTES)
    async def edit_message(
        self,
        chat_id: FromPath[str],
        message_id: FromPath[str],
        data: JSONBody[MessageIn],
        caller: NamedDependency[Caller],
        chats: NamedDependency[Chats],
    ) -> CommandOut:
        """Edit a message's content. The log keeps what it said before."""
        known_id, known_message_id = caller.bound(chat_id), caller.bound(message_id)
        command = EditMessage(chat_id=known_id, by=caller.user_id, message_id=known_message_id, fields={"content": data.content})
        appended = await chats.handle(command, actor=caller.actor, key=caller.key, expected_version=caller.expected_version)
        return command_out(known_id, appended, known_message_id)

    @delete("/{chat_id:str}/messages/{message_id:str}", status_code=200)
    async def delete_message(
        self, chat_id: FromPath[str], message_id: FromPath[str], caller: NamedDependency[Caller], chats: NamedDependency[Chats]
    ) -> CommandOut:
        """Delete a message and its direct children; what stood below those moves up."""
        known_id, known_message_id = caller.bound(chat_id), caller.bound(message_id)
        command = DeleteMessage(chat_id=known_id, by=caller.user_id, message_id=known_message_id)
        appended = await chats.handle(command, actor=caller.actor, expected_version=caller.expected_version)
        return command_out(known_id, appended, known_message_id)

    @post("/{chat_id:str}/messages/{message_id:str}/event", status_code=200, request_max_body_size=CONTENT_BYTES)
    async def emit(
        self,
        chat_id: FromPath[str],
        message_id: FromPath[str],
        data: JSONBody[EmitIn],
        caller: NamedDependency[Caller],
        chats: NamedDependency[Chats],
    ) -> bool:
        """Emit an event about a message, as filters and tools do: kept in the log, folded into the message where its type says so."""
        known_id, known_message_id = caller.bound(chat_id), caller.bound(message_id)
        command = Emit(chat_id=known_id, by=caller.user_id, message_id=known_message_id, name=data.type, data=data.data)
        await chats.handle(command, actor=caller.actor, key=caller.key)
        return True

    @post("/{chat_id:str}/messages/{message_id:str}/rating", status_code=200)
    async def rate(
        self,
        chat_id: FromPath[str],
        message_id: FromPath[str],
        data: JSONBody[RatingIn],
        caller: NamedDependency[Caller],
        chats: NamedDependency[Chats],
    ) -> CommandOut:
        """Thumbs up (1), down (-1) or neither (0)."""
        known_id, known_message_id = caller.bound(chat_id), caller.bound(message_id)
        command = RateMessage(chat_id=known_id, by=caller.user_id, message_id=known_message_id, rating=data.rating, comment=data.comment)
        return command_out(known_id, await chats.handle(command, actor=caller.actor, key=caller.key), known_message_id)

    @post("/{chat_id:str}/branch", status_code=200)
    async def select_branch(
        self, chat_id: FromPath[str], data: JSONBody[BranchIn], caller: NamedDependency[Caller], chats: NamedDependency[Chats]
    ) -> CommandOut:
        """Look at another branch: ``message_id`` becomes the current message."""
        known_id, message_id = caller.bound(chat_id), caller.bound(data.message_id)
        command = SelectBranch(chat_id=known_id, by=caller.user_id, message_id=message_id)
        return command_out(known_id, await chats.handle(command, actor=caller.actor, key=caller.key), message_id)

    @post("/{chat_id:str}/access", status_code=200)
    async def share(
        self, chat_id: FromPath[str], data: JSONBody[AccessIn], caller: NamedDependency[Caller], offers: NamedDependency[Offers]
    ) -> CommandOut:
        """Give one person access to the chat, or with ``permission: null`` take it: their open streams of it end at once.

        It stands in their lists as an offer, which they may hide or leave. 403 ``share_refused`` where they have blocked the caller.
        """
        known_id = caller.bound(chat_id)
        command = ShareChat(chat_id=known_id, by=caller.user_id, user_id=data.user_id, permission=data.permission)
        return command_out(known_id, await offers.share(command, caller.actor, caller.key))


def read_version(caller: Caller, data: UpdateChatIn) -> int | None:
    """Which version of the chat the caller had read. Raises ``BadRequest`` where header and body differ."""
    given = caller.expected_version
    if given is not None and data.version is not None and given != data.version:
        raise BadRequest(f"expected one version, received {given} in If-Match and {data.version} in the body")
    return given if given is not None else data.version


def command_out(chat_id: UUID, appended: Appended, message_id: UUID | None = None, *, notes: list[str] | None = None) -> CommandOut:
    return CommandOut(chat_id, appended.versions[0], appended.position, message_id, notes or msgspec.UNSET)
