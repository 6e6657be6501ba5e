"""A channel as routes answer it. Times are nanoseconds since 1970, as the reference system counts them in channels."""

from typing import Any
from uuid import UUID

from commands.channels.channel_past import PastChannel
from commands.channels.channel_reader import KnownChannel
from domain.channel.own import OwnChannels
from domain.channel.rights import may_manage, may_post
from projections.channel import shared_json
from projections.channel_message import nanoseconds
from projections.ports import ChannelSummary


def channel_json(known: KnownChannel, summary: ChannelSummary, own: OwnChannels) -> dict[str, Any]:
    channel = known.channel
    created_at, last_at = nanoseconds(summary.created_at), nanoseconds(summary.last_at)
    return {
        **shared_json(known.id, channel),
        "created_at": created_at,
        "updated_at": created_at if last_at is None else last_at,
        "last_message_at": last_at,
        "unread_count": summary.unread,
        "unread_replies": summary.unread_replies,
        "unread_mentions": summary.unread_mentions,
        "write_access": may_post(channel, known.asker),
        "is_channel_muted": known.id in own.muted,
        "is_channel_pinned": known.id in own.pinned,
        "is_manager": may_manage(channel, known.asker),
        "user_ids": list(channel.members) if channel.type != "standard" else None,
        "version": known.version,
    }


def past_channel_json(past: PastChannel) -> dict[str, Any]:
    """The channel as it was. What is the reader's own, and what they may do in it, is of now: it is not part of this."""
    channel = past.known.channel
    return {
        **shared_json(past.known.id, channel),
        "created_at": nanoseconds(past.created_at),
        "updated_at": nanoseconds(past.updated_at),
        "user_ids": list(channel.members) if channel.type != "standard" else None,
        "version": past.known.version,
    }


def person_json(user_id: UUID, name: str, role: str) -> dict[str, Any]:
    return {"id": str(user_id), "name": name, "role": role, "profile_image_url": f"/api/v1/users/{user_id}/profile/image"}
