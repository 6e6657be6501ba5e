"""Chats read from the rows of the projections and from the log above them, both in one snapshot.

So what is read is never behind what the caller has just written, however late the projector is, and holds a streaming answer to
its last token. Of the past it is the rows that were valid then.
"""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import msgspec

from adapters.postgres.connections.queries import text
from adapters.postgres.connections.query_reader import QueryReader
from adapters.postgres.log.log import VERSION_MAX
from adapters.postgres.reading.checkpoints import Checkpoints
from adapters.postgres.reading.search import LISTED, Searching, listing, marks
from domain.errors import MessageNotFound
from domain.log.codec import decode_event, today
from domain.log.event import StoredEvent
from domain.log.stream import chat_stream
from projections.changing_chat import again
from projections.chat import ChatView, message_for_wire, message_to_json
from projections.chat_list import ChatList
from projections.chat_search import ChatSearch
from projections.chat_tree import ChatTree
from projections.chat_tree_rows import load, load_children, view_of
from projections.messages import Messages
from projections.outline import Outline, Place
from projections.ports import ALL, ChatFilter, FoundChat, ListedChat, SharedChat
from projections.search import Phrase
from projections.statistics import CountedChat, CountedMessage, counted_message, tags_of

HEAD: Final = text("chat_head")
FACTS: Final = text("chat_facts")
CURRENT: Final = text("chat_current")
MESSAGES: Final = text("chat_messages")
SOME_MESSAGES: Final = text("chat_some_messages")
BRANCH: Final = text("chat_branch")
CHILDREN: Final = text("chat_children")
SAID: Final = text("chat_said")
NOTED: Final = text("chat_noted")
CONFIGURED: Final = text("chat_configured")
TAIL: Final = text("chat_tail")
TAIL_OF_MESSAGES: Final = text("chat_tail_of_messages")
OUTLINE: Final = text("chat_outline")
ROWS_VERSION: Final = text("chat_rows_version")
OWN: Final = text("own_chats")
TAGS: Final = text("chat_tags")
TIMES: Final = text("chat_times")
ARCHIVED_COUNT: Final = text("archived_chats_count")
SHARED: Final = text("shared_chats")
COUNTED_CHATS: Final = text("counted_chats")
COUNTED_TOTAL: Final = text("counted_chats_total")
COUNTED_MESSAGES: Final = text("counted_messages")
COUNTED_CHANGED: Final = text("counted_changed_messages")
COUNTED_CHANGES: Final = text("counted_changes")

READ: Final = (ChatList.name, ChatSearch.name, ChatTree.name)  # the projections whose tables this module reads
ADDITIONS: Final = frozenset({"message_added", "message_start"})
ENDS: Final = frozenset({"message_end", "error", "cancelled", "interrupted"})
THREAD_ROWS: Final = 500  # from so many on they are loaded in a thread: others wait for their tokens meanwhile
CHANGED_AT_ONCE: Final = 50  # messages with changes upon a large body, of which statistics are made
DELTA_BYTES: Final = 64  # of an answer that is being generated: about what each event since its beginning adds to it


class PostgresChatQueries:
    """``ChatQueries``. See the port for what each method promises."""

    def __init__(self, reader: QueryReader) -> None:
        self._reader = reader
        self._checkpoints = Checkpoints(reader, READ)

    async def chat(self, chat_id: UUID, *, at: int | None = None) -> ChatView:
        async def read(connection: Any) -> ChatView:
            reading = Reading(connection, chat_id)
            await reading.begin(at)
            await reading.everything()
            return reading.view

        return await self._reader.in_transaction_snapshot(read)

    async def branch(
        self, chat_id: UUID, *, at: int | None = None, leaf: UUID | None = None, above: UUID | None = None, limit: int
    ) -> tuple[ChatView, list[str]]:
        async def read(connection: Any) -> tuple[ChatView, list[str]]:
            reading = Reading(connection, chat_id)
            await reading.begin(at)
            await reading.what_the_tail_touches()
            return reading.view, await reading.branch(leaf, above, limit)

        return await self._reader.in_transaction_snapshot(read)

    async def outline(self, chat_id: UUID, *, at: int | None = None, whole_bytes_max: int) -> tuple[ChatView, Outline | None]:
        async def read(connection: Any) -> tuple[ChatView, Outline | None]:
            reading = Reading(connection, chat_id)
            await reading.begin(at)
            outline = await reading.outline(whole_bytes_max)
            return reading.view, outline

        return await self._reader.in_transaction_snapshot(read)

    async def messages(self, chat_id: UUID, message_ids: Sequence[str], *, at: int) -> ChatView:
        async def read(connection: Any) -> ChatView:
            reading = Reading(connection, chat_id)
            await reading.page([UUID(one) for one in message_ids], at)
            return reading.view

        return await self._reader.in_transaction_snapshot(read)

    async def listed(self, user_id: UUID, chosen: ChatFilter = ALL, *, offset: int, limit: int) -> Sequence[ListedChat]:
        return [ListedChat(**row) for row in await self._reader.fetch(LISTED, *listing(user_id, chosen, offset, limit))]

    async def search(
        self, user_id: UUID, phrases: Sequence[Phrase], chosen: ChatFilter = ALL, *, offset: int, limit: int
    ) -> Sequence[FoundChat]:
        async def read(connection: Any) -> Sequence[FoundChat]:
            return await Searching(connection, user_id, phrases, chosen).page(offset, limit)

        return await self._reader.in_transaction_snapshot(read) if phrases else []

    async def own(self, user_id: UUID, chosen: ChatFilter = ALL, *, after: int, limit: int) -> Sequence[tuple[int, UUID]]:
        return [(row["position"], row["chat_id"]) for row in await self._reader.fetch(OWN, user_id, after, limit, *marks(chosen))]

    async def archived_count(self, user_id: UUID) -> int:
        rows = await self._reader.fetch(ARCHIVED_COUNT, user_id)
        count: int = rows[0]["count"]
        return count

    async def shared(self, user_id: UUID, *, offset: int, limit: int) -> Sequence[SharedChat]:
        return [SharedChat(**row) for row in await self._reader.fetch(SHARED, user_id, offset, limit)]

    async def counted(
        self, user_id: UUID, *, offset: int, limit: int, oldest_first: bool = False, since: datetime | None = None
    ) -> tuple[Sequence[CountedChat], int]:
        async def read(connection: Any) -> tuple[Sequence[CountedChat], int]:
            chats = await connection.fetch(COUNTED_CHATS, user_id, offset, limit, oldest_first, since)
            total: int = await connection.fetchval(COUNTED_TOTAL, user_id, since)
            messages = await counted_messages(connection, [chat["chat_id"] for chat in chats])
            return [CountedChat(**chat, messages=messages[chat["chat_id"]]) for chat in chats], total

        return await self._reader.in_transaction_snapshot(read)

    async def times(self, versions: Mapping[UUID, int]) -> Mapping[UUID, datetime]:
        rows = await self._reader.fetch(TIMES, list(versions), list(versions.values())) if versions else []
        return {row["chat_id"]: row["recorded_at"] for row in rows}

    async def tags(self, user_id: UUID) -> Sequence[str]:
        return [row["name"] for row in await self._reader.fetch(TAGS, user_id)]

    async def reached(self, position: int, timeout_s: float) -> bool:
        return await self._checkpoints.reached(position, timeout_s)


async def counted_messages(connection: Any, chat_ids: Sequence[UUID]) -> dict[UUID, list[CountedMessage]]:
    """What statistics count of each chat's messages, in the order in which they were added."""
    found: dict[UUID, dict[int, CountedMessage]] = {chat_id: {} for chat_id in chat_ids}
    for row in await connection.fetch(COUNTED_MESSAGES, chat_ids):
        known = dict(row)
        tags = tags_of(msgspec.json.decode(known.pop("tags"))) if known["tags"] is not None else None
        chat_id, ordinal = known.pop("chat_id"), known.pop("ordinal")
        found[chat_id][ordinal] = CountedMessage(**{**known, "tags": tags})
    cursor = await connection.cursor(COUNTED_CHANGED, chat_ids)
    while changed := await cursor.fetch(CHANGED_AT_ONCE):  # with their bodies, which are large
        views: dict[UUID, ChatView] = {row["chat_id"]: ChatView() for row in changed}
        for chat_id, view in views.items():
            load(view, [row for row in changed if row["chat_id"] == chat_id])
        keys = ([row["chat_id"] for row in changed], [row["message_id"] for row in changed], [row["body_version"] for row in changed])
        for row in await connection.fetch(COUNTED_CHANGES, *keys):
            again(views[row["stream_id"]], event_of(row))
        for row in changed:
            message = views[row["chat_id"]].messages[row["message_id"]]
            found[row["chat_id"]][row["ordinal"]] = counted_message(message_to_json(message), is_open=False)
    return {chat_id: [messages[ordinal] for ordinal in sorted(messages)] for chat_id, messages in found.items()}


class Reading:
    """One chat as of one version, in one snapshot."""

    def __init__(self, connection: Any, chat_id: UUID) -> None:
        self._connection = connection
        self._chat_id = chat_id
        self.view = ChatView()
        self._rows_version = 0  # the rows are read as of it
        self._until = 0
        self._tail: list[StoredEvent] = []
        self._body_versions: dict[str, int] = {}  # of the messages whose rows are not all that is known of them
        self._gone: set[str] = set()  # deleted in the tail: their rows do not say so
        self._is_past = False  # before what the rows hold: there is no tail then

    async def begin(self, at: int | None) -> None:
        """The chat itself, without messages, and the tail above its row."""
        head = await self._connection.fetchrow(HEAD, self._chat_id)
        newest = head["newest"] or 0
        self._until = newest if at is None else min(at, newest)
        if head["chat_id"] is not None:
            self.view = view_of(head)
        self._is_past = self._until < self.view.version
        if self._is_past:
            await self._begin_in_the_past()
        else:
            if head["fields_weight"]:
                for event in self._stored(
                    await self._connection.fetch(CONFIGURED, self._chat_id, head["fields_version"], self.view.version)
                ):
                    again(self.view, event)
            self._tail = self._stored(await self._connection.fetch(TAIL, self._chat_id, self.view.version, self._until, VERSION_MAX))
        self._rows_version = self.view.version

    async def _begin_in_the_past(self) -> None:
        view = ChatView()
        for event in self._stored(await self._connection.fetch(FACTS, self._chat_id, self._until)):
            if event.message_id is None:
                view.apply(event)
            else:
                view.version, view.position, view.updated_at = event.version, event.position, event.at
        current_id = await self._connection.fetchval(CURRENT, self._chat_id, self._until)
        view.current_id = str(current_id) if current_id is not None else None
        self.view = view

    async def everything(self) -> None:
        rows = await self._connection.fetch(MESSAGES, self._chat_id, self._rows_version)
        await self._apply(await asyncio.to_thread(self._loaded, rows) if len(rows) >= THREAD_ROWS else self._loaded(rows))
        self.view.messages_count = len(self.view.messages)

    async def outline(self, whole_bytes_max: int) -> Outline | None:
        """Where all messages stand. None for a chat of at most ``whole_bytes_max``: the view holds them then."""
        rows = await self._connection.fetch(OUTLINE, self._chat_id, self._rows_version)
        tail_bytes = sum(len(event.data) for event in self._tail)
        if tail_bytes + sum(self._bytes_of(row["body_bytes"], row["ordinal"], row["is_open"]) for row in rows) <= whole_bytes_max:
            await self.everything()
            return None
        await self.what_the_tail_touches()
        view = self.view
        # What the tail touches stands where the view has it: moved, added or gone since its row was written.
        places = {row["message_id"]: (row["ordinal"], row["parent_id"], row["body_bytes"], row["is_open"]) for row in rows}
        for message_id in self._gone:
            places.pop(message_id, None)
        for message_id in view.messages:
            size = len(msgspec.json.encode(message_for_wire(view.messages, message_id)))
            places[message_id] = view.ordinals[message_id], view.messages.parent_of(message_id), size, message_id in view.open
        view.messages = Messages()
        view.messages_count = len(places)
        in_order = sorted((ordinal, message_id) for message_id, (ordinal, *_) in places.items())
        return Outline(
            [
                Place(message_id, places[message_id][1], self._bytes_of(places[message_id][2], ordinal, places[message_id][3]))
                for ordinal, message_id in in_order
            ],
            view.current_id,
        )

    def _bytes_of(self, body_bytes: int, ordinal: int, is_open: bool) -> int:
        """About what a message takes. An answer's tokens are in no row before its end."""
        return body_bytes + (DELTA_BYTES * (self._until - ordinal) if is_open else 0)

    async def page(self, message_ids: Sequence[UUID], at: int) -> None:
        """These messages, which are there at version ``at``. Their children are not looked up."""
        rows_version = await self._connection.fetchval(ROWS_VERSION, self._chat_id) or 0
        self._until = at
        self._rows_version = self.view.version = min(rows_version, at)
        self._is_past = rows_version >= at
        loaded = self._loaded(await self._connection.fetch(SOME_MESSAGES, self._chat_id, self._rows_version, message_ids, []))
        if not self._is_past:
            self.view.open = {row["message_id"]: row["ordinal"] for row in loaded if row["is_open"]}
            self._tail = self._stored(await self._connection.fetch(TAIL_OF_MESSAGES, self._chat_id, self._rows_version, at, message_ids))
        await self._apply(loaded)

    async def what_the_tail_touches(self) -> None:
        """The messages that the tail changes or refers to: the others are as their rows say."""
        touched = {id_ for event in self._tail for id_ in refers_to(event)} | {UUID(one) for one in self.view.open}
        if not touched:
            await self._apply([])  # what happened to the chat itself
            return
        deleted = {event.message_id for event in self._tail if event.type == "message_deleted"}
        rows = await self._connection.fetch(SOME_MESSAGES, self._chat_id, self._rows_version, list(touched), list(deleted))
        gone = set(map(str, deleted))
        above = {row["parent_id"] for row in rows if row["message_id"] in gone} - {None} - {row["message_id"] for row in rows}
        if above:
            rows += await self._connection.fetch(SOME_MESSAGES, self._chat_id, self._rows_version, list(above), [])
        loaded = self._loaded(rows)
        await self._children(loaded)
        await self._apply(loaded)

    async def branch(self, leaf: UUID | None, above: UUID | None, limit: int) -> list[str]:
        """The ids from the oldest to the newest: ``limit`` at most up from ``leaf``, or from what stands above ``above``."""
        view = self.view
        start = str(leaf or above) if leaf or above else view.current_id
        if start is not None and start not in view.messages:
            await self._climb(start, limit + 1)
            if start not in view.messages and (leaf or above):
                raise MessageNotFound(UUID(start))
        at = view.messages.parent_of(start) if above is not None and start is not None else start
        ids: list[str] = []
        while at is not None and len(ids) < limit:
            if at not in view.messages:
                await self._climb(at, limit - len(ids))
            ids.append(at)
            at = view.messages.parent_of(at)
        return ids[::-1]

    async def _climb(self, message_id: str, limit: int) -> None:
        loaded = self._loaded(await self._connection.fetch(BRANCH, self._chat_id, self._rows_version, UUID(message_id), limit))
        await self._children(loaded)
        await self._fold(loaded)

    def _loaded(self, rows: Iterable[Any]) -> list[Any]:
        """Those rows that were not in the view yet: now they are."""
        view = self.view
        new = [row for row in rows if row["message_id"] not in view.messages and row["message_id"] not in self._gone]
        load(view, new)
        self._body_versions |= {row["message_id"]: row["body_version"] for row in new if not row["is_whole"]}
        return new

    async def _children(self, rows: Sequence[Any]) -> None:
        """All children of what was loaded, also of those that were not."""
        if not rows:
            return
        ids = [row["message_id"] for row in rows]
        load_children(self.view, ids, await self._connection.fetch(CHILDREN, self._chat_id, self._rows_version, ids))

    async def _apply(self, loaded: Sequence[Any]) -> None:
        """The tail, with everything that was said in the answers which were open below it or are now."""
        view = self.view
        if self._is_past:
            await self._fold(loaded)
            return
        asked = {UUID(one): self._body_versions.get(one, ordinal) for one, ordinal in view.open.items()} | answers_to_read(self._tail)
        known_version = view.version
        events = {event.version: event for event in (*self._tail, *await self._said(asked), *await self._noted(loaded))}
        for version in sorted(events):
            if version <= known_version:
                again(view, events[version])
            else:
                view.apply(events[version])
        self._gone = {str(event.message_id) for event in self._tail if event.type == "message_deleted"}

    async def _fold(self, rows: Sequence[Any]) -> None:
        """What is not in the bodies of these rows: what was said in answers that were open then, and changes that are only noted."""
        opened = [row for row in rows if row["is_open"]]
        self.view.open |= {row["message_id"]: row["ordinal"] for row in opened}
        said = await self._said({UUID(row["message_id"]): row["body_version"] for row in opened})
        for event in sorted([*said, *await self._noted(rows)], key=version_of):
            again(self.view, event)

    async def _noted(self, rows: Sequence[Any]) -> list[StoredEvent]:
        changed = [row for row in rows if not row["is_whole"] and not row["is_open"]]
        if not changed:
            return []
        ids, versions = [row["message_id"] for row in changed], [row["body_version"] for row in changed]
        return self._stored(await self._connection.fetch(NOTED, self._chat_id, ids, versions, self._rows_version))

    async def _said(self, asked: dict[UUID, int]) -> list[StoredEvent]:
        if not asked:
            return []
        return self._stored(await self._connection.fetch(SAID, self._chat_id, list(asked), list(asked.values()), self._until))

    def _stored(self, rows: Iterable[Any]) -> list[StoredEvent]:
        return [event_of(row) for row in rows]


def event_of(row: Any) -> StoredEvent:
    """The event of one row, under today's name."""
    stream = chat_stream(row["stream_id"])
    event = StoredEvent(
        row["position"], stream, row["version"], row["type"], row["message_id"], row["actor"], row["data"], row["recorded_at"]
    )
    return today(event)


def version_of(event: StoredEvent) -> int:
    return event.version


def refers_to(event: StoredEvent) -> set[UUID]:
    """The messages that an event is about, or puts something below."""
    ids = {event.message_id}
    if event.type in ADDITIONS:
        ids.add(decode_event(event).data.parent_id)
    return {one for one in ids if one is not None}


def answers_to_read(tail: Sequence[StoredEvent]) -> dict[UUID, int]:
    """The answers that begin in the tail and whose deltas must be read: those that do not end in it, or that are more than one block
    of text. With the versions that began them.
    """
    began: dict[UUID, int] = {}
    blocks: dict[UUID, list[str]] = {}
    for event in tail:
        if event.message_id is None:
            continue
        if event.type == "message_start":
            began[event.message_id] = event.version
        elif event.type == "content_block":
            blocks.setdefault(event.message_id, []).append(decode_event(event).data.type)
        elif event.type in ENDS and blocks.get(event.message_id, []) in ([], ["text"]):
            began.pop(event.message_id, None)
    return began
