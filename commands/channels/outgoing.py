"""Outgoing webhooks of channels: which services are sent events, and how far each has come. ``outgoing_worker.py`` sends them.

The log holds that there is a webhook and to which server it goes. Its whole address and its secret are kept beside the log.
"""

import base64
import secrets
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from typing import Final, Protocol
from urllib.parse import urlsplit
from uuid import UUID, uuid4

import msgspec

from commands.channels.channels import Channels
from commands.ports import EventLog
from domain.channel.commands import CreateOutgoingWebhook, RevokeOutgoingWebhook
from domain.channel.rights import Asker, may_manage
from domain.channel.state import OutgoingWebhook
from domain.errors import BadRequest, Forbidden
from domain.log.event import Actor
from domain.log.stream import channel_stream

TYPES: Final = ("message", "message:update", "message:delete", "message_end")  # where nothing else is wanted
SECRET_PREFIX: Final = "whsec_"  # noqa: S105  # not a secret: how the specification marks one
SECRET_BYTES: Final = 32
URL_CHARACTERS_MAX: Final = 2_000


class OutgoingSecrets(msgspec.Struct, frozen=True):
    """What the log does not hold."""

    url: str
    secret: str


class DueWebhook(msgspec.Struct, frozen=True):
    webhook_id: UUID
    channel_id: UUID
    secrets: bytes  # ``OutgoingSecrets`` as JSON
    sent_version: int
    failures: int


class OutgoingState(msgspec.Struct, frozen=True):
    """How far a webhook has come."""

    sent_version: int
    sent: int
    sent_at: datetime | None
    failures: int  # in a row
    failure: str | None
    due_at: datetime | None


class Outgoing(Protocol):
    """The outgoing webhooks of all channels, and how far each has come."""

    async def add(self, webhook_id: UUID, channel_id: UUID, secrets: bytes, sent_version: int) -> None:
        """Safe to repeat. What comes above ``sent_version`` is sent."""
        ...

    async def remove(self, webhook_id: UUID) -> None: ...

    async def channels(self) -> Collection[UUID]:
        """Those that have one."""
        ...

    async def states(self, webhook_ids: Sequence[UUID]) -> Mapping[UUID, OutgoingState]: ...

    async def take(self, node_id: UUID, lease_s: float, limit: int) -> Sequence[DueWebhook]:
        """Those that have something to send and are due, for this node alone until the lease is over."""
        ...

    async def note_sent(self, webhook_id: UUID, node_id: UUID, version: int, count: int, lease_s: float) -> bool:
        """Sent up to ``version``. ``lease_s`` 0 gives it back. False: the node does not hold it any more, and must stop."""
        ...

    async def note_failure(self, webhook_id: UUID, node_id: UUID, failure: str, retry_s: float) -> None:
        """It was not taken. The webhook is given back, and due in ``retry_s``."""
        ...


class KnownOutgoing(msgspec.Struct, frozen=True):
    """As lists show it. ``behind``: versions of the channel that it has not come to yet."""

    id: UUID
    webhook: OutgoingWebhook
    state: OutgoingState | None
    behind: int
    created_at: datetime | None


class OutgoingWebhooks:
    """What people do with them. ``refuses_host`` says whether an address is in a network that is closed to webhooks."""

    def __init__(self, log: EventLog, channels: Channels, outgoing: Outgoing, *, refuses_host: Callable[[str], bool]) -> None:
        self._log = log
        self._channels = channels
        self._outgoing = outgoing
        self._refuses_host = refuses_host

    async def create(self, channel_id: UUID, by: Asker, actor: Actor, url: str, types: Sequence[str] | None) -> tuple[UUID, str]:
        """``(id, secret)`` of a new one. Raises what ``Channels.handle`` raises, ``BadRequest``."""
        origin = self._origin(url)
        webhook_id = uuid4()
        command = CreateOutgoingWebhook(
            channel_id=channel_id, by=by, webhook_id=webhook_id, origin=origin, types=TYPES if types is None else types
        )
        appended = await self._channels.handle(command, actor=actor)
        secret = SECRET_PREFIX + base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()
        # After the event, so that a refusal leaves nothing behind. One that was not kept is listed without a state, and sends nothing.
        await self._outgoing.add(webhook_id, channel_id, msgspec.json.encode(OutgoingSecrets(url, secret)), appended.versions[0])
        return webhook_id, secret

    async def revoke(self, channel_id: UUID, by: Asker, actor: Actor, webhook_id: UUID) -> None:
        """Nothing more is sent; its address and secret are forgotten. Raises what ``Channels.handle`` raises."""
        command = RevokeOutgoingWebhook(channel_id=channel_id, by=by, webhook_id=webhook_id)
        await self._channels.handle(command, actor=actor)
        await self._outgoing.remove(webhook_id)

    async def listed(self, channel_id: UUID, by: Asker) -> list[KnownOutgoing]:
        """Those of the channel, for who manages it. Raises ``Forbidden``."""
        version, channel = await self._channels.state(channel_id)
        if not may_manage(channel, by):
            raise Forbidden("only who manages the channel may see its webhooks")
        states = await self._outgoing.states(list(channel.outgoing)) if channel.outgoing else {}
        made = await self._log.times(channel_stream(channel_id), [one.since for one in channel.outgoing.values()])
        return [
            KnownOutgoing(one, hook, state, max(0, version - state.sent_version) if state is not None else 0, made.get(hook.since))
            for one, hook in channel.outgoing.items()
            for state in (states.get(one),)
        ]

    def _origin(self, url: str) -> str:
        """Raises ``BadRequest`` for what is no address of a service, or one that is closed."""
        try:
            parts = urlsplit(url)
            host, port = parts.hostname, parts.port
        except ValueError:
            host, port, parts = None, None, urlsplit("")
        if len(url) > URL_CHARACTERS_MAX or parts.scheme not in ("http", "https") or not host or parts.username or not url.isprintable():
            raise BadRequest(f"expected an http or https address, {URL_CHARACTERS_MAX} characters at most, without a name", param="url")
        if self._refuses_host(host):
            raise BadRequest("this address is in a network that is closed to webhooks", param="url")
        named = f"[{host}]" if ":" in host else host
        return f"{parts.scheme}://{named}{'' if port is None else f':{port}'}"
