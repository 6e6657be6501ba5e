"""A channel's past over HTTP: what happened in it, event by event, with what each edit and deletion changed."""

from typing import Annotated, Any, Final
from uuid import UUID

import msgspec
from litestar import Controller, get
from litestar.di import NamedDependency, Provide
from litestar.params import FromQuery, QueryParameter

from api.channels.callers_channel import CallersChannel, provide_channel
from api.formats.event_json import encode_event, encode_redacted
from commands.channels.channel_past import ChannelChange, ChannelPast

PAGE_EVENTS: Final = 1000
Limit = Annotated[int, QueryParameter(ge=1, le=PAGE_EVENTS, required=False)]


class ChannelChangeOut(msgspec.Struct):
    """One event, and for one that changed a message how that looked before and after; null where there was none."""

    event: msgspec.Raw
    before: dict[str, Any] | None = None
    after: dict[str, Any] | None = None


class ChannelChangesOut(msgspec.Struct):
    """``next`` is the cursor to go on after, ``previous`` the one to go on before; null: the page begins with the channel."""

    epoch: UUID
    head: int
    events: list[ChannelChangeOut]
    next: str
    previous: str | None


class ChannelPastController(Controller):
    path = "/api/v1/channels/{channel_id:uuid}/events"
    tags = ("channels",)
    dependencies = {"channel": Provide(provide_channel)}  # noqa: RUF012  # Litestar reads it once

    @get("/")
    async def changes(
        self,
        channel: NamedDependency[CallersChannel],
        channel_past: NamedDependency[ChannelPast],
        epoch: NamedDependency[UUID],
        after: FromQuery[str | None] = None,
        before: FromQuery[str | None] = None,
        limit: Limit = PAGE_EVENTS,
    ) -> ChannelChangesOut:
        """The channel's events, tokens left out, with the message before and after each edit and deletion: the first ones after the cursor
        ``after``, or the last ones below the cursor ``before`` (``now``: the newest).
        """
        page = await channel_past.changes(channel.known, after=after, before=before, limit=limit)
        events = [ChannelChangeOut(msgspec.Raw(encoded(one)), one.before, one.after) for one in page.changes]
        previous = f"{epoch}:{page.first}" if page.first else None
        return ChannelChangesOut(epoch, page.head, events, f"{epoch}:{page.last}", previous)


def encoded(change: ChannelChange) -> bytes:
    return encode_redacted(change.event) if change.redacted else encode_event(change.event)
