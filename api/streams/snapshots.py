"""What a subscriber gets instead of a long history: the state of its stream as of a version, as ``GET`` answers it."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import NamedTuple
from uuid import UUID

import msgspec

from api.chats.chat_json import chat_pieces
from api.chats.folders import folder_out
from api.models.entry_json import entry_json
from api.models.groups import group_json
from commands.accounts.principal import Principal
from commands.aggregate import decoded
from commands.channels.channel_reader import ChannelReader
from commands.chats.chat_reader import ChatReader, leave_gone_folder
from commands.chats.folders import FolderTrees
from commands.ports import EventLog
from commands.routing.entry import known_at
from domain.accounts import group
from domain.accounts.group import NO_GROUP
from domain.accounts.user.evolve import evolve
from domain.accounts.user.state import NO_ACCOUNT, account_to_json
from domain.chat.folder import NO_FOLDERS, fold
from domain.errors import StreamNotFound
from domain.log.codec import decode_event
from domain.log.stream import Stream
from domain.routing import model
from domain.routing.model import NO_MODEL
from projections.channel import shared_json

USER_EVENTS_MAX = 100_000
CHANNEL_MESSAGES = 50  # the newest of the channel itself
CHANNEL_PINNED = 20


class State(NamedTuple):
    """A stream's state as JSON. ``pieces`` reads it from its beginning, the same bytes each time.

    Two states of one version and ``variant`` are the same.
    """

    version: int
    pieces: Callable[[], AsyncIterator[bytes]]
    variant: UUID | None = None


StateOf = Callable[[Stream, Principal], Awaitable[State]]


def snapshots(log: EventLog, chat_reader: ChatReader, folders: FolderTrees, channels: ChannelReader) -> StateOf:
    """For subscribers whose access was checked."""

    async def snapshot(stream: Stream, principal: Principal) -> State:
        match stream.kind:
            case "chat":
                pages = await chat_reader.pages_as_of(stream.id, None)
                await leave_gone_folder(folders, pages.view)
                return State(pages.view.version, lambda: chat_pieces(pages), pages.view.folder_id)
            case "user":
                account, version = NO_ACCOUNT, 0
                events = await log.read(stream, limit=USER_EVENTS_MAX, without_deltas=True)
                for stored in events:
                    account, version = evolve(account, decode_event(stored), stored.version), stored.version
                times = {stored.version: stored.at for stored in events}
                by_id = fold(NO_FOLDERS, decoded(events)).by_id
                known = [folder_out(stream.id, folder_id, folder, times, version) for folder_id, folder in by_id.items()]
                state = msgspec.json.encode({"id": stream.id, **account_to_json(account), "folders": known})
                return State(version, lambda: one_piece(state))
            case "channel":
                known_channel, messages, pinned = await channels.snapshot(stream.id, messages=CHANNEL_MESSAGES, pinned=CHANNEL_PINNED)
                channel = known_channel.channel
                shown = {
                    **shared_json(stream.id, channel),
                    "deleted": channel.deleted,
                    "members": [{"user_id": str(one), "role": member.role} for one, member in channel.members.items()],
                    "messages": messages,
                    "pinned": pinned,
                    "version": known_channel.version,
                }
                state = msgspec.json.encode(shown)
                return State(known_channel.version, lambda: one_piece(state))
            case "model":
                entry = await known_at(log, stream, await log.version(stream), NO_MODEL, model.evolve)
                state = msgspec.json.encode({**entry_json(entry, may_write=True), "deleted": not entry.state.exists})
                return State(entry.version, lambda: one_piece(state))
            case "group":
                known_group = await known_at(log, stream, await log.version(stream), NO_GROUP, group.evolve)
                members = sorted(str(user_id) for user_id in known_group.state.member_ids)
                group_shown = {**group_json(known_group), "user_ids": members, "deleted": not known_group.state.exists}
                state = msgspec.json.encode(group_shown)
                return State(known_group.version, lambda: one_piece(state))
            case _:
                raise StreamNotFound(stream)

    return snapshot


async def one_piece(state: bytes) -> AsyncIterator[bytes]:
    yield state
