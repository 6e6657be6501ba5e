"""Several commands of one chat as one request."""

import asyncio

from adapters.memory.log import MemoryLog
from commands.chats.chats import Chats
from commands.ports import AppendRequest, StreamAppend
from domain.accounts.user.facts import ChatUnlisted, UserCreated
from domain.chat.commands import CreateChat, DeleteChat, ShareChat
from domain.chat.facts import ChatDeleted, ChatUnshared
from domain.log.codec import decode_event
from domain.log.event import Event
from domain.log.stream import chat_stream, user_stream
from tests.domain.histories import CHAT, OWNER, READER


def test_two_commands_that_take_a_chat_off_one_persons_list_are_one_request() -> None:
    async def run() -> None:
        log = MemoryLog()
        for one in (OWNER, READER):
            created = Event(None, UserCreated("x", f"{one}@example.org", "user"))
            await log.append(AppendRequest([StreamAppend(user_stream(one), [created], 0)]))
        chats = Chats(log)
        await chats.handle(CreateChat(chat_id=CHAT, by=OWNER, title="t"))
        shared = await chats.handle(ShareChat(chat_id=CHAT, by=OWNER, user_id=READER, permission="read"))
        unshare = ShareChat(chat_id=CHAT, by=OWNER, user_id=READER, permission=None)
        await chats.handle_all([unshare, DeleteChat(chat_id=CHAT, by=OWNER)], actor=None)
        of_chat = await log.read(chat_stream(CHAT), after=shared.versions[0], limit=10)
        assert [decode_event(stored).data for stored in of_chat] == [ChatUnshared(READER), ChatDeleted()]
        of_reader = await log.read(user_stream(READER), after=1, limit=10)
        assert {decode_event(stored).data for stored in of_reader} == {ChatUnlisted(CHAT)}

    asyncio.run(run())
