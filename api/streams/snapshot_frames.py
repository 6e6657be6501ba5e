"""A snapshot as WebSocket frames, read page by page as its subscriber takes them. What is kept of all snapshots has a bound.

A snapshot is read twice: first to count its frames, since each names their number, then to send them. Subscribers that ask at the
same time share both: each frame is made by the first who comes to it and kept for the others, as long as there is room. Who comes
later than that reads the snapshot for itself.
"""

import asyncio
import codecs
import json
import weakref
from collections import OrderedDict
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Final
from weakref import WeakValueDictionary

from api.streams.snapshots import State, StateOf
from api.streams.websocket_protocol import text_frame
from commands.accounts.principal import Principal
from domain.log.stream import Stream

KEPT_BYTES_MAX: Final = 16 * 1024 * 1024  # of the frames of all snapshots
FRAME_HEAD_BYTES: Final = 200


class KeptFrames:
    """The newest frames, by their snapshot and number. ``bytes`` never exceeds the bound."""

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._frames: OrderedDict[tuple[int, int], bytes] = OrderedDict()
        self.bytes = 0

    def add(self, key: tuple[int, int], frame: bytes) -> None:
        self._frames[key] = frame
        self.bytes += len(frame)
        while self.bytes > self._bytes_max:
            _, oldest = self._frames.popitem(last=False)
            self.bytes -= len(oldest)

    def get(self, key: tuple[int, int]) -> bytes | None:
        return self._frames.get(key)

    def drop(self, snapshot: int) -> None:
        for key in [key for key in self._frames if key[0] == snapshot]:
            self.bytes -= len(self._frames.pop(key))


class Snapshot:
    """One stream's state at one version, for all who send it now."""

    def __init__(self, number: int, stream: Stream, state: State, frame_bytes: int, kept: KeptFrames) -> None:
        self._number = number
        self._stream = stream
        self._state = state
        self._frame_bytes = frame_bytes
        self._kept = kept
        self._pages = 0
        self._whole: bytes | None = None  # of a state that fits one frame as it is
        self._ahead: AsyncGenerator[bytes, None] | None = None  # makes the frames that nobody has come to yet
        self._made = 0
        self._making = asyncio.Lock()

    @property
    def version(self) -> int:
        return self._state.version

    async def measure(self) -> None:
        """Count the frames."""
        decoder = codecs.getincrementaldecoder("utf-8")()
        first, characters, size = b"", 0, 0
        async for piece in self._state.pieces():
            if size + len(piece) + FRAME_HEAD_BYTES <= self._frame_bytes:
                first += piece
            characters += len(decoder.decode(piece))
            size += len(piece)
        if size + FRAME_HEAD_BYTES <= self._frame_bytes:
            self._pages = 1
            name = str(self._stream).encode()
            self._whole = text_frame(
                b'{"op":"snapshot","stream":"%b","version":%d,"state":%b,"page":1,"pages":1}' % (name, self.version, first)
            )
        else:
            self._pages = -(-characters // self._step)

    @property
    def _step(self) -> int:
        """Characters of one frame: one is at most six bytes once it is escaped in a JSON text."""
        return max(1, self._frame_bytes // 8)

    async def frames(self) -> AsyncGenerator[bytes, None]:
        """All frames, in order, for one subscriber."""
        if self._whole is not None:
            yield self._whole
            return
        own: AsyncGenerator[bytes, None] | None = None
        for number in range(self._pages):
            frame = self._kept.get((self._number, number)) if own is None else None
            if frame is None and own is None:
                frame = await self._make(number)
            if frame is None:
                if own is None:
                    own = self._cut()
                    for _ in range(number):  # those that it has sent already
                        await anext(own)
                frame = await anext(own)
            yield frame

    async def _make(self, number: int) -> bytes | None:
        """The frame, if it is the next one that nobody has come to. None: it was made, and is no longer kept."""
        async with self._making:
            frame = self._kept.get((self._number, number))
            if frame is not None or number != self._made:
                return frame
            if self._ahead is None:
                self._ahead = self._cut()
            try:
                frame = await anext(self._ahead)
            except BaseException:
                self._ahead, self._made = None, self._pages  # it cannot be read on from there: the others read for themselves
                raise
            self._made += 1
            self._kept.add((self._number, number), frame)
            return frame

    async def _cut(self) -> AsyncGenerator[bytes, None]:
        """The state, cut as text: the client joins the pieces before it decodes them."""
        decoder = codecs.getincrementaldecoder("utf-8")()
        waiting = ""
        page = 0

        def frame(text: str) -> bytes:
            head = f'{{"op":"snapshot","stream":"{self._stream}","version":{self.version},"state":'
            return text_frame(f'{head}{json.dumps(text)},"page":{page},"pages":{self._pages}}}'.encode())

        async for piece in self._state.pieces():
            waiting += decoder.decode(piece)
            while len(waiting) > self._step:
                page += 1
                yield frame(waiting[: self._step])
                waiting = waiting[self._step :]
        page += 1
        yield frame(waiting)


class SnapshotFrames:
    """A frame holds at most about ``frame_bytes``. ``kept_bytes_max`` bounds what is kept for subscribers that follow each other."""

    def __init__(self, state_of: StateOf, frame_bytes: int, *, kept_bytes_max: int = KEPT_BYTES_MAX) -> None:
        self._state_of = state_of
        self._frame_bytes = frame_bytes
        self.kept = KeptFrames(kept_bytes_max)
        self._numbers = 0
        self._making: dict[Stream, asyncio.Task[Snapshot]] = {}
        self._shared: WeakValueDictionary[tuple[Stream, int, object], Snapshot] = WeakValueDictionary()

    async def get(self, stream: Stream, principal: Principal) -> tuple[int, AsyncIterator[bytes]]:
        """``(version, frames)``. Raises what ``state_of`` raises."""
        making = self._making.get(stream)
        if making is None:
            making = self._making[stream] = asyncio.create_task(self._make(stream, principal))
            making.add_done_callback(lambda done: self._made(stream, done))
        snapshot = await asyncio.shield(making)
        return snapshot.version, snapshot.frames()

    async def _make(self, stream: Stream, principal: Principal) -> Snapshot:
        state = await self._state_of(stream, principal)
        snapshot = self._shared.get((stream, state.version, state.variant))
        if snapshot is None:
            self._numbers += 1
            snapshot = Snapshot(self._numbers, stream, state, self._frame_bytes, self.kept)
            weakref.finalize(snapshot, self.kept.drop, self._numbers)
            await snapshot.measure()
            self._shared[stream, state.version, state.variant] = snapshot
        return snapshot

    def _made(self, stream: Stream, done: "asyncio.Task[Snapshot]") -> None:
        del self._making[stream]
        if not done.cancelled():
            done.exception()  # Retrieved, so that asyncio does not log a warning when no subscriber waits any more.
