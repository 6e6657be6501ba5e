"""``/api/v1/folders``: the caller's own folders, a tree that sorts their chats.

``version`` is that of the caller's own stream (``user/…``), where folders stand, and what ``If-Match`` is compared with.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
from litestar import Controller, delete, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, JSONBody

from api.request.bodies import FIELDS_BYTES
from api.request.caller import Caller
from commands.chats.folders import FolderTrees
from commands.own_chats.own_chats import OwnChats
from domain.chat.folder import ChangeFolder, CreateFolder, ExpandFolder, Folder, FolderCommand, MoveFolder, existing


class NewFolderIn(msgspec.Struct):
    name: str
    parent_id: str | None = None
    id: str | None = None
    data: dict[str, Any] | None = None
    meta: dict[str, Any] | None = None


class ChangeFolderIn(msgspec.Struct):
    """What is absent or null stays; of ``data`` and ``meta`` every key that is not sent."""

    name: str | None = None
    data: dict[str, Any] | None = None
    meta: dict[str, Any] | None = None


class ParentIn(msgspec.Struct):
    parent_id: str | None = None  # null: out of any


class ExpandedIn(msgspec.Struct):
    is_expanded: bool


class FolderOut(msgspec.Struct, kw_only=True):
    id: UUID
    parent_id: UUID | None
    user_id: UUID
    name: str
    items: None = None  # the reference's clients know the key; the chats of a folder have a list of their own
    meta: Mapping[str, Any]
    data: Mapping[str, Any]
    is_expanded: bool
    created_at: int  # seconds since 1970
    updated_at: int
    client_id: str | None
    version: int


class ChangedFolderOut(FolderOut, kw_only=True):
    position: int


class DeletedFolderOut(msgspec.Struct):
    id: UUID
    version: int
    position: int


class FoldersController(Controller):
    path = "/api/v1/folders"
    tags = ("folders",)

    @get("/")
    async def list_folders(self, caller: NamedDependency[Caller], folders: NamedDependency[FolderTrees]) -> list[FolderOut]:
        """All of them, in the order of their making: ``parent_id`` says how they stand in each other."""
        version, known = await folders.folders_of(caller.user_id)
        times = await folders.times(caller.user_id, known.by_id.values())
        return [folder_out(caller.user_id, folder_id, folder, times, version) for folder_id, folder in known.by_id.items()]

    @post("/", status_code=200, request_max_body_size=FIELDS_BYTES)
    async def new_folder(
        self, data: JSONBody[NewFolderIn], caller: NamedDependency[Caller], folders: NamedDependency[FolderTrees]
    ) -> ChangedFolderOut:
        """Make one, at the top or in ``parent_id``. No two beside each other have one name, whatever their case."""
        folder_id, client_id = caller.new_id("folder", data.id)
        command = CreateFolder(
            user_id=caller.user_id,
            folder_id=folder_id,
            name=data.name,
            parent_id=caller.bound_or_none(data.parent_id),
            client_id=client_id,
            data=data.data or {},
            meta=data.meta or {},
        )
        return await changed(folders, caller, command)

    @get("/{folder_id:str}")
    async def get_folder(
        self, folder_id: FromPath[str], caller: NamedDependency[Caller], folders: NamedDependency[FolderTrees]
    ) -> FolderOut:
        """One of them."""
        known_id = caller.bound(folder_id)
        version, known = await folders.folders_of(caller.user_id)
        folder = existing(known, known_id)
        return folder_out(caller.user_id, known_id, folder, await folders.times(caller.user_id, [folder]), version)

    @post("/{folder_id:str}/update", status_code=200, request_max_body_size=FIELDS_BYTES)
    async def change(
        self,
        folder_id: FromPath[str],
        data: JSONBody[ChangeFolderIn],
        caller: NamedDependency[Caller],
        folders: NamedDependency[FolderTrees],
    ) -> ChangedFolderOut:
        """Give it another name, other keys in ``data`` (system prompt, files …) and ``meta`` (icon …), or both, by shallow merge."""
        known_id, changed_data, meta = caller.bound(folder_id), data.data or {}, data.meta or {}
        command = ChangeFolder(user_id=caller.user_id, folder_id=known_id, name=data.name, data=changed_data, meta=meta)
        return await changed(folders, caller, command)

    @post("/{folder_id:str}/update/parent", status_code=200)
    async def move(
        self, folder_id: FromPath[str], data: JSONBody[ParentIn], caller: NamedDependency[Caller], folders: NamedDependency[FolderTrees]
    ) -> ChangedFolderOut:
        """Put it, with all that is in it, into another folder, or with null to the top."""
        known_id, parent_id = caller.bound(folder_id), caller.bound_or_none(data.parent_id)
        return await changed(folders, caller, MoveFolder(user_id=caller.user_id, folder_id=known_id, parent_id=parent_id))

    @post("/{folder_id:str}/update/expanded", status_code=200)
    async def expand(
        self, folder_id: FromPath[str], data: JSONBody[ExpandedIn], caller: NamedDependency[Caller], folders: NamedDependency[FolderTrees]
    ) -> ChangedFolderOut:
        """Show it open or closed, in every tab."""
        command = ExpandFolder(user_id=caller.user_id, folder_id=caller.bound(folder_id), expanded=data.is_expanded)
        return await changed(folders, caller, command)

    @delete("/{folder_id:str}", status_code=200)
    async def remove(
        self,
        folder_id: FromPath[str],
        caller: NamedDependency[Caller],
        own_chats: NamedDependency[OwnChats],
        delete_contents: FromQuery[bool] = True,
    ) -> DeletedFolderOut:
        """Delete it with all folders below it, and the chats in them; those only come out of it with ``delete_contents=false``.

        The chats first, the folder last: what is interrupted is finished by asking once more. The log keeps what was said.
        """
        known_id, expected = caller.bound(folder_id), caller.expected_version
        appended = await own_chats.delete_folder(caller.actor, known_id, delete_contents=delete_contents, expected_version=expected)
        return DeletedFolderOut(known_id, appended.versions[0], appended.position)


async def changed(folders: FolderTrees, caller: Caller, command: FolderCommand) -> ChangedFolderOut:
    """The folder as the command has made it, also where the command is repeated after the folder has gone."""
    appended = await folders.handle(command, actor=caller.actor, key=caller.key, expected_version=caller.expected_version)
    version = appended.versions[0]
    folder = (await folders.folders_at(caller.user_id, version)).by_id[command.folder_id]
    times = await folders.times(caller.user_id, [folder])
    out = folder_out(caller.user_id, command.folder_id, folder, times, version)
    return ChangedFolderOut(**msgspec.structs.asdict(out), position=appended.position)


def folder_out(user_id: UUID, folder_id: UUID, folder: Folder, times: Mapping[int, datetime], version: int) -> FolderOut:
    """``times`` are those of the versions that made and last changed it."""
    return FolderOut(
        id=folder_id,
        parent_id=folder.parent_id,
        user_id=user_id,
        name=folder.name,
        meta=folder.meta,
        data=folder.data,
        is_expanded=folder.is_expanded,
        created_at=int(times[folder.created_version].timestamp()),
        updated_at=int(times[folder.updated_version].timestamp()),
        client_id=folder.client_id,
        version=version,
    )
