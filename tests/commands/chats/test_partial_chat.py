"""A chat that is held in part decides as the whole chat does, whatever happened to it and whoever else writes to it."""

import asyncio
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from hypothesis import given, strategies
from hypothesis.strategies import DataObject

from adapters.memory.log import MemoryLog
from commands.chats.chats import Chats
from commands.chats.partial_chat import PartialChatReader
from commands.ports import AppendRequest, StreamAppend
from domain.accounts.user.facts import UserCreated
from domain.chat.commands import AddMessage, ChatCommand, DeleteMessage
from domain.chat.decide import decide, decide_all
from domain.chat.evolve import changed, fold
from domain.chat.facts import ChatCreated, MessageAdded
from domain.chat.state import EMPTY, Chat, MessageNode
from domain.errors import Refusal
from domain.log.codec import decode_event
from domain.log.event import Event
from domain.log.stream import Stream, chat_stream, user_stream
from domain.values.idmap import PartialMap
from tests.domain.histories import CHAT, FEW, MESSAGES, OWNER, READER, STRANGER, WRITER, History, commands, fitted, histories

STREAM = chat_stream(CHAT)
Q, A, B, C, D, E = MESSAGES[:6]


async def log_of(events: Sequence[Event[Any]]) -> MemoryLog:
    log = MemoryLog()
    for one in (OWNER, READER, WRITER, STRANGER):  # a grant needs a person
        await log.append(AppendRequest([StreamAppend(user_stream(one), [Event(None, UserCreated("x", f"{one}@example.org", "user"))], 0)]))
    for version, event in enumerate(events):
        await log.append(AppendRequest([StreamAppend(STREAM, [event], version)]))
    return log


def in_part(log: MemoryLog, messages_max: int = 256) -> Chats:
    return Chats(log, partial_reader=PartialChatReader(log, short_events=0, messages_max=messages_max))


async def whole(log: MemoryLog) -> tuple[int, Chat]:
    events = await log.read(STREAM, limit=10_000)
    return len(events), fold(EMPTY, [(stored.version, decode_event(stored)) for stored in events])


async def require_same(chats: Chats, log: MemoryLog) -> None:
    """Every message, and everything else that a decision reads."""
    version, expected = await whole(log)
    found_version, found = await chats.state(CHAT, messages=MESSAGES, generations=True, calls=True)
    assert found_version == version
    assert {one: found.messages.get(one) for one in MESSAGES} == {one: expected.messages.get(one) for one in MESSAGES}
    assert changed(found, messages=EMPTY.messages) == changed(expected, messages=EMPTY.messages)


async def outcome(chats: Chats, log: MemoryLog, asked: Sequence[ChatCommand]) -> Any:
    before = await log.version(STREAM)
    try:
        await (chats.handle(asked[0]) if len(asked) == 1 else chats.handle_all(asked, actor=None))
    except Refusal as refusal:
        return type(refusal), str(refusal)
    return [decode_event(stored) for stored in await log.read(STREAM, after=before, limit=10_000)]


def expected_outcome(chat: Chat, asked: Sequence[ChatCommand]) -> Any:
    try:
        return decide(chat, asked[0]) if len(asked) == 1 else decide_all(chat, asked, 0)
    except Refusal as refusal:
        return type(refusal), str(refusal)


@FEW
@given(histories(steps_max=40), strategies.data())
def test_every_decision_on_a_part_is_the_decision_on_the_whole(history: History, data: DataObject) -> None:
    """By two processes in turns, each with what it has kept, of which it may have forgotten much."""

    async def run() -> None:
        log = await log_of(history.events[: data.draw(strategies.integers(0, len(history.events)))])
        processes = [in_part(log, messages_max=data.draw(strategies.sampled_from([0, 2, 256]))) for _ in range(2)]
        for _ in range(data.draw(strategies.integers(1, 8))):
            chats = processes[data.draw(strategies.integers(0, 1))]
            _, chat = await whole(log)
            asked = [
                fitted(chat, one) if data.draw(strategies.booleans()) else one
                for one in data.draw(strategies.lists(commands(), min_size=1, max_size=3))
            ]
            assert await outcome(chats, log, asked) == expected_outcome(chat, asked)
        for chats in processes:
            await require_same(chats, log)

    asyncio.run(run())


@FEW
@given(histories(steps_max=25), strategies.randoms(use_true_random=False))
def test_a_history_that_could_not_have_happened_is_read_as_a_whole(history: History, random: Any) -> None:
    """The fold is total: whatever the log holds, the part is what the fold of all makes of it."""

    async def run() -> None:
        events = list(history.events)
        random.shuffle(events)
        await require_same(in_part(await log_of(events)), await log_of(events))

    asyncio.run(run())


class CountingLog(MemoryLog):
    """``outlines``: how often a stream was read as a whole. ``read``: how many events were read otherwise."""

    outlines = 0
    events_read = 0

    async def read_outline(self, stream: Stream, **asked: Any) -> Any:
        self.outlines += 1
        return await super().read_outline(stream, **asked)

    async def read_head(self, stream: Stream, *asked: Any) -> Any:
        return self._counted(await super().read_head(stream, *asked))

    async def read_relatives(self, stream: Stream, *asked: Any, **more: Any) -> Any:
        return self._counted(await super().read_relatives(stream, *asked, **more))

    def _counted(self, events: Sequence[Any]) -> Sequence[Any]:
        self.events_read += len(events)
        return events


async def a_line_of(messages: int) -> tuple[CountingLog, list[UUID]]:
    """A chat in which each message answers the one before it."""
    ids = [UUID(int=1_000 + number) for number in range(messages)]
    added = [Event(one, MessageAdded(above, "user", "x")) for one, above in zip(ids, [None, *ids], strict=False)]
    log = CountingLog()
    await log.append(AppendRequest([StreamAppend(STREAM, [Event(None, ChatCreated(OWNER, "t")), *added], 0)]))
    return log, ids


def test_the_first_command_reads_no_more_of_a_long_chat_than_of_a_short_one() -> None:
    async def read(messages: int) -> tuple[int, int]:
        log, ids = await a_line_of(messages)
        chats = in_part(log)
        await chats.handle(AddMessage(chat_id=CHAT, by=OWNER, message_id=UUID(int=7), parent_id=ids[3], role="user", content="x"))
        await chats.handle(DeleteMessage(chat_id=CHAT, by=OWNER, message_id=ids[2]))
        return log.outlines, log.events_read

    assert asyncio.run(read(10)) == asyncio.run(read(3_000))
    assert asyncio.run(read(3_000))[0] == 0


def test_what_is_kept_of_a_chat_does_not_grow_with_it() -> None:
    async def run() -> None:
        log, ids = await a_line_of(10)
        chats = in_part(log, messages_max=20)
        for number in range(200):
            add = AddMessage(chat_id=CHAT, by=OWNER, message_id=UUID(int=5_000 + number), parent_id=ids[-1], role="user", content="x")
            await chats.handle(add)
        _, chat = await chats.state(CHAT, fresh=False)
        assert isinstance(chat.messages, PartialMap)
        assert chat.messages.loaded_count() <= 20 + 3

    asyncio.run(run())


def test_more_deleted_messages_above_each_other_than_are_climbed_are_read_as_a_whole() -> None:
    async def run() -> None:
        log, ids = await a_line_of(100)
        first = in_part(log)
        for one in ids[1:91:2]:  # each takes the one below it along
            await first.handle(DeleteMessage(chat_id=CHAT, by=OWNER, message_id=one))
        log.outlines = 0
        _, chat = await in_part(log).state(CHAT, messages=[ids[0], ids[91]])
        assert log.outlines > 0
        top, bottom = chat.messages.get(ids[0]), chat.messages.get(ids[91])
        assert isinstance(top, MessageNode)
        assert isinstance(bottom, MessageNode)
        assert (top.children, bottom.parent_id) == ((ids[91],), ids[0])

    asyncio.run(run())
