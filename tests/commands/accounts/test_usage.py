"""What is refused for a quota, by what was written before. Time is a number that the test moves."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from adapters.memory.accounts.usage import MemoryUsage
from adapters.memory.blobs import MemoryBlobs
from adapters.memory.log import MemoryLog
from commands.accounts.usage import REFRESH_S, Quotas, UsageBook
from commands.chats.chats import Chats
from commands.ports import AppendRequest, StreamAppend
from domain.accounts.user.state import Account
from domain.chat.commands import AddMessage, CreateChat, DeleteChat, DeleteMessage, RenameChat
from domain.chat.facts import ChatCreated, MessageAdded
from domain.errors import ChatFull, QuotaReached, RateReached
from domain.log.event import Actor, Event
from domain.log.stream import chat_stream
from tests.commands.world import ME, SOMEBODY

pytestmark = pytest.mark.anyio
PLENTY = 10**12
EVENING = datetime(2026, 1, 1, 23, 59, 0, tzinfo=UTC)


class World:
    """One account on one process: another ``World`` on its log and usage is another process."""

    def __init__(self, usage: MemoryUsage | None = None, **quotas: int) -> None:
        self.log = MemoryLog()
        self.usage = usage or MemoryUsage(self.log)
        self.now = EVENING
        known = {"chats": 100, "storage_bytes": PLENTY, "bytes_a_day": PLENTY, "runs": 1, "connections": 1}
        chat = {name: quotas.pop(name, PLENTY) for name in ("chat_messages_max", "chat_bytes_max")}
        self.quotas = Quotas(**known | quotas)
        self.book = UsageBook(self.usage, self._quotas_of, now=lambda: self.now, clock=lambda: self.now.timestamp(), **chat)
        self.log.quota_guard = self.book
        self.log.on_committed = self.book.count
        self.blobs = MemoryBlobs()
        self.chats = Chats(self.log, self.blobs)

    async def _quotas_of(self, _user_id: UUID) -> Quotas:
        return self.quotas

    async def new_chat(self, actor: Actor = ME) -> UUID:
        chat_id = uuid4()
        await self.chats.handle(CreateChat(chat_id=chat_id, by=actor.id, title="a chat"), actor=actor)
        return chat_id

    async def add(self, chat_id: UUID, content: str = "x" * 1000, actor: Actor = ME) -> UUID:
        message_id = uuid4()
        command = AddMessage(chat_id=chat_id, by=actor.id, message_id=message_id, parent_id=None, role="user", content=content)
        await self.chats.handle(command, actor=actor)
        return message_id

    async def refused(self, work: Callable[[], Awaitable[Any]], kind: type[QuotaReached | ChatFull]) -> Any:
        """The refusal. Nothing was written."""
        head = await self.log.head()
        with pytest.raises(kind) as refusal:
            await work()
        assert type(refusal.value) is kind
        assert await self.log.head() == head
        return refusal.value


async def test_a_chat_above_the_quota_is_refused_until_one_is_deleted() -> None:
    world = World(chats=2)
    first, _ = await world.new_chat(), await world.new_chat()
    error = await world.refused(world.new_chat, QuotaReached)
    assert (error.quota, error.used, error.limit) == ("chats", 2, 2)
    await world.chats.handle(DeleteChat(chat_id=first, by=ME.id), actor=ME)
    world.now += timedelta(seconds=REFRESH_S)
    await world.new_chat()


async def test_storage_that_is_full_takes_no_content_but_every_other_change() -> None:
    world = World(storage_bytes=5_000)
    chat_id = await world.new_chat()
    message_id = await world.add(chat_id, "x" * 6_000)
    error = await world.refused(lambda: world.add(chat_id), QuotaReached)
    assert (error.quota, error.limit) == ("storage_bytes", 5_000)
    assert error.used > 6_000
    await world.chats.handle(RenameChat(chat_id=chat_id, by=ME.id, title="another"), actor=ME)
    await world.chats.handle(DeleteMessage(chat_id=chat_id, by=ME.id, message_id=message_id), actor=ME)
    await world.chats.handle(DeleteChat(chat_id=chat_id, by=ME.id), actor=ME)
    world.now += timedelta(seconds=REFRESH_S)
    await world.add(await world.new_chat())


async def test_content_beside_the_log_counts_and_what_is_refused_is_not_stored() -> None:
    world = World(storage_bytes=200_000)
    chat_id = await world.new_chat()
    await world.add(chat_id, "x" * 300_000)  # no event could hold it
    assert (await world.book.usage_of(ME.id))[0].bytes > 300_000
    await world.refused(lambda: world.add(chat_id, "y" * 300_000), QuotaReached)
    assert len(world.blobs._blobs) == 1


async def test_the_bytes_of_a_day_come_back_at_midnight() -> None:
    world = World(bytes_a_day=5_000)
    chat_id = await world.new_chat()
    await world.add(chat_id, "x" * 6_000)
    error = await world.refused(lambda: world.add(chat_id), RateReached)
    assert (error.quota, error.retry_after_s) == ("bytes_a_day", 60)
    await world.book.flush()
    world.now += timedelta(seconds=60)
    await world.add(chat_id)


async def test_tokens_count_and_are_refused_when_the_day_is_full() -> None:
    world = World(bytes_a_day=5_000)
    chat_id = await world.new_chat()
    world.book.spend(ME.id, 4_000)
    with pytest.raises(RateReached):
        world.book.spend(ME.id, 2_000)
    await world.refused(lambda: world.add(chat_id), RateReached)


async def test_what_another_process_wrote_today_counts_once_it_is_known() -> None:
    one = World(bytes_a_day=5_000)
    other = World(one.usage, bytes_a_day=5_000)
    chat_id = await one.new_chat()
    other.book.spend(ME.id, 6_000)
    await other.book.flush()
    await one.add(chat_id, "x")
    await one.book.flush()
    await one.refused(lambda: one.add(chat_id), RateReached)


async def test_what_could_not_be_added_is_added_the_next_time(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    await world.new_chat()
    add = world.usage.add

    async def fails(*_: Any) -> Any:
        raise ConnectionError

    monkeypatch.setattr(world.usage, "add", fails)
    with pytest.raises(ConnectionError):
        await world.book.flush()
    monkeypatch.setattr(world.usage, "add", add)
    before, _ = await world.book.usage_of(ME.id)
    await world.book.flush()
    assert (await world.book.usage_of(ME.id))[0].day_bytes == before.day_bytes > 0
    assert (await world.usage.of_account(ME.id, EVENING.date())).day_bytes == before.day_bytes


async def test_a_full_chat_takes_no_message_and_a_deletion_makes_room() -> None:
    world = World(chat_messages_max=3)
    chat_id = await world.new_chat()
    ids = [await world.add(chat_id) for _ in range(3)]
    error = await world.refused(lambda: world.add(chat_id), ChatFull)
    assert (error.what, error.used, error.limit) == ("messages", 3, 3)
    await world.chats.handle(DeleteMessage(chat_id=chat_id, by=ME.id, message_id=ids[0]), actor=ME)
    await world.add(chat_id)
    await world.refused(lambda: world.add(chat_id), ChatFull)


async def test_a_chat_holds_so_many_bytes() -> None:
    world = World(chat_bytes_max=5_000)
    chat_id = await world.new_chat()
    await world.add(chat_id, "x" * 6_000)
    error = await world.refused(lambda: world.add(chat_id), ChatFull)
    assert (error.what, error.limit) == ("bytes", 5_000)
    await world.add(await world.new_chat())  # another one has room


async def test_a_chat_with_much_room_is_not_asked_about_for_each_message(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(chat_messages_max=1_000)
    chat_id, asked, of_chat = await world.new_chat(), list[UUID](), world.usage.of_chat

    async def counted(one: UUID) -> Any:
        asked.append(one)
        return await of_chat(one)

    monkeypatch.setattr(world.usage, "of_chat", counted)
    for _ in range(50):
        await world.add(chat_id, "x")
    assert len(asked) == 1


async def test_another_accounts_quota_is_its_own_and_the_server_has_none() -> None:
    world = World(bytes_a_day=1)
    await world.new_chat()
    await world.refused(world.new_chat, RateReached)
    await world.new_chat(SOMEBODY)
    stream = chat_stream(uuid4())
    await world.log.append(AppendRequest([StreamAppend(stream, [Event(None, ChatCreated(ME.id, "x"))], 0)]))
    await world.log.append(AppendRequest([StreamAppend(stream, [Event(uuid4(), MessageAdded(None, "user", "x"))], 1)]))


def test_an_admins_word_on_one_account_goes_before_the_settings() -> None:
    quotas = Quotas(1, 2, 3, 4, 5)
    assert quotas.of(Account()) is quotas
    assert quotas.of(Account(quotas={"runs": 9})) == Quotas(1, 2, 3, 9, 5)
