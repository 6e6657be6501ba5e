"""What a subscriber gets instead of a long history: the state of its stream as of a version, as ``GET`` answers it."""

from collections.abc import Awaitable, Callable

import msgspec

from api.chats.folders import shown as shown_folder
from api.chats.references import leave_gone_folder, resolve_blobs, sent
from commands.accounts import Principal
from commands.aggregate import decoded
from commands.folders import FolderTrees
from commands.ports import Blobs, EventLog
from domain.codec import decode_event
from domain.errors import StreamNotFound
from domain.folder import NO_FOLDERS, fold
from domain.stream import Stream
from domain.user import NOBODY, account_to_json, evolve
from projections.ports import History

USER_EVENTS_MAX = 100_000


def snapshots(
    log: EventLog, history: History, blobs: Blobs, folders: FolderTrees
) -> Callable[[Stream, Principal], Awaitable[tuple[int, bytes]]]:
    async def snapshot(stream: Stream, principal: Principal) -> tuple[int, bytes]:
        match stream.kind:
            case "chat":
                view = await history.chat(stream.id)
                await resolve_blobs(blobs, stream.id, view)
                await leave_gone_folder(folders, view)
                return view.version, msgspec.json.encode(await sent(stream.id, view))
            case "user":
                account, version = NOBODY, 0
                events = await log.read(stream, limit=USER_EVENTS_MAX, without_deltas=True)
                for stored in events:
                    account, version = evolve(account, decode_event(stored), stored.version), stored.version
                times = {stored.version: stored.at for stored in events}
                by_id = fold(NO_FOLDERS, decoded(events)).by_id
                known = [shown_folder(stream.id, folder_id, folder, times, version) for folder_id, folder in by_id.items()]
                return version, msgspec.json.encode({"id": stream.id, **account_to_json(account), "folders": known})
            case _:
                raise StreamNotFound(stream)

    return snapshot
