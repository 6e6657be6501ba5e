"""Incoming webhooks: services that post into a channel under a name of their own, by a token that is shown once.

The token is no part of the log: its hash is kept beside it, with the channel, under a name that is used once. Whether it still holds is in
the channel's stream, so revoking it ends it everywhere and at once.
"""

import hashlib
import hmac
import secrets
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Final
from uuid import UUID, uuid4

import msgspec

from commands.accounts.attempts import Attempts, network_of
from commands.channels.channels import Channels
from commands.ports import Credentials, EventLog
from domain.channel.commands import ChangeWebhook, CreateWebhook, PostMessage, RevokeWebhook
from domain.channel.rights import Asker, may_manage
from domain.channel.state import Webhook
from domain.errors import BadRequest, Forbidden, NotAuthenticated, WebhookNotFound
from domain.log.event import Actor
from domain.log.stream import channel_stream

TOKEN_BYTES: Final = 32
POSTS_MAX: Final = 60  # of one webhook within a minute
GUESSES_MAX: Final = 60  # wrong tokens from one place within a minute
CONTENT_CHARACTERS_MAX: Final = 16_000
PICTURE_CHARACTERS_MAX: Final = 2_000


class KnownWebhook(msgspec.Struct, frozen=True):
    """A webhook as lists show it."""

    id: UUID
    webhook: Webhook
    created_at: datetime | None
    last_used_at: datetime | None


class KeptToken(msgspec.Struct, frozen=True):
    """What is kept of a token."""

    channel_id: UUID
    sha256: str


class ChannelWebhooks:
    """``clock`` gives seconds that only go forward; ``processes`` as in ``Attempts``."""

    def __init__(
        self,
        log: EventLog,
        channels: Channels,
        credentials: Credentials,
        *,
        note_used: Callable[[UUID], None] = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
        processes: int = 1,
    ) -> None:
        self._log = log
        self._channels = channels
        self._credentials = credentials
        self._note_used = note_used
        self._posts = Attempts(clock, processes=processes)
        self._guesses = Attempts(clock, processes=processes)

    async def create(self, channel_id: UUID, by: Asker, actor: Actor, name: str, picture: str | None) -> tuple[UUID, str]:
        """``(id, token)`` of a new one. Raises what ``Channels.handle`` raises, ``BadRequest``."""
        command = CreateWebhook(channel_id=channel_id, by=by, webhook_id=uuid4(), name=name, profile_image_url=required_picture(picture))
        token = secrets.token_urlsafe(TOKEN_BYTES)
        await self._channels.handle(command, actor=actor)
        # After the event, so that a refusal leaves nothing behind. A webhook whose token was not kept can post nothing.
        kept = KeptToken(channel_id, sha256_of(token))
        await self._credentials.keep_secret(secret_name(command.webhook_id), msgspec.json.encode(kept))
        return command.webhook_id, token

    async def change(self, channel_id: UUID, by: Asker, actor: Actor, webhook_id: UUID, name: str, picture: str | None) -> None:
        """Raises what ``Channels.handle`` raises, ``BadRequest``."""
        changed = ChangeWebhook(channel_id=channel_id, by=by, webhook_id=webhook_id, name=name, profile_image_url=required_picture(picture))
        await self._channels.handle(changed, actor=actor)

    async def revoke(self, channel_id: UUID, by: Asker, actor: Actor, webhook_id: UUID) -> None:
        """Its token ends, in every process. Raises what ``Channels.handle`` raises."""
        await self._channels.handle(RevokeWebhook(channel_id=channel_id, by=by, webhook_id=webhook_id), actor=actor)

    async def listed(self, channel_id: UUID, by: Asker) -> list[KnownWebhook]:
        """Those of the channel, for who manages it. Raises ``Forbidden``."""
        _, channel = await self._channels.state(channel_id)
        if not may_manage(channel, by):
            raise Forbidden("only who manages the channel may see its webhooks")
        used: Mapping[UUID, datetime] = await self._credentials.last_used(list(channel.webhooks)) if channel.webhooks else {}
        made = await self._log.times(channel_stream(channel_id), [one.since for one in channel.webhooks.values()])
        return [KnownWebhook(one, hook, made.get(hook.since), used.get(one)) for one, hook in channel.webhooks.items()]

    async def channel_of(self, webhook_id: UUID) -> UUID:
        """The channel that the webhook is of, or was. Raises ``WebhookNotFound``."""
        kept = await self._kept(webhook_id)
        if kept is None:
            raise WebhookNotFound(webhook_id)
        return kept.channel_id

    async def _kept(self, webhook_id: UUID) -> KeptToken | None:
        stored = await self._credentials.kept_secret(secret_name(webhook_id))
        return msgspec.json.decode(stored, type=KeptToken) if stored is not None else None

    async def post(self, webhook_id: UUID, token: str, content: str, *, address: str = "") -> UUID:
        """A message of the webhook's; returns its id. Raises ``NotAuthenticated`` for a token that is not, or no more, that of the webhook;
        ``TooManyAttempts``, ``BadRequest``, and ``Forbidden`` where the channel is archived.
        """
        place = (network_of(address), GUESSES_MAX)
        self._guesses.require(place)
        kept = await self._kept(webhook_id)
        if kept is None or not hmac.compare_digest(kept.sha256, sha256_of(token)):
            self._guesses.count(place)
            raise NotAuthenticated("there is no webhook with this token")
        _, channel = await self._channels.state(kept.channel_id)
        webhook = channel.webhooks.get(webhook_id)
        if webhook is None or channel.deleted:
            raise NotAuthenticated("there is no webhook with this token")
        self._posts.count((str(webhook_id), POSTS_MAX))
        if not content.strip():
            raise BadRequest("expected content", param="content")
        if len(content) > CONTENT_CHARACTERS_MAX:
            raise BadRequest(f"expected content of at most {CONTENT_CHARACTERS_MAX} characters, received {len(content)}", param="content")
        identity = {"id": str(webhook_id), "name": webhook.name, "profile_image_url": webhook.profile_image_url}
        command = PostMessage(
            channel_id=kept.channel_id,
            by=None,
            message_id=uuid4(),
            content=content,
            webhook_id=webhook_id,
            fields={"meta": {"webhook": identity}},
        )
        await self._channels.handle(command, new_ids=[command.message_id])
        self._note_used(webhook_id)
        return command.message_id


def required_picture(url: str | None) -> str | None:
    """Raises ``BadRequest``."""
    if url and (len(url) > PICTURE_CHARACTERS_MAX or not url.startswith(("https://", "/"))):
        raise BadRequest(
            f"expected the address of a picture: https, {PICTURE_CHARACTERS_MAX} characters at most", param="profile_image_url"
        )
    return url or None


def secret_name(webhook_id: UUID) -> str:
    return f"channel webhook {webhook_id}"


def sha256_of(token: str) -> str:
    return hashlib.sha256(token.encode(errors="replace")).hexdigest()
