"""A process that appends for ever, to be stopped, killed and counted by a test.

Run it as ``python -m tests.adapters.postgres.appending.endless DSN``.
"""

import asyncio
import sys
from typing import Any
from uuid import uuid4

from adapters.postgres.log.log import postgres_log
from commands.ports import AppendRequest, StreamAppend
from domain.chat.facts import ChatRenamed
from domain.log.event import Event
from domain.log.stream import chat_stream


async def main(dsn: str) -> None:
    log = postgres_log(dsn, lambda _: None)
    await log.start()
    await asyncio.gather(*(writer(log) for _ in range(5)))


async def writer(log: Any) -> None:
    stream, version = chat_stream(uuid4()), 0
    while True:
        events = [Event(None, ChatRenamed(f"{version}" + "x" * 500))] * 3
        (version,) = (await log.append(AppendRequest(appends=[StreamAppend(stream, events, version)]))).versions


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
