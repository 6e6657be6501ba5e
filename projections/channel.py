"""A channel as every reader sees it, without its messages."""

from typing import Any
from uuid import UUID

from domain.channel.state import Channel


def shared_json(channel_id: UUID, channel: Channel) -> dict[str, Any]:
    """As routes and snapshots answer it, but for what is the reader's own. Ids stay ids: the encoder writes them in a tenth of the time."""
    return {
        "id": channel_id,
        "user_id": channel.owner_id,
        "type": None if channel.type == "standard" else channel.type,
        "name": channel.name,
        "description": channel.description,
        "is_private": channel.is_private,
        "data": dict(channel.data),
        "meta": dict(channel.meta),
        "access_grants": [
            {"principal_type": grant.principal_type, "principal_id": grant.principal_id, "permission": grant.permission}
            for grant in channel.grants
        ],
        "archived": channel.archived,
    }
