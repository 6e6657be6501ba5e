"""What people read of channels. Access is checked first, by the channel's state and the groups of the caller as of now."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple
from uuid import UUID

import msgspec

from commands.accounts.accounts import Accounts
from commands.channels.channels import Channels
from commands.channels.directory import ChannelDirectory
from commands.chats.chat_reader import time_of
from commands.ports import Appended, EventLog
from commands.routing.groups import Groups
from domain.accounts.access import EVERYBODY
from domain.accounts.user.state import Account
from domain.channel.commands import PostMessage
from domain.channel.decide import posted
from domain.channel.own import OwnChannels
from domain.channel.rights import Asker, access_since, may_read
from domain.channel.state import Channel
from domain.errors import BeforeFirstEvent, ChannelNotFound, Forbidden, MessageNotFound, ProjectionBehind
from domain.log.codec import encode, encode_actor
from domain.log.cursor import resume_point
from domain.log.event import Actor, StoredEvent
from domain.log.stream import channel_stream
from projections.channel_message import ChannelMessage, channel_message, message_json, nanoseconds
from projections.channel_search_words import parsed
from projections.chat_search import TEXT_CHARACTERS_MAX, plain_text
from projections.ports import ChannelQueries, ChannelSummary, Placed
from projections.search import snippet

QUOTED: Final = "reply_to_message"
NO_ASKER: Final = Asker(UUID(int=0), "")
VERSION_DIGITS_MAX: Final = 10
SEARCH_WAIT_S: Final = 5.0


class KnownChannel(msgspec.Struct, frozen=True):
    """A channel as of ``version``, for somebody who may read it."""

    id: UUID
    version: int
    channel: Channel
    asker: Asker


class ListedChannel(msgspec.Struct, frozen=True):
    known: KnownChannel
    summary: ChannelSummary
    own: OwnChannels  # what the reader has made of all of theirs


class Moment(NamedTuple):
    """A version of a channel for one reader: of what there was then, they see what stood at ``shown``.

    That is the same version, or, where their access began later, the one at which it began: what was gone by then is hidden from them.
    """

    version: int | None
    shown: int | None


NOW: Final = Moment(None, None)


class ChannelReader:
    def __init__(
        self,
        channels: Channels,
        directory: ChannelDirectory,
        queries: ChannelQueries,
        groups: Groups,
        accounts: Accounts,
        log: EventLog,
        epoch: UUID,
    ) -> None:
        self._log = log
        self._epoch = epoch
        self._channels = channels
        self._directory = directory
        self._queries = queries
        self._groups = groups
        self._accounts = accounts

    def asker(self, actor: Actor) -> Asker:
        return Asker(actor.id, actor.role, self._groups.groups_of(actor.id))

    async def known(self, actor: Actor, channel_id: UUID, *, fresh: bool = True) -> KnownChannel:
        """The channel, for somebody who may read it. Raises ``ChannelNotFound``, ``Forbidden``.

        Without ``fresh`` it may be a moment old, and the access with it. That is enough for a command: it is decided on the newest version.
        """
        version, channel = await self._channels.state(channel_id, fresh=fresh)
        asker = self.asker(actor)
        if not fresh and (channel.owner_id is None or not may_read(channel, asker)):
            version, channel = await self._channels.state(channel_id)
        if channel.owner_id is None or channel.deleted:
            raise ChannelNotFound(channel_id)
        if not may_read(channel, asker):
            raise Forbidden("you are not in this channel")
        return KnownChannel(channel_id, version, channel, asker)

    async def snapshot(
        self, channel_id: UUID, *, messages: int, pinned: int
    ) -> tuple[KnownChannel, list[dict[str, Any]], list[dict[str, Any]]]:
        """The channel with its newest messages and what was pinned last, all as of one version. No access is checked."""
        version, channel = await self._channels.state(channel_id)
        moment = Moment(version, version)
        newest, pins = await asyncio.gather(
            self.page(channel_id, limit=messages, at=moment), self.pinned(channel_id, offset=0, limit=pinned, at=moment)
        )
        return KnownChannel(channel_id, version, channel, NO_ASKER), newest, pins

    async def listed(self, actor: Actor) -> list[ListedChannel]:
        """The channels of this person: groups and dms that they are in, standard ones that they may read. The one with the newest message
        first; one that they have hidden is left out until somebody writes in it.
        """
        await self._groups.refresh()  # what was committed before the call has passed here now: the directory knows it too
        own, account = await self._own_and_account(actor.id)
        found = await self.readable(actor, own)
        summaries = await self._summaries(actor.id, [one.id for one in found], own, account)
        listed = [ListedChannel(one, summaries[one.id], own) for one in found]
        shown = [one for one in listed if not is_hidden(one)]
        return sorted(shown, key=lambda one: (one.summary.last_at or one.summary.created_at).timestamp(), reverse=True)  # type: ignore[union-attr]

    async def readable(self, actor: Actor, own: OwnChannels) -> list[KnownChannel]:
        """Every channel that this person may read now."""
        asker = self.asker(actor)
        ids = await self._directory.readable(asker, own.joined)
        states = [await self._directory.known(channel_id) for channel_id in ids]
        return [KnownChannel(one, version, channel, asker) for one, (version, channel) in zip(ids, states, strict=True)]

    async def search(
        self, actor: Actor, text: str, *, below: int | None = None, offset: int, limit: int, at_least: int | None = None
    ) -> list[dict[str, Any]]:
        """Messages in the channels of this person, the newest first, as routes answer them; ``position`` is a cursor.

        Raises ``BadSearch``; ``ProjectionBehind`` where searches do not hold everything up to ``at_least`` in time.
        """
        search = parsed(text)
        if at_least is not None and not await self._queries.reached(at_least, SEARCH_WAIT_S):
            raise ProjectionBehind(at_least)
        wanted = {one.casefold() for one in search.channels}
        known = {
            one.id: one.channel.name
            for one in await self.readable(actor, await self._channels.own(actor.id))
            if not wanted or str(one.id) in wanted or one.channel.name.casefold() in wanted
        }
        found = await self._queries.search(search, list(known), actor.id, below=below, offset=offset, limit=limit)
        by_channel: dict[UUID, list[Placed]] = {}
        for one in found:
            by_channel.setdefault(one.channel_id, []).append(Placed(one.message_id, 0))
        shown = {message["id"]: message for channel_id, placed in by_channel.items() for message in await self.shown(channel_id, placed)}
        return [
            {
                **shown[str(one.message_id)],
                "channel": {"id": str(one.channel_id), "name": known[one.channel_id]},
                "snippet": snippet(plain_text(shown[str(one.message_id)]["content"])[:TEXT_CHARACTERS_MAX], search.phrases or ()),
                "position": one.position,
            }
            for one in found
            if str(one.message_id) in shown
        ]

    async def summaries(self, user_id: UUID, channel_ids: Sequence[UUID]) -> Mapping[UUID, ChannelSummary]:
        return await self._summaries(user_id, channel_ids, *await self._own_and_account(user_id))

    async def _own_and_account(self, user_id: UUID) -> tuple[OwnChannels, Account]:
        """As of now. Both are folded from the person's own stream."""
        return await asyncio.gather(self._channels.own(user_id), self._accounts.account(user_id, fresh=True))

    async def _summaries(
        self, user_id: UUID, channel_ids: Sequence[UUID], own: OwnChannels, account: Account
    ) -> Mapping[UUID, ChannelSummary]:
        read = {one: account.read_version(one) for one in channel_ids}
        return await self._queries.summaries(user_id, read, own.threads_of(read))

    async def moment_of(self, known: KnownChannel, at: str | None) -> "Moment":
        """What ``at`` means, a version, a cursor or a time, for this reader; None is now.

        Raises what ``resume_point`` raises, ``BeforeFirstEvent``.
        """
        if at is None:
            return NOW
        if at.isascii() and at.isdecimal():
            version = min(int(at[:VERSION_DIGITS_MAX]), known.version)
        elif (time := time_of(at)) is None:
            version = resume_point(at, self._epoch, known.version).after
        else:
            version = await self._log.version_at(channel_stream(known.id), time)
            if version == 0:
                raise BeforeFirstEvent(channel_stream(known.id), time)
        return Moment(version, max(version, access_since(known.channel, known.asker)))

    async def page(
        self,
        channel_id: UUID,
        *,
        parent_id: UUID | None = None,
        before: int | None = None,
        offset: int = 0,
        limit: int,
        at: "Moment | None" = None,
    ) -> list[dict[str, Any]]:
        """Messages as routes answer them, the newest first."""
        moment = at or NOW
        if moment.version is not None:
            before = moment.version + 1 if before is None else min(before, moment.version + 1)
        placed = await self._queries.page(channel_id, parent_id=parent_id, before=before, offset=offset, limit=limit, at=moment.shown)
        return await self.shown(channel_id, placed, at=moment.shown)

    async def pinned(self, channel_id: UUID, *, offset: int, limit: int, at: "Moment | None" = None) -> list[dict[str, Any]]:
        shown_at = (at or NOW).shown
        return await self.shown(channel_id, await self._queries.pinned(channel_id, offset=offset, limit=limit, at=shown_at), at=shown_at)

    async def message(self, channel_id: UUID, message_id: UUID, *, at: "Moment | None" = None) -> dict[str, Any]:
        """One message of this channel. Raises ``MessageNotFound``, also for one of another channel."""
        moment = at or NOW
        found = await self.shown(channel_id, [Placed(message_id, 0)], at=moment.shown)
        if not found or (moment.version is not None and found[0]["created_version"] > moment.version):
            raise MessageNotFound(message_id)
        return found[0]

    async def posted(self, command: PostMessage, actor: Actor, appended: Appended) -> dict[str, Any]:
        """The message that the command has just written, which is not read again unless it quotes another one or was written before."""
        if appended.repeated or appended.at is None or command.reply_to_id is not None:
            return await self.message(command.channel_id, command.message_id)
        name, data = encode(posted(command))
        stream, version = channel_stream(command.channel_id), appended.versions[0]
        by = encode_actor(actor)
        stored = StoredEvent(appended.position, stream, version, name, command.message_id, by, data, appended.at)
        message = message_json(channel_message(command.message_id, [stored]), command.channel_id)
        return {**message, "reply_count": 0, "latest_reply_at": None, QUOTED: None}

    async def unfinished(self, channel_id: UUID, ids: Sequence[UUID], *, at: int) -> Mapping[UUID, ChannelMessage]:
        """Of these messages those that are answers which a model was writing at version ``at``."""
        found = await self._queries.messages(channel_id, ids, at=at)
        return {one: message for one, message in found.items() if message.exists and message.is_generated_now}

    async def shown(self, channel_id: UUID, placed: Sequence[Placed], *, at: int | None = None) -> list[dict[str, Any]]:
        """These messages with what others say of them: their replies, and the ones that they quote. Deleted ones are left out."""
        if not placed:
            return []
        ids = [one.message_id for one in placed]
        messages, replies = await asyncio.gather(
            self._queries.messages(channel_id, ids, at=at), self._queries.replies(channel_id, ids, at=at)
        )
        quoted_ids = [one.reply_to_id for one in messages.values() if one.reply_to_id is not None]
        quoted = await self._queries.messages(channel_id, quoted_ids, at=at) if quoted_ids else {}
        shown = []
        for message_id in ids:
            message = messages.get(message_id)
            if message is None or not message.exists:
                continue
            its = replies.get(message_id)
            quote = quoted.get(message.reply_to_id) if message.reply_to_id is not None else None
            shown.append(
                {
                    **message_json(message, channel_id),
                    "reply_count": its.count if its is not None else 0,
                    "latest_reply_at": nanoseconds(its.latest_at) if its is not None else None,
                    QUOTED: None
                    if message.reply_to_id is None
                    else message_json(quote, channel_id)
                    if quote is not None and quote.exists
                    else {"id": str(message.reply_to_id), "deleted": True},
                }
            )
        return shown

    async def members(self, known: KnownChannel) -> list[UUID]:
        """Who is in the channel, as far as it says so: its members, or its owner and the accounts that its grants and their groups name."""
        channel = known.channel
        if channel.type != "standard":
            return list(channel.members)
        named = [channel.owner_id] if channel.owner_id is not None else []
        named += [
            UUID(grant.principal_id) for grant in channel.grants if grant.principal_type == "user" and grant.principal_id != EVERYBODY
        ]
        in_groups = {UUID(grant.principal_id) for grant in channel.grants if grant.principal_type == "group"}
        named += [user_id for one in self._groups.all() if one.id in in_groups for user_id in one.state.member_ids]
        return list(dict.fromkeys(named))


def is_hidden(one: ListedChannel) -> bool:
    """Hidden, and nobody has written in it that they have not read."""
    return one.known.id in one.own.hidden and one.summary.unread == 0
