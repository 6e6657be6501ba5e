"""Searches: both histories find the same, in the order of the list, and nobody finds what is not theirs to read."""

import asyncio
import random
from collections.abc import Iterator, Sequence
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import given, settings, strategies

from adapters.memory.chat_queries import MemoryChatQueries
from adapters.memory.log import MemoryLog
from adapters.postgres.reading import search as postgres_search
from commands.ports import AppendRequest, StreamAppend
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
    MessageDeleted,
    MessageEdited,
)
from domain.errors import BadSearch
from domain.generation import MessageDelta, MessageEnded, MessageStarted, Timings
from domain.log.event import Actor, Event
from domain.log.stream import chat_stream
from projections.ports import ALL, ChatFilter, FoundChat
from projections.search import parsed
from tests.adapters.postgres.reading.history_world import IN_ONE_WORLD, World, block
from tests.domain.histories import OWNER, READER, STRANGER, History, histories
from tests.stores import blobs_of

Q, A, B = (UUID(int=number) for number in range(1, 4))
FRIEND = UUID(int=0xF0)


class Place:
    """A log with its history, and what brings the history up to the log's head."""

    def __init__(self, runner: asyncio.Runner, log: Any, history: Any, world: World | None) -> None:
        self.runner, self.log, self.history, self.world = runner, log, history, world

    async def chat(self, *facts: Any, owner: UUID = OWNER, title: str = "untitled", listed: bool = True) -> UUID:
        chat_id = uuid4()
        events = [
            Event(None, ChatCreated(owner, title, listed=listed)),
            *(one if isinstance(one, Event) else Event(None, one) for one in facts),
        ]
        await self.log.append(AppendRequest([StreamAppend(chat_stream(chat_id), events, 0)], Actor(owner, "Me", "user")))
        return chat_id

    async def then(self, chat_id: UUID, version: int, *events: Event[Any]) -> None:
        await self.log.append(AppendRequest([StreamAppend(chat_stream(chat_id), list(events), version)]))

    async def found(self, text: str, user_id: UUID = OWNER, chosen: ChatFilter = ALL, offset: int = 0, limit: int = 60) -> list[FoundChat]:
        if self.world is not None:
            await self.world.project(await self.log.head(), 100)
        phrases = parsed(text).phrases
        assert phrases is not None
        return list(await self.history.search(user_id, phrases, chosen, offset=offset, limit=limit))

    async def ids(self, text: str, user_id: UUID = OWNER, chosen: ChatFilter = ALL) -> list[UUID]:
        return [one.chat.chat_id for one in await self.found(text, user_id, chosen)]


@pytest.fixture(params=["memory", pytest.param("postgres", marks=pytest.mark.postgres)])
def place(request: pytest.FixtureRequest) -> Iterator[Place]:
    if request.param == "postgres":
        world = request.getfixturevalue("world")
        yield Place(world.runner, world.log, world.history, world)
        return
    log = MemoryLog(lambda _: None)
    with asyncio.Runner() as runner:
        yield Place(runner, log, MemoryChatQueries(log, blobs_of(log)), None)


def said(message_id: UUID, text: Any, parent_id: UUID | None = None) -> Event[Any]:
    return Event(message_id, MessageAdded(parent_id, "user", text))


def test_a_chat_is_found_by_its_title_and_by_what_was_said_in_it(place: Place) -> None:
    async def check() -> None:
        titled = await place.chat(said(Q, "nothing of it"), title="Plans for Zürich")
        spoken = await place.chat(said(Q, "let us go to ZURICH by train"), said(A, "and back", Q))
        await place.chat(said(Q, "elsewhere"))
        by_message, by_title = await place.found("zürich")
        assert (by_message.chat.chat_id, by_message.message_id) == (spoken, Q), "the one that changed last first"
        assert (by_title.chat.chat_id, by_title.message_id, by_title.snippet) == (titled, None, "Plans for Zürich")
        assert by_message.snippet == "let us go to ZURICH by train"
        assert await place.ids("zurich train ") == [spoken]
        assert await place.ids("zurich plans ") == [titled]
        assert await place.ids("train plans ") == [], "one text must have all of it"
        assert await place.ids("tra") == [spoken]
        assert await place.ids("tra ") == []
        assert await place.ids('"by train"') == [spoken]
        assert await place.ids('"train by"') == []
        assert [one.chat.chat_id for one in await place.found("zurich", offset=1, limit=1)] == [titled]
        assert await place.found("!?") == []

    place.runner.run(check())


def test_text_without_spaces_and_other_scripts_are_found(place: Place) -> None:
    async def check() -> None:
        chinese = await place.chat(said(Q, "我们明天去北京大学"))
        thai = await place.chat(said(Q, "สวัสดีครับ"))
        russian = await place.chat(said(Q, "Всё хорошо, мой друг 👍"))
        for text, expected in {"北京": chinese, "京大": chinese, "สวัส": thai, "ВСЕ": russian, "друг": russian, "👍": russian}.items():
            assert await place.ids(text) == [expected], text
        assert await place.ids("京北") == []

    place.runner.run(check())


def test_what_is_found_follows_what_happens_to_messages_and_title(place: Place) -> None:
    async def check() -> None:
        chat_id = await place.chat(said(Q, "first"), said(A, "second", Q), title="old")
        await place.ids("x")
        await place.then(chat_id, 3, Event(None, ChatRenamed("fresh")), Event(Q, MessageEdited({"content": "third"})))
        assert [await place.ids(text) for text in ("old ", "first ")] == [[], []]
        assert [await place.ids(text) for text in ("fresh ", "third ", "second ")] == [[chat_id]] * 3
        await place.then(chat_id, 5, Event(A, MessageDeleted()))
        assert await place.ids("second ") == []
        assert await place.ids("third ") == [chat_id]
        await place.then(chat_id, 6, Event(None, ChatDeleted()))
        assert await place.ids("third ") == []

    place.runner.run(check())


def test_the_newest_message_that_has_it_is_named(place: Place) -> None:
    async def check() -> None:
        await place.chat(said(Q, "a cat"), said(A, "two cats and a cat", Q), said(B, "a dog", A), title="cat")
        [found] = await place.found("cat ")
        assert (found.message_id, found.snippet) == (A, "two cats and a cat")

    place.runner.run(check())


def test_an_answer_is_found_once_it_has_ended_also_what_of_it_is_kept_in_a_blob(place: Place) -> None:
    async def check() -> None:
        start = Event(A, MessageStarted(Q, "demo", "demo", uuid4(), uuid4()))
        chat_id = await place.chat(said(Q, "ask"), start, block(A, 0, "text"), Event(A, MessageDelta(0, "needle")))
        assert await place.ids("needle") == []
        sha256 = await blobs_of(place.log).put(chat_stream(chat_id), ("hay " * 1000 + "needle").encode())
        kept = {"blob": sha256, "size_bytes": 4006}
        await place.then(chat_id, 5, Event(A, MessageEnded(kept, [], "0" * 64, "stop", None, Timings(1.0, 2.0), 1)))
        [found] = await place.found("needle")
        assert (found.chat.chat_id, found.message_id) == (chat_id, A)
        assert found.snippet.endswith("hay needle")

    place.runner.run(check())


def test_nobody_finds_what_is_not_in_their_list(place: Place) -> None:
    async def check() -> None:
        shared = await place.chat(said(Q, "secret"), ChatShared(FRIEND, "read"), title="shared")
        own = await place.chat(said(Q, "secret"))
        unlisted = await place.chat(said(Q, "secret"), listed=False)
        unlisted_but_shared = await place.chat(said(Q, "secret"), ChatShared(FRIEND, "read"), listed=False)
        theirs = await place.chat(said(Q, "secret"), owner=FRIEND)
        assert await place.ids("secret") == [own, shared]
        assert await place.ids("secret", FRIEND) == [theirs, unlisted_but_shared, shared]
        assert await place.ids("secret", STRANGER) == []
        assert await place.ids("secret", FRIEND, ChatFilter(pinned=True)) == []
        assert await place.ids("secret", OWNER, ChatFilter(shared=True)) == [shared]
        assert await place.ids("secret", OWNER, ChatFilter(shared=False)) == [own]
        assert unlisted not in await place.ids("secret", FRIEND)
        await place.then(shared, 3, Event(None, ChatUnshared(FRIEND)))
        assert await place.ids("secret", FRIEND) == [theirs, unlisted_but_shared]

    place.runner.run(check())


def test_searches_and_lists_keep_to_what_is_wanted(place: Place) -> None:
    async def check() -> None:
        folder, other = uuid4(), uuid4()
        one = await place.chat(said(Q, "cat"), ChatPinned(), ChatTagged("To Do"), ChatTagged("x"), ChatMoved(folder))
        two = await place.chat(said(Q, "cat"), ChatTagged("x"), ChatMoved(other))
        three = await place.chat(said(Q, "cat"), ChatArchived())
        await place.chat(said(Q, "dog"), ChatPinned(), ChatTagged("x"))
        expected = {
            ChatFilter(): [three, two, one],
            ChatFilter(tags=("x",)): [two, one],
            ChatFilter(tags=("x", "to_do")): [one],
            ChatFilter(tags=("x", "nope")): [],
            ChatFilter(tagged=False): [three],
            ChatFilter(tagged=True): [two, one],
            ChatFilter(in_folder=True, folder_ids=frozenset({folder})): [one],
            ChatFilter(in_folder=True, folder_ids=frozenset({folder, other})): [two, one],
            ChatFilter(in_folder=True, folder_ids=frozenset()): [],
            ChatFilter(pinned=True, archived=False): [one],
            ChatFilter(archived=True): [three],
        }
        for chosen, ids in expected.items():
            assert await place.ids("cat", OWNER, chosen) == ids, chosen

    place.runner.run(check())


def test_a_word_that_would_steer_the_query_is_a_word(place: Place) -> None:
    async def check() -> None:
        chat_id = await place.chat(said(Q, "it's a \\ 'quoted' & (odd) | !text:* <-> here"))
        for text in ("it's", "'quoted'", "\\ 'quoted' &", "(odd) |", "!text:*", "<-> here", "odd:a", "text:*A"):
            found = await place.ids(text)
            assert found == ([] if text in ("odd:a", "text:*A") else [chat_id]), text

    place.runner.run(check())


# What people say in random histories, so that searches for it meet something.
WORDS = strategies.sampled_from(["cat", "Cat", "dog", "döner", "doner", "a", "b", "世", "界", "世界", "it's", "don't", "<b>", "x.y"])
SENTENCES = strategies.lists(WORDS, max_size=5).map(" ".join)
ASKED = strategies.lists(WORDS | strategies.sampled_from(['"', "do", "c", "d", "y"]), min_size=1, max_size=3).map(
    " ".join
) | strategies.text(strategies.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=3)
FILTERS = strategies.builds(
    ChatFilter,
    pinned=strategies.none() | strategies.booleans(),
    archived=strategies.none() | strategies.booleans(),
    tagged=strategies.none() | strategies.booleans(),
    shared=strategies.none() | strategies.booleans(),
)


@strategies.composite
def talking(draw: strategies.DrawFn) -> Sequence[Event[Any]]:
    """A random history whose people say words."""
    history: History = draw(histories(steps_max=25))
    events: list[Event[Any]] = []
    for event in history.events:
        match event.data:
            case MessageAdded(parent_id=parent_id, role=role, fields=fields):
                events.append(Event(event.message_id, MessageAdded(parent_id, role, draw(SENTENCES), fields=fields)))
            case ChatRenamed():
                events.append(Event(None, ChatRenamed(draw(SENTENCES))))
            case _:
                events.append(event)
    return events


@pytest.mark.postgres
@settings(IN_ONE_WORLD, max_examples=25)
@given(
    chats=strategies.lists(talking(), min_size=1, max_size=3), asked=strategies.lists(ASKED, min_size=1, max_size=6), data=strategies.data()
)
def test_rows_and_events_give_the_same_for_random_histories_and_searches(
    world: World, chats: list[Sequence[Event[Any]]], asked: list[str], data: strategies.DataObject
) -> None:
    chosen = data.draw(FILTERS, "filter")
    # Small, so that each of the ways is taken with what little there is.
    sample_chats, sample_texts, walked = data.draw(
        strategies.sampled_from([(100, 30, 10_000), (1, 1, 10_000), (2, 1, 0), (1, 2, 0)]), "sizes"
    )

    async def check() -> None:
        log = MemoryLog(lambda _: None)
        twin = MemoryChatQueries(log, blobs_of(log))
        ours: set[UUID] = set()
        for events in chats:
            chat_id = await world.append(events)
            ours.add(chat_id)
            await log.append(AppendRequest([StreamAppend(chat_stream(chat_id), list(events), 0)], Actor(OWNER, "Me", "user")))
        await world.project(await world.log.head(), 7)
        for text in asked:
            try:
                phrases = parsed(text).phrases
            except BadSearch:
                continue
            for user_id in (OWNER, READER, STRANGER):
                found = await world.history.search(user_id, phrases or (), chosen, offset=0, limit=10_000)
                expected = await twin.search(user_id, phrases or (), chosen, offset=0, limit=10_000)
                here = [one for one in found if one.chat.chat_id in ours]
                assert [bare(one) for one in here] == [bare(one) for one in expected], (text, user_id)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(postgres_search, "SAMPLE_CHATS", sample_chats)
        patch.setattr(postgres_search, "SAMPLE_TEXTS", sample_texts)
        patch.setattr(postgres_search, "WALKED_TEXTS_MAX", walked)
        patch.setattr(postgres_search, "FREQUENT", 2.0 if walked == 0 else 1 / 3)
        world.run(check())


def bare(found: FoundChat) -> Any:
    """Without times: each log has its own."""
    return found.chat.chat_id, found.chat.title, found.chat.pinned, found.chat.archived, found.message_id, found.snippet


@pytest.mark.postgres
@pytest.mark.parametrize(
    ("sample_chats", "sample_texts", "walked", "frequent"),
    [(100, 30, 10_000, 0.3), (1, 1, 10_000, 0.3), (3, 2, 10_000, 0.3), (1, 1, 0, 2.0), (3, 2, 0, 2.0), (2, 30, 0, 0.3)],
)
def test_every_way_finds_the_same_page(
    world: World, monkeypatch: pytest.MonkeyPatch, sample_chats: int, sample_texts: int, walked: int, frequent: float
) -> None:
    for name, value in (("CHATS", sample_chats), ("TEXTS", sample_texts)):
        monkeypatch.setattr(postgres_search, f"SAMPLE_{name}", value)
    monkeypatch.setattr(postgres_search, "WALKED_TEXTS_MAX", walked)
    monkeypatch.setattr(postgres_search, "FREQUENT", frequent)
    rng = random.Random(1)  # the same chats each time

    def sentence() -> str:
        return " ".join(rng.choices(["the", "the", "cat", "dog", "世界", "don't", "doner"], k=rng.randint(0, 4)))

    async def check() -> None:
        log = MemoryLog(lambda _: None)
        twin = MemoryChatQueries(log, blobs_of(log))
        for number in range(16):
            owner = OWNER if number % 4 else READER
            events: list[Event[Any]] = [Event(None, ChatCreated(owner, sentence()))]
            events += [said(UUID(int=one), sentence()) for one in range(1, rng.randint(1, 7))]
            events += [Event(None, ChatShared(OWNER, "read"))] if number % 8 == 0 else []
            chat_id = await world.append(events)
            await log.append(AppendRequest([StreamAppend(chat_stream(chat_id), events, 0)]))
        await world.project(await world.log.head(), 100)
        phrase_searches = ('"the cat"', '"the dog the"', '"cat the cat dog" ', '"the cat" "dog the"', '"the cat do', 'the "cat dog" d')
        for text in ("the ", "cat ", "cat dog ", *phrase_searches, "世", "do", "don't ", "d", "zebra ", "the zebra "):
            phrases = parsed(text).phrases or ()
            for user_id in (OWNER, READER):
                for offset, limit in ((0, 60), (0, 2), (2, 2), (1, 5), (50, 5)):
                    found = await world.history.search(user_id, phrases, offset=offset, limit=limit)
                    expected = await twin.search(user_id, phrases, offset=offset, limit=limit)
                    assert [bare(one) for one in found] == [bare(one) for one in expected], (text, user_id, offset)

    world.run(check())
