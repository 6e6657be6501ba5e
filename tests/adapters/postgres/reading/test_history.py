"""A chat read from its rows and its tail is the chat folded from its events: at every version, wherever the projector stands."""

from typing import Any
from uuid import UUID, uuid4

import msgspec
import pytest
from hypothesis import given, settings, strategies

from adapters.memory.blobs import MemoryBlobs
from adapters.postgres.reading.chat_queries import THREAD_ROWS, PostgresChatQueries
from api.chats.chat_json import chat_pieces
from commands.chats.chat_pages import ChatPages
from commands.ports import AppendRequest, StreamAppend
from domain.accounts.user.facts import ChatListed
from domain.chat.facts import (
    BranchSelected,
    ChatConfigured,
    ChatDeleted,
    ChatShared,
    ChatUnshared,
    MessageAdded,
    MessageDeleted,
    MessageEdited,
    MessageRated,
)
from domain.errors import MessageNotFound
from domain.generation import GenerationCancelled, GenerationFailed, MessageStarted
from domain.log.event import Emitted, Event
from domain.log.stream import chat_stream, user_stream
from projections.chat import view
from tests.adapters.postgres.reading.history_world import (
    CREATED,
    IN_ONE_WORLD,
    NO_WHOLE,
    Folded,
    World,
    asked,
    block,
    emitted,
    itself,
    said,
    shown,
    started,
)
from tests.domain.histories import NODE, OWNER, ended, histories
from tests.domain.histories import History as Random


@pytest.mark.usefixtures("storing")
@settings(IN_ONE_WORLD)
@given(history=histories(steps_max=40), data=strategies.data())
def test_rows_and_tail_are_the_fold_of_everything(world: World, history: Random, data: strategies.DataObject) -> None:
    events_max = data.draw(strategies.sampled_from([1, 2, 3, 200]), "batch")
    versions = range(len(history.events) + 1)
    stops = data.draw(strategies.lists(strategies.sampled_from(versions), max_size=3).map(sorted), "the projector stops after")

    written: dict[int, bytes] = {}
    rows_read = set[frozenset[str]]()

    async def check() -> None:
        head = await world.log.head()
        await world.project(head, 200)
        chat_id = await world.append(history.events)
        folds = await world.folded(chat_id)
        for stop in [*stops, len(history.events)]:
            await world.project(head + stop, events_max)
            rows = await world.tree_rows(chat_id)
            if rows in rows_read:  # what is read of the same rows is the same
                continue
            rows_read.add(rows)
            async with world.at_rest() as reader:
                for version in versions:
                    expected = folds[version]
                    read = await reader.chat(chat_id, at=version)
                    assert shown(read) == expected.shown, f"version {version} after {stop}"
                    assert read.messages_count == len(expected.view.messages)
                    await check_branch(reader, chat_id, expected, version)
                    await check_pages(reader, chat_id, expected, version)

    async def check_pages(reader: PostgresChatQueries, chat_id: UUID, expected: Folded, version: int) -> None:
        """Page by page it is the same chat, in the same bytes wherever the projector stands."""
        head, outline = await reader.outline(chat_id, at=version, whole_bytes_max=NO_WHOLE)
        assert outline is not None
        assert itself(head) == expected.itself
        assert len(outline) == head.messages_count == len(expected.view.messages)
        pages = ChatPages(reader, MemoryBlobs(), chat_id, head, outline, page_messages=2)
        text = b"".join([piece async for piece in chat_pieces(pages)])
        assert msgspec.json.decode(text) == msgspec.json.decode(msgspec.json.encode({"id": chat_id, **expected.view.to_json()}))
        assert written.setdefault(version, text) == text

    async def check_branch(reader: PostgresChatQueries, chat_id: UUID, expected: Folded, version: int) -> None:
        page, ids = await reader.branch(chat_id, at=version, limit=3)
        whole = expected.branch
        assert ids == whole[-3:]
        assert itself(page) == expected.itself
        messages = expected.shown["chat"]["history"]["messages"]
        partial = shown(page)["chat"]["history"]["messages"]
        for one in ids:
            assert msgspec.json.encode(partial[one], order="sorted") == msgspec.json.encode(messages[one], order="sorted")
        if len(whole) > 3:
            _, older = await reader.branch(chat_id, at=version, above=UUID(ids[0]), limit=3)
            assert older == whole[:-3][-3:]

    world.run(check())


Q, A, B, C, D = (UUID(int=number) for number in range(1, 6))
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

    rows_read = set[frozenset[str]]()

    async def check() -> None:
        chat_id = await world.append(events)
        folds = await world.folded(chat_id)
        if events_max == 1:
            # Every event is projected by itself, wherever the projector has stood before: the chat goes once through all of its states.
            for stop in range(len(events) + 1):
                await read_at_every_version(chat_id, folds, stop, stop)
            return
        for stop in range(len(events)):
            await world.forget()
            for until in (stop, len(events)):
                await read_at_every_version(chat_id, folds, stop, until)

    async def read_at_every_version(chat_id: UUID, folds: list[Folded], stop: int, until: int) -> None:
        await world.project(until, events_max)
        rows = await world.tree_rows(chat_id)
        if rows in rows_read:  # a token changes none, and the end is mostly the same: what is read of the same rows is the same
            return
        rows_read.add(rows)
        async with world.at_rest() as reader:
            for version, expected in enumerate(folds):
                assert shown(await reader.chat(chat_id, at=version)) == expected.shown, f"version {version} after {stop}"
                page, ids = await reader.branch(chat_id, at=version, limit=100)
                assert ids == expected.branch
                assert itself(page) == expected.itself
                for message_id in (*(named - {None}), *strangers[version % max(1, len(strangers)) :][:1]):
                    if str(message_id) not in expected.view.messages:
                        with pytest.raises(MessageNotFound):
                            await reader.branch(chat_id, at=version, leaf=message_id, limit=100)

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
