"""Outgoing webhooks of a channel: ``/api/v1/channels/{id}/webhooks/outgoing``."""

from typing import Annotated, Any
from uuid import UUID

import msgspec
from litestar import Controller, delete, get, post
from litestar.di import NamedDependency, Provide
from litestar.params import FromPath, JSONBody

from api.channels.callers_channel import CallersChannel, provide_channel
from commands.channels.outgoing import KnownOutgoing, OutgoingWebhooks
from projections.channel_message import nanoseconds


class OutgoingIn(msgspec.Struct, forbid_unknown_fields=True):
    url: Annotated[str, msgspec.Meta(max_length=10_000)]
    types: Annotated[list[Annotated[str, msgspec.Meta(max_length=64)]], msgspec.Meta(max_length=64)] | None = (
        None  # null: those of messages, ``TYPES`` in commands/channels/outgoing.py
    )


class OutgoingWebhooksController(Controller):
    path = "/api/v1/channels/{channel_id:uuid}/webhooks/outgoing"
    tags = ("channels",)
    dependencies = {"channel": Provide(provide_channel)}  # noqa: RUF012  # Litestar reads it once

    @get("/")
    async def webhooks(
        self, channel: NamedDependency[CallersChannel], outgoing_webhooks: NamedDependency[OutgoingWebhooks]
    ) -> list[dict[str, Any]]:
        """The services that are sent events, and how far behind each is (who manages the channel)."""
        return [outgoing_json(channel.id, one) for one in await outgoing_webhooks.listed(channel.id, channel.by)]

    @post("/create", status_code=200)
    async def create(
        self, data: JSONBody[OutgoingIn], channel: NamedDependency[CallersChannel], outgoing_webhooks: NamedDependency[OutgoingWebhooks]
    ) -> dict[str, Any]:
        """Send the channel's events from now on to a service, signed (who manages the channel). The secret is shown this once."""
        webhook_id, secret = await outgoing_webhooks.create(channel.id, channel.by, channel.caller.actor, data.url, data.types)
        made = next(one for one in await outgoing_webhooks.listed(channel.id, channel.by) if one.id == webhook_id)
        return {**outgoing_json(channel.id, made), "secret": secret}

    @delete("/{webhook_id:uuid}/delete", status_code=200)
    async def revoke(
        self, webhook_id: FromPath[UUID], channel: NamedDependency[CallersChannel], outgoing_webhooks: NamedDependency[OutgoingWebhooks]
    ) -> bool:
        """Send nothing more to a service (who manages the channel)."""
        await outgoing_webhooks.revoke(channel.id, channel.by, channel.caller.actor, webhook_id)
        return True


def outgoing_json(channel_id: UUID, one: KnownOutgoing) -> dict[str, Any]:
    state = one.state
    return {
        "id": str(one.id),
        "channel_id": str(channel_id),
        "origin": one.webhook.origin,
        "types": list(one.webhook.types),
        "created_at": nanoseconds(one.created_at),
        "version": state.sent_version if state is not None else None,
        "behind": one.behind,
        "sent": state.sent if state is not None else 0,
        "sent_at": nanoseconds(state.sent_at) if state is not None else None,
        "failures": state.failures if state is not None else 0,
        "failure": state.failure if state is not None else None,
        "next_try_at": nanoseconds(state.due_at) if state is not None and state.failures else None,
    }
