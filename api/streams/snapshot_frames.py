"""A snapshot as WebSocket frames, made once for all subscribers that ask for it at the same time."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator, Sequence

from api.streams.websocket_protocol import text_frame
from commands.accounts import Principal
from domain.stream import Stream

SnapshotOf = Callable[[Stream, Principal], Awaitable[tuple[int, bytes]]]


class SnapshotFrames:
    """``snapshot_of`` returns ``(version, state as JSON)``. A frame holds at most about ``frame_bytes``."""

    def __init__(self, snapshot_of: SnapshotOf, frame_bytes: int) -> None:
        self._snapshot_of = snapshot_of
        self._frame_bytes = frame_bytes
        self._making: dict[Stream, asyncio.Task[tuple[int, Sequence[bytes]]]] = {}

    async def get(self, stream: Stream, principal: Principal) -> tuple[int, Sequence[bytes]]:
        """``(version, frames)``. Raises what ``snapshot_of`` raises."""
        making = self._making.get(stream)
        if making is None:
            making = self._making[stream] = asyncio.create_task(self._make(stream, principal))
            making.add_done_callback(lambda done: self._made(stream, done))
        return await asyncio.shield(making)

    async def _make(self, stream: Stream, principal: Principal) -> tuple[int, Sequence[bytes]]:
        version, state = await self._snapshot_of(stream, principal)
        return version, list(frames_of(stream, version, state, self._frame_bytes))

    def _made(self, stream: Stream, done: "asyncio.Task[tuple[int, Sequence[bytes]]]") -> None:
        del self._making[stream]
        if not done.cancelled():
            done.exception()  # Retrieved, so that asyncio does not log a warning when no subscriber waits any more.


def frames_of(stream: Stream, version: int, state: bytes, bytes_max: int) -> Iterator[bytes]:
    """A snapshot in as many frames as it needs: ``state`` is cut as text, and the client joins the pieces before it decodes them."""
    if len(state) + 200 <= bytes_max:
        name = str(stream).encode()
        yield text_frame(b'{"op":"snapshot","stream":"%b","version":%d,"state":%b,"page":1,"pages":1}' % (name, version, state))
        return
    text = state.decode()
    step = max(1, bytes_max // 8)  # a character is at most six bytes once it is escaped in a JSON text
    count = -(-len(text) // step)
    for page in range(count):
        piece = json.dumps(text[page * step : (page + 1) * step])
        yield text_frame(
            f'{{"op":"snapshot","stream":"{stream}","version":{version},"state":{piece},"page":{page + 1},"pages":{count}}}'.encode()
        )
