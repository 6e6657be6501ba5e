"""One stream, from a version on and then live: what every answer that streams is made of."""

import asyncio
from collections.abc import AsyncGenerator

from adapters.hub import Batch, Hub, Subscription
from commands.ports import EventLog
from domain.stream import Stream

BATCH_BYTES_MAX = 256 * 1024


async def follow(hub: Hub, log: EventLog, stream: Stream, after: int) -> AsyncGenerator[Batch, None]:
    """Batches of committed events with versions above ``after``, without a gap or a repeat, for ever.

    Close the generator when done: it holds a subscription. Access is the caller's to check. Raises ``LogUnavailable``.
    """
    wake = asyncio.Event()
    subscription = Subscription(stream, after, None, lambda _: wake.set())
    # First the interest, then the head: what is committed in between wakes us, what was before is read.
    hub.subscribe(subscription)
    try:
        hub.know_head(stream, await log.version(stream))
        while not subscription.ended:
            wake.clear()
            batch = hub.take(subscription, bytes_max=BATCH_BYTES_MAX)
            if batch is not None:
                yield batch
            elif hub.behind(subscription):
                await hub.fetch(subscription)
            else:
                await wake.wait()
    finally:
        hub.unsubscribe(subscription)
