"""What the suites of the log's contract are written with."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID, uuid4

import msgspec

from adapters.memory.log import MemoryLog
from adapters.postgres.log.log import PostgresLog
from commands.ports import Appended, AppendRequest, CommandKey, StreamAppend
from domain.chat.facts import ChatRenamed
from domain.log.event import Actor, Event, StoredEvent
from domain.log.stream import Kind, Stream

Log = MemoryLog | PostgresLog
ME = Actor(UUID(int=1), "Ünal 🦉", "user")
OTHER = UUID(int=2)
HASH, OTHER_HASH = b"\x01" * 32, b"\x02" * 32


def a_stream(kind: Kind = "chat") -> Stream:
    return Stream(kind, uuid4())


def titled(*titles: str) -> list[Event[Any]]:
    return [Event(None, ChatRenamed(title)) for title in titles]


def to(stream: Stream, *titles: str, at: int) -> StreamAppend:
    return StreamAppend(stream, titled(*titles), at)


async def append(log: Log, *appends: StreamAppend, **more: Any) -> Appended:
    return await log.append(AppendRequest(appends=appends, **more))


async def titles(log: Log, stream: Stream) -> list[str]:
    return [msgspec.json.decode(stored.data)["title"] for stored in await log.read(stream, limit=10_000)]


def key(name: str, request_hash: bytes = HASH, actor_id: UUID = ME.id, answer: bytes = b"null") -> CommandKey:
    return CommandKey(actor_id, name, request_hash, answer)


# ----------------------------------------------------------------------------------------------------- order and density


def assert_dense(events: Sequence[StoredEvent]) -> None:
    """Positions and versions without a gap, time never against position."""
    assert [event.position for event in events] == list(range(1, len(events) + 1))
    versions: dict[Stream, int] = {}
    for event in events:
        versions[event.stream] = versions.get(event.stream, 0) + 1
        assert event.version == versions[event.stream]
    assert [event.at for event in events] == sorted(event.at for event in events)
