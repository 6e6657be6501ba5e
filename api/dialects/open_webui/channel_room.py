"""One channel for all pages of this process that follow it: its events are read and made into envelopes once.

A room reads the channel once for all of its pages. Just before it writes an envelope to a page it checks that page's access, by the events
that this process has seen: after the event that ends the access the page gets nothing.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple, Protocol
from uuid import UUID

import structlog

from adapters.delivery.hub import Segment, Subscription
from api.dialects.open_webui import packets
from api.dialects.open_webui.channel_envelopes import ChannelEnvelopes, Made
from api.dialects.open_webui.page_context import PageContext
from commands.accounts.principal import Principal
from commands.futures import retrieve_exception
from domain.errors import LogUnavailable
from domain.log.event import StoredEvent
from domain.log.stream import channel_stream
from projections.ports import Placed

logger = structlog.get_logger("page")

BATCH_BYTES_MAX: Final = 256 * 1024
LOG_RETRY_S: Final = 0.5
GROWN_S: Final = 0.16  # a page gets what a model has said so far not more often than so
# The room itself. It is in no list of connections; as an auditor it is not ended by what happens to others.
ROOM: Final = Principal(UUID(int=0), "", "auditor", "", 0, None, None)


class Shown(NamedTuple):
    """As ``Made``, with the envelope as JSON."""

    version: int
    envelope: bytes
    cursor: int | None


class Listener(Protocol):
    """A page in the room."""

    def hear(self, room: "ChannelRoom", made: "Sequence[Shown]", before: int) -> None:
        """What the room has made of the events after version ``before``. It must not block."""
        ...

    def hear_typing(self, room: "ChannelRoom", envelope: bytes, user_id: str) -> None:
        """That this account types, or not any more. It may be dropped."""
        ...


class ChannelRoom:
    """``version`` is that of the newest event that was shown to all. It ends with ``close``."""

    counted = False
    principal = ROOM

    def __init__(self, context: PageContext, channel_id: UUID) -> None:
        self.id = channel_id
        self.version = 0
        self.pages: dict[Listener, None] = {}
        self._context = context
        self._envelopes = ChannelEnvelopes(channel_id)
        self._wake = asyncio.Event()
        self._subscription = Subscription(channel_stream(channel_id), 0, self, lambda _: self._wake.set())
        self._running: asyncio.Task[None] | None = None
        self._beginning: asyncio.Task[None] | None = None

    def send_signal(self, framed: bytes) -> None:
        """Nothing: who types is told by ``Typing.listeners``."""

    def write_access_changed(self, subscription: Subscription, may_write: bool) -> None:
        """Nothing: the page asks what it may do when it opens a channel."""

    async def begin(self) -> None:
        """Returns once it follows its channel. Raises ``LogUnavailable``."""
        if self._running is not None:
            return
        if self._beginning is None or self._beginning.done():
            self._beginning = asyncio.create_task(self._begin(), name="page room begins")
            self._beginning.add_done_callback(retrieve_exception)
        await asyncio.shield(self._beginning)

    async def _begin(self) -> None:
        context = self._context
        head = await context.hub.join(self._subscription, context.log.version)
        await context.live.channels.directory.known(self.id, at_least=head)
        self._subscription.cursor = self.version = head
        self._running = asyncio.create_task(self._run(), name="page room")

    def close(self) -> None:
        self._context.hub.unsubscribe(self._subscription)
        for task in (self._running, self._beginning):
            if task is not None:
                task.cancel()

    @property
    def shared(self) -> Mapping[str, Any]:
        """The channel as its envelopes name it."""
        return shared(self._context, self.id)

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        segment: Segment | None = None
        grown_at = loop.time()
        while True:
            try:
                self._wake.clear()
                batch = self._context.hub.next_batch(self._subscription, bytes_max=BATCH_BYTES_MAX, segment=segment)
                segment = None
                if batch is not None:
                    await self._show([event.stored for event in batch.events], batch.until)
                elif self._context.hub.behind(self._subscription):
                    segment = await self._context.hub.fetch(self._subscription)
                    continue
                if self._envelopes.has_grown and loop.time() >= grown_at + GROWN_S:
                    grown_at = loop.time()
                    self._deliver(self._envelopes.grown(self.shared), self.version)
                if batch is None:
                    await self._wait(grown_at + GROWN_S if self._envelopes.has_grown else None)
            except LogUnavailable:
                await asyncio.sleep(LOG_RETRY_S)
            except Exception:
                logger.exception("page_room_failed", channel=str(self.id))
                await asyncio.sleep(LOG_RETRY_S)

    async def _wait(self, until: float | None) -> None:
        try:
            async with asyncio.timeout_at(until):
                await self._wake.wait()
        except TimeoutError:
            pass

    async def _show(self, events: Sequence[StoredEvent], until: int) -> None:
        made: list[Made] | None = None
        while made is None:
            try:
                made = await envelopes_of(self._context, self._envelopes, self.id, events, until)
            except LogUnavailable:
                await asyncio.sleep(LOG_RETRY_S)
        before, self.version = self.version, until
        self._deliver(made, before)

    def _deliver(self, made: Sequence[Made], before: int) -> None:
        encoded = [Shown(one.version, packets.encoded(one.envelope), one.cursor) for one in made]
        for page in list(self.pages):
            page.hear(self, encoded, before)


def shared(context: PageContext, channel_id: UUID) -> Mapping[str, Any]:
    channel = context.live.channels.directory.get(channel_id)
    if channel is None:
        return {"id": str(channel_id)}
    return {"id": str(channel_id), "name": channel.name, "type": None if channel.type == "standard" else channel.type}


async def envelopes_of(
    context: PageContext, envelopes: ChannelEnvelopes, channel_id: UUID, events: Sequence[StoredEvent], until: int
) -> list[Made]:
    """What a page is shown of these events, the last of which is ``until``. Raises ``LogUnavailable``."""
    wanted = envelopes.wanted(events)
    reader = context.channel_reader
    shown = await reader.shown(channel_id, [Placed(one, 0) for one in wanted.messages], at=until)
    answers = await reader.unfinished(channel_id, wanted.answers, at=until) if wanted.answers else {}
    return envelopes.of(events, {one["id"]: one for one in shown}, answers, shared(context, channel_id))
