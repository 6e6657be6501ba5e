"""One stream from a version on and then live: the source of every HTTP response that streams."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from typing import Self

from adapters.delivery.hub import Batch, Hub, Subscription
from api.formats.event_json import encode_redacted
from api.streams.access import LiveConnections
from commands.accounts.principal import Principal
from commands.ports import EventLog
from domain.errors import LogUnavailable
from domain.log.redaction import HidesWords
from domain.log.stream import Stream

BATCH_BYTES_MAX = 256 * 1024
LOG_RETRY_S = 0.5


class StreamTail:
    """One subscription to one stream, as a context manager.

    ``head`` is the stream's version when it was opened. The caller checks the access before; it is
    checked again on entering, after the subscription was registered, so that a person who lost access in between gets nothing.
    """

    __slots__ = (
        "_hub",
        "_live",
        "_log",
        "_wake",
        "counted",
        "head",
        "leaving_ms",
        "over",
        "principal",
        "redaction",
        "subscription",
    )

    def __init__(
        self, hub: Hub, log: EventLog, live: LiveConnections, principal: Principal, stream: Stream, after: int, *, counted: bool = False
    ) -> None:
        self._hub = hub
        self._log = log
        self._live = live
        self._wake = asyncio.Event()
        self.principal = principal
        self.counted = counted
        self.over = False
        self.leaving_ms: int | None = None  # set when the server goes away: when the client should come back
        self.head = 0
        self.redaction: HidesWords | None = None  # until the cursor has come to where the access began
        self.subscription = Subscription(stream, after, self, lambda _: self._wake.set())

    async def __aenter__(self) -> Self:
        """Raises ``LogUnavailable``."""
        stream = self.subscription.stream
        self._live.add(self)
        try:
            self.head = await self._hub.join(self.subscription, self._log.version)
            access = await self._live.access(self.principal, stream, at_least=self.head)
            self.over = self.over or not access.may_read
            self.redaction = await self._live.redaction(access, stream, self.subscription.cursor)
        except BaseException:
            self._leave()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        self._leave()

    def _leave(self) -> None:
        self._hub.unsubscribe(self.subscription)
        self._live.remove(self)
        self._live.stalled.discard(self)

    def account_changed(self) -> None:
        self.over = True
        self._wake.set()

    def wake_all(self) -> None:
        self._wake.set()

    def send_signal(self, framed: bytes) -> None:
        """Nothing: signals go to WebSockets only."""

    def go_away(self, after_ms: int) -> None:
        self.leaving_ms = after_ms
        self._wake.set()

    def write_access_changed(self, subscription: Subscription, may_write: bool) -> None:
        """Nothing: it was said in no frame."""

    @property
    def replaying(self) -> bool:
        """Until its user sets it to False at ``caught_up``; again each time it falls behind."""
        return self.subscription.replaying

    @replaying.setter
    def replaying(self, replaying: bool) -> None:
        self.subscription.replaying = replaying

    @property
    def behind(self) -> bool:
        return self._hub.behind(self.subscription)

    async def next(self, idle_s: float | None = None) -> Batch | None:
        """The next events, without a gap or a repeat; an empty batch when nothing happened for ``idle_s``.

        None once it is over: the caller's access has ended, or the server goes away. Nothing waits between the check of
        the access and the return.
        """
        subscription = self.subscription
        segment = None
        while (
            not self.over and not subscription.ended and self.leaving_ms is None and self._live.authentication.still_valid(self.principal)
        ):
            self._wake.clear()
            if self._live.has_recent_contact():
                batch = self._hub.next_batch(subscription, bytes_max=BATCH_BYTES_MAX, segment=segment)
                if batch is not None:
                    return batch if self.redaction is None else self._redacted(batch, self.redaction)
                if self.behind:
                    self.replaying = True
                    try:
                        segment = await self._hub.fetch(subscription)
                    except LogUnavailable:
                        await asyncio.sleep(LOG_RETRY_S)
                    continue
            else:
                self._live.stalled.add(self)  # it is woken when Postgres is back
            if idle_s is None:  # a bound, also one of nothing, costs as much as the rest of the turn
                await self._wake.wait()
                continue
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(idle_s):
                    await self._wake.wait()
                    continue
            return Batch(subscription.stream, subscription.cursor, ())
        return None

    def _redacted(self, batch: Batch, redaction: HidesWords) -> Batch:
        if batch.until >= redaction.since:
            self.redaction = None
        return batch.changed(redaction.of, encode_redacted)


async def tail_stream(
    hub: Hub, log: EventLog, live: LiveConnections, principal: Principal, stream: Stream, after: int, *, idle_s: float | None = None
) -> AsyncGenerator[Batch, None]:
    """Batches of committed events with versions above ``after``, until the caller's access ends. See ``StreamTail``.

    With ``idle_s`` an empty batch comes whenever nothing happened for so long. Close the generator when done: it holds a
    subscription. Raises ``LogUnavailable``.
    """
    async with StreamTail(hub, log, live, principal, stream, after) as follower:
        while (batch := await follower.next(idle_s)) is not None:
            yield batch
