"""``POST /api/v1/chats/import``: the caller's chats from elsewhere, as Open WebUI's clients send them."""

from typing import Any
from uuid import UUID

import msgspec
from litestar import Controller, post
from litestar.di import NamedDependency
from litestar.params import JSONBody, SkipValidation

from api.request.bodies import CONTENT_BYTES
from api.request.caller import Caller
from commands.chats.folders import FolderTrees
from commands.ports import EventLog
from commands.transfer import open_webui
from commands.transfer.foreign import recognised
from commands.transfer.whole_chat import Added, Outcome, Prepared, WholeChats
from domain.chat.folder import Folders
from domain.errors import BadRequest, ImportRefused
from domain.log.stream import chat_stream


class ImportIn(msgspec.Struct):
    """``chats``, or one chat alone: ``{chat, meta, pinned, folder_id, created_at, updated_at …}``."""

    chats: Any = None  # a list of such; looked at below, since a dependency of ours has the same name
    chat: dict[str, Any] | None = None
    id: str | None = None
    title: str | None = None
    meta: dict[str, Any] | None = None
    archived: bool | None = None
    pinned: bool | None = None
    folder_id: str | None = None
    current_message_id: str | None = None
    created_at: int | float | str | None = None
    updated_at: int | float | str | None = None


class ImportedOut(msgspec.Struct):
    """One chat. ``outcome``: imported now, or there already."""

    id: UUID
    title: str
    version: int
    position: int
    outcome: Outcome
    pinned: bool
    archived: bool
    folder_id: UUID | None
    meta: dict[str, Any]
    notes: list[str]  # what could not be kept as it was


class ImportController(Controller):
    path = "/api/v1/chats"
    tags = ("chats",)

    @post("/import", status_code=200, request_max_body_size=CONTENT_BYTES)
    async def import_chats(
        self,
        data: JSONBody[ImportIn],
        caller: NamedDependency[Caller],
        folders: NamedDependency[FolderTrees],
        whole_chats: NamedDependency[WholeChats],
        log: NamedDependency[SkipValidation[EventLog]],
    ) -> list[ImportedOut] | ImportedOut:
        """Import chats as one's own. All of them are looked through first: where one is refused, none is written. Safe to repeat."""
        if not isinstance(data.chats, list | None) or (data.chats is None and data.chat is None):
            raise BadRequest("expected chats, a list, or one chat")
        alone = {key: value for key, value in msgspec.structs.asdict(data).items() if key != "chats"}
        rows = data.chats if data.chats is not None else [alone]
        _, known = await folders.folders_of(caller.user_id)
        prepared = [await whole_chats.prepare(whole_chat(row, caller, number, known)) for number, row in enumerate(rows, 1)]
        if len({one.chat.chat_id for one in prepared}) < len(prepared):
            raise BadRequest("expected each chat once, found two with the same id")
        outcomes = await whole_chats.add_all(prepared, actor=caller.actor)
        imported = [await import_out(log, one, outcome) for one, outcome in zip(prepared, outcomes, strict=True)]
        return imported if data.chats is not None else imported[0]


def whole_chat(row: Any, caller: Caller, number: int, folders: Folders) -> Any:
    """A folder of the caller's is the chat's folder here; any other is only kept as what the source said."""
    given = row.get("folder_id") if isinstance(row, dict) else None
    folder_id = caller.bound_or_none(given) if isinstance(given, str) else None
    folder_id = folder_id if folder_id in folders.by_id else None
    source, known = recognised(row)
    return open_webui.whole_chat(known, caller.user_id, name=f"number {number}", folder_id=folder_id, source=source)


async def import_out(log: EventLog, one: Prepared, outcome: Added | ImportRefused) -> ImportedOut:
    if isinstance(outcome, ImportRefused):
        raise outcome
    chat = one.chat
    version = len(one.events) if outcome.outcome == "imported" else await log.version(chat_stream(chat.chat_id))
    position = outcome.position or await log.head()
    meta = {"tags": list(chat.tags)}
    return ImportedOut(
        chat.chat_id,
        chat.title,
        version,
        position,
        outcome.outcome,
        chat.pinned,
        chat.archived,
        chat.folder_id,
        meta,
        list(chat.notes),
    )
