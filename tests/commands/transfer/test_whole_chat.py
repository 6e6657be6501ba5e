"""Whole chats into the log: all or nothing to their reader, the same again when repeated, taken up when interrupted."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID, uuid4

import msgspec
import pytest

from commands.chats.chats import Chats
from commands.ports import AppendRequest, StreamAppend
from commands.transfer.bounds import FULL, SMALL, RequestBounds
from commands.transfer.whole_chat import Added, WholeChats
from domain.accounts.user.facts import UserCreated
from domain.chat.commands import DeleteChat
from domain.chat.whole_chat import ImportSource, Streamed, WholeChat, WholeMessage, imported_id
from domain.errors import ImportRefused, LogUnavailable, UserNotFound
from domain.log.event import Event
from domain.log.stream import chat_stream, user_stream
from tests.commands.world import ME, SOMEBODY, FailingLog

pytestmark = pytest.mark.anyio


def whole(name: str = "one", *, messages: int = 3, content: Any = "text", owner_id: UUID = ME.id, **more: Any) -> WholeChat:
    ids = [UUID(int=number) for number in range(1, messages + 1)]
    made = [WholeMessage(one, ids[at - 1] if at else None, "user", content, key=f"messages.{at}", **more) for at, one in enumerate(ids)]
    return WholeChat(
        chat_id=imported_id(owner_id, "test", name), owner_id=owner_id, title=name, origin=ImportSource("test", name), messages=made
    )


class World:
    def __init__(self) -> None:
        self.log = FailingLog()
        self.chats = Chats(self.log)
        self.whole_chats = WholeChats(self.log, self.log.blobs, self.chats)

    async def begin(self) -> "World":
        created = Event(None, UserCreated("Me", "me@example.org", "user"))
        await self.log.append(AppendRequest([StreamAppend(user_stream(ME.id), [created], 0)]))
        return self

    async def add(self, chat: WholeChat) -> Added:
        return await self.whole_chats.add(chat, actor=ME)

    async def add_all(self, chats: Sequence[WholeChat]) -> list[Added | ImportRefused]:
        return await self.whole_chats.add_all([await self.whole_chats.prepare(chat) for chat in chats], actor=ME)

    def listed(self) -> list[str]:
        rows = [msgspec.json.decode(row.data) for row in self.log.events if row.type == "chat_listed"]
        return [row["chat_id"] for row in rows]


@pytest.fixture
async def world() -> World:
    return await World().begin()


async def test_a_chat_is_added_and_listed_in_one_commit(world: World) -> None:
    appends = world.log.appends
    chat = whole()
    added = await world.add(chat)
    assert (added.outcome, added.events, world.log.appends - appends) == ("imported", 5, 1)
    assert world.log.types(chat.chat_id) == ["chat_created", *["message_added"] * 3, "chat_imported"]
    assert world.listed() == [str(chat.chat_id)]
    assert world.log.view(chat.chat_id).is_listed_for(ME.id)


@pytest.mark.parametrize("messages", [3, 0])
async def test_a_chat_of_another_owner_under_the_same_id_is_not_taken_for_it(world: World, messages: int) -> None:
    chat = whole()
    theirs = msgspec.structs.replace(whole(messages=messages), chat_id=chat.chat_id, owner_id=SOMEBODY.id)
    created = Event(None, UserCreated("Somebody", "somebody@example.org", "user"))
    await world.log.append(AppendRequest([StreamAppend(user_stream(SOMEBODY.id), [created], 0)]))
    await world.whole_chats.add(theirs, actor=SOMEBODY)
    with pytest.raises(ImportRefused, match="its id is taken") as refused:
        await world.add(chat)
    assert SOMEBODY.name not in str(refused.value) and str(SOMEBODY.id) not in str(refused.value)
    (outcome,) = await world.add_all([chat])
    assert isinstance(outcome, ImportRefused)
    assert world.log.types(chat.chat_id)[0] == "chat_created"
    assert world.log.view(chat.chat_id).owner_id == SOMEBODY.id


async def test_to_add_it_again_changes_nothing(world: World) -> None:
    await world.add(whole())
    head = await world.log.head()
    assert await world.add(whole()) == Added("there", 0, 0)
    assert [added.outcome for added in await world.add_all([whole()]) if isinstance(added, Added)] == ["there"]
    assert await world.log.head() == head


async def test_a_chat_that_was_deleted_since_stays_deleted(world: World) -> None:
    chat = whole()
    await world.add(chat)
    await world.chats.handle(DeleteChat(chat_id=chat.chat_id, by=ME.id))
    assert (await world.add(chat)).outcome == "there"
    assert world.log.view(chat.chat_id).deleted


async def test_many_chats_go_in_few_requests(world: World) -> None:
    appends = world.log.appends
    chats = [whole(f"chat {number}", messages=8) for number in range(100)]
    outcomes = await world.add_all(chats)
    assert [outcome.outcome for outcome in outcomes if isinstance(outcome, Added)] == ["imported"] * 100
    assert world.log.appends - appends == 3
    assert world.listed() == [str(chat.chat_id) for chat in chats]


async def test_beside_others_a_request_is_small_and_what_is_imported_is_the_same(world: World) -> None:
    sizes: list[int] = []
    bounds: list[RequestBounds] = [SMALL]

    async def note(request: AppendRequest) -> None:
        sizes.append(sum(len(append.events) for append in request.appends))

    world.log.before_append = note
    world.whole_chats.bounds = lambda: bounds[0]
    chats = [whole(f"chat {number}", messages=8) for number in range(20)]
    await world.add_all([*chats, whole("long", messages=250)])
    assert max(sizes) <= SMALL.events + 2 + SMALL.events // 10  # and what lists the chats
    assert len(sizes) >= 5
    bounds[0] = FULL
    assert await world.add(whole("long", messages=250)) == Added("there", 0, 0)
    assert world.log.view(whole("long").chat_id).messages_count == 250
    assert len(world.listed()) == 21


async def test_a_chat_that_is_there_does_not_hold_up_its_neighbours(world: World) -> None:
    await world.add(whole("b"))
    outcomes = await world.add_all([whole("a"), whole("b"), whole("c"), whole("c")])
    assert [outcome.outcome for outcome in outcomes if isinstance(outcome, Added)] == ["imported", "there", "imported", "there"]


async def test_an_interrupted_import_is_in_no_list_and_is_taken_up(world: World) -> None:
    chat = whole(messages=3 * FULL.events)
    kept: list[AppendRequest] = []

    async def fail_the_second(request: AppendRequest) -> None:
        kept.append(request)
        if len(kept) == 2:
            raise LogUnavailable("gone")

    world.log.before_append = fail_the_second
    with pytest.raises(LogUnavailable):
        await world.add(chat)
    world.log.before_append = None
    written = await world.log.version(chat_stream(chat.chat_id))
    assert 0 < written <= FULL.events
    assert world.listed() == []
    assert not world.log.view(chat.chat_id).is_listed_for(ME.id)

    added = await world.add(chat)
    assert (added.outcome, added.events) == ("imported", 3 * FULL.events + 2 - written)
    assert world.log.view(chat.chat_id).messages_count == 3 * FULL.events
    assert world.listed() == [str(chat.chat_id)]


async def test_what_was_interrupted_is_not_finished_as_another_chat(world: World) -> None:
    chat = whole(messages=2 * FULL.events)

    async def fail(_: AppendRequest) -> None:
        raise LogUnavailable("gone")

    world.log.after_append = fail
    with pytest.raises(LogUnavailable):
        await world.add(chat)
    world.log.after_append = None
    with pytest.raises(ImportRefused, match="interrupted"):
        await world.add(whole(messages=2 * FULL.events, content="other"))
    assert (await world.add(chat)).outcome == "imported"


async def test_no_request_cuts_an_answer(world: World) -> None:
    pieces = [f" {number}" for number in range(60)]
    chat = whole(messages=40, streamed=Streamed("bot", pieces, 1.0, 2.0))
    open_after: list[int] = []

    async def look(request: AppendRequest) -> None:
        open_after.append(len(await world.log.nodes.open_generations(since=0)))

    world.log.after_append = look
    await world.add(chat)
    assert len(open_after) > 5
    assert set(open_after) == {0}


async def test_an_owner_who_is_nobody_is_refused_and_nothing_is_written(world: World) -> None:
    head = await world.log.head()
    with pytest.raises(UserNotFound):
        await world.add(whole(owner_id=uuid4()))
    assert await world.log.head() == head


@pytest.mark.parametrize(
    ("message", "key"),
    [
        (WholeMessage(UUID(int=1), None, "user", "a\0b", key="m.1"), "m.1.content"),
        (WholeMessage(UUID(int=1), None, "user", "a", fields={"sources": [{"x": "\ud800"}]}, key="m.1"), "m.1.sources"),
        (WholeMessage(UUID(int=1), None, "user", "a", fields={f"k{n}": "x" * 600 for n in range(1000)}, key="m.1"), "m.1"),
    ],
)
async def test_text_that_cannot_be_stored_is_refused_by_its_key(world: World, message: WholeMessage, key: str) -> None:
    head = await world.log.head()
    with pytest.raises(ImportRefused) as refused:
        await world.add(msgspec.structs.replace(whole(), messages=[message]))
    assert refused.value.key == key
    assert await world.log.head() == head


async def test_what_is_too_large_for_an_event_is_kept_as_a_blob(world: World) -> None:
    image = {"type": "image", "url": "data:image/png;base64," + "A" * 300_000}
    message = WholeMessage(UUID(int=1), None, "user", "x" * 200_000, fields={"files": [image], "small": 1})
    chat = msgspec.structs.replace(whole(), messages=[message], fields={"files": [image]})
    await world.add(chat)
    shown = world.log.view(chat.chat_id)
    kept = next(iter(shown.messages.values()))
    stream = chat_stream(chat.chat_id)
    assert kept["small"] == 1
    assert await world.log.blobs.get(stream, kept["content"]["blob"]) == b"x" * 200_000
    files = await world.log.blobs.get(stream, kept["files"]["blob"])
    assert files is not None and msgspec.json.decode(files) == [image]
    assert kept["files"]["media_type"] == "application/json"
    assert shown.fields["files"]["size_bytes"] == len(files)


async def test_two_imports_of_the_same_chat_at_the_same_time_make_one(world: World) -> None:
    chat = whole(messages=3 * FULL.events)
    raced = False

    async def race(_: AppendRequest) -> None:
        nonlocal raced
        if not raced:
            raced = True
            await WholeChats(world.log, world.log.blobs, Chats(world.log)).add(chat, actor=ME)

    world.log.before_append = race
    assert await world.add(chat) == Added("there", 0, 0)
    assert world.log.view(chat.chat_id).messages_count == 3 * FULL.events
    assert len(world.listed()) == 1
