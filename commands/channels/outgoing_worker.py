"""Sends the events of channels to services of others, signed as the Standard Webhooks specification says.

The worker sends the log from a cursor on, one event after the other, and moves the cursor once the service has taken the event. So a
service that was away gets every event, in order, at least once; the ``webhook-id`` of an event is the same every time. One process at a
time sends for one webhook (``Outgoing.take``), and the cursor is stored with the webhook.
"""

import asyncio
import base64
import hashlib
import hmac
import random
import time
from collections.abc import Callable, Collection, Mapping
from typing import Final, Protocol
from uuid import UUID

import msgspec
import structlog

from commands.channels.channels import Channels
from commands.channels.outgoing import SECRET_PREFIX, DueWebhook, Outgoing, OutgoingSecrets
from commands.ports import EventLog
from domain.channel.commands import RevokeOutgoingWebhook
from domain.errors import LogUnavailable, Refusal
from domain.log.event import StoredEvent
from domain.log.stream import channel_stream

logger = structlog.get_logger("webhooks")

EVENTS_AT_ONCE: Final = 100  # read for one webhook
SENT_AT_ONCE_MAX: Final = 16  # webhooks that one process sends for
LEASE_S: Final = 60.0  # longer than one request may take
POLL_S: Final = 5.0
GATHER_S: Final = 0.05  # after a bell, for what else comes
FIRST_RETRY_S: Final = 5.0
LONGEST_RETRY_S: Final = 3600.0
GONE: Final = 410


class Sent(msgspec.Struct, frozen=True):
    """What became of one request. ``status`` None: there was no answer, and ``failure`` says why."""

    status: int | None
    failure: str | None = None
    retry_after_s: float | None = None


class WebhookSender(Protocol):
    async def send(self, url: str, headers: Mapping[str, str], body: bytes) -> Sent:
        """Never raises for what the other side does."""
        ...


class OutgoingWorker:
    """Sends what is due, in every process. ``observe`` sees every event of the log but deltas. ``now`` gives seconds since 1970."""

    def __init__(
        self,
        log: EventLog,
        channels: Channels,
        outgoing: Outgoing,
        sender: WebhookSender,
        encode: Callable[[StoredEvent], bytes],
        node_id: UUID,
        *,
        now: Callable[[], float] = time.time,
        poll_s: float = POLL_S,
    ) -> None:
        self._log = log
        self._channels = channels
        self._outgoing = outgoing
        self._sender = sender
        self._encode = encode
        self._node_id = node_id
        self._now = now
        self._poll_s = poll_s
        self._known: Collection[UUID] = frozenset()  # channels that have one
        self._rung = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.sent = 0
        self.failed = 0

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="outgoing webhooks")

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    def observe(self, stored: StoredEvent) -> None:
        if stored.stream.kind == "channel" and (stored.stream.id in self._known or stored.type == "webhook:outgoing:created"):
            self._rung.set()

    async def _run(self) -> None:
        while True:
            try:
                self._known = frozenset(await self._outgoing.channels())
                while await self.send_due():
                    pass
            except LogUnavailable as error:
                logger.warning("webhooks_wait", error=str(error))
            except Exception:
                logger.exception("webhooks_failed")  # the next look tries again
            try:
                async with asyncio.timeout(self._poll_s):
                    await self._rung.wait()
                    await asyncio.sleep(GATHER_S)
            except TimeoutError:
                pass
            self._rung.clear()

    async def send_due(self) -> int:
        """Send for those that are due, side by side. Returns for how many."""
        due = await self._outgoing.take(self._node_id, LEASE_S, SENT_AT_ONCE_MAX)
        outcomes = await asyncio.gather(*(self._send_for(one) for one in due), return_exceptions=True)
        for outcome in outcomes:  # of one of them: the others have been sent for
            if isinstance(outcome, BaseException):
                raise outcome
        return len(due)

    async def _send_for(self, due: DueWebhook) -> None:
        stream = channel_stream(due.channel_id)
        head, channel = await self._channels.state(due.channel_id)
        hook = channel.outgoing.get(due.webhook_id)
        if hook is None:  # revoked, and not forgotten yet
            await self._outgoing.remove(due.webhook_id)
            return
        kept = msgspec.json.decode(due.secrets, type=OutgoingSecrets)
        page = await self._log.read(stream, after=due.sent_version, until=head, limit=EVENTS_AT_ONCE, without_deltas=True)
        for stored in page:
            if stored.type not in hook.types:
                continue
            answer = await self._send(kept, stored)
            if answer.status == GONE:
                await self._end(due)
                return
            if answer.status is None or not 200 <= answer.status < 300:
                self.failed += 1
                failure = answer.failure or f"status {answer.status}"
                await self._outgoing.note_failure(due.webhook_id, self._node_id, failure, retry_s(due.failures, answer.retry_after_s))
                return
            self.sent += 1
            if not await self._outgoing.note_sent(due.webhook_id, self._node_id, stored.version, 1, LEASE_S):
                return
        reached = page[-1].version if len(page) == EVENTS_AT_ONCE else head
        await self._outgoing.note_sent(due.webhook_id, self._node_id, max(reached, due.sent_version), 0, 0.0)

    async def _send(self, kept: OutgoingSecrets, stored: StoredEvent) -> Sent:
        body = body_of(stored, self._encode(stored))
        return await self._sender.send(kept.url, headers_of(kept.secret, message_id_of(stored), int(self._now()), body), body)

    async def _end(self, due: DueWebhook) -> None:
        """The service says that it wants no more, for ever."""
        command = RevokeOutgoingWebhook(channel_id=due.channel_id, by=None, webhook_id=due.webhook_id, reason="gone")
        try:
            await self._channels.handle(command)
        except Refusal as refusal:
            logger.info("webhook_gone_already", webhook_id=str(due.webhook_id), reason=str(refusal))
        await self._outgoing.remove(due.webhook_id)


def message_id_of(stored: StoredEvent) -> str:
    """The same for each attempt, in every process."""
    return f"msg_{stored.stream.id.hex}_{stored.version}"


def body_of(stored: StoredEvent, event: bytes) -> bytes:
    """The event as it is on the wire, in the envelope that the specification recommends."""
    head = {"type": f"channel.{stored.type.replace(':', '.')}", "timestamp": stored.at.isoformat().replace("+00:00", "Z")}
    return msgspec.json.encode({**head, "data": msgspec.Raw(event)})


def headers_of(secret: str, message_id: str, timestamp: int, body: bytes) -> dict[str, str]:
    """https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md"""
    return {
        "content-type": "application/json",
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": f"v1,{signature(secret, message_id, timestamp, body)}",
    }


def signature(secret: str, message_id: str, timestamp: int, body: bytes) -> str:
    key = base64.b64decode(secret.removeprefix(SECRET_PREFIX))
    return base64.b64encode(hmac.new(key, f"{message_id}.{timestamp}.".encode() + body, hashlib.sha256).digest()).decode()


def retry_s(failures: int, asked_s: float | None) -> float:
    """After so many failures in a row: each wait four times the last one, an hour at most; or what the service asked for."""
    wait_s = min(FIRST_RETRY_S * 4.0 ** min(failures, 16), LONGEST_RETRY_S) * random.uniform(0.8, 1.2)  # noqa: S311  # spreads retries
    return wait_s if asked_s is None else max(wait_s, min(asked_s, LONGEST_RETRY_S))
