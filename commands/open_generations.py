"""The open generations of a stream as of a version, and what they have said, read from the log: states hold neither in full."""

from collections.abc import Iterable, Mapping
from typing import Any
from uuid import UUID

from commands.aggregate import ANSWER_TYPES, decoded
from commands.ports import EventLog
from domain.generation import BlockOpened, Generation, MessageDelta, MessageStarted, advanced, started
from domain.log.codec import decode_event
from domain.log.event import Event
from domain.log.stream import Stream


async def open_generations(log: EventLog, stream: Stream, version: int) -> Mapping[UUID, Generation]:
    """All of them, by the ids of their messages. Takes longer in a longer stream."""
    starts = decoded(await log.read_open_starts(stream, until=version))
    found = [(start.message_id, at, start) for at, start in starts]
    return {one: await counted(log, stream, version, one, begun(one, at, start)) for one, at, start in found if one is not None}


def begun(message_id: UUID, version: int, start: Event[Any]) -> Generation:
    assert isinstance(start.data, MessageStarted)
    return started({}, message_id, start.data, version)[message_id]


async def counted(log: EventLog, stream: Stream, version: int, message_id: UUID, generation: Generation) -> Generation:
    """With the deltas and blocks that it has up to ``version``."""
    events = await log.read_message(stream, message_id, after=generation.started_version)
    types = [stored.type for stored in events if stored.version <= version]
    deltas, blocks = (types.count(one) for one in ANSWER_TYPES)
    return advanced({message_id: generation}, message_id, deltas=deltas, blocks=blocks)[message_id]


async def text_so_far(log: EventLog, stream: Stream, message_id: UUID, generation: Generation) -> str:
    """What a generation has said in its text blocks."""
    stored = await log.read_message(stream, message_id, after=generation.started_version)
    return text_of_blocks(decode_event(one) for one in stored)


def text_of_blocks(events: Iterable[Event[Any]]) -> str:
    """The text of all text blocks in order, from one message's events."""
    pieces: dict[int, list[str]] = {}
    for event in events:
        match event.data:
            case BlockOpened(index=index, type="text"):
                pieces[index] = []
            case MessageDelta(index=index, text=text) if index in pieces:
                pieces[index].append(text)
            case _:
                pass
    return "".join("".join(pieces[index]) for index in sorted(pieces))
