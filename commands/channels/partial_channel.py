"""Reading a channel in part: the channel itself with its members, and any messages by their ids.

What is read does not grow with the number of messages: every query goes by an index (sql/migrations/0007 and 0008). A message is its own
events, so nothing of its thread is read with it.
"""

from collections.abc import Collection, Mapping
from typing import Final
from uuid import UUID

import msgspec

from commands.aggregate import decoded
from commands.open_generations import counted, open_generations
from commands.ports import EventLog
from domain.channel.evolve import evolve
from domain.channel.state import NO_CHANNEL, NOTHING_LOADED, Channel, MessageNode
from domain.generation import Generation
from domain.log.stream import Stream
from domain.routing import call
from domain.routing.call import OpenCalls
from domain.values.idmap import NotLoaded, PartialMap

MESSAGE_TYPES: Final = ("message", "message_start")  # the newest of them is read besides: a search that ends at once
MESSAGES_MAX: Final = 256  # messages that are held between two commands; adding one copies them all


class PartialChannelReader:
    """``PartialReader`` of channels."""

    def __init__(self, log: EventLog, *, messages_max: int = MESSAGES_MAX) -> None:
        self._log = log
        self._messages_max = messages_max

    async def begin(self, stream: Stream) -> tuple[int, Channel]:
        head = await self._log.read_head(stream, MESSAGE_TYPES)
        if not head:
            return 0, NO_CHANNEL
        channel = NOTHING_LOADED
        for version, event in decoded(head):
            if event.message_id is None:
                channel = evolve(channel, event, version)
        return head[-1].version, channel

    async def complete(self, stream: Stream, version: int, channel: Channel, missing: NotLoaded) -> Channel:
        if missing.calls:
            open_calls: OpenCalls = {}
            for _, event in decoded(await self._log.read_open_calls(stream, until=version)):
                open_calls = call.evolve(open_calls, event.message_id, event.data)
            return msgspec.structs.replace(channel, open_calls=open_calls, calls_loaded=True)
        if missing.generations:
            return with_generations(channel, await open_generations(self._log, stream, version), all_of_them=True)
        alone = NO_CHANNEL
        for at, event in decoded(await self._log.read_messages(stream, missing.keys, until=version)):
            alone = evolve(alone, event, at)
        nodes: dict[UUID, MessageNode | None] = {one: alone.messages.get(one) for one in missing.keys}
        going = {
            one: await counted(self._log, stream, version, one, generation)
            for one, generation in alone.open_generations.items()
            if one not in channel.open_generations
        }
        messages = channel.messages
        assert isinstance(messages, PartialMap)
        return with_generations(channel, going, messages=messages.with_loaded(nodes))

    def trimmed(self, channel: Channel) -> Channel:
        if channel.messages.loaded_count() <= self._messages_max:
            return channel
        return with_generations(channel, {}, messages=PartialMap())

    def with_absent(self, channel: Channel, ids: Collection[UUID]) -> Channel:
        assert isinstance(channel.messages, PartialMap)
        return with_generations(channel, {}, messages=channel.messages.with_loaded(dict.fromkeys(ids)))


def with_generations(
    channel: Channel, more: Mapping[UUID, Generation], *, messages: PartialMap[MessageNode] | None = None, all_of_them: bool = False
) -> Channel:
    """What the state holds already is as new."""
    return msgspec.structs.replace(
        channel,
        messages=channel.messages if messages is None else messages,
        open_generations={**more, **channel.open_generations},
        generations_loaded=channel.generations_loaded or all_of_them,
    )
