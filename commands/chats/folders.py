"""Folder commands, and what they have made: each person's folders are folded from that person's own stream."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from functools import partial
from typing import Final
from uuid import UUID

from commands.aggregate import Aggregate, decoded
from commands.ports import Appended, CommandKey, EventLog
from domain.chat.folder import NO_FOLDERS, Folder, FolderCommand, Folders, decide, evolve, fold
from domain.errors import FolderNotFound
from domain.log.event import Actor
from domain.log.stream import user_stream

KEPT_MAX: Final = 1024  # people; each with at most ``FOLDERS_BYTES_MAX`` and some
PAGE_EVENTS: Final = 10_000


class FolderTrees:
    """The folders of all users."""

    def __init__(self, log: EventLog, *, kept_max: int = KEPT_MAX) -> None:
        self._log = log
        self._aggregate = Aggregate(log, "user", NO_FOLDERS, evolve, kept_max=kept_max, fold=fold)

    async def folders_of(self, user_id: UUID) -> tuple[int, Folders]:
        """``(version, folders)``: the version is that of the person's stream, and never older than the call."""
        return await self._aggregate.state(user_id)

    async def folders_at(self, user_id: UUID, version: int) -> Folders:
        """The folders as they were at that version: what a command has made, whatever came after it."""
        known, folders = await self._aggregate.state(user_id, fresh=False)
        if known == version:
            return folders
        folders, read = NO_FOLDERS, 0
        while read < version:
            page = await self._log.read(user_stream(user_id), after=read, until=version, limit=PAGE_EVENTS)
            if not page:
                break
            folders, read = fold(folders, decoded(page)), page[-1].version
        return folders

    async def times(self, user_id: UUID, folders: Iterable[Folder]) -> Mapping[int, datetime]:
        """When each version was written that these folders were made or changed at."""
        versions = {version for folder in folders for version in (folder.created_version, folder.updated_version)}
        return await self._log.times(user_stream(user_id), versions) if versions else {}

    async def require(self, user_id: UUID, folder_id: UUID | None, key: CommandKey | None) -> None:
        """Something is to be put into this folder: it must be there. Raises ``FolderNotFound``.

        A request with a key that was carried out before gets its first answer, whatever has become of the folder since.
        """
        if folder_id is None:
            return
        _, folders = await self.folders_of(user_id)
        if folder_id not in folders.by_id and (key is None or await self._log.find_command(key.actor_id, key.key) is None):
            raise FolderNotFound(folder_id)

    async def handle(
        self, command: FolderCommand, *, actor: Actor | None = None, key: CommandKey | None = None, expected_version: int | None = None
    ) -> Appended:
        """Raises what ``decide`` and ``Aggregate.handle`` raise."""
        return await self._aggregate.handle(
            command.user_id, partial(decide, command=command), actor=actor, command=key, expected_version=expected_version
        )
