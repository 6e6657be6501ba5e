"""Changes all of a person's own chats, or those in some of their folders, one by one."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final
from uuid import UUID

from commands.chats.chats import Chats
from commands.chats.folders import FolderTrees
from commands.generation.runs import Runs
from commands.own_chats.deleting import delete_chat
from commands.ports import Appended, EventLog
from commands.positions import require_projected
from domain.chat.commands import ArchiveChat, MoveChat
from domain.chat.folder import DeleteFolder, existing
from domain.errors import ChatNotFound, ConcurrencyConflict
from domain.log.event import Actor
from domain.log.stream import user_stream
from projections.ports import ALL, ChatFilter, ChatQueries

OWN_CHATS_PAGE: Final = 1000  # of all of a person's chats, while each of them is changed
OWN_CHATS_AT_ONCE: Final = 16  # their appends share a commit


class OwnChats:
    """``actor`` is the owner. Changes of many chats raise ``ProjectionBehind`` before any is changed.

    If a command raises, some chats are changed already: repeat the request.
    """

    def __init__(self, chats: Chats, runs: Runs, folders: FolderTrees, log: EventLog, chat_queries: ChatQueries) -> None:
        self._chats = chats
        self._runs = runs
        self._folders = folders
        self._log = log
        self._chat_queries = chat_queries

    async def delete(self, actor: Actor, chat_id: UUID) -> None:
        """One chat. Raises what ``delete_chat`` raises."""
        await delete_chat(self._chats, self._runs, actor, chat_id)

    async def delete_all(self, actor: Actor) -> None:
        async def delete(chat_id: UUID) -> None:
            await delete_chat(self._chats, self._runs, actor, chat_id)

        await self._for_each(actor, ALL, delete)

    async def archive_all(self, actor: Actor, *, archived: bool) -> None:
        """Put all into the archive, or take all out of it."""

        async def archive(chat_id: UUID) -> None:
            await self._chats.handle(ArchiveChat(chat_id=chat_id, by=actor.id, archived=archived), actor=actor)

        await self._for_each(actor, ChatFilter(archived=not archived), archive)

    async def delete_folder(self, actor: Actor, folder_id: UUID, *, delete_contents: bool, expected_version: int | None = None) -> Appended:
        """Delete a folder with all folders below it, and delete the chats in them or only take them out of it.

        The chats come first and the folder last, so that an interrupted request is finished by repeating it. Raises
        ``ConcurrencyConflict`` if the person's stream is not at ``expected_version``, and ``FolderNotFound``.
        """
        version, known = await self._folders.folders_of(actor.id)
        if expected_version not in (None, version):
            raise ConcurrencyConflict(user_stream(actor.id), expected=expected_version or 0, current=version)
        existing(known, folder_id)
        only_from = frozenset(known.subtree(folder_id))

        async def empty(chat_id: UUID) -> None:
            if delete_contents:
                await delete_chat(self._chats, self._runs, actor, chat_id, only_from)
            else:
                await self._chats.handle(MoveChat(chat_id=chat_id, by=actor.id, folder_id=None, only_from=only_from), actor=actor)

        await self._for_each(actor, ChatFilter(in_folder=True, folder_ids=only_from), empty)
        return await self._folders.handle(DeleteFolder(user_id=actor.id, folder_id=folder_id), actor=actor)

    async def _for_each(self, actor: Actor, chosen: ChatFilter, act: Callable[[UUID], Awaitable[None]]) -> None:
        """``act`` on each chosen chat as of now or later, however many, the one that changed last last. A chat that is gone is left out."""
        await require_projected(self._chat_queries, await self._log.head())
        after = 0
        while True:
            page = await self._chat_queries.own(actor.id, chosen, after=after, limit=OWN_CHATS_PAGE)
            for start in range(0, len(page), OWN_CHATS_AT_ONCE):
                some = page[start : start + OWN_CHATS_AT_ONCE]
                for failure in await asyncio.gather(*(act(chat_id) for _, chat_id in some), return_exceptions=True):
                    if isinstance(failure, BaseException) and not isinstance(failure, ChatNotFound):
                        raise failure
            if len(page) < OWN_CHATS_PAGE:
                return
            after, _ = page[-1]
