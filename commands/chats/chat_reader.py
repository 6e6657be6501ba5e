"""Reads a chat for a user: access is checked on the chat's head, before any of its messages is loaded."""

from datetime import UTC, datetime
from typing import Final, NamedTuple
from uuid import UUID

import msgspec

from commands.accounts.principal import Principal
from commands.chats.chat_pages import PAGE_BYTES, ChatPages
from commands.chats.chats import Chats
from commands.chats.folders import FolderTrees
from commands.content.references import resolve_blobs
from commands.event_pages import bounded
from commands.ports import Blobs, EventLog
from commands.security_log import read_by_role
from domain.errors import BeforeFirstEvent, ChatNotFound
from domain.log.codec import today
from domain.log.cursor import resume_point
from domain.log.event import StoredEvent
from domain.log.redaction import Redaction
from domain.log.stream import chat_stream
from projections.chat import ChatView, message_to_json
from projections.messages import Message
from projections.ports import ChatQueries
from projections.redaction import redact_view

# Events that change or remove what a message said: readers of the past want the message before and after.
CHANGES: Final = frozenset({"message_edited", "message_deleted", "message_rated"})


class Change(NamedTuple):
    """One event; for one that changed a message, that message before and after it, None where there was none."""

    event: StoredEvent
    before: Message | None = None
    after: Message | None = None
    redacted: bool = False


class ChatReader:
    """Reads chats for one caller at a time. ``at``, a cursor or a time (ISO 8601), means the chat as it was then, None as it is now.

    Every method that takes a ``principal`` raises ``ChatNotFound``, also where the chat exists and is not for them to read; with ``at``
    also ``BadCursor``, ``CursorGone`` and ``BeforeFirstEvent``. Access is that of now; of what happened before it began, a reader
    with a grant reads only what still stood then (``domain/log/redaction.py``).
    """

    def __init__(self, chats: Chats, chat_queries: ChatQueries, log: EventLog, blobs: Blobs, folders: FolderTrees, epoch: UUID) -> None:
        self._chats = chats
        self._chat_queries = chat_queries
        self._log = log
        self._blobs = blobs
        self._folders = folders
        self._epoch = epoch

    async def head(self, principal: Principal, chat_id: UUID) -> ChatView:
        """The chat as it is now without its messages."""
        view, _ = await self._chat_queries.branch(chat_id, limit=0)
        require_reader(view, principal, chat_id)
        return view

    async def unfinished(self, principal: Principal, chat_id: UUID) -> ChatView:
        """The chat as it is now, with its current message and with those that are being written alone."""
        await self.head(principal, chat_id)
        view, ids = await self._chat_queries.branch(chat_id, limit=1)
        require_reader(view, principal, chat_id)
        missing = [UUID(one) for one in view.open if one not in view.messages]
        if missing:
            others = await self._chat_queries.messages(chat_id, [str(one) for one in missing], at=view.version)
            for one in others.messages:
                view.messages[one] = others.messages[one]
        view.messages = view.messages.only(dict.fromkeys([*ids, *(one for one in view.open if one in view.messages)]))
        await resolve_blobs(self._blobs, chat_id, view)
        return view

    async def pages(self, principal: Principal, chat_id: UUID, at: str | None = None) -> ChatPages:
        """The whole chat, with the content of its blobs; the chat of now is in no folder that is gone."""
        head = await self.head(principal, chat_id)
        version = await self.version_at(chat_id, head, at)
        if version is not None:
            return await self.version_pages(principal, chat_id, head, version)
        pages = await self.pages_as_of(chat_id, None)
        require_reader(pages.view, principal, chat_id)  # access may have ended since the head was read
        await leave_gone_folder(self._folders, pages.view)
        return pages

    async def version_pages(self, principal: Principal, chat_id: UUID, head: ChatView, version: int) -> ChatPages:
        """The whole chat as of that version, as this reader may see it. ``head`` as in ``version_at``."""
        return await self.pages_as_of(chat_id, version, await self.redaction(principal, chat_id, head, version))

    async def pages_as_of(self, chat_id: UUID, version: int | None, redaction: Redaction | None = None) -> ChatPages:
        """The whole chat at that version, None as it is now. The caller of this method checks access."""
        view, outline = await self._chat_queries.outline(chat_id, at=version, whole_bytes_max=PAGE_BYTES)
        return ChatPages(self._chat_queries, self._blobs, chat_id, view, outline, redaction=redaction)

    async def branch(
        self, principal: Principal, chat_id: UUID, *, at: str | None = None, leaf: UUID | None = None, above: UUID | None = None, limit: int
    ) -> tuple[ChatView, list[str]]:
        """``ChatQueries.branch`` with these messages alone, and the content of their blobs. Raises ``MessageNotFound``."""
        head = await self.head(principal, chat_id)
        version = await self.version_at(chat_id, head, at)
        redaction = await self.redaction(principal, chat_id, head, version) if version is not None else None
        view, ids = await self._chat_queries.branch(chat_id, at=version, leaf=leaf, above=above, limit=limit)
        if version is None:
            require_reader(view, principal, chat_id)
        view.messages = view.messages.only(ids)
        if redaction is not None:
            redact_view(view, redaction)
        await resolve_blobs(self._blobs, chat_id, view)
        return view, ids

    async def changes(self, principal: Principal, chat_id: UUID, after: str, *, limit: int) -> tuple[int, int, list[Change]]:
        """``(head, last, changes)``: a page of events after the cursor, without deltas, and the version to go on after.

        Restored events have the time at which they were recorded first. Of those that are redacted there is no message before and after.
        """
        head = await self.head(principal, chat_id)
        point = resume_point(after, self._epoch, head.version)
        redaction = await self.redaction(principal, chat_id, head, point.after)
        view = await self._chat_queries.chat(chat_id, at=point.after)
        stream = chat_stream(chat_id)
        found = await self._log.read(stream, after=point.after, until=point.head, limit=limit, without_deltas=True)
        page = bounded(found)
        times = await self._log.original_times(stream, after=page[0].version - 1, until=page[-1].version) if page else {}
        changes: list[Change] = []
        for stored in page:
            event = msgspec.structs.replace(stored, at=times.get(stored.version, stored.at)) if times else stored
            before = copy_of(view, event)
            view.apply(event)
            if redaction is not None and event.version <= redaction.since:
                changes.append(redacted_change(redaction, event))
            else:
                changes.append(Change(event, before, copy_of(view, event)))
        is_cut = len(page) == limit or len(page) < len(found)
        return point.head, page[-1].version if is_cut else point.head, changes

    async def owned_by(self, owner_id: UUID, chat_id: UUID) -> ChatPages | None:
        """The whole chat with the content of its blobs; None if it is not this person's own, or deleted."""
        head, _ = await self._chat_queries.branch(chat_id, limit=0)
        if head.owner_id != owner_id or head.deleted:
            return None
        pages = await self.pages_as_of(chat_id, None)
        return None if pages.view.deleted else pages

    async def version_at(self, chat_id: UUID, head: ChatView, at: str | None) -> int | None:
        """The version that ``at`` means; None for None. ``head`` has passed the access check: see ``head``."""
        if at is None:
            return None
        moment = time_of(at)
        if moment is None:
            return resume_point(at, self._epoch, head.version).after
        version = await self._log.version_at(chat_stream(chat_id), moment)
        if version == 0:
            raise BeforeFirstEvent(chat_stream(chat_id), moment)
        return version

    async def redaction(self, principal: Principal, chat_id: UUID, head: ChatView, after: int) -> Redaction | None:
        """What is hidden from this reader of the events after that version; None: nothing is."""
        since = await self._access_since(principal, chat_id, head)
        return await self._chats.redaction(chat_id, since) if after < since else None

    async def _access_since(self, principal: Principal, chat_id: UUID, head: ChatView) -> int:
        """The version at which the reader's access began; 0 for the owner, and for those who read everything."""
        if principal.user_id == head.owner_id or principal.reads_everything:
            return 0
        _, chat = await self._chats.state(chat_id)
        if not chat.may_read(principal.user_id):
            raise ChatNotFound(chat_id)  # it has ended since the head was read
        return chat.access_since(principal.user_id)


def require_reader(view: ChatView, principal: Principal, chat_id: UUID) -> None:
    """Raises ``ChatNotFound``, also where the chat exists. Admins and auditors read every chat, also a deleted one."""
    if view.may_read(principal.user_id):
        return
    if not (view.version and principal.reads_everything):
        raise ChatNotFound(chat_id)
    read_by_role(principal.user_id, principal.role, str(chat_stream(chat_id)))


async def leave_gone_folder(folders: FolderTrees, chat: ChatView) -> None:
    """Put the view in no folder if its owner has no such folder: a chat keeps the id of a folder that was deleted."""
    if chat.folder_id is not None and chat.owner_id is not None:
        _, known = await folders.folders_of(chat.owner_id)
        if chat.folder_id not in known.by_id:
            chat.folder_id = None


def redacted_change(redaction: Redaction, event: StoredEvent) -> Change:
    shown = redaction.of(event)
    return Change(shown, redacted=shown is not event)


def copy_of(view: ChatView, event: StoredEvent) -> Message | None:
    """The message that the event changes as the view has it; None for other events, and where it is not there."""
    message = view.messages.get(str(event.message_id)) if today(event).type in CHANGES else None
    return {**message_to_json(message), "childrenIds": list(message["childrenIds"])} if message is not None else None


def time_of(text: str) -> datetime | None:
    """A time in ISO 8601, by default in UTC; None for anything else, such as a cursor."""
    try:
        # In a query a "+" that was not escaped has become a space.
        moment = datetime.fromisoformat(text.replace(" ", "+") if "T" in text else text)
    except ValueError:
        return None
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
