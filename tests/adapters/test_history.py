"""A chat read from its rows and its tail is the chat folded from its events: at every version, wherever the projector stands."""

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, NamedTuple
from uuid import UUID, uuid4

import msgspec
import pytest
import uvloop
from hypothesis import HealthCheck, Phase, given, settings, strategies

from adapters.memory.blobs import MemoryBlobs
from adapters.memory.chat_queries import MemoryChatQueries
from adapters.memory.log import MemoryLog
from adapters.postgres.chat_queries import THREAD_ROWS, PostgresChatQueries
from adapters.postgres.log import postgres_log
from adapters.postgres.migrate import schema_of
from adapters.projector.writer import Writer, connect
from api.chats.chat_json import chat_pieces
from commands.chats.chat_pages import ChatPages
from commands.ports import AppendRequest, Origin, StreamAppend
from domain.accounts.user import ChatListed
from domain.chat.facts import (
    BranchSelected,
    ChatArchived,
    ChatConfigured,
    ChatCreated,
    ChatDeleted,
    ChatMoved,
    ChatPinned,
    ChatRenamed,
    ChatShared,
    ChatTagged,
    ChatUnshared,
    MessageAdded,
    MessageDeleted,
    MessageEdited,
    MessageRated,
)
from domain.chat.sharing import ChatVersionShared, ChatVersionUnshared
from domain.errors import MessageNotFound
from domain.generation import BlockOpened, GenerationCancelled, GenerationFailed, MessageDelta, MessageStarted
from domain.log.event import Actor, Emitted, Event
from domain.log.stream import chat_stream, user_stream
from projections import chat_tree
from projections.chat import ChatView, view
from projections.chat_list import ChatList
from projections.chat_search import ChatSearch
from projections.chat_tree import ChatTree
from projections.ports import ChatFilter
from projections.statistics import counted_view, statistics
from tests.domain.histories import NODE, OWNER, UNHURRIED, ended, histories
from tests.domain.histories import History as Random


def itself(chat: ChatView) -> Any:
    """All but the messages."""
    sent = shown(chat)
    chat_only = {key: value for key, value in sent["chat"].items() if key not in ("history", "messages")}
    del sent["open"]  # of the past, only of the messages that a page holds
    return sent | {"chat": chat_only, "current_id": chat.current_id}


NO_WHOLE = -1  # bytes of a chat that is short enough to be read as a whole: none is
# One database for all of them: each history is a chat of its own. Shrinking one takes minutes, and says little more.
IN_ONE_WORLD = settings(
    UNHURRIED,
    max_examples=40,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=[*UNHURRIED.suppress_health_check, HealthCheck.function_scoped_fixture],
)


class Folded(NamedTuple):
    """What is expected of one version, made once: it is compared with as many readings as the projector has places to stand."""

    view: ChatView
    shown: Any
    itself: Any
    branch: list[str]


class World:
    """A log, its projector, and a reader, on one loop of their own."""

    def __init__(self, dsn: str) -> None:
        self.runner = asyncio.Runner(loop_factory=uvloop.new_event_loop)
        self.dsn = dsn
        self.run(self._start())

    def run(self, work: Any) -> Any:
        return self.runner.run(work)

    async def _start(self) -> None:
        self.log = postgres_log(self.dsn, lambda _: None)
        await self.log.start()
        self.history = PostgresChatQueries(self.log.reader)
        projections = (ChatList(), ChatSearch(), ChatTree())
        self.connection = await connect(self.dsn, [schema_of(one.name) for one in projections])
        self.build = Writer(self.connection, projections, uuid4(), 3600)
        assert await self.build.acquire()

    async def append(self, events: Any) -> UUID:
        chat_id = uuid4()
        await self.log.append(AppendRequest([StreamAppend(chat_stream(chat_id), events, 0)], Actor(OWNER, "Me", "user")))
        return chat_id

    async def project(self, until: int, events_max: int) -> None:
        while self.build.position < until:
            await self.build.advance(events_max, until)

    async def folded(self, chat_id: UUID) -> list[Folded]:
        """The chat at each of its versions, from its events alone."""
        stored = await self.log.read(chat_stream(chat_id), limit=100_000)
        made = [view(stored[:version]) for version in range(len(stored) + 1)]
        return [Folded(one, shown(one), itself(one), one.branch(one.current_id)) for one in made]

    def close(self) -> None:
        async def close() -> None:
            await self.connection.close()
            await self.log.close()

        self.run(close())
        self.runner.close()


@pytest.fixture
def world(database: str) -> Iterator[World]:
    made = World(database)
    yield made
    made.close()


def shown(chat: ChatView) -> Any:
    """As it is sent, and what is not sent and yet must be right."""
    sent = msgspec.json.decode(msgspec.json.encode(chat.to_json()))
    return sent | {"listed": chat.listed, "deleted": chat.deleted, "open": chat.open, "position": chat.position, "at": chat.updated_at}


@pytest.fixture(params=["small bodies", "changes that are noted"])
def storing(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """How messages are stored: anew at each change, as small ones are, or with their changes only noted for some time."""
    if request.param == "changes that are noted":
        for name in ("SMALL_BYTES", "OPEN_BYTES"):
            monkeypatch.setattr(chat_tree, name, 0)
        monkeypatch.setattr(chat_tree, "EVENT_BYTES", 1)


@pytest.mark.usefixtures("storing")
@settings(IN_ONE_WORLD)
@given(history=histories(steps_max=40), data=strategies.data())
def test_rows_and_tail_are_the_fold_of_everything(world: World, history: Random, data: strategies.DataObject) -> None:
    events_max = data.draw(strategies.sampled_from([1, 2, 3, 200]), "batch")
    versions = range(len(history.events) + 1)
    stops = data.draw(strategies.lists(strategies.sampled_from(versions), max_size=3).map(sorted), "the projector stops after")

    written: dict[int, bytes] = {}

    async def check() -> None:
        head = await world.log.head()
        await world.project(head, 200)
        chat_id = await world.append(history.events)
        folds = await world.folded(chat_id)
        for stop in [*stops, len(history.events)]:
            await world.project(head + stop, events_max)
            for version in versions:
                expected = folds[version]
                read = await world.history.chat(chat_id, at=version)
                assert shown(read) == expected.shown, f"version {version} after {stop}"
                assert read.messages_count == len(expected.view.messages)
                await check_branch(chat_id, expected, version)
                await check_pages(chat_id, expected, version)

    async def check_pages(chat_id: UUID, expected: Folded, version: int) -> None:
        """Page by page it is the same chat, in the same bytes wherever the projector stands."""
        head, outline = await world.history.outline(chat_id, at=version, whole_bytes_max=NO_WHOLE)
        assert outline is not None
        assert itself(head) == expected.itself
        assert len(outline) == head.messages_count == len(expected.view.messages)
        pages = ChatPages(world.history, MemoryBlobs(), chat_id, head, outline, page_messages=2)
        text = b"".join([piece async for piece in chat_pieces(pages)])
        assert msgspec.json.decode(text) == msgspec.json.decode(msgspec.json.encode({"id": chat_id, **expected.view.to_json()}))
        assert written.setdefault(version, text) == text

    async def check_branch(chat_id: UUID, expected: Folded, version: int) -> None:
        page, ids = await world.history.branch(chat_id, at=version, limit=3)
        whole = expected.branch
        assert ids == whole[-3:]
        assert itself(page) == expected.itself
        messages = expected.shown["chat"]["history"]["messages"]
        partial = shown(page)["chat"]["history"]["messages"]
        for one in ids:
            assert msgspec.json.encode(partial[one], order="sorted") == msgspec.json.encode(messages[one], order="sorted")
        if len(whole) > 3:
            _, older = await world.history.branch(chat_id, at=version, above=UUID(ids[0]), limit=3)
            assert older == whole[:-3][-3:]

    world.run(check())


Q, A, B, C, D = (UUID(int=number) for number in range(1, 6))
CREATED = Event(None, ChatCreated(OWNER, "a title"))


def asked(message_id: UUID, parent_id: UUID | None = None, text: str = "hello") -> Event[Any]:
    return Event(message_id, MessageAdded(parent_id, "user", text))


def started(message_id: UUID, parent_id: UUID) -> Event[Any]:
    return Event(message_id, MessageStarted(parent_id, "demo", "demo", UUID(int=9), NODE))


def block(message_id: UUID, index: int, type_: Any) -> Event[Any]:
    return Event(message_id, BlockOpened(index, type_))


def said(message_id: UUID, index: int, *pieces: str) -> list[Event[Any]]:
    return [Event(message_id, MessageDelta(index, piece)) for piece in pieces]


def emitted(message_id: UUID, description: str) -> Event[Any]:
    return Event(message_id, Emitted("status", {"description": description}))


TALKS: dict[str, list[Event[Any]]] = {
    "it thinks before it speaks": [
        CREATED,
        asked(Q),
        started(A, Q),
        block(A, 0, "reasoning"),
        *said(A, 0, "h", "m"),
        block(A, 1, "text"),
        *said(A, 1, "Hel", "lo"),
        Event(A, ended("Hello")),
        Event(A, MessageRated(1, "good")),
    ],
    "it is changed again and again": [
        CREATED,
        Event(None, ChatConfigured({"system": "a" * 40})),
        asked(Q, text="hello " * 20),
        started(A, Q),
        block(A, 0, "reasoning"),
        *said(A, 0, "h", "m"),
        emitted(A, "searching " * 5),
        block(A, 1, "text"),
        *said(A, 1, "Hel"),
        Event(A, Emitted("message", {"content": " and"})),
        emitted(A, "found " * 10),
        *said(A, 1, "lo"),
        Event(None, ChatConfigured({"x": 1})),
        Event(A, MessageRated(1, "good")),
        Event(A, ended("Hello")),
        *[Event(A, Emitted("source", {"source": {"name": f"a source {number}"}})) for number in range(5)],
        Event(Q, MessageEdited({"content": "bye " * 30})),
        Event(A, Emitted("message", {"content": "!"})),
        Event(Q, MessageRated(1)),
        Event(None, ChatConfigured({"y": 1})),
        Event(Q, MessageDeleted()),
        Event(A, MessageEdited({"content": "said", "model": "another"})),
        Event(A, MessageRated(-1)),
        Event(A, Emitted("unknown", {"content": "x"})),
        Event(A, Emitted("files", {"files": [{"id": "f"}]})),
    ],
    "a generation fills what a person has added": [
        CREATED,
        asked(Q),
        Event(A, MessageAdded(Q, "assistant", "", "a", {"modelIdx": 0, "error": {"content": "claimed"}, "usage": {"claimed": 1}})),
        asked(B, A),
        Event(A, Emitted("status", {"description": "waiting " * 5})),
        Event(A, MessageRated(1)),
        Event(A, MessageStarted(Q, "demo", "demo", UUID(int=9), NODE, fills=True)),
        block(A, 0, "reasoning"),
        *said(A, 0, "h", "m"),
        emitted(A, "searching " * 5),
        block(A, 1, "text"),
        *said(A, 1, "Hel"),
        emitted(A, "found " * 10),
        *said(A, 1, "lo"),
        Event(A, ended("Hello")),
        Event(A, MessageRated(-1)),
        Event(B, MessageDeleted()),
    ],
    "a generation fills it without a thought": [
        CREATED,
        asked(Q),
        Event(A, MessageAdded(Q, "assistant", "")),
        Event(A, MessageEdited({"model": "another"})),
        Event(A, MessageStarted(Q, "demo", "demo", UUID(int=9), NODE, fills=True)),
        block(A, 0, "text"),
        *said(A, 0, "Hel", "lo"),
        Event(A, ended("Hello")),
    ],
    "two at once, one fails": [
        CREATED,
        asked(Q),
        started(A, Q),
        started(B, Q),
        emitted(A, "searching"),
        block(A, 0, "text"),
        block(B, 0, "tool_call"),
        *said(A, 0, "1"),
        *said(B, 0, "{"),
        emitted(A, "found"),
        *said(A, 0, "2"),
        *said(B, 0, "}"),
        Event(B, GenerationFailed("provider_idle", "silent", "")),
        Event(A, MessageRated(-1)),
        *said(A, 0, "3"),
        Event(A, ended("123")),
    ],
    "what is deleted takes its children, and theirs move up": [
        CREATED,
        asked(Q),
        asked(A, Q),
        asked(B, A),
        asked(C, B),
        started(D, C),
        block(D, 0, "text"),
        *said(D, 0, "x"),
        Event(A, MessageDeleted()),
        Event(B, MessageDeleted()),
        *said(D, 0, "y"),
        Event(C, BranchSelected()),
        Event(D, GenerationCancelled(OWNER, "xy")),
        Event(C, MessageDeleted()),
    ],
}


@pytest.mark.usefixtures("storing")
@pytest.mark.parametrize("events_max", [1, 3, 100])
@pytest.mark.parametrize("talk", TALKS)
def test_a_talk_is_read_as_it_was_at_every_version_wherever_the_projector_stands(world: World, talk: str, events_max: int) -> None:
    events = TALKS[talk]
    named = {event.message_id for event in events}
    strangers = [one for one in (Q, A, B, C, D) if one not in named]  # one of them stands for all at each version

    async def check() -> None:
        if events_max == 1:
            # Every event is projected by itself, wherever the projector has stood before: one chat goes through all of its states.
            head, chat_id = await world.log.head(), await world.append(events)
            folds = await world.folded(chat_id)
            for stop in range(len(events) + 1):
                await read_at_every_version(chat_id, folds, stop, head + stop)
            return
        for stop in range(len(events)):
            head, chat_id = await world.log.head(), await world.append(events)
            folds = await world.folded(chat_id)
            for until in (head + stop, head + len(events)):
                await read_at_every_version(chat_id, folds, stop, until)

    async def read_at_every_version(chat_id: UUID, folds: list[Folded], stop: int, until: int) -> None:
        await world.project(until, events_max)
        for version, expected in enumerate(folds):
            assert shown(await world.history.chat(chat_id, at=version)) == expected.shown, f"version {version} after {stop}"
            page, ids = await world.history.branch(chat_id, at=version, limit=100)
            assert ids == expected.branch
            assert itself(page) == expected.itself
            for message_id in (*(named - {None}), *strangers[version % max(1, len(strangers)) :][:1]):
                if str(message_id) not in expected.view.messages:
                    with pytest.raises(MessageNotFound):
                        await world.history.branch(chat_id, at=version, leaf=message_id, limit=100)

    world.run(check())


def test_an_answer_that_is_over_costs_its_readers_no_tokens(world: World) -> None:
    """Its text is in its row; and a chat that nobody projects yet is read all the same."""

    async def check() -> None:
        chat_id = await world.append(
            [CREATED, asked(Q), started(A, Q), block(A, 0, "text"), *said(A, 0, *"Hello"), Event(A, ended("Hello"))]
        )
        before = await world.history.chat(chat_id)
        await world.project(10, 100)
        assert shown(await world.history.chat(chat_id)) == shown(before)
        rows = await (await world.connection.execute("SELECT since, until, is_open FROM messages WHERE message_id = $1", (A,))).fetchall()
        assert sorted(rows) == [(3, 10, True), (10, None, False)]

    world.run(check())


def test_a_long_chat_is_read_as_a_short_one(world: World) -> None:
    """Most of it is never looked into: what the tail changes, an answer that is still open, and a thumb in the middle are."""

    async def check() -> None:
        ids = [UUID(int=100 + number) for number in range(THREAD_ROWS)]
        lines = [asked(one, above, f"line {number}") for number, (one, above) in enumerate(zip(ids, [None, *ids], strict=False))]
        tail = [
            Event(ids[7], MessageRated(1, "good")),
            asked(Q, ids[7]),
            Event(ids[8], MessageDeleted()),
            started(A, Q),
            block(A, 0, "text"),
            *said(A, 0, "a", "b"),
        ]
        events = [CREATED, *lines, *tail]
        chat_id = await world.append(events)
        written = await world.log.read(chat_stream(chat_id), limit=len(events))
        folds = {version: shown(view(written[:version])) for version in (len(events), 1 + len(lines), THREAD_ROWS)}
        for stop in (1 + len(lines), len(events)):
            await world.project(stop, 200)
            for version, expected in folds.items():
                assert shown(await world.history.chat(chat_id, at=version)) == expected, f"version {version} after {stop}"
        read = await world.history.chat(chat_id)
        assert {one for one in read.messages if read.messages.kept(one) is None} == {str(A)}
        assert [one["id"] for one in shown(read)["chat"]["messages"]] == [str(one) for one in (*ids[:8], Q, A)]

    world.run(check())


def test_a_message_that_was_not_there_then_has_no_branch(world: World) -> None:
    async def check() -> None:
        chat_id = await world.append([CREATED, asked(Q), asked(A, Q)])
        for stop in (0, 3):
            await world.project(stop, 100)
            for at, named in ((2, A), (None, B)):
                with pytest.raises(MessageNotFound):
                    await world.history.branch(chat_id, at=at, leaf=named, limit=1)
            _, ids = await world.history.branch(chat_id, at=2, leaf=Q, limit=1)
            assert ids == [str(Q)]

    world.run(check())


def test_access_that_was_taken_is_gone_for_whoever_reads_next_however_late_the_projector_is(world: World) -> None:
    async def check() -> None:
        friend = uuid4()
        for fact in (ChatUnshared(friend), ChatDeleted()):
            head = await world.log.head()
            shared: list[Event[Any]] = [CREATED, Event(None, ChatShared(friend, "read")), asked(Q)]
            chat_id = await world.append(shared)
            await world.project(head + len(shared), 100)
            page, _ = await world.history.branch(chat_id, limit=0)
            assert page.may_read(friend)
            await world.log.append(AppendRequest([StreamAppend(chat_stream(chat_id), [Event(None, fact)], len(shared))]))
            page, _ = await world.history.branch(chat_id, limit=0)
            assert not page.may_read(friend), "the row does not know of it yet, the tail does"

    world.run(check())


@pytest.mark.parametrize(
    "content", [{"blob": "nothex"}, {"blob": 5}, {"blob": "ab" * 32}, {"text": "x"}, [1, {"text": 2}], 5, None, "\ufffe" * 3]
)
def test_whatever_a_client_calls_content_is_projected(world: World, content: Any) -> None:
    async def check() -> None:
        chat_id = await world.append([CREATED, Event(Q, MessageAdded(None, "user", content)), asked(A, Q)])
        before = shown(await world.history.chat(chat_id))
        await world.project(3, 100)
        assert shown(await world.history.chat(chat_id)) == before

    world.run(check())


def test_nobody_reads_a_chat_that_is_none(world: World) -> None:
    async def check() -> None:
        user = user_stream(uuid4())
        await world.log.append(AppendRequest([StreamAppend(user, [Event(None, ChatListed(uuid4()))], 0)]))
        for nobody in (uuid4(), user.id):
            assert (await world.history.chat(nobody)).version == 0
            view_, ids = await world.history.branch(nobody, limit=5)
            assert (view_.version, ids) == (0, [])

    world.run(check())


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
