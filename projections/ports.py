"""What readers ask of projections. An adapter satisfies a port by shape; each has an in-memory twin that folds the log instead."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final, Protocol
from uuid import UUID

import msgspec

from domain.chat.state import tag_id
from domain.log.event import StoredEvent
from projections.channel_message import ChannelMessage
from projections.channel_search_words import ChannelSearch
from projections.chat import ChatView
from projections.outline import Outline
from projections.search import Phrase
from projections.statistics import CountedChat


class ListedChat(msgspec.Struct, frozen=True):
    chat_id: UUID
    title: str
    created_at: datetime
    updated_at: datetime
    pinned: bool = False
    archived: bool = False
    folder_id: UUID | None = None
    version: int = 0


class SharedChat(msgspec.Struct, frozen=True):
    """A chat of which a snapshot is shared."""

    chat_id: UUID
    title: str
    share_id: UUID
    version: int  # what the link shows
    created_at: int  # seconds since 1970: of the link
    updated_at: int


class FoundChat(msgspec.Struct, frozen=True):
    """A chat in which something was found, by a message or, where no message has it, by its title."""

    chat: ListedChat
    message_id: UUID | None  # the newest message that has all that was looked for; None: the title has it
    snippet: str  # of that message or the title, as plain text


class ChatFilter(msgspec.Struct, frozen=True):
    """Which of a person's chats; None: whatever it is. What others share with them is in no folder, not pinned, not archived, untagged."""

    pinned: bool | None = None
    archived: bool | None = None
    in_folder: bool | None = None  # in one of ``folder_ids``
    folder_ids: frozenset[UUID] | None = None  # those that ``in_folder`` means, nothing by itself; None: any that a chat names
    tags: tuple[str, ...] = ()  # with all of these, by their ids: see ``domain.chat.tag_id``
    tagged: bool | None = None  # with any
    shared: bool | None = None  # with others, or by others
    only: frozenset[UUID] | None = None  # of these chats
    hidden: frozenset[UUID] = frozenset()  # chats of others that are left out …
    blocked: frozenset[UUID] = frozenset()  # … and those of these people

    def includes(self, chat_id: UUID, chat: ChatView, user_id: UUID) -> bool:
        is_own = user_id == chat.owner_id
        return (
            (self.only is None or chat_id in self.only)
            and (is_own or (chat_id not in self.hidden and chat.owner_id not in self.blocked))
            and self.pinned in (None, is_own and chat.pinned)
            and self.archived in (None, is_own and chat.archived)
            and self.in_folder in (None, is_own and self.includes_folder(chat.folder_id))
            and (not self.tags or (is_own and set(self.tags) <= set(map(tag_id, chat.tags))))
            and self.tagged in (None, is_own and bool(chat.tags))
            and self.shared in (None, not is_own or bool(chat.grants))
        )

    def includes_folder(self, folder_id: UUID | None) -> bool:
        return folder_id is not None and (self.folder_ids is None or folder_id in self.folder_ids)


ALL: Final = ChatFilter()


class ChatQueries(Protocol):
    async def chat(self, chat_id: UUID, *, at: int | None = None) -> ChatView:
        """The whole chat as of version ``at``, or as it is now; of version 0 if there is none.

        Never behind what was committed before the call, and exact to the last token.
        """
        ...

    async def branch(
        self, chat_id: UUID, *, at: int | None = None, leaf: UUID | None = None, above: UUID | None = None, limit: int
    ) -> tuple[ChatView, list[str]]:
        """The same chat with some of its messages only, and the ids of one branch, from the oldest to the newest.

        ``limit`` at most: up from ``leaf``, or from what stands above ``above``, or from the current message. The view may hold
        others, too. Raises ``MessageNotFound`` if ``leaf`` or ``above`` was not there then.
        """
        ...

    async def outline(self, chat_id: UUID, *, at: int | None = None, whole_bytes_max: int) -> tuple[ChatView, Outline | None]:
        """The same chat without its messages, and where each of them stands. Of a chat whose messages take about ``whole_bytes_max``
        at most the view holds all of them instead: the outline is None then.
        """
        ...

    async def messages(self, chat_id: UUID, message_ids: Sequence[str], *, at: int) -> ChatView:
        """A view that holds these messages as of version ``at``, at which they are there, and knows nothing of their children."""
        ...

    async def listed(self, user_id: UUID, chosen: ChatFilter = ALL, *, offset: int, limit: int) -> Sequence[ListedChat]:
        """The chats in this person's list, the one that changed last first. As of the projection's checkpoint: see ``reached``."""
        ...

    async def own(self, user_id: UUID, chosen: ChatFilter = ALL, *, after: int, limit: int) -> Sequence[tuple[int, UUID]]:
        """``(position, chat_id)`` of the chats in this person's list that are their own, the one that changed last last.

        In pages, for whoever changes each of them: ``after`` is the position of the last one of the page before, 0 at first. What
        changes meanwhile only moves on, so none is missed. As of the projection's checkpoint: see ``reached``.
        """
        ...

    async def archived_count(self, user_id: UUID) -> int:
        """How many of this person's own chats are in the archive."""
        ...

    async def shared(self, user_id: UUID, *, offset: int, limit: int) -> Sequence[SharedChat]:
        """The chats of this person's of which a snapshot is shared, the one that was shared last first."""
        ...

    async def search(
        self, user_id: UUID, phrases: Sequence[Phrase], chosen: ChatFilter = ALL, *, offset: int, limit: int
    ) -> Sequence[FoundChat]:
        """Those of them whose title, or one of whose messages, has all of ``phrases``; the same order, and as of the same moment.

        An answer is found once it has ended, a deleted message not any more, a chat's unlisted owner finds nothing in it.
        """
        ...

    async def counted(
        self, user_id: UUID, *, offset: int, limit: int, oldest_first: bool = False, since: datetime | None = None
    ) -> tuple[Sequence[CountedChat], int]:
        """This person's own chats with what statistics count of their messages, by when they changed; and how many there are in all.

        ``since``: only those that changed after it.
        """
        ...

    async def times(self, versions: Mapping[UUID, int]) -> Mapping[UUID, datetime]:
        """When each of these chats came to that version; of a restored one when it did so first. What is not there is left out."""
        ...

    async def tags(self, user_id: UUID) -> Sequence[str]:
        """The names of all tags on this person's chats, in order of their ids; of several with one id the first by name."""
        ...

    async def reached(self, position: int, timeout_s: float) -> bool:
        """Wait until lists and searches hold everything up to ``position``; False if they do not in time."""
        ...


class Placed(msgspec.Struct, frozen=True):
    """A message and the version that made it: its place among others."""

    message_id: UUID
    version: int


class Replies(msgspec.Struct, frozen=True):
    count: int  # without deleted ones
    latest_at: datetime  # when the last one came, which may be deleted by now


class ChannelSummary(msgspec.Struct, frozen=True):
    """``last_version`` 0: nobody has written in the channel. ``created_at`` None: there is no such channel."""

    created_at: datetime | None = None
    last_version: int = 0
    last_at: datetime | None = None
    unread: int = 0  # messages of the channel itself
    unread_replies: int = 0  # in all threads
    unread_mentions: int = 0  # of the reader, in either


NOTHING_READ: Final[Mapping[UUID, int]] = {}


class FoundMessage(msgspec.Struct, frozen=True):
    channel_id: UUID
    message_id: UUID
    position: int  # of the event that began it: a cursor for the next page


class ChannelQueries(Protocol):
    """What is read of channels, exact as of the call or of a version. Deleted messages are left out, except by ``messages``.

    ``at`` None: now. No access is checked here.
    """

    async def page(
        self,
        channel_id: UUID,
        *,
        parent_id: UUID | None = None,
        before: int | None = None,
        offset: int = 0,
        limit: int,
        at: int | None = None,
    ) -> Sequence[Placed]:
        """The newest first: of the channel itself, or the replies in the thread below ``parent_id``. ``before``: a version."""
        ...

    async def messages(self, channel_id: UUID, message_ids: Sequence[UUID], *, at: int | None = None) -> Mapping[UUID, ChannelMessage]:
        """Those that there are in this channel, also deleted ones. An answer is complete to its last token."""
        ...

    async def histories(
        self, channel_id: UUID, message_ids: Sequence[UUID], *, at: int | None = None
    ) -> Mapping[UUID, Sequence[StoredEvent]]:
        """All events of these messages in order, but what answers are made of. Imported ones have the time of their source."""
        ...

    async def events_below(self, channel_id: UUID, version: int, *, limit: int) -> Sequence[StoredEvent]:
        """The newest events below ``version``, in order, without deltas; ``limit`` at most."""
        ...

    async def replies(self, channel_id: UUID, message_ids: Sequence[UUID], *, at: int | None = None) -> Mapping[UUID, Replies]:
        """Of each that has any."""
        ...

    async def pinned(self, channel_id: UUID, *, offset: int, limit: int, at: int | None = None) -> Sequence[Placed]:
        """Pinned last comes first. ``version`` is that of the pin."""
        ...

    async def summaries(
        self, user_id: UUID, read: Mapping[UUID, int], threads: Mapping[UUID, int] = NOTHING_READ
    ) -> Mapping[UUID, ChannelSummary]:
        """By channel, for the version up to which this person has read each. Their own messages are not unread.

        ``threads``: of single threads, by their first message, the version up to which they have read those besides.
        """
        ...

    async def mentioned(self, channel_id: UUID, message_id: UUID) -> Sequence[UUID]:
        """The accounts in whose streams it stands that this message mentions them, and not that it does no more."""
        ...

    async def changes(self, channel_id: UUID, *, after: int, until: int, limit: int) -> Sequence[StoredEvent]:
        """The events with ``after < version <= until`` that took words away (``CHANGING_TYPES``), in order."""
        ...

    async def search(
        self, search: ChannelSearch, channel_ids: Sequence[UUID], me: UUID, *, below: int | None = None, offset: int, limit: int
    ) -> Sequence[FoundMessage]:
        """The messages in these channels that have all that is looked for, the newest first. Nothing of ``search.channels`` is looked at.

        An answer is found once it has ended, a deleted message not any more. ``below``: a position. As of the projection's checkpoint: see
        ``reached``.
        """
        ...

    async def reached(self, position: int, timeout_s: float) -> bool:
        """Wait until searches hold everything up to ``position``; False if they do not in time."""
        ...

    async def standard_channels(self) -> Sequence[UUID]:
        """All channels that go by grants, also deleted ones."""
        ...
