"""Lists of chats, shares and statistics: the same from rows as from the events, on both adapters."""

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import msgspec
import pytest

from adapters.memory.blobs import MemoryBlobs
from adapters.memory.chat_queries import MemoryChatQueries
from adapters.memory.log import MemoryLog
from commands.ports import AppendRequest, Origin, StreamAppend
from domain.chat.facts import (
    ChatArchived,
    ChatCreated,
    ChatDeleted,
    ChatMoved,
    ChatPinned,
    ChatRenamed,
    ChatShared,
    ChatTagged,
    ChatUnshared,
    MessageAdded,
    MessageEdited,
    MessageRated,
)
from domain.chat.sharing import ChatVersionShared, ChatVersionUnshared
from domain.log.event import Event
from domain.log.stream import chat_stream
from projections.chat import view
from projections.ports import ChatFilter
from projections.statistics import counted_view, statistics
from tests.adapters.postgres.reading.history_world import CREATED, asked, block, said, started
from tests.adapters.postgres.reading.test_history import A, B, Q
from tests.domain.histories import OWNER, ended

# ------------------------------------------------------------------------------------------------------------ the list


@pytest.fixture(params=["memory", pytest.param("postgres", marks=pytest.mark.postgres)])
def place(request: pytest.FixtureRequest) -> Iterator[tuple[asyncio.Runner, Any, Any, Any]]:
    """A runner, a log, its history, and what brings the history up to the log's head."""
    if request.param == "postgres":
        world = request.getfixturevalue("world")

        async def project() -> None:
            await world.project(await world.log.head(), 100)

        yield world.runner, world.log, world.history, project
        return
    log = MemoryLog(lambda _: None)

    async def nothing() -> None: ...

    with asyncio.Runner() as runner:
        yield runner, log, MemoryChatQueries(log, MemoryBlobs()), nothing


def test_a_persons_chats_are_listed_the_one_that_changed_last_first(place: Any) -> None:
    runner, log, history, project = place

    async def check() -> None:
        friend = uuid4()
        chats = [uuid4() for _ in range(5)]
        for number, chat_id in enumerate(chats):
            made = Event(None, ChatCreated(OWNER, f"chat {number}", listed=number != 4))
            await log.append(AppendRequest([StreamAppend(chat_stream(chat_id), [made], 0)]))

        async def then(number: int, fact: Any, version: int) -> Any:
            return await log.append(AppendRequest([StreamAppend(chat_stream(chats[number]), [Event(None, fact)], version)]))

        await then(1, ChatRenamed("renamed"), 1)
        await then(2, ChatDeleted(), 1)
        shared = await then(3, ChatShared(friend, "read"), 1)
        await project()
        assert await history.reached(shared.position, 0)
        mine = await history.listed(OWNER, offset=0, limit=10)
        assert [(one.chat_id, one.title) for one in mine] == [(chats[3], "chat 3"), (chats[1], "renamed"), (chats[0], "chat 0")]
        assert await history.listed(OWNER, offset=1, limit=1) == mine[1:2]
        assert [one.chat_id for one in await history.listed(friend, offset=0, limit=10)] == [chats[3]]
        events = await log.read(chat_stream(chats[1]), limit=10)
        assert (mine[1].created_at, mine[1].updated_at) == (events[0].at, events[1].at)
        await then(3, ChatUnshared(friend), 2)
        folder = uuid4()
        for version, fact in enumerate((ChatPinned(), ChatTagged("To Do"), ChatTagged("x"), ChatMoved(folder)), 1):
            await then(0, fact, version)
        await then(1, ChatArchived(), 2)
        await then(1, ChatTagged("to do"), 3)
        await project()
        expected = {
            ChatFilter(): [1, 0, 3],
            ChatFilter(pinned=True): [0],
            ChatFilter(pinned=False): [1, 3],
            ChatFilter(archived=True): [1],
            ChatFilter(archived=False): [0, 3],
            ChatFilter(in_folder=True): [0],
            ChatFilter(in_folder=False): [1, 3],
            ChatFilter(in_folder=True, folder_ids=frozenset({folder, uuid4()})): [0],
            ChatFilter(in_folder=True, folder_ids=frozenset({uuid4()})): [],
            ChatFilter(in_folder=True, folder_ids=frozenset()): [],
            ChatFilter(in_folder=False, folder_ids=frozenset({folder})): [1, 3],
            ChatFilter(in_folder=False, folder_ids=frozenset({uuid4()})): [1, 0, 3],
            ChatFilter(tags=("to_do",)): [1, 0],
            ChatFilter(tags=("to_do",), archived=False): [0],
            ChatFilter(tags=("To Do",)): [],
        }
        for chosen, numbers in expected.items():
            found = await history.listed(OWNER, chosen, offset=0, limit=10)
            assert [chats.index(one.chat_id) for one in found] == numbers, chosen
            own = await history.own(OWNER, chosen, after=0, limit=10)
            assert [chats.index(chat_id) for _, chat_id in own] == numbers[::-1], chosen
            pages = [await history.own(OWNER, chosen, after=after, limit=1) for after, _ in [(0, None), *own]]
            assert [one for page in pages for one in page] == own, "page by page"
        assert await history.own(friend, after=0, limit=10) == []
        assert [await history.archived_count(one) for one in (OWNER, friend)] == [1, 0]
        [pinned] = await history.listed(OWNER, ChatFilter(pinned=True), offset=0, limit=10)
        assert pinned.version == 5
        assert (pinned.pinned, pinned.archived, pinned.folder_id) == (True, False, folder)
        assert list(await history.tags(OWNER)) == ["To Do", "x"]
        assert list(await history.tags(friend)) == []
        assert await history.listed(friend, offset=0, limit=10) == []
        assert not await history.reached(10_000, 0)

    runner.run(check())


def test_when_a_chat_came_to_a_version_of_a_restored_one_when_it_did_so_first(place: Any) -> None:
    runner, log, history, _ = place

    async def check() -> None:
        here, restored = uuid4(), uuid4()
        made: list[Event[Any]] = [Event(None, ChatCreated(OWNER, "a chat")), Event(None, ChatRenamed("renamed"))]
        await log.append(AppendRequest([StreamAppend(chat_stream(here), made, 0)]))
        times = [datetime(2020, 1, day, tzinfo=UTC) for day in (1, 2)]
        origins = [Origin(None, at) for at in times]
        await log.append(AppendRequest([StreamAppend(chat_stream(restored), made, 0, origins)]))
        events = await log.read(chat_stream(here), limit=10)
        assert await history.times({here: 2, restored: 1, uuid4(): 1}) == {here: events[1].at, restored: times[0]}
        assert await history.times({here: 3, restored: 2}) == {restored: times[1]}
        assert await history.times({}) == {}

    runner.run(check())


# ---------------------------------------------------------------------------------------------- shares and statistics


def test_the_shared_ones_are_listed_the_one_shared_last_first(place: Any) -> None:
    runner, log, history, project = place

    async def check() -> None:
        chats = [uuid4() for _ in range(4)]
        links = [uuid4() for _ in range(4)]
        for number, (chat_id, link) in enumerate(zip(chats, links, strict=True)):
            events: list[Event[Any]] = [Event(None, ChatCreated(OWNER, f"chat {number}")), Event(None, ChatVersionShared(link, 1))]
            await log.append(AppendRequest([StreamAppend(chat_stream(chat_id), events, 0)]))
        await log.append(AppendRequest([StreamAppend(chat_stream(chats[1]), [Event(None, ChatVersionUnshared(links[1]))], 2)]))
        await log.append(AppendRequest([StreamAppend(chat_stream(chats[2]), [Event(None, ChatDeleted())], 2)]))
        await log.append(AppendRequest([StreamAppend(chat_stream(chats[3]), [Event(None, ChatVersionShared(links[3], 2))], 2)]))
        await project()
        found = await history.shared(OWNER, offset=0, limit=10)
        assert {(one.chat_id, one.share_id, one.version) for one in found} == {(chats[0], links[0], 1), (chats[3], links[3], 2)}
        assert [one.updated_at for one in found] == sorted((one.updated_at for one in found), reverse=True)
        assert len(await history.shared(OWNER, offset=1, limit=10)) == 1
        assert list(await history.shared(uuid4(), offset=0, limit=10)) == []

    runner.run(check())


CONTENTS: list[Any] = [
    "Grüße",
    [{"type": "text", "text": "ab"}, {"type": "image"}, 5],
    {"blob": "ab" * 32, "size_bytes": 9},
    {"a": 1},
    None,
    5,
]
ANNOTATIONS: list[Any] = [None, {"rating": 1, "tags": ["x", 5]}, {"rating": "1", "tags": 3}, {"rating": 1.5}, "good", {"rating": True}]


@pytest.mark.usefixtures("storing")
def test_statistics_are_counted_from_rows_as_from_the_events(place: Any) -> None:
    runner, log, history, project = place

    async def check() -> None:
        first, second, third = (uuid4() for _ in range(3))
        events: list[Event[Any]] = [CREATED, Event(None, ChatTagged("x"))]
        ids = [UUID(int=number) for number in range(20, 20 + len(CONTENTS))]
        for number, (message_id, content, annotation) in enumerate(zip(ids, CONTENTS, ANNOTATIONS, strict=True)):
            fields = {"model": "m" if number else 7, "timestamp": 100 + number * 1.5 if number != 2 else "late", "annotation": annotation}
            role: Any = "assistant" if number % 2 else "user"
            events.append(Event(message_id, MessageAdded(ids[number - 1] if number else None, role, content, None, fields)))
        events += [
            Event(ids[0], MessageRated(1)),
            Event(ids[2], MessageEdited({"model": "n", "timestamp": 7})),
            Event(ids[1], MessageRated(-1)),
        ]
        events += [started(A, ids[0]), block(A, 0, "text"), *said(A, 0, "so far")]
        await log.append(AppendRequest([StreamAppend(chat_stream(first), events, 0)]))
        others = [CREATED, asked(Q), started(A, Q), block(A, 0, "text"), *said(A, 0, "Hello"), Event(A, ended("Hello")), asked(B, A)]
        await log.append(AppendRequest([StreamAppend(chat_stream(second), others, 0)]))
        await log.append(AppendRequest([StreamAppend(chat_stream(third), [CREATED, Event(None, ChatDeleted())], 0)]))
        await project()
        found, total = await history.counted(OWNER, offset=0, limit=10)
        assert total == 2
        assert [one.chat_id for one in found] == [second, first]
        for one in found:
            stored = await log.read(chat_stream(one.chat_id), limit=1000)
            folded = counted_view(one.chat_id, view(stored))
            assert one == msgspec.structs.replace(folded, tags=one.tags)
            assert list(one.tags) == list(folded.tags)
        assert [message.length for message in found[1].messages] == [5, 2, 9, 0, 0, 0, 0]
        assert [message.rating for message in found[1].messages[:3]] == [1, -1, None]
        known = statistics(found[0])
        assert (known.message_count, known.models, known.history_message_count) == (3, {"demo": 1}, 3)
        assert (known.average_assistant_message_content_length, known.average_user_message_content_length) == (5, 5)
        oldest, _ = await history.counted(OWNER, offset=0, limit=1, oldest_first=True)
        assert [one.chat_id for one in oldest] == [first]
        later, total = await history.counted(OWNER, offset=0, limit=10, since=found[1].updated_at)
        assert ([one.chat_id for one in later], total) == ([second], 1)
        assert await history.counted(uuid4(), offset=0, limit=10) == ([], 0)

    runner.run(check())
