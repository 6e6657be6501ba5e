"""One stream, from a version on and then live: what every answer that streams is made of."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator

from adapters.hub import Batch, Hub, Subscription
from api.live import Live
from commands.account import Principal
from commands.ports import EventLog
from domain.stream import Stream

BATCH_BYTES_MAX = 256 * 1024


class Listener:
    """A request that streams. It owns its subscription, and is ended with its caller's access."""

    __slots__ = ("ended", "principal", "wake")

    def __init__(self, principal: Principal) -> None:
        self.principal = principal
        self.wake = asyncio.Event()
        self.ended = False

    def account_changed(self) -> None:
        self.ended = True
        self.wake.set()


async def follow(
    hub: Hub, log: EventLog, live: Live, principal: Principal, stream: Stream, after: int, *, idle_s: float | None = None
) -> AsyncGenerator[Batch, None]:
    """Batches of committed events with versions above ``after``, without a gap or a repeat, until the caller's access ends.

    With ``idle_s`` an empty batch comes whenever nothing happened for so long. Close the generator when done: it holds a
    subscription. May the caller read the stream at all? That is to be asked before. Raises ``LogUnavailable``.
    """
    listener = Listener(principal)
    subscription = Subscription(stream, after, listener, lambda _: listener.wake.set())
    # First the interest, then the head: what is committed in between wakes us, what was before is read.
    live.add(listener)
    hub.subscribe(subscription)
    try:
        hub.know_head(stream, await log.version(stream))
        while not listener.ended and not subscription.ended:
            listener.wake.clear()
            if not live.accounts.still_valid(principal):
                return
            batch = hub.take(subscription, bytes_max=BATCH_BYTES_MAX) if live.fresh() else None
            if batch is not None:
                yield batch
            elif live.fresh() and hub.behind(subscription):
                await hub.fetch(subscription)
            else:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(idle_s):
                        await listener.wake.wait()
                        continue
                yield Batch(subscription.cursor, subscription.cursor, ())
    finally:
        hub.unsubscribe(subscription)
        live.remove(listener)
