"""Many people on one stream: a chat that is shared with all of them, and their sockets."""

import asyncio
from collections.abc import Sequence
from typing import Final

from bench.host import Server
from bench.load.seed import Chat, Person, Seeding
from bench.load.sockets import Counted, Frames

SOCKETS_EACH: Final = 32  # the server's own bound for one account
OPENED_AT_ONCE: Final = 100


def people_for(sockets: int) -> int:
    return -(-sockets // SOCKETS_EACH)


async def shared_chat(seeding: Seeding, sockets: int) -> tuple[Chat, list[Person]]:
    people = await seeding.people(people_for(sockets))
    [chat] = await seeding.chats(people[:1])
    if people[1:]:
        await seeding.share(chat, people[1:])
    return chat, people


async def joined(server: Server, chat: Chat, people: Sequence[Person], count: int, after: str) -> list[Counted]:
    """That many sockets, subscribed and caught up."""
    frames = Frames()
    sockets = [Counted(frames) for _ in range(count)]
    for at in range(0, count, OPENED_AT_ONCE):
        some = sockets[at : at + OPENED_AT_ONCE]
        await asyncio.gather(*(one.open(server.port, people[(at + number) // SOCKETS_EACH].token) for number, one in enumerate(some)))
        for one in some:
            one.subscribe(chat.stream, after)
        await asyncio.wait_for(asyncio.gather(*(one.caught_up for one in some)), 60)
    return sockets


async def bare_joined(port: int, count: int) -> list[Counted]:
    frames = Frames()
    sockets = [Counted(frames) for _ in range(count)]
    for at in range(0, count, OPENED_AT_ONCE):
        await asyncio.gather(*(one.open(port, "") for one in sockets[at : at + OPENED_AT_ONCE]))
    return sockets
