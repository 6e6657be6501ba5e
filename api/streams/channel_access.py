"""Who may follow a channel's stream, and the end of that at the very event that ends it.

A member is removed, a grant is taken away, a group loses a member or is deleted, a channel is deleted: on every process, what the person
has not been sent by then they are not sent any more, also in the middle of a replay.
"""

from collections.abc import Callable, Collection, Iterator
from typing import Any, Final, Protocol
from uuid import UUID

from adapters.delivery.hub import Hub, Subscription
from api.streams.reader_access import NO_ACCESS, Access
from commands.accounts.principal import READS_EVERYTHING, Principal
from commands.channels.directory import ChannelDirectory
from commands.channels.redactions import ChannelRedactions
from commands.routing.groups import Groups
from commands.security_log import read_by_role
from domain.channel.redaction import ChannelRedaction
from domain.channel.rights import Asker, access_since, may_post, may_read
from domain.channel.state import Channel
from domain.log.codec import decode_event
from domain.log.event import StoredEvent
from domain.log.stream import channel_stream

ENDED: Final = "access_ended"
DELETED: Final = "channel_deleted"
# What may change who reads or writes. ``member:left`` and ``channel:delete`` are looked at by themselves.
CHANGES_ACCESS: Final = frozenset({"access_granted", "access_revoked", "member:joined", "channel:archived", "channel:unarchived"})
CHANGES_GROUPS: Final = frozenset({"group_members_added", "group_members_removed", "group_deleted"})


class Follower(Protocol):
    """A client connection that follows all channels of its person."""

    principal: Principal

    def follow_channel(self, channel_id: UUID) -> None:
        """The person may read this channel, as far as is known here. To repeat it changes nothing."""
        ...


class ChannelAccess:
    """``observe`` gets every event except deltas, after the groups and the directory have."""

    def __init__(self, hub: Hub, directory: ChannelDirectory, redactions: ChannelRedactions, groups: Groups) -> None:
        self._hub = hub
        self.directory = directory
        self._redactions = redactions
        self._groups = groups
        self._followers: dict[UUID, dict[Follower, None]] = {}

    def asker(self, principal: Principal) -> Asker:
        return Asker(principal.user_id, principal.role, self._groups.groups_of(principal.user_id))

    async def access(self, principal: Principal, channel_id: UUID, *, at_least: int = 0) -> Access:
        """As ``LiveConnections.access``. Auditors and admins read every channel by their role, which is recorded."""
        _, channel = await self.directory.known(channel_id, at_least=at_least)
        asker = self.asker(principal)
        if channel.owner_id is None:
            return NO_ACCESS
        by_role = principal.role in READS_EVERYTHING
        readable = may_read(channel, asker)
        if not readable and by_role:
            read_by_role(principal.user_id, principal.role, str(channel_stream(channel_id)))
        since = 0 if by_role or not readable else access_since(channel, asker)
        return Access(readable or by_role, may_post(channel, asker) and principal.may("chat"), since)

    def readers_among(self, channel_id: UUID, user_ids: Collection[UUID]) -> frozenset[UUID]:
        """Those of them who are in the channel, as its members or by a grant. Not who reads it by role alone."""
        channel = self.directory.get(channel_id)
        if channel is None:
            return frozenset()
        if channel.type != "standard":
            return frozenset(one for one in user_ids if one in channel.members)
        return frozenset(one for one in user_ids if may_read(channel, Asker(one, "user", self._groups.groups_of(one))))

    async def redaction(self, channel_id: UUID, since: int) -> ChannelRedaction:
        return await self._redactions.redaction(channel_id, since)

    # ------------------------------------------------------------------------------------------------------ followers

    def add_follower(self, follower: Follower) -> None:
        self._followers.setdefault(follower.principal.user_id, {})[follower] = None

    def remove_follower(self, follower: Follower) -> None:
        known = self._followers.get(follower.principal.user_id)
        if known is not None:
            known.pop(follower, None)
            if not known:
                del self._followers[follower.principal.user_id]

    def _let_follow(self, channel_id: UUID, channel: Channel, only: Callable[[UUID], bool] = lambda _: True) -> None:
        for user_id in list(self._followers):
            if only(user_id):
                for follower in list(self._followers[user_id]):
                    if may_read(channel, self.asker(follower.principal)):
                        follower.follow_channel(channel_id)

    # -------------------------------------------------------------------------------------------------------- changes

    def observe(self, stored: StoredEvent) -> None:
        kind, type_ = stored.stream.kind, stored.type
        if kind == "channel" and stored.message_id is None:
            self._channel_changed(stored)
        elif kind == "user" and type_ == "channel_joined" and stored.stream.id in self._followers:
            for follower in list(self._followers[stored.stream.id]):
                follower.follow_channel(decode_event(stored).data.channel_id)
        elif kind == "group" and type_ in CHANGES_GROUPS:
            self._group_changed(stored.stream.id)

    def _channel_changed(self, stored: StoredEvent) -> None:
        stream, version = stored.stream, stored.version
        if stored.type == "channel:delete":
            for subscription in self._hub.subscriptions(stream):
                end(subscription, version, DELETED)
        elif stored.type == "member:left":
            gone = decode_event(stored).data.user_id
            for subscription in self._hub.subscriptions(stream):
                if principal_of(subscription).user_id == gone:
                    end(subscription, version, ENDED)
        elif stored.type in CHANGES_ACCESS:
            channel = self.directory.get(stream.id)
            if channel is not None:  # else it is being read, and its subscribers are judged by that
                self._judge(stream.id, channel, version)
                if stored.type == "access_granted":
                    self._let_follow(stream.id, channel)
        elif stored.type == "channel:created" and decode_event(stored).data.type == "standard":
            channel = self.directory.get(stream.id)
            if channel is not None:
                self._let_follow(stream.id, channel)

    def _group_changed(self, group_id: UUID) -> None:
        for channel_id, channel in self._channels_of(group_id):
            self._judge(channel_id, channel, None)
            self._let_follow(channel_id, channel, lambda user_id: group_id in self._groups.groups_of(user_id))

    def _channels_of(self, group_id: UUID) -> Iterator[tuple[UUID, Channel]]:
        return ((one, channel) for one, channel in self.directory.standard_known() if ("group", str(group_id)) in channel.admitted)

    def _judge(self, channel_id: UUID, channel: Channel, version: int | None) -> None:
        """Every subscription anew. ``version``: of the event in the channel's own stream after which this is so."""
        for subscription in self._hub.subscriptions(channel_stream(channel_id)):
            principal = principal_of(subscription)
            asker = self.asker(principal)
            if not may_read(channel, asker) and principal.role not in READS_EVERYTHING:
                end(subscription, version, ENDED)
            else:
                owner: Any = subscription.owner
                owner.write_access_changed(subscription, may_post(channel, asker) and principal.may("chat"))


def end(subscription: Subscription, version: int | None, because: str) -> None:
    """Whoever follows live is sent what there was up to ``version``; whoever is being replayed the past, nothing more."""
    subscription.end(subscription.cursor if version is None or subscription.replaying else version, because)


def principal_of(subscription: Subscription) -> Principal:
    owner: Any = subscription.owner
    principal: Principal = owner.principal
    return principal
