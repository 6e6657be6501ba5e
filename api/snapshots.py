"""What a subscriber gets instead of a long history: the state of its stream as of a version, as ``GET`` answers it."""

from collections.abc import Awaitable, Callable

import msgspec

from api.reading import resolve_blobs
from commands.account import Principal
from commands.ports import Blobs, EventLog
from domain.codec import decode_event
from domain.errors import StreamNotFound
from domain.stream import Stream
from domain.user import NOBODY, evolve, shown
from projections.ports import History

USER_EVENTS_MAX = 100_000


def snapshots(log: EventLog, history: History, blobs: Blobs) -> Callable[[Stream, Principal], Awaitable[tuple[int, bytes]]]:
    async def snapshot(stream: Stream, principal: Principal) -> tuple[int, bytes]:
        match stream.kind:
            case "chat":
                view = await history.chat(stream.id)
                await resolve_blobs(blobs, stream.id, view)
                return view.version, msgspec.json.encode({"id": stream.id, **view.shown()})
            case "user":
                account, version = NOBODY, 0
                for stored in await log.read(stream, limit=USER_EVENTS_MAX, without_deltas=True):
                    account, version = evolve(account, decode_event(stored), stored.version), stored.version
                return version, msgspec.json.encode({"id": stream.id, **shown(account)})
            case _:
                raise StreamNotFound(stream)

    return snapshot
