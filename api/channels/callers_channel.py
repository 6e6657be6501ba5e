"""The channel that a request is about, for a caller who may read it: the one dependency of every handler below a channel's path."""

from typing import Any
from uuid import UUID

import msgspec
from litestar.di import NamedDependency
from litestar.params import FromPath

from api.formats.channel_json import channel_json
from api.request.caller import Caller
from commands.channels.channel_reader import ChannelReader, KnownChannel
from commands.channels.channels import Channels
from commands.ports import Appended
from domain.channel.commands import ChannelCommand
from domain.channel.own import ReadThread, SetOwnChannel
from domain.channel.rights import Asker, may_stop
from domain.errors import Forbidden, MessageNotFound
from domain.log.stream import Stream, channel_stream


class ReadIn(msgspec.Struct):
    version: int | None = None  # null: all that there is


class CallersChannel:
    """Access to read was checked before the handler runs; what a command needs besides is checked by its decision."""

    def __init__(self, caller: Caller, known: KnownChannel, channels: Channels, reader: ChannelReader) -> None:
        self.caller = caller
        self.known = known
        self.reader = reader
        self._channels = channels

    @property
    def id(self) -> UUID:
        return self.known.id

    @property
    def by(self) -> Asker:
        return self.known.asker

    async def handle(self, command: ChannelCommand) -> Appended:
        """With the request's idempotency key, and the version of ``If-Match``."""
        caller = self.caller
        return await self._channels.handle(command, actor=caller.actor, key=caller.key, expected_version=caller.expected_version)

    async def stoppable(self, message_id: UUID) -> Stream:
        """Where the answer is that the caller may stop. Raises ``MessageNotFound``, ``Forbidden``."""
        _, channel = await self._channels.state(self.id, messages=[message_id])
        node = channel.messages.get(message_id)
        if node is None or node.deleted:
            raise MessageNotFound(message_id)
        if not may_stop(channel, self.by, node):
            raise Forbidden("only who asked for an answer, or who manages the channel, may stop it")
        return channel_stream(self.id)

    async def set_own(self, *, muted: bool | None = None, pinned: bool | None = None, hidden: bool | None = None) -> Appended:
        """What the caller sets for the channel, for themselves alone."""
        command = SetOwnChannel(user_id=self.caller.user_id, channel_id=self.id, muted=muted, pinned=pinned, hidden=hidden)
        return await self._channels.set_own(command, actor=self.caller.actor, key=self.caller.key)

    def read_version(self, data: ReadIn | None) -> int:
        """Up to which version the caller has read: never beyond what there is."""
        head = self.known.version
        return head if data is None or data.version is None else min(data.version, head)

    async def read_thread(self, message_id: UUID, version: int) -> Appended:
        """The caller has read the thread below this message up to ``version``."""
        command = ReadThread(user_id=self.caller.user_id, channel_id=self.id, message_id=message_id, version=version)
        return await self._channels.set_own(command, actor=self.caller.actor, key=self.caller.key)

    async def json(self) -> dict[str, Any]:
        """The channel as it is now. Raises ``Forbidden`` where the caller has just given their own access up."""
        known = await self.reader.known(self.caller.actor, self.id)
        own = await self._channels.own(self.caller.user_id)
        summaries = await self.reader.summaries(self.caller.user_id, [self.id])
        return channel_json(known, summaries[self.id], own)

    async def message(self, message_id: UUID) -> dict[str, Any]:
        """Raises ``MessageNotFound``, also for a message of another channel."""
        return await self.reader.message(self.id, message_id)


async def provide_channel_to_post(
    channel_id: FromPath[UUID],
    caller: NamedDependency[Caller],
    channels: NamedDependency[Channels],
    channel_reader: NamedDependency[ChannelReader],
) -> CallersChannel:
    """The same for a post, without a query where the channel is known: the decision to append is made on its newest version anyway."""
    return CallersChannel(caller, await channel_reader.known(caller.actor, channel_id, fresh=False), channels, channel_reader)


async def provide_channel(
    channel_id: FromPath[UUID],
    caller: NamedDependency[Caller],
    channels: NamedDependency[Channels],
    channel_reader: NamedDependency[ChannelReader],
) -> CallersChannel:
    """Raises ``ChannelNotFound``, ``Forbidden``."""
    return CallersChannel(caller, await channel_reader.known(caller.actor, channel_id), channels, channel_reader)
