"""What a subscriber gets instead of a long history: the state of its stream as of a version, as ``GET`` answers it."""

from collections.abc import Awaitable, Callable

import msgspec

from api.chats.chat_json import chat_to_json
from api.chats.folders import folder_out
from commands.accounts import Principal
from commands.aggregate import decoded
from commands.chat_reader import leave_gone_folder
from commands.folders import FolderTrees
from commands.ports import Blobs, EventLog
from commands.references import resolve_blobs
from domain.codec import decode_event
from domain.errors import StreamNotFound
from domain.folder import NO_FOLDERS, fold
from domain.stream import Stream
from domain.user import NOBODY, account_to_json, evolve
from projections.ports import ChatQueries

USER_EVENTS_MAX = 100_000


def snapshots(
    log: EventLog, chat_queries: ChatQueries, blobs: Blobs, folders: FolderTrees
) -> Callable[[Stream, Principal], Awaitable[tuple[int, bytes]]]:
    async def snapshot(stream: Stream, principal: Principal) -> tuple[int, bytes]:
        match stream.kind:
            case "chat":
                view = await chat_queries.chat(stream.id)
                await resolve_blobs(blobs, stream.id, view)
                await leave_gone_folder(folders, view)
                return view.version, msgspec.json.encode(await chat_to_json(stream.id, view))
            case "user":
                account, version = NOBODY, 0
                events = await log.read(stream, limit=USER_EVENTS_MAX, without_deltas=True)
                for stored in events:
                    account, version = evolve(account, decode_event(stored), stored.version), stored.version
                times = {stored.version: stored.at for stored in events}
                by_id = fold(NO_FOLDERS, decoded(events)).by_id
                known = [folder_out(stream.id, folder_id, folder, times, version) for folder_id, folder in by_id.items()]
                return version, msgspec.json.encode({"id": stream.id, **account_to_json(account), "folders": known})
            case _:
                raise StreamNotFound(stream)

    return snapshot
