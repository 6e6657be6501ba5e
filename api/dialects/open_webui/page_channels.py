"""The channels of one page: it follows all that its user may read, now and later, as the page expects of a server.

What a page has not been sent stands in the log. One that reads slowly, or that comes back after a cut with the offset of the channel that
it shows, is sent what it lacks, the oldest first, before anything new.
"""

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol
from uuid import UUID

import structlog

from api.dialects.open_webui import packets
from api.dialects.open_webui.channel_envelopes import ChannelEnvelopes, list_changed_envelope, typing_envelope
from api.dialects.open_webui.channel_offset import ChannelOffset
from api.dialects.open_webui.channel_room import ChannelRoom, Shown, envelopes_of
from api.dialects.open_webui.page_context import PageContext
from api.request.scopes import CHAT
from api.streams.tailing import StreamTail
from commands.accounts.principal import Principal
from domain.channel.rights import may_post, may_read
from domain.errors import Forbidden, LogUnavailable
from domain.log.cursor import Cursor
from domain.log.stream import Stream, channel_stream

logger = structlog.get_logger("page")

RETRY_S: Final = 0.5
NAME: Final = b"events:channel"
OFFSET_NAME: Final = b"offset"  # of an event that no page listens to: it only carries an offset


class ChannelRooms:
    """The rooms of this process, each for as long as a page is in it."""

    def __init__(self, context: PageContext) -> None:
        self._context = context
        self._rooms: dict[UUID, ChannelRoom] = {}

    async def enter(self, page: "PageChannels", channel_id: UUID) -> ChannelRoom:
        """Raises ``LogUnavailable``."""
        room = self._rooms.get(channel_id)
        if room is None:
            room = self._rooms[channel_id] = ChannelRoom(self._context, channel_id)
        room.pages[page] = None
        try:
            await room.begin()
        except BaseException:
            self.leave(page, room)
            raise
        return room

    def leave(self, page: "PageChannels", room: ChannelRoom) -> None:
        room.pages.pop(page, None)
        if not room.pages and self._rooms.get(room.id) is room:
            del self._rooms[room.id]
            room.close()

    def typing(self, stream: Stream, thread: str | None, user: Mapping[str, Any], typing: bool) -> None:
        """Somebody types, or not any more. Their own pages do not hear of it."""
        room = self._rooms.get(stream.id) if stream.kind == "channel" else None
        if room is not None:
            framed = packets.encoded(typing_envelope(room.id, thread, user, room.shared, typing=typing))
            for page in list(room.pages):
                page.hear_typing(room, framed, user["id"])


class PageOfChannels(Protocol):
    """What the channels need of their socket."""

    principal: Principal

    @property
    def can_write(self) -> bool: ...

    async def room(self) -> None:
        """Until the page has taken what it was sent."""
        ...

    def write(self, *pieces: bytes) -> None:
        """One packet. Nothing waits between the check of the access and this."""
        ...


class PageChannels:
    """Of one socket whose user is known, from ``begin`` to ``end``. It is a ``Follower``."""

    def __init__(self, context: PageContext, rooms: ChannelRooms, socket: PageOfChannels) -> None:
        self._context = context
        self._rooms = rooms
        self._socket = socket
        self.principal: Principal = socket.principal
        self._joined: dict[UUID, ChannelRoom] = {}
        self._cursors: dict[UUID, int] = {}  # of the rooms in which the page is sent what is new
        self._lagging: dict[UUID, int] = {}  # of those of which it lacks something
        self._waiting: dict[UUID, None] = {}  # channels that it comes to follow
        self._offset: ChannelOffset | None = None  # with which the page came back
        self._shows: UUID | None = None  # the channel that it has opened last
        self._told: bytes = b""
        self._began = False
        self._work: asyncio.Task[None] | None = None

    def begin(self, offset: ChannelOffset | None = None) -> None:
        """Follow what the user may read. ``offset``: as the page has kept it."""
        self._offset = offset
        if offset is not None:
            self._shows = offset.channel_id
        self._context.live.channels.add_follower(self)
        self._go_on()

    def end(self) -> None:
        self._context.live.channels.remove_follower(self)
        self._context.typing.connection_ended(self)
        if self._work is not None:
            self._work.cancel()
        for room in self._joined.values():
            self._rooms.leave(self, room)
        self._joined.clear()
        self._cursors.clear()

    def follow_channel(self, channel_id: UUID) -> None:
        if channel_id not in self._joined:
            self._waiting[channel_id] = None
            self._go_on()

    # --------------------------------------------------------------------------------------------- what the page says

    def opened(self, channel_id: UUID) -> None:
        """The page shows this channel now, and its user has read it."""
        self._socket.principal.require_scope(CHAT)
        self._shows = channel_id
        self._tell_offset()
        stream = channel_stream(channel_id)
        head = self._context.hub.head(stream)
        if head and channel_id in self._joined and self._may_hear(channel_id):
            self._context.mark_read(self._socket.principal, stream, head, head)

    def types(self, channel_id: UUID, thread: str | None, *, typing: bool) -> None:
        """Raises ``Forbidden`` for somebody who may not write there."""
        principal = self._socket.principal
        principal.require_scope(CHAT)
        channel = self._context.live.channels.directory.get(channel_id)
        if channel_id not in self._joined or channel is None or not may_post(channel, self._context.live.channels.asker(principal)):
            raise Forbidden("who may not write in a channel does not type there")
        user = {"id": str(principal.user_id), "name": principal.name, "role": principal.role}
        self._context.typing.say(self, channel_stream(channel_id), user, thread, typing=typing)

    # ------------------------------------------------------------------------------------------------- what it is sent

    def hear(self, room: ChannelRoom, made: Sequence[Shown], before: int) -> None:
        """As ``Listener`` says."""
        cursor = self._cursors.get(room.id)
        if cursor is None:
            return
        if not self._may_hear(room.id):
            self._left(room)
        elif not self._socket.can_write or not self._context.live.may_send(self._socket.principal):
            del self._cursors[room.id]
            self._lagging[room.id] = cursor
            self._go_on()
        else:
            is_ahead = cursor > room.version  # what has grown is older than what the page has
            for one in made:
                if one.version > cursor or (before == room.version and not is_ahead):
                    self._write(room.id, one)
            self._cursors[room.id] = max(cursor, room.version)

    def hear_typing(self, room: ChannelRoom, envelope: bytes, user_id: str) -> None:
        principal = self._socket.principal
        if room.id not in self._cursors or str(principal.user_id) == user_id or not self._socket.can_write:
            return
        if self._may_hear(room.id) and self._context.live.may_send(principal):
            self._socket.write(*packets.pieces_of_event(NAME, envelope))

    def _may_hear(self, channel_id: UUID) -> bool:
        """By what has passed here."""
        access = self._context.live.channels
        channel = access.directory.get(channel_id)
        return channel is not None and may_read(channel, access.asker(self._socket.principal))

    def _left(self, room: ChannelRoom) -> None:
        """The page hears no more of the channel, and reads its list anew."""
        self._rooms.leave(self, room)
        for known in (self._joined, self._cursors, self._lagging):
            known.pop(room.id, None)
        self._list_changed(room.id)

    def _list_changed(self, channel_id: UUID) -> None:
        if self._socket.can_write and self._context.live.may_send(self._socket.principal):
            self._socket.write(*packets.pieces_of_event(NAME, packets.encoded(list_changed_envelope(channel_id))))

    def _write(self, channel_id: UUID, shown: Shown) -> None:
        offset = self._offset_at(shown.cursor) if channel_id == self._shows and shown.cursor is not None else None
        self._socket.write(*packets.pieces_of_event(NAME, shown.envelope, offset))

    def _offset_at(self, version: int) -> bytes:
        assert self._shows is not None
        self._told = str(ChannelOffset(self._shows, Cursor(self._context.epoch, version))).encode()
        return self._told

    def _tell_offset(self) -> None:
        """What the page shows is known to it already up to there, or it reads that now."""
        cursor = self._cursors.get(self._shows) if self._shows is not None else None
        if cursor is not None and self._socket.can_write:
            known = self._told
            if self._offset_at(cursor) != known:
                self._socket.write(*packets.pieces_of_event(OFFSET_NAME, b"null", self._told))

    # -------------------------------------------------------------------------------------------- what waits for others

    def _go_on(self) -> None:
        if self._work is None or self._work.done():
            self._work = asyncio.create_task(self._do(), name="page channels")

    async def _do(self) -> None:
        while not self._began or self._waiting or self._lagging:
            try:
                if not self._began:
                    await self._follow_all()
                    self._began = True
                elif self._waiting:
                    channel_id = next(iter(self._waiting))
                    await self._enter(channel_id)
                    del self._waiting[channel_id]
                    self._list_changed(channel_id)
                else:
                    await self._catch_up(next(iter(self._lagging)))
            except LogUnavailable:
                await asyncio.sleep(RETRY_S)
            except Exception:
                logger.exception("page_channels_failed")
                await asyncio.sleep(RETRY_S)

    async def _follow_all(self) -> None:
        access, principal = self._context.live.channels, self._socket.principal
        own = await self._context.channels.own(principal.user_id)
        for channel_id in await access.directory.readable(access.asker(principal), sorted(own.joined)):
            await self._enter(channel_id)
            self._waiting.pop(channel_id, None)

    async def _enter(self, channel_id: UUID) -> None:
        if channel_id in self._joined:
            return
        room = await self._rooms.enter(self, channel_id)
        self._joined[channel_id] = room
        offset = self._offset
        if offset is not None and offset.channel_id == channel_id and offset.cursor.epoch == self._context.epoch:
            self._offset = None
            self._lagging[channel_id] = offset.cursor.number
        else:
            self._cursors[channel_id] = room.version
            if channel_id == self._shows:
                self._tell_offset()

    async def _catch_up(self, channel_id: UUID) -> None:
        """What the page lacks of one channel. What was gone again before its user's access began is no part of it."""
        context, room, stream = self._context, self._joined.get(channel_id), channel_stream(channel_id)
        if room is None:
            self._lagging.pop(channel_id, None)
            return
        principal = self._socket.principal
        access = await context.live.access(principal, stream)
        after = max(self._lagging[channel_id], access.since)
        envelopes = ChannelEnvelopes(channel_id)
        async with StreamTail(context.hub, context.log, context.live, principal, stream, after) as tail:
            while tail.subscription.cursor < room.version:
                batch = await tail.next()
                if batch is None or not await self._send_missed(room, envelopes, [event.stored for event in batch.events], batch.until):
                    break
                self._lagging[channel_id] = batch.until
            else:
                self._lagging.pop(channel_id, None)
                self._cursors[channel_id] = tail.subscription.cursor
                return
        if channel_id in self._joined:
            self._left(room)

    async def _send_missed(self, room: ChannelRoom, envelopes: ChannelEnvelopes, events: Sequence[Any], until: int) -> bool:
        """Whether the page may have it."""
        made = await envelopes_of(self._context, envelopes, room.id, events, until)
        for one in [*made, *envelopes.grown(room.shared)]:
            await self._socket.room()
            if not self._context.live.has_recent_contact():
                raise LogUnavailable("this process is cut off from the log")
            if not self._may_hear(room.id) or not self._context.live.may_send(self._socket.principal):
                return False
            self._write(room.id, Shown(one.version, packets.encoded(one.envelope), one.cursor))
            if one.cursor is not None:
                self._lagging[room.id] = one.cursor  # from there it is tried again
        return True

    async def ended(self) -> None:
        """After ``end``: returns once nothing of it runs any more."""
        if self._work is not None:
            with contextlib.suppress(asyncio.CancelledError):
                await self._work
