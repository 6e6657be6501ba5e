"""Incoming webhooks of a channel: ``/api/v1/channels/{id}/webhooks``, and where services post by their token."""

from typing import Annotated, Any, Final
from uuid import UUID

import msgspec
from litestar import Controller, Request, Response, delete, get, post
from litestar.di import NamedDependency, Provide
from litestar.params import FromPath, JSONBody
from litestar.response import Redirect

from api.channels.callers_channel import CallersChannel, provide_channel
from api.compatibility.pictures import picture
from api.request.authentication import PUBLIC
from api.request.caller import Caller
from commands.channels.channel_reader import ChannelReader
from commands.channels.webhooks import ChannelWebhooks, KnownWebhook
from domain.errors import WebhookNotFound
from projections.channel_message import nanoseconds

BEARER: Final = "bearer "
HOOK_BYTES: Final = 128 * 1024
Text = Annotated[str, msgspec.Meta(max_length=10_000)]


class WebhookIn(msgspec.Struct):
    name: Text
    profile_image_url: Text | None = None


class HookMessageIn(msgspec.Struct):
    content: str


class ChannelWebhooksController(Controller):
    path = "/api/v1/channels/{channel_id:uuid}/webhooks"
    tags = ("channels",)
    dependencies = {"channel": Provide(provide_channel)}  # noqa: RUF012  # Litestar reads it once

    @get("/")
    async def webhooks(
        self, channel: NamedDependency[CallersChannel], channel_webhooks: NamedDependency[ChannelWebhooks]
    ) -> list[dict[str, Any]]:
        """The services that may post (who manages the channel). Their tokens are not shown."""
        return [webhook_json(channel.id, one) for one in await channel_webhooks.listed(channel.id, channel.by)]

    @post("/create", status_code=200)
    async def create(
        self, data: JSONBody[WebhookIn], channel: NamedDependency[CallersChannel], channel_webhooks: NamedDependency[ChannelWebhooks]
    ) -> dict[str, Any]:
        """Let a service post (who manages the channel). Its token is shown this once."""
        webhook_id, token = await channel_webhooks.create(channel.id, channel.by, channel.caller.actor, data.name, data.profile_image_url)
        return {**await shown(channel, channel_webhooks, webhook_id), "token": token}

    @post("/{webhook_id:uuid}/update", status_code=200)
    async def update(
        self,
        webhook_id: FromPath[UUID],
        data: JSONBody[WebhookIn],
        channel: NamedDependency[CallersChannel],
        channel_webhooks: NamedDependency[ChannelWebhooks],
    ) -> dict[str, Any]:
        """Rename a webhook (who manages the channel). What it has posted keeps the name of then."""
        actor = channel.caller.actor
        await channel_webhooks.change(channel.id, channel.by, actor, webhook_id, data.name, data.profile_image_url)
        return await shown(channel, channel_webhooks, webhook_id)

    @delete("/{webhook_id:uuid}/delete", status_code=200)
    async def revoke(
        self, webhook_id: FromPath[UUID], channel: NamedDependency[CallersChannel], channel_webhooks: NamedDependency[ChannelWebhooks]
    ) -> bool:
        """End a webhook and its token, everywhere and at once (who manages the channel)."""
        await channel_webhooks.revoke(channel.id, channel.by, channel.caller.actor, webhook_id)
        return True


class WebhookPostsController(Controller):
    path = "/api/v1/channels/webhooks"
    tags = ("channels",)

    @post("/{webhook_id:uuid}", status_code=200, opt={PUBLIC: True}, request_max_body_size=HOOK_BYTES)
    async def add(
        self,
        webhook_id: FromPath[UUID],
        data: JSONBody[HookMessageIn],
        request: Request[Any, Any, Any],
        channel_webhooks: NamedDependency[ChannelWebhooks],
    ) -> dict[str, Any]:
        """Post as a webhook: its token stands in ``Authorization``, as a bearer token."""
        given = request.headers.get("authorization", "")
        token = given[len(BEARER) :] if given.lower().startswith(BEARER) else ""
        return await posted(channel_webhooks, webhook_id, token, data, request)

    @post("/{webhook_id:uuid}/{token:str}", status_code=200, opt={PUBLIC: True}, request_max_body_size=HOOK_BYTES)
    async def add_by_path(
        self,
        webhook_id: FromPath[UUID],
        token: FromPath[str],
        data: JSONBody[HookMessageIn],
        request: Request[Any, Any, Any],
        channel_webhooks: NamedDependency[ChannelWebhooks],
    ) -> dict[str, Any]:
        """Post as a webhook, for services that send no headers of their own."""
        return await posted(channel_webhooks, webhook_id, token, data, request)

    @get("/{webhook_id:uuid}/profile/image")
    async def picture(
        self,
        webhook_id: FromPath[UUID],
        caller: NamedDependency[Caller],
        channel_reader: NamedDependency[ChannelReader],
        channel_webhooks: NamedDependency[ChannelWebhooks],
    ) -> Response[bytes] | Redirect:
        """The picture of a webhook, its own or its initials, for those who may read its channel."""
        known = await channel_reader.known(caller.actor, await channel_webhooks.channel_of(webhook_id))
        webhook = known.channel.webhooks.get(webhook_id)
        if webhook is None:
            raise WebhookNotFound(webhook_id)
        url = webhook.profile_image_url or ""
        if url.startswith("/") and not url.startswith("//"):  # of this server
            return Redirect(url, status_code=302, headers={"cache-control": "no-store"})
        return picture(url, webhook.name)


async def posted(
    webhooks: ChannelWebhooks, webhook_id: UUID, token: str, data: HookMessageIn, request: Request[Any, Any, Any]
) -> dict[str, Any]:
    address = request.client.host if request.client is not None else ""
    message_id = await webhooks.post(webhook_id, token, data.content, address=address)
    return {"success": True, "message_id": str(message_id)}


async def shown(channel: CallersChannel, webhooks: ChannelWebhooks, webhook_id: UUID) -> dict[str, Any]:
    return next(webhook_json(channel.id, one) for one in await webhooks.listed(channel.id, channel.by) if one.id == webhook_id)


def webhook_json(channel_id: UUID, one: KnownWebhook) -> dict[str, Any]:
    return {
        "id": str(one.id),
        "channel_id": str(channel_id),
        "name": one.webhook.name,
        "profile_image_url": one.webhook.profile_image_url,
        "created_at": nanoseconds(one.created_at),
        "last_used_at": nanoseconds(one.last_used_at),
    }
