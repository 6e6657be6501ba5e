"""``follow``: one client's subscriptions to all channels of its person, as they come and go."""

import asyncio
from collections import deque
from collections.abc import Iterable
from typing import Final, Protocol
from uuid import UUID

import structlog

from api.streams.channel_access import Follower
from api.streams.frames import StartFollow, error_frame
from api.streams.socket_context import SocketContext
from domain.channel.rights import may_read
from domain.errors import LogUnavailable, StenographError
from domain.log.stream import Stream, channel_stream

logger = structlog.get_logger("ws")

RETRY_S: Final = 0.5


class FollowingSocket(Follower, Protocol):
    """What a follow needs of its socket."""

    context: SocketContext

    async def room(self) -> None:
        """Returns once the client has taken enough of what it was sent."""
        ...

    def claimable(self, streams: Iterable[Stream]) -> list[Stream]:
        """The streams that ``join_channel`` would subscribe to, as far as the connection has room for them."""
        ...

    async def join_channel(self, stream: Stream, follow: StartFollow) -> None:
        """Subscribe, unless it is so already or may not be. Raises ``TooMany``, ``LogUnavailable``."""
        ...

    def send_reply(self, payload: bytes) -> None: ...


class ChannelFollow:
    """From ``begin`` to ``end``. Channels that the person comes to read later are joined one after the other by a task of its own."""

    def __init__(self, socket: FollowingSocket, follow: StartFollow) -> None:
        self._socket = socket
        self._follow = follow
        self._waiting: deque[UUID] = deque()
        self._joining: asyncio.Task[None] | None = None
        self._begun = False
        self._left: set[UUID] = set()  # channels that the client has left by itself

    async def begin(self) -> None:
        """Join what there is. First the interest is registered, then the list is read. Raises ``TooMany``, ``LogUnavailable``."""
        context, principal = self._socket.context, self._socket.principal
        access = context.live.channels
        access.add_follower(self._socket)
        own = await context.channels.own(principal.user_id)
        channel_ids = await access.directory.readable(access.asker(principal), sorted(own.joined))
        with context.hub.expecting(self._socket.claimable(map(channel_stream, channel_ids)), context.log.version):
            for channel_id in channel_ids:
                await self._join(channel_id)
        self._begun = True
        self._go_on()

    def add(self, channel_id: UUID) -> None:
        """One more, as far as is known here."""
        if channel_id not in self._waiting and channel_id not in self._left:
            self._waiting.append(channel_id)
        if self._begun:
            self._go_on()

    def left(self, channel_id: UUID) -> None:
        """The client has ended the subscription: it is not begun again."""
        self._left.add(channel_id)

    def ended(self, channel_id: UUID) -> None:
        """Access has ended, unless it was given back before the client was told so."""
        access = self._socket.context.live.channels
        channel = access.directory.get(channel_id)
        if channel is not None and may_read(channel, access.asker(self._socket.principal)):
            self.add(channel_id)

    def end(self) -> None:
        """Nothing more is joined. What was joined stays until it is left."""
        self._socket.context.live.channels.remove_follower(self._socket)
        self._waiting.clear()
        if self._joining is not None:
            self._joining.cancel()

    def _go_on(self) -> None:
        if self._waiting and (self._joining is None or self._joining.done()):
            self._joining = asyncio.create_task(self._join_waiting(), name="follow")

    async def _join_waiting(self) -> None:
        while self._waiting:
            try:
                await self._join(self._waiting[0])
            except LogUnavailable:
                await asyncio.sleep(RETRY_S)
                continue
            except StenographError as error:
                self._socket.send_reply(error_frame(error, self._follow.id))
            except Exception:
                logger.exception("channel_not_followed")
            self._waiting.popleft()

    async def _join(self, channel_id: UUID) -> None:
        await self._socket.room()
        await self._socket.join_channel(channel_stream(channel_id), self._follow)
