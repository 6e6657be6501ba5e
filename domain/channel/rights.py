"""Who may do what in a channel.

| | standard | group | dm |
|---|---|---|---|
| read | its owner, admins, who has a grant | members | members |
| post, react, pin | its owner, admins, who has a grant to write | members | members |
| ask a model | as post | as post | as post |
| stop a model's answer | who asked, who may manage | who asked, who may manage | who asked |
| edit, delete one's own message | who may post | members | members |
| edit, delete somebody else's | admins | admins who are members | nobody |
| change, archive, delete the channel, its webhooks | its owner, admins | managers, and admins who are members | nobody |
| add and remove members | nobody: its grants say who is in | the same | nobody |

An archived channel can be read; only who may change it may do anything, and only undo that, or delete it.
"""

from collections.abc import Collection
from uuid import UUID

import msgspec

from domain.accounts.access import EVERYBODY, permission_of
from domain.channel.state import Channel, MessageNode


class Asker(msgspec.Struct, frozen=True):
    """Who asks, as of now."""

    id: UUID
    role: str
    group_ids: Collection[UUID] = ()


def may_read(channel: Channel, asker: Asker) -> bool:
    return not channel.deleted and (may_always(channel, asker) or granted(channel, asker) is not None)


def may_post(channel: Channel, asker: Asker) -> bool:
    return not (channel.deleted or channel.archived) and (may_always(channel, asker) or granted(channel, asker) == "write")


def may_always(channel: Channel, asker: Asker) -> bool:
    """Whether they need no grant."""
    if channel.type == "standard":
        return asker.role == "admin" or asker.id == channel.owner_id
    return asker.id in channel.members


def granted(channel: Channel, asker: Asker) -> str | None:
    """The most that grants give them. Only a standard channel goes by grants."""
    return permission_of(channel.grants, asker.id, asker.group_ids) if channel.type == "standard" else None


def access_since(channel: Channel, asker: Asker) -> int:
    """The version at which their access began, for somebody who may read: what was gone before it is hidden from them. 0: nothing is.

    Through a group it began when the group was let in: who joins the group later reads what its members do.
    """
    if channel.type != "standard":
        member = channel.members.get(asker.id)
        return 0 if member is None else member.since
    if may_always(channel, asker):
        return 0
    principals = [("user", EVERYBODY), ("user", str(asker.id)), *(("group", str(one)) for one in asker.group_ids)]
    return min((channel.admitted[one] for one in principals if one in channel.admitted), default=0)


def may_manage(channel: Channel, asker: Asker) -> bool:
    """Also while the channel is archived."""
    match channel.type:
        case "standard":
            return may_always(channel, asker)
        case "group":
            member = channel.members.get(asker.id)
            return member is not None and (member.role == "manager" or asker.role == "admin")
        case "dm":
            return False


def may_stop(channel: Channel, asker: Asker, node: MessageNode) -> bool:
    """Whether they may stop the answer that a model is giving: who has asked for it, while they can read it, or who manages the channel."""
    return may_read(channel, asker) and (asker.id == node.user_id or may_manage(channel, asker))


def may_change_message(channel: Channel, asker: Asker, node: MessageNode) -> bool:
    """Whether they may edit or delete the message: its author, for as long as they may post, or an admin."""
    if not may_post(channel, asker):
        return False
    return asker.id == node.user_id or (asker.role == "admin" and channel.type != "dm")
