"""Shared versions of a chat behind a link: a chat, a version, and who may see it. To read one is to read the past; nothing is copied."""

from collections.abc import Sequence
from typing import Final
from uuid import UUID, uuid4

from commands.accounts.accounts import Accounts
from commands.accounts.principal import Principal
from commands.chats.chat_pages import ChatPages
from commands.chats.chat_reader import ChatReader
from commands.chats.chats import Chats
from commands.ports import Appended, Claim, CommandKey, EventLog
from commands.positions import ListWaits, require_projected
from commands.security_log import read_by_role
from domain.chat.sharing import RemoveShareLink, ShareLink, ShareVersion
from domain.chat.state import Chat
from domain.errors import ChatNotFound
from domain.log.event import Actor
from domain.log.stream import chat_stream
from projections.chat import ChatView
from projections.ports import ChatQueries, SharedChat

CLAIM: Final = "share"
SHARES_MAX: Final = 10_000  # of a list without pages


class ShareLinks:
    """All share links. ``actor`` is the owner of the chat; others get ``ChatNotFound``."""

    def __init__(
        self, chats: Chats, log: EventLog, chat_queries: ChatQueries, reader: ChatReader, waits: ListWaits, accounts: Accounts
    ) -> None:
        self._chats = chats
        self._accounts = accounts
        self._log = log
        self._chat_queries = chat_queries
        self._waits = waits
        self._reader = reader

    async def share(self, actor: Actor, chat_id: UUID, key: CommandKey | None) -> tuple[ShareLink, Appended]:
        """Share the current version. Sharing again updates the same link."""
        version, chat = await self._chats.state(chat_id)
        share_id = uuid4()  # not derived from the request, as other ids are: it must not be possible to guess it
        claims = [] if chat.share is not None else [Claim(CLAIM, str(share_id), chat_stream(chat_id))]
        command = ShareVersion(chat_id=chat_id, by=actor.id, share_id=share_id, version=version)
        appended = await self._chats.handle(command, actor=actor, key=key, claims=claims)
        _, chat = await self._chats.state(chat_id)
        if chat.share is None:
            raise ChatNotFound(chat_id)  # another request has ended it in this very moment
        return chat.share, appended

    async def unshare(self, actor: Actor, chat_id: UUID) -> bool:
        """End the link for everyone and at once. False: there was none."""
        _, before = await self._chats.state(chat_id)
        await self._chats.handle(RemoveShareLink(chat_id=chat_id, by=actor.id), actor=actor)
        return before.share is not None

    async def unshare_all(self, actor: Actor) -> None:
        """End all links to chats of this person."""
        await require_projected(self._chat_queries, await self._log.head())
        for one in await self.list_links(actor.id, offset=0, limit=SHARES_MAX, at_least=None):
            try:
                await self._chats.handle(RemoveShareLink(chat_id=one.chat_id, by=actor.id), actor=actor)
            except ChatNotFound:
                continue  # deleted meanwhile, and its link with it

    async def list_links(self, user_id: UUID, *, offset: int, limit: int, at_least: int | None) -> Sequence[SharedChat]:
        """The person's chats that have a link, the one shared last first. Raises what ``ListWaits.wait`` raises."""
        await self._waits.wait(user_id, at_least)
        return await self._chat_queries.shared(user_id, offset=offset, limit=limit)

    async def link_of(self, owner_id: UUID, chat_id: UUID) -> ShareLink | None:
        """The link to this chat, None if it is not shared. Raises ``ChatNotFound`` for all but the owner."""
        _, chat = await self._chats.state(chat_id)
        if chat.owner_id != owner_id or chat.deleted:
            raise ChatNotFound(chat_id)
        return chat.share

    async def shared_pages(self, principal: Principal, share_id: str) -> tuple[UUID, ChatPages]:
        """``(share id, chat)``: the chat as of the shared version, without what was deleted since, and without what is the owner's own.

        Raises ``ChatNotFound`` for a link that is not there, has ended, or is not open to this person. The links of an account end
        with its deactivation.
        """
        link_id, chat_id, version = await self._shared(principal, share_id)
        pages = await self._reader.pages_as_of(chat_id, version)
        pages.without(await self._gone(chat_id, version))
        leave_owners(pages.view)
        return link_id, pages

    async def _shared(self, principal: Principal, share_id: str) -> tuple[UUID, UUID, int]:
        """``(share id, chat, version)``."""
        link_id, chat_id, chat = await self._chat_behind_link(principal, share_id)
        assert chat.share is not None
        return link_id, chat_id, chat.share.version

    async def _gone(self, chat_id: UUID, version: int) -> frozenset[str]:
        return frozenset(map(str, await self._chats.deleted_since(chat_id, version)))

    async def _chat_behind_link(self, principal: Principal, share_id: str) -> tuple[UUID, UUID, Chat]:
        try:
            link_id = UUID(share_id)
        except ValueError:
            raise ChatNotFound(share_id[:80]) from None
        stream = await self._log.find_claim(CLAIM, str(link_id))
        if stream is None:
            raise ChatNotFound(link_id)
        _, chat = await self._chats.state(stream.id)
        reads_everything = principal.reads_everything and chat.share is not None and chat.share.share_id == link_id and not chat.deleted
        if not chat.may_see_snapshot(link_id, principal.user_id):
            if not reads_everything:
                raise ChatNotFound(link_id)
            read_by_role(principal.user_id, principal.role, str(stream))
        if not reads_everything and (chat.owner_id is None or not (await self._accounts.account(chat.owner_id)).active):
            raise ChatNotFound(link_id)
        return link_id, stream.id, chat


def leave_owners(view: ChatView) -> None:
    """Leave out what is the owner's own."""
    view.folder_id, view.pinned, view.archived, view.tags, view.grants, view.share = None, False, False, [], {}, None
